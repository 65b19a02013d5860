"""What the largest pictures cost in memory, measured in a process that decodes nothing else."""

import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.sources.test_image import chunk, encode, png_of_sixteen_bits

SIDE_PX = 4096
MOST_BYTES = 150_000_000

# The kernel's own high-water mark, started again before each picture.
MEASURE = """
import ctypes, json, sys
from functools import partial
from pathlib import Path
from model.videollama3.grid import pin_grid
from pipeline.errors import FrameError
from pipeline.sources.image import decode_image

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

grid_of = partial(pin_grid, max_tokens=int(sys.argv[1]))
small, *bombs = (Path(path).read_bytes() for path in sys.argv[2:])
decode_image(small, grid_of=grid_of)
peaks = []
for bomb in bombs:
    ctypes.CDLL(None).malloc_trim(0)  # what was freed would count as idle, and be used again
    Path("/proc/self/clear_refs").write_text("5")
    idle = status("VmRSS")
    try:
        decode_image(bomb, grid_of=grid_of)
        said = ""
    except FrameError as refused:
        said = str(refused)
    peaks.append((status("VmHWM") - idle, said))
print(json.dumps(peaks))
"""


def flat(mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (SIDE_PX, SIDE_PX))


def dark_sixteen_bits(layers: int) -> bytes:
    """Return a picture both of whose bytes count."""
    return png_of_sixteen_bits(np.full((SIDE_PX, SIDE_PX, layers), 700, np.uint16))


def interlaced() -> bytes:
    """Return a flat RGB picture in seven passes, which Pillow does not write."""
    passes = [(8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2)]  # steps across and down
    rows = b"".join(
        bytes((1 + 3 * SIDE_PX // across) * (SIDE_PX // down)) for across, down in passes
    )
    header = SIDE_PX.to_bytes(4) + SIDE_PX.to_bytes(4) + bytes([8, 2, 0, 0, 1])
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 1)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def animated(file_format: str) -> bytes:
    other = Image.new("RGBA", (SIDE_PX, SIDE_PX), "red")
    return encode(flat("RGBA"), file_format, save_all=True, append_images=[other])


BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: encode(flat(), "PNG", compress_level=1),
    "PNG, RGBA": lambda: encode(flat("RGBA"), "PNG", compress_level=1),
    "PNG, grey and alpha": lambda: encode(flat("LA"), "PNG", compress_level=1),
    "PNG, palette": lambda: encode(flat("P"), "PNG", transparency=1, compress_level=1),
    "PNG, 16-bit grey": partial(dark_sixteen_bits, 1),
    "PNG, 16-bit RGB": partial(dark_sixteen_bits, 3),
    "PNG, 16-bit RGBA": partial(dark_sixteen_bits, 4),
    "PNG, interlaced": interlaced,
    "PNG, animated": partial(animated, "PNG"),
    "JPEG": lambda: encode(flat(), "JPEG"),
    "JPEG, progressive": lambda: encode(flat(), "JPEG", progressive=True, subsampling=0),
    "JPEG, CMYK": lambda: encode(flat("CMYK"), "JPEG"),
    "JPEG, progressive CMYK": lambda: encode(flat("CMYK"), "JPEG", progressive=True),
    "JPEG, without its end": lambda: encode(flat(), "JPEG", progressive=True)[:-2],
    "WebP": lambda: encode(flat(), "WEBP", method=0),
    "WebP, alpha": lambda: encode(flat("RGBA"), "WEBP", method=0),
    "WebP, lossless": lambda: encode(flat(), "WEBP", lossless=True, quality=0, method=0),
    "WebP, animated": partial(animated, "WEBP"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all of them and a small picture."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, make in BOMBS.items():
        (folder / name).write_bytes(make())
    (folder / "small").write_bytes(encode(Image.new("RGB", (64, 64)), "PNG"))
    return folder


HEAVY_ON_A_LARGE_GRID = [
    "PNG, 16-bit RGB",
    "JPEG, progressive",
    "JPEG, progressive CMYK",
    "JPEG, without its end",
    "WebP, alpha",
]


@pytest.mark.parametrize(("max_tokens", "names"), [(144, [*BOMBS]), (4096, HEAVY_ON_A_LARGE_GRID)])
def test_no_picture_of_16_megapixels_takes_more_than_150_megabytes(
    folder: Path, max_tokens: int, names: list[str]
) -> None:
    """A WebP of 2.5 kB took 0.8 GB, and the worker died at that record at every restart."""
    paths = [folder / name for name in ("small", *names)]
    command = [sys.executable, "-c", MEASURE, str(max_tokens), *map(str, paths)]
    measured = subprocess.run(command, capture_output=True, check=True, timeout=120)
    peaks = dict(zip(names, json.loads(measured.stdout), strict=True))
    assert {name: peak for name, (peak, _) in peaks.items() if peak > MOST_BYTES} == {}

    refused = {name: said for name, (_, said) in peaks.items() if said}
    if max_tokens == 144:
        assert refused == {}
    else:  # all coefficients beside a picture that is hardly made smaller
        assert set(refused) == {name for name in names if name.startswith("JPEG")}
        assert all("that takes at most" in said for said in refused.values())
