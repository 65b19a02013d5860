"""A real camera over RTSP, and everything that can be wrong with one."""

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import numpy as np
import pytest

from pipeline.cadence import Cadence
from pipeline.clock import SystemClock
from pipeline.errors import SourceError
from pipeline.sources.rtsp import RtspSource
from pipeline.types import Frame
from tests.pipeline.sources.clips import GRID, clip, grid_of
from tests.servers.rtsp import StartCamera

READ_TIMEOUT_S = 1.5
BUSY_S = 1.4  # of a machine with other tests; less than a limit that is waited out twice
PASSWORD = "c@n:ary%23#?x"  # what RFC 3986 would have encoded, and does not need to be here
SMALL = {"fps": 10, "width": 320, "height": 240, "max_s": 12}


def source(url: str, *, open_timeout_s: float = 5.0) -> RtspSource:
    cadence = Cadence(1.0)
    return RtspSource(
        "yard",
        url,
        wanted=lambda _camera_id, pts_s: cadence.due(pts_s),
        grid_of=grid_of,
        clock=SystemClock(),
        open_timeout_s=open_timeout_s,
        read_timeout_s=READ_TIMEOUT_S,
    )


@dataclass
class Failure:
    error: SourceError
    after_s: float


def failure_of(url: str, *, open_timeout_s: float = 5.0) -> Failure:
    started_s = time.monotonic()
    with pytest.raises(SourceError) as caught:
        next(source(url, open_timeout_s=open_timeout_s).frames())
    return Failure(caught.value, time.monotonic() - started_s)


@pytest.mark.parametrize("gop_s", [1, 10])
def test_a_camera_gives_a_frame_a_second(
    rtsp_camera: StartCamera, yard_video: Path, gop_s: int
) -> None:
    camera = source(rtsp_camera(yard_video, gop_s=gop_s, **SMALL).url)
    frames = []
    for frame in camera.frames():
        frames.append(frame)
        if len(frames) == 7:
            camera.close()
    assert len(frames) == 7
    settled = frames[2:]  # the first picture's time is when it came, on a busy machine late
    assert np.diff([frame.pts_s for frame in settled]) == pytest.approx(1.0, abs=0.15)
    arrived_s = [frame.captured_at.timestamp() for frame in settled]
    assert np.diff(arrived_s) == pytest.approx(1.0, abs=0.3)
    assert abs(time.time() - arrived_s[-1]) < 0.5
    assert frames[0].grid == GRID
    assert frames[0].pixels.std() > 10


def test_a_clip_is_served_as_it_is_and_its_time_goes_on_over_the_seam(
    rtsp_camera: StartCamera, tmp_path: Path
) -> None:
    path = clip(tmp_path / "two.mp4", seconds=2, gop_s=1)
    camera = source(rtsp_camera(path, codec="copy").url)
    frames: list[Frame] = []
    for frame in camera.frames():
        frames.append(frame)
        if len(frames) == 5:
            camera.close()
    assert np.diff([frame.pts_s for frame in frames]) == pytest.approx(1.0, abs=0.11)


def credentials(password: str) -> Iterator[str]:
    yield f"admin:{password}"
    yield f"admin:{quote(password, safe='')}"


def test_a_password_of_odd_characters_opens_the_camera(
    rtsp_camera: StartCamera, yard_video: Path
) -> None:
    server = rtsp_camera(
        yard_video, user="admin", password="c@n:ary#?x/1", **(SMALL | {"max_s": 3})
    )
    for userinfo in ("admin:c@n:ary#?x%2F1", f"admin:{quote('c@n:ary#?x/1', safe='')}"):
        camera = source(server.with_credentials(userinfo))
        assert next(camera.frames()).pixels.any()


def test_a_wrong_password_and_a_wrong_path_are_told_apart_and_not_told_on(
    rtsp_camera: StartCamera, yard_video: Path
) -> None:
    server = rtsp_camera(yard_video, user="admin", password="another", **(SMALL | {"max_s": 2}))
    for userinfo in credentials(PASSWORD):
        wrong = failure_of(server.with_credentials(userinfo))
        assert wrong.error.reason == "auth_failed"
        assert_silent(wrong.error, PASSWORD)
    elsewhere = failure_of(server.with_credentials("admin:another") + "/nowhere")
    assert elsewhere.error.reason == "not_found"
    assert_silent(elsewhere.error, "another")


def test_a_port_that_refuses_is_unreachable(refused_port: int) -> None:
    for userinfo in credentials(PASSWORD):
        refused = failure_of(f"rtsp://{userinfo}@127.0.0.1:{refused_port}/stream")
        assert refused.error.reason == "unreachable"
        assert_silent(refused.error, PASSWORD)


def test_a_peer_that_never_answers_times_out_within_its_limit(black_hole_port: int) -> None:
    url = f"rtsp://admin:{PASSWORD}@127.0.0.1:{black_hole_port}/stream"
    silent = failure_of(url, open_timeout_s=1.0)
    assert silent.error.reason == "timeout"
    assert silent.after_s < 1.0 + BUSY_S
    assert_silent(silent.error, PASSWORD)


def test_a_camera_without_a_picture_has_no_video(rtsp_camera: StartCamera) -> None:
    deaf = failure_of(rtsp_camera(audio_only=True).url)
    assert deaf.error.reason == "no_video"
    assert "audio" in str(deaf.error)


@pytest.mark.parametrize("death", ["kill", "freeze"])
def test_a_camera_that_dies_is_noticed_within_the_read_timeout(
    rtsp_camera: StartCamera, yard_video: Path, death: str
) -> None:
    server = rtsp_camera(yard_video, user="admin", password=PASSWORD, **(SMALL | {"max_s": 3}))
    frames = source(server.with_credentials(f"admin:{quote(PASSWORD, safe='')}")).frames()
    next(frames)
    getattr(server, death)()
    died_s = time.monotonic()
    with pytest.raises(SourceError) as caught:
        list(frames)
    assert caught.value.reason == ("ended" if death == "kill" else "stalled")
    assert time.monotonic() - died_s < READ_TIMEOUT_S + BUSY_S
    assert_silent(caught.value, PASSWORD)


def test_close_from_another_thread_ends_the_frames(
    rtsp_camera: StartCamera, yard_video: Path
) -> None:
    camera = source(rtsp_camera(yard_video, **(SMALL | {"max_s": 3})).url)
    frames = camera.frames()
    next(frames)
    rest: list[Frame] = []
    watching = Thread(target=lambda: rest.extend(frames))
    watching.start()
    camera.close()
    watching.join(timeout=READ_TIMEOUT_S + BUSY_S)
    assert not watching.is_alive()


def test_close_while_the_camera_is_silent_ends_without_an_error(
    rtsp_camera: StartCamera, yard_video: Path
) -> None:
    server = rtsp_camera(yard_video, **(SMALL | {"max_s": 3}))
    camera = source(server.url)
    frames = camera.frames()
    next(frames)
    server.freeze()
    camera.close()
    assert list(frames) == []


def assert_silent(error: SourceError, password: str) -> None:
    """Nothing that could be logged of this error holds the password, or any URL."""
    text = "".join(traceback.format_exception(error, chain=True))
    chained: list[BaseException | None] = [error, error.__cause__, error.__context__]
    text += "".join(f"{exc!r} {exc!s} {exc.args}" for exc in chained if exc is not None)
    assert error.__cause__ is None
    assert error.__context__ is None
    for form in (password, quote(password, safe=""), "rtsp://"):
        assert form not in text
