"""Clips cut from what a camera sent, decoded again."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from numpy.typing import NDArray

from pipeline.clips import Clips
from pipeline.events import Transition
from pipeline.metrics import CLIP_DROPPED, EVIDENCE_LOST
from pipeline.mp4 import Piece, mp4_of_packets
from pipeline.pictures import Clip
from pipeline.publishers.redis_keys import evidence_key
from tests.fakes import EPOCH, FakeClock, Recorder, frame_at, picture
from tests.pipeline.sources.clips import FPS, clip, index_of
from tests.pipeline.test_evidence import level_at

GOP_S = 2.0
_START = b"\x00\x00\x00\x01"


class Camera:
    """Clips, and a clock that goes on with what is kept."""

    def __init__(self, *, kept_s: float = 60.0, max_bytes: int = 1 << 30) -> None:
        self.clock, self.observer = FakeClock(), Recorder()
        self.clips = Clips(
            lambda *about: evidence_key("vigil", *about),
            clock=self.clock,
            kept_s=kept_s,
            observer=self.observer,
            max_bytes=max_bytes,
        )

    def sends(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self.clock.seconds = piece.pts_s
            self.clips.packet("yard", piece)

    def shows(self, begin_s: int, end_s: int) -> None:
        for second in range(begin_s, end_s):
            self.clock.seconds = float(second)
            self.clips.shown(frame_at(float(second), picture(level_at(second))))
            self.clips.next(0.0)

    def begins(self, at_s: float) -> Clip | None:
        return self.clips.of("yard", transition("start", at_s))

    def cut(self) -> bytes:
        found = self.clips.next(0.0)
        assert found is not None
        return found[1]


def transition(phase: str, at_s: float, event_id: str = "e-1") -> Transition:
    at = EPOCH + timedelta(seconds=at_s)
    return Transition(phase, event_id, at, at if phase == "end" else None, 0.9, at)  # type: ignore[arg-type] # a phase


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> list[Piece]:
    """What a camera sends in eight seconds whose pictures say when they are from."""
    return pieces_of(clip(tmp_path_factory.mktemp("sent") / "a.mp4", seconds=8, gop_s=GOP_S))


def pieces_of(path: Path) -> list[Piece]:
    with av.open(path) as container:
        stream = container.streams.video[0]
        as_sent = BitStreamFilterContext("h264_mp4toannexb", stream)
        packets = [one for raw in container.demux(stream) for one in as_sent.filter(raw)]
        return [
            Piece(
                EPOCH + timedelta(seconds=float(one.pts * one.time_base)),
                float(one.pts * one.time_base),
                is_key=one.is_keyframe,
                data=bytes(one),
            )
            for one in packets
            if one.size and one.pts is not None
        ]


def later(pieces: Sequence[Piece], seconds: float, **changes: bytes) -> list[Piece]:
    step = timedelta(seconds=seconds)
    return [replace(one, at=one.at + step, pts_s=one.pts_s + seconds, **changes) for one in pieces]  # type: ignore[arg-type] # of bytes alone


def played(mp4: bytes) -> list[tuple[float, NDArray[np.uint8]]]:
    """Return when each picture is shown, and the picture."""
    with av.open(io.BytesIO(mp4), "r") as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return [
            (float(frame.time or 0.0), np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
            for frame in container.decode(video=0)
        ]


def close(numbers: Iterable[float]) -> object:
    """Equal to pictures' own numbers, which a codec's loss moves by one at most."""
    return pytest.approx(list(numbers), abs=1)


def indexes(mp4: bytes) -> list[int]:
    return [index_of(pixels) for _, pixels in played(mp4)]


def test_a_clip_begins_with_a_key_frame_five_seconds_before_and_ends_five_after(
    sent: list[Piece],
) -> None:
    camera = Camera()
    camera.sends([*sent, *later(sent, 8.0), *later(sent, 16.0)])
    named = camera.begins(11.5)
    assert named is not None
    assert (named.start, named.end) == tuple(EPOCH + timedelta(seconds=s) for s in (6.0, 16.5))
    shown = played(camera.cut())
    assert [time_s for time_s, _ in shown] == pytest.approx([n / FPS for n in range(106)])
    assert [index_of(pixels) for _, pixels in shown] == close([n % 80 for n in range(60, 166)])


def test_a_clip_is_cut_when_what_follows_its_event_has_come(sent: list[Piece]) -> None:
    camera = Camera()
    camera.sends(sent)
    assert camera.begins(6.0) is not None
    assert camera.clips.next(0.0) is None
    camera.sends(later(sent, 8.0)[:31])  # to 11 s
    assert len(indexes(camera.cut())) == 111


def test_what_does_not_come_is_waited_for_no_longer_than_three_seconds(sent: list[Piece]) -> None:
    camera = Camera()
    camera.sends(sent)
    assert camera.begins(6.0) is not None
    camera.clock.seconds = 13.8
    assert camera.clips.next(0.0) is None
    camera.clock.seconds = 14.2
    assert len(indexes(camera.cut())) == 80


def test_pictures_that_are_coded_out_of_order_are_shown_in_order(tmp_path: Path) -> None:
    path = clip(tmp_path / "b.mp4", seconds=8, gop_s=GOP_S, num_b_frames=2)
    camera = Camera()
    camera.sends(pieces_of(path))
    assert camera.begins(2.5) is not None
    shown = played(camera.cut())
    assert [index_of(pixels) for _, pixels in shown][:70] == close(range(70))
    assert np.diff([time_s for time_s, _ in shown]) == pytest.approx(1 / FPS)


def test_a_camera_that_tells_its_parameters_once_is_cut_too(sent: list[Piece]) -> None:
    units = [_START + one for one in sent[0].data.replace(_START, _START[1:]).split(_START[1:])]
    sets = b"".join(one for one in units if one[4:] and one[4] & 31 in (7, 8))
    bare = [replace(one, data=one.data, head=sets) for one in sent]
    slices = b"".join(one for one in units if one[4:] and one[4] & 31 not in (7, 8))
    keys = {one.data for one in sent if one.is_key}
    assert sets
    bare[0] = replace(bare[0], data=slices)
    assert bare[0].data not in keys
    assert len(played(mp4_of_packets(bare[:20]))) == 20


def test_what_has_room_no_more_is_counted_and_a_clip_begins_with_the_earliest_key_frame_left(
    sent: list[Piece],
) -> None:
    size_bytes = sum(len(one.data) for one in sent)
    camera = Camera(max_bytes=size_bytes * 3 // 4)
    camera.sends(sent)
    assert camera.clips.held_bytes <= size_bytes * 3 // 4
    named = camera.begins(4.0)
    assert named is not None
    first_s = (named.start - EPOCH).total_seconds()
    assert first_s in (2.0, 4.0)
    assert camera.observer.total(CLIP_DROPPED, camera="yard", reason="memory") == first_s * FPS
    camera.clock.seconds = 30.0
    assert indexes(camera.cut())[:1] == close([first_s * FPS])


def test_a_camera_for_which_there_is_no_room_has_no_clip(sent: list[Piece]) -> None:
    camera = Camera(max_bytes=10)
    camera.sends(sent)
    camera.shows(0, 8)
    assert camera.clips.held_bytes == 0
    assert camera.begins(4.0) is None
    assert camera.observer.total(CLIP_DROPPED, camera="yard", reason="memory") > 0


def test_what_is_old_goes_and_is_no_loss(sent: list[Piece]) -> None:
    camera = Camera(kept_s=4.0)
    camera.sends([*sent, *later(sent, 8.0)])
    assert camera.observer.told == []
    assert camera.clips.held_bytes < sum(len(one.data) for one in sent)


def test_a_clip_is_of_one_stream_where_a_camera_came_back_as_another(
    sent: list[Piece], tmp_path: Path
) -> None:
    other = pieces_of(clip(tmp_path / "o.mp4", seconds=4, gop_s=1.0, size_px=(64, 96)))
    camera = Camera()
    camera.sends([*later(sent, 0.0, head=b""), *later(other, 8.0, head=_START)])
    assert camera.begins(7.0) is not None
    camera.clock.seconds = 30.0
    assert indexes(camera.cut()) == close(range(20, 80))


def test_pictures_that_the_model_saw_are_a_clip_at_their_own_pace() -> None:
    camera = Camera()
    camera.shows(0, 31)
    named = camera.begins(15.0)
    assert named is not None
    shown = played(camera.cut())
    assert [time_s for time_s, _ in shown] == [float(second) for second in range(11)]
    levels = [float(pixels.mean()) for _, pixels in shown]
    assert levels == pytest.approx([level_at(second) for second in range(10, 21)], abs=3)


def test_pictures_are_kept_once_a_second_however_many_the_model_sees() -> None:
    camera = Camera()
    for tenth in range(200):
        camera.clock.seconds = tenth / 10
        camera.clips.shown(frame_at(tenth / 10, picture(tenth)))
        camera.clips.next(0.0)
    assert camera.begins(10.0) is not None
    assert len(played(camera.cut())) == 11


def test_a_camera_that_comes_back_with_another_codec_has_clips_of_pictures(
    sent: list[Piece],
) -> None:
    camera = Camera()
    camera.sends(sent)
    camera.shows(4, 40)
    assert camera.begins(30.0) is not None
    times_s = [time_s for time_s, _ in played(camera.cut())]
    assert times_s == [float(second) for second in range(11)]


def test_the_end_of_an_event_names_the_clip_of_its_start_and_an_update_none() -> None:
    camera = Camera()
    camera.shows(0, 20)
    named = camera.begins(10.0)
    assert camera.clips.of("yard", transition("update", 10.0)) is None
    assert camera.clips.of("yard", transition("end", 10.0)) == named
    assert camera.clips.of("yard", transition("end", 10.0, "another")) is None


def test_where_nothing_is_kept_no_clip_is_named_and_what_is_forgotten_is_lost() -> None:
    camera = Camera()
    assert camera.begins(10.0) is None
    camera.shows(0, 12)
    assert camera.begins(10.0) is not None
    camera.clips.forget("yard")
    camera.clock.seconds = 30.0
    assert camera.clips.next(0.0) is None
    assert camera.observer.total(EVIDENCE_LOST, reason="no_video") == 1
    assert camera.clips.held_bytes == 0


def test_packets_that_are_no_video_are_a_loss_and_harm_nothing(sent: list[Piece]) -> None:
    camera = Camera()
    camera.sends([replace(one, data=b"\x00" * 50) for one in sent])
    assert camera.begins(4.0) is not None
    camera.clock.seconds = 30.0
    assert camera.clips.next(0.0) is None
    assert camera.observer.total(EVIDENCE_LOST, reason="no_video") == 1
