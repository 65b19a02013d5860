"""Every codec and transport that cameras use over RTSP: the pictures are those that were filmed.

A real server sends them; AV1, for which Debian's GStreamer has no payloader, the scripted camera.
"""

from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from model.types import PatchGrid
from pipeline.cadence import Cadence
from pipeline.clock import SystemClock
from pipeline.sources.encoder import as_coded, encode_clip
from pipeline.sources.rtsp import RtspSource, Transport
from pipeline.types import Frame
from tests.pipeline.sources.clips import FPS, NUM_MOMENTS, index_of, moment
from tests.servers.rtp import honest_stamp
from tests.servers.rtp_av1 import coded_av1
from tests.servers.rtsp import StartCamera
from tests.servers.rtsp_camera import ScriptedCamera, Track

COLOURS = ((180, 60, 60), (60, 180, 60), (60, 60, 180), (200, 200, 40))
SIDE_PX = 48
LEVELS = 8  # what coding may change a colour by


def coloured(index: int) -> NDArray[np.uint8]:
    """Return a moment below a row of colours."""
    picture = moment(index, height_px=3 * SIDE_PX, width_px=4 * SIDE_PX)
    for number, colour in enumerate(COLOURS):
        picture[:SIDE_PX, number * SIDE_PX : (number + 1) * SIDE_PX] = colour
    return picture


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filmed") / "filmed.mp4"
    pictures = (coloured(index) for index in range(NUM_MOMENTS))
    return encode_clip(path, pictures, fps=FPS, gop_s=1, bits_per_s=2_000_000)


def seen(url: str, *, transport: Transport = "tcp") -> list[Frame]:
    cadence = Cadence(1.0)
    camera = RtspSource(
        "yard",
        url,
        wanted=lambda _camera_id, pts_s: cadence.due(pts_s),
        grid_of=lambda _height_px, _width_px: PatchGrid(6, 8),
        clock=SystemClock(),
        open_timeout_s=5.0,
        read_timeout_s=5.0,
        transport=transport,
    )
    frames = list(islice(camera.frames(), 3))
    camera.close()
    return frames


def assert_right(frames: list[Frame]) -> None:
    """Colours are those that were filmed, and a second later comes what was filmed then."""
    numbers = []
    for frame in frames:
        height_px, width_px = frame.pixels.shape[:2]
        side_y_px, side_x_px = height_px // 3, width_px // 4
        for number, colour in enumerate(COLOURS):
            middle = frame.pixels[
                side_y_px // 4 : -side_y_px // 4 - 2 * side_y_px,
                number * side_x_px + side_x_px // 4 : (number + 1) * side_x_px - side_x_px // 4,
            ]
            assert middle.mean(axis=(0, 1)) == pytest.approx(colour, abs=LEVELS)
        numbers.append(index_of(frame.pixels[side_y_px + 4 :]))
    steps = [(later - one) % NUM_MOMENTS for one, later in pairwise(numbers)]
    times_s = [later.pts_s - one.pts_s for one, later in pairwise(frames)]
    assert steps == [round(time_s * FPS) for time_s in times_s]


@pytest.fixture(scope="module")
def in_mpeg4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filmed") / "filmed.avi"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS, options={"g": str(FPS)})
        stream.height, stream.width = coloured(0).shape[:2]
        stream.bit_rate = 2_000_000
        for index in range(NUM_MOMENTS):
            container.mux(stream.encode(as_coded(coloured(index))))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("codec", "transport"),
    [
        *((codec, "tcp") for codec in ("h264", "h265", "mjpeg", "mpeg4", "vp8", "vp9")),
        *((codec, "udp") for codec in ("h264", "h265")),
    ],
)
def test_what_is_seen_is_what_was_filmed(
    rtsp_camera: StartCamera, filmed: Path, in_mpeg4: Path, codec: str, transport: Transport
) -> None:
    if codec == "mpeg4":
        camera = rtsp_camera(in_mpeg4, codec="copy", transport=transport)
    else:
        camera = rtsp_camera(filmed, codec=codec, gop_s=1, fps=FPS, transport=transport)
    assert_right(seen(camera.url, transport=transport))


def test_the_same_of_av1() -> None:
    units = coded_av1(map(coloured, range(NUM_MOMENTS)), fps=FPS, gop_s=1)
    with ScriptedCamera([Track(units, codec="av1", stamp_of=honest_stamp)]) as camera:
        assert_right(seen(camera.url))
