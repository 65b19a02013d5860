"""The right track of a file, in its right shape, the right way up."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import ExifTags, Image

from model.errors import DataError
from model.videollama3.grid import pin_grid
from pipeline.errors import SourceError
from pipeline.recorded import Media
from pipeline.sources.file import FileSource
from pipeline.sources.image import decode_image
from pipeline.sources.shape import Shape
from tests.fakes import FakeClock
from tests.pipeline.sources.clips import clip

CASES = Path(__file__).parent / "cases"
AS_IT_IS = Shape()
grid_of = partial(pin_grid, max_tokens=144)


def seen(path: Path, shape: Shape = AS_IT_IS) -> NDArray[np.uint8]:
    """Return the first picture of a file played as a camera."""
    camera = FileSource(
        "yard",
        path,
        wanted=lambda _camera_id, _pts_s: True,
        grid_of=grid_of,
        clock=FakeClock(),
        live=False,
        loop=False,
        shape=shape,
    )
    return next(camera.frames()).pixels


def trained_on(path: Path) -> NDArray[np.uint8]:
    """Return the first picture of a file named by training data."""
    pixels, _times_s = Media(grid_of).video(path, None, None)
    return pixels[0]


Look = Callable[[Path], NDArray[np.uint8]]
LOOKS = pytest.mark.parametrize("look", [seen, trained_on])


@LOOKS
def test_samples_are_as_wide_as_the_container_says(look: Look) -> None:
    """frigate#416, jellyfin#4122, streamyfin#1785: pasp was ignored, and all half as wide."""
    square = look(CASES / "sar_pasp.mp4")[..., 0] > 200
    height_px, width_px = (np.ptp(places) + 1 for places in np.nonzero(square))
    assert width_px == pytest.approx(height_px, abs=2)


@LOOKS
def test_a_display_matrix_is_followed(look: Look) -> None:
    """roboflow/inference#1911, torchcodec#1084, PyAV#570: the picture lay on its side."""
    pixels = look(CASES / "rot90.mp4").astype(int)
    assert pixels.shape[0] > pixels.shape[1]
    white = pixels.mean(axis=(0, 2)) > 200  # a bar at the top of what was encoded
    assert white[:40].all()
    assert not white[60:].any()


@LOOKS
def test_a_preview_before_the_video_is_not_watched(look: Look) -> None:
    """USDX#902, proxima#219, SharpRTSP#146, AVProVideo#2487: the cover was watched."""
    assert look(CASES / "thumb_first.mkv").shape == (168, 308, 3)


def quarters(height_px: int = 96, width_px: int = 160) -> NDArray[np.uint8]:
    """Return a picture with a red, a green, a blue and a white quarter, in reading order."""
    picture = np.zeros((height_px, width_px, 3), np.uint8)
    middle_px = height_px // 2, width_px // 2
    picture[: middle_px[0], : middle_px[1], 0] = 255
    picture[: middle_px[0], middle_px[1] :, 1] = 255
    picture[middle_px[0] :, : middle_px[1], 2] = 255
    picture[middle_px[0] :, middle_px[1] :] = 255
    return picture


