"""What is told of a camera, and when."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from pipeline.messages import Message, rfc3339
from pipeline.status import StatusBoard
from pipeline.types import Video
from tests.fakes import FakeClock, frame_at

H264 = Video("h264", 1920, 1080)
KNOWN = replace(H264, fps=24.9, keyframe_every_s=2.0)


class Board:
    """A status board, and what it has published."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.said: list[Message] = []
        self.status = StatusBoard(self.said.append, clock=self.clock)

    def take(self, at_s: float, video: Video | None, *, late_s: float = 0.0) -> bool:
        self.clock.seconds = at_s
        captured_at = self.clock.now() - timedelta(seconds=late_s)
        self.status.seen(replace(frame_at(at_s), video=video, captured_at=captured_at))
        return self.status.set("yard", "online")

    @property
    def data(self) -> list[dict[str, Any]]:
        return [dict(message.body["data"]) for message in self.said]


def test_the_video_is_told_with_the_state_and_once_more_when_it_is_measured() -> None:
    """frigate users: neither codec nor rate nor the next try was in any status."""
    board = Board()
    assert board.take(0.0, H264, late_s=0.25)
    for second in range(1, 5):
        assert not board.take(float(second), replace(KNOWN, fps=24.9 + second / 10))
    first, measured = board.data
    assert (first["codec"], first["width"], first["height"]) == ("h264", 1920, 1080)
    assert (first["fps"], first["keyframe_every_s"], first["lag_ms"]) == (None, None, 250)
    assert (measured["fps"], measured["keyframe_every_s"]) == (25.0, 2.0)
    assert first["since"] == measured["since"]


def test_another_size_in_mid_stream_is_told_and_is_no_other_state() -> None:
    board = Board()
    board.take(0.0, KNOWN)
    assert not board.take(1.0, replace(KNOWN, width_px=1280, height_px=720))
    assert [one["width"] for one in board.data] == [1920, 1280]


def test_a_remark_is_the_detail_of_a_camera_that_is_well() -> None:
    board = Board()
    board.take(0.0, replace(KNOWN, remark="its clock is mended: jumps (1)"))
    assert board.data[-1]["detail"] == "its clock is mended: jumps (1)"


def test_when_a_lost_camera_is_tried_again_is_told() -> None:
    board = Board()
    board.take(0.0, KNOWN)
    board.status.set("yard", "offline", reason="timeout", detail="after 10 s", next_try_s=4.0)
    said = board.data[-1]
    assert said["next_try_at"] == rfc3339(board.clock.now() + timedelta(seconds=4.0))
    assert (said["codec"], said["detail"]) == ("h264", "after 10 s")


def test_the_snapshot_has_the_last_message_and_the_last_frame() -> None:
    board = Board()
    board.take(0.0, KNOWN)
    board.take(5.0, KNOWN, late_s=0.5)
    shown = board.status.snapshot()["yard"]
    assert (shown["state"], shown["codec"], shown["lag_ms"]) == ("online", "h264", 500)
    assert shown["last_frame_at"] == rfc3339(board.clock.now() - timedelta(seconds=0.5))
    assert board.status.state("gate") is None
