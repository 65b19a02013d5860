"""What benchmarks show, read as cameras are read: pictures at any resolution, videos by the second.

Sampling and budgets are those of VideoLLaMA3's evaluation: one frame a second, at most 180 of them
spread evenly over what is longer, and 16384 tokens for all frames of a video, or for a picture.
"""

import math
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from model.evaluation.prompted import IMAGE_MERGE, Picture
from model.videollama3.grid import pin_grid
from pipeline.errors import SourceError
from pipeline.recorded import PERIOD_S, duration_s, sampled
from pipeline.sources.image import decode_image
from pipeline.types import Frame

MAX_FRAMES = 180
MAX_TOKENS = 16_384
MAX_PIXELS = 128 * 2**20  # of a picture: scanned pages are large
_PLAIN = ("RGB", "RGBA", "L")
_SLACK_S = 0.25  # a frame's time may be this much off the whole second


def picture_of(given: Image.Image | bytes | str | Path, *, max_tokens: int = MAX_TOKENS) -> Picture:
    """Read a picture at its own resolution, as far as the budget goes.

    Raises:
        FrameError: it is none, or damaged.
        OSError: the file cannot be read.
    """
    if isinstance(given, Image.Image):
        encoded = BytesIO()  # so that there is one way from a file's bytes to pixels
        plain = given if given.mode in _PLAIN else given.convert("RGB")
        plain.save(encoded, format="PNG", compress_level=1)
        value = encoded.getvalue()
    else:
        value = given if isinstance(given, bytes) else Path(given).read_bytes()
    grid_of = partial(pin_grid, max_tokens=max_tokens, merge_size=IMAGE_MERGE)
    return Picture(decode_image(value, grid_of=grid_of, max_pixels=MAX_PIXELS).pixels)


def frames_of(
    path: Path,
    *,
    start_s: float = 0.0,
    end_s: float = math.inf,
    max_frames: int = MAX_FRAMES,
    max_frame_tokens: int = MAX_TOKENS,
) -> list[Frame]:
    """Read a stretch of a video, one frame a second; spread evenly where that is too many.

    Args:
        path: the file.
        start_s: from when on, in seconds of the file.
        end_s: until when.
        max_frames: how many at most.
        max_frame_tokens: what one may cost, whatever the budget has left.

    Raises:
        DataError: it cannot be read.
        SourceError: it breaks off before the first frame of the stretch.
    """
    last_s = min(duration_s(path), end_s)
    seconds = np.arange(math.ceil(start_s), math.floor(last_s) + 1)
    if len(seconds) > max_frames:
        seconds = seconds[np.linspace(0, len(seconds) - 1, max_frames, dtype=int)]
    wanted = set(seconds.tolist()) or {round(start_s)}
    max_tokens = min(MAX_TOKENS // len(wanted), max_frame_tokens)
    found: list[Frame] = []
    for frame in sampled(path, grid_of=partial(pin_grid, max_tokens=max_tokens)):
        if frame.pts_s > last_s + PERIOD_S:
            break
        if round(frame.pts_s) in wanted or (not found and frame.pts_s >= start_s - _SLACK_S):
            found.append(frame)
    if not found:
        raise SourceError("corrupt", f"{path}: expected a picture from {start_s:g} s on, got none")
    return found