def encoded(path: Path, *, degrees: int = 0, hflip: bool = False, vflip: bool = False) -> Path:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.height, stream.width = quarters().shape[:2]
        stream.pix_fmt = "yuv420p"
        if degrees or hflip or vflip:
            stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)
        for _ in range(3):
            container.mux(stream.encode(VideoFrame.from_ndarray(quarters(), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def corners(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return (2, 2, 3): which colours the corners have."""
    return pixels[8 : -7 : pixels.shape[0] - 16, 8 : -7 : pixels.shape[1] - 16] > 128


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True)])
def test_each_of_the_eight_orientations_is_brought_upright(
    tmp_path: Path, degrees: int, flips: tuple[bool, bool]
) -> None:
    path = encoded(tmp_path / "turned.mp4", degrees=degrees, hflip=flips[0], vflip=flips[1])
    expected = np.rot90(quarters(), degrees // 90)  # against the clock, as the matrix is told
    expected = expected[:, ::-1] if flips[0] else expected
    expected = expected[::-1] if flips[1] else expected
    np.testing.assert_array_equal(corners(seen(path)), corners(expected))


@pytest.mark.parametrize("rotate_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("told_deg", [0, 90])
def test_a_setting_turns_clockwise_after_what_the_video_tells(
    tmp_path: Path, told_deg: int, rotate_deg: int
) -> None:
    path = encoded(tmp_path / "turned.mp4", degrees=told_deg)
    turned = seen(path, Shape(rotate_deg=rotate_deg))
    expected = np.rot90(quarters(), (told_deg - rotate_deg) // 90)
    np.testing.assert_array_equal(corners(turned), corners(expected))
    is_lying = (told_deg + rotate_deg) % 180 == 90
    assert (turned.shape[0] > turned.shape[1]) is is_lying


def test_a_setting_says_the_aspect_that_nobody_tells(tmp_path: Path) -> None:
    """open-nvr#354: 960x1080 without an aspect was squeezed."""
    path = clip(tmp_path / "squeezed.mp4", seconds=1, gop_s=1, size_px=(108, 96))
    wide = Shape(aspect=Fraction(16, 9))
    assert seen(path).shape[:2] == (grid_of(108, 96).height_px, grid_of(108, 96).width_px)
    assert seen(path, wide).shape[:2] == (grid_of(108, 192).height_px, grid_of(108, 192).width_px)
    lying = seen(path, Shape(aspect=Fraction(16, 9), rotate_deg=90))
    assert lying.shape[:2] == (grid_of(192, 108).height_px, grid_of(192, 108).width_px)


def tracks(path: Path, *sizes: tuple[str, int, int], cover: int | None = None) -> Path:
    """Write tracks of (codec, height, width); of the one numbered `cover`, one picture alone."""
    with av.open(path, "w") as container:
        streams = list[VideoStream]()
        for codec, height_px, width_px in sizes:
            stream = cast(VideoStream, container.add_stream(codec, rate=5))
            stream.height, stream.width = height_px, width_px
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            streams.append(stream)
        if cover is not None and path.suffix == ".mp4":
            streams[cover].disposition = Disposition.attached_pic
        for index, stream in enumerate(streams):
            picture = np.full((stream.height, stream.width, 3), 60 + 60 * index, np.uint8)
            for _ in range(1 if index == cover else 5):
                container.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("sizes", "best", "cover"),
    [
        ([("libx264", 64, 96), ("libx264", 96, 160)], 1, None),
        ([("libx264", 96, 160), ("libx264", 64, 96)], 0, None),
        ([("mjpeg", 240, 320), ("libx264", 96, 160)], 1, 0),
        ([("libx264", 96, 160), ("mjpeg", 240, 320)], 0, 1),
    ],
)
@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_the_largest_track_that_is_no_cover_is_watched(
    tmp_path: Path, ending: str, sizes: list[tuple[str, int, int]], best: int, cover: int | None
) -> None:
    path = tracks(tmp_path / f"tracks.{ending}", *sizes, cover=cover)
    assert seen(path).mean() == pytest.approx(60 + 60 * best, abs=3)


def test_a_file_with_a_cover_alone_has_no_video(tmp_path: Path) -> None:
    path = tracks(tmp_path / "song.mp4", ("mjpeg", 240, 320), cover=0)
    with pytest.raises(SourceError, match="no_video: expected a video stream"):
        seen(path)
    with pytest.raises(DataError, match="expected a video stream"):
        trained_on(path)


@pytest.mark.parametrize("rotate_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_setting_turns_an_encoded_picture_after_what_it_tells(
    orientation: int, rotate_deg: int
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation  # 6: to be turned clockwise by 90 degrees
    file = BytesIO()
    Image.fromarray(quarters()).save(file, "PNG", exif=exif)
    shape = Shape(Fraction(16, 9), rotate_deg)
    turned = decode_image(file.getvalue(), grid_of=grid_of, shape=shape)
    told_deg = 90 if orientation == 6 else 0
    expected = np.rot90(quarters(), -(told_deg + rotate_deg) // 90)
    np.testing.assert_array_equal(corners(turned.pixels), corners(expected))
    wide = grid_of(96, round(96 * 16 / 9)), grid_of(round(96 * 16 / 9), 96)
    assert turned.grid == wide[(told_deg + rotate_deg) % 180 == 90]
