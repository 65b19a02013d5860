"""What a fixed 1080p camera sends, as a file."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sources.encoder import encode_clip
from worker.benchmarks.report import Progress

WIDTH_PX, HEIGHT_PX, FPS = 1920, 1080, 25
CLIP_S = 20
BITS_PER_S = 4_000_000


def clip(gop_s: int, progress: Progress) -> Path:
    """Return the clip with a key frame every `gop_s` seconds, making it if it is not there yet."""
    folder = Path(tempfile.gettempdir()) / "vigil-bench"
    path = folder / f"1080p{FPS}-{CLIP_S}s-{BITS_PER_S // 1000}k-gop{gop_s}.mp4"
    if not path.exists():
        progress(f"making {path} (once)")
        folder.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".part.mp4")
        encode_clip(unfinished, pictures(), fps=FPS, gop_s=gop_s, bits_per_s=BITS_PER_S)
        unfinished.rename(path)
    return path


def pictures() -> Iterator[NDArray[np.uint8]]:
    """Yield what a fixed camera sees: detail at all sizes, things that move, sensor noise.

    How the bits are shared between key frames and the others decides what leaving the others alone
    can save, so that share is printed with the figures. A motionless, blocky scene, tried first,
    gave key frames 87 % of them and a ratio of 0.51.

    Returns:
        (1080, 1920, 3) uint8 RGB each.
    """
    rng = np.random.default_rng(0)
    still = np.full((HEIGHT_PX, WIDTH_PX, 3), 110.0, np.float32)
    for cell_px, levels in ((240, 40), (80, 20), (24, 10), (8, 4), (3, 2)):
        size = (HEIGHT_PX // cell_px + 1, WIDTH_PX // cell_px + 1, 3)
        coarse = rng.normal(0.0, levels, size).astype(np.float32)
        still += cv2.resize(coarse, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
    noises = [
        cv2.GaussianBlur(rng.normal(0.0, 4.0, still.shape[:2]).astype(np.float32), (0, 0), 0.7)
        for _ in range(8)
    ]
    for index in range(CLIP_S * FPS):
        picture = still + noises[rng.integers(len(noises))][..., None]
        for lane, speed_px in enumerate((4, -7, 11, -3)):
            left, top = (300 * lane + speed_px * index) % (WIDTH_PX - 320), 120 + 240 * lane
            thing = still[60 * lane : 60 * lane + 180, 500:820] * 0.6 + 30 * lane
            picture[top : top + 180, left : left + 320] = thing
        yield np.clip(picture, 0, 255).astype(np.uint8)
