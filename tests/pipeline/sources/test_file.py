"""Files as cameras."""

from datetime import timedelta
from pathlib import Path
from threading import Thread

import av
import numpy as np
import pytest

from pipeline.cadence import Cadence
from pipeline.clock import Clock, SystemClock
from pipeline.errors import SourceError
from pipeline.sources.base import FrameSource
from pipeline.sources.file import FileSource
from pipeline.types import Frame
from tests.fakes import EPOCH, FakeClock
from tests.pipeline.sources.clips import clip, grid_of, index_of


def source(
    path: Path, *, clock: Clock | None = None, live: bool = False, loop: bool = False
) -> FileSource:
    cadence = Cadence(1.0)
    return FileSource(
        "yard",
        path,
        wanted=lambda _camera_id, pts_s: cadence.due(pts_s),
        grid_of=grid_of,
        clock=clock or FakeClock(),
        live=live,
        loop=loop,
    )


def played(of: FrameSource, *, at_most: int = 1000) -> list[Frame]:
    frames = []
    try:
        for frame in of.frames():
            frames.append(frame)
            if len(frames) >= at_most:
                of.close()
    except SourceError as error:
        if error.reason != "ended":
            raise
    return frames


@pytest.fixture
def four_seconds(tmp_path: Path) -> Path:
    return clip(tmp_path / "four.mp4", seconds=4, gop_s=1)


def test_a_frame_a_second_until_the_file_is_over(four_seconds: Path) -> None:
    with pytest.raises(SourceError, match="ended"):
        list(source(four_seconds).frames())
    frames = played(source(four_seconds))
    assert [round(frame.pts_s) for frame in frames] == [0, 1, 2, 3]
    assert {frame.camera_id for frame in frames} == {"yard"}


def test_capture_time_is_the_start_of_play_plus_stream_time(four_seconds: Path) -> None:
    for frame in played(source(four_seconds)):
        assert frame.captured_at == EPOCH + timedelta(seconds=frame.pts_s)


def test_stream_time_goes_on_over_the_rounds_of_a_loop(four_seconds: Path) -> None:
    frames = played(source(four_seconds, loop=True), at_most=11)
    assert [frame.pts_s for frame in frames] == pytest.approx(range(11), abs=0.11)
    assert [index_of(frame.pixels) // 10 for frame in frames[2:10]] == [2, 3, 0, 1, 2, 3, 0, 1]


def shifted(source: Path, target: Path, *, by_s: float, sound_from_s: float | None) -> Path:
    """Write a video whose pictures come so much later, and sound that does not wait for them."""
    with av.open(str(source)) as original, av.open(str(target), "w") as container:
        pictures = original.streams.video[0]
        video = container.add_stream_from_template(pictures)
        if sound_from_s is not None:
            sound = container.add_stream("aac", rate=48_000, layout="mono")
            quiet = np.zeros((1, 1024), dtype=np.float32)
            silence = av.AudioFrame.from_ndarray(quiet, format="fltp", layout="mono")
            silence.sample_rate = 48_000
            for index in range(20):
                silence.pts = round(sound_from_s * 48_000) + index * 1024
                container.mux(sound.encode(silence))
            container.mux(sound.encode(None))
        for packet in original.demux(pictures):
            if packet.pts is not None and packet.dts is not None and packet.time_base is not None:
                ticks = round(by_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                packet.stream = video
                container.mux(packet)
    return target


@pytest.mark.parametrize("form", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(
    ("by_s", "sound_from_s", "first_s"),
    [(100.0, None, 0.0), (5.0, 0.0, 5.0), (105.0, 100.0, 5.0), (5.0, 7.0, 0.0)],
)
def test_stream_time_is_what_a_player_shows(
    form: str,
    by_s: float,
    sound_from_s: float | None,
    first_s: float,
    four_seconds: Path,
    tmp_path: Path,
) -> None:
    path = shifted(four_seconds, tmp_path / f"late.{form}", by_s=by_s, sound_from_s=sound_from_s)
    frames = played(source(path))
    assert [frame.pts_s - first_s for frame in frames] == pytest.approx(range(4), abs=0.11)
    assert all(one.captured_at == EPOCH + timedelta(seconds=one.pts_s) for one in frames)


def test_a_loop_does_not_wait_for_its_pictures_again(four_seconds: Path, tmp_path: Path) -> None:
    clock = FakeClock()
    late = shifted(four_seconds, tmp_path / "late.mkv", by_s=5.0, sound_from_s=0.0)
    moments_s = []
    live = source(late, clock=clock, live=True, loop=True)
    for frame in live.frames():
        moments_s.append((clock.monotonic_s(), frame.pts_s))
        if len(moments_s) == 9:
            live.close()
    assert [pts_s for _, pts_s in moments_s] == pytest.approx(range(5, 14), abs=0.3)
    assert all(now_s == pytest.approx(pts_s, abs=0.05) for now_s, pts_s in moments_s)


def test_a_live_file_takes_as_long_as_it_lasts(four_seconds: Path) -> None:
    clock = FakeClock()
    moments_s = []
    live = source(four_seconds, clock=clock, live=True, loop=True)
    for frame in live.frames():
        moments_s.append((clock.monotonic_s(), frame.pts_s))
        if len(moments_s) == 9:
            live.close()
    assert all(now_s == pytest.approx(pts_s, abs=0.05) for now_s, pts_s in moments_s)


def test_a_file_played_at_once_waits_for_nobody(four_seconds: Path) -> None:
    clock = FakeClock()
    played(source(four_seconds, clock=clock))
    assert clock.monotonic_s() == 0.0


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        next(source(tmp_path / "nothing.mp4").frames())
    assert caught.value.reason == "not_found"


def test_a_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not_found"):
        next(source(tmp_path).frames())


def test_an_empty_file_is_corrupt_and_not_played_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    with pytest.raises(SourceError, match="corrupt"):
        next(source(path, loop=True).frames())


def test_a_play_list_cannot_reach_the_network(tmp_path: Path, black_hole_port: int) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text(f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{black_hole_port}/a.ts\n")
    with pytest.raises(SourceError):
        next(source(path, clock=SystemClock()).frames())


def test_close_from_another_thread_ends_a_live_file_in_its_pause(four_seconds: Path) -> None:
    live = source(four_seconds, clock=SystemClock(), live=True, loop=True)
    frames = live.frames()
    next(frames)
    rest: list[Frame] = []
    playing = Thread(target=lambda: rest.extend(frames))
    playing.start()
    live.close()
    playing.join(timeout=10.0)
    assert not playing.is_alive()


def test_close_before_the_first_frame_leaves_none(four_seconds: Path) -> None:
    closed = source(four_seconds)
    closed.close()
    assert list(closed.frames()) == []


def test_an_old_codec_plays(yard_video: Path) -> None:
    frames = played(source(yard_video))
    assert [round(frame.pts_s) for frame in frames] == list(range(20))
    assert frames[0].pixels.std() > 10


def test_real_clips_play(videos: Path) -> None:
    clips = [path for path in videos.iterdir() if path.suffix in (".avi", ".mkv", ".mp4")]
    assert clips, f"expected .avi, .mkv or .mp4 files in {videos}"
    for path in clips:
        with av.open(str(path)) as container:
            duration_s = float((container.duration or 0) / av.time_base)
        times_s = [frame.pts_s for frame in played(source(path))]
        assert len(times_s) == pytest.approx(duration_s, abs=1.5), path
        assert np.diff(times_s) == pytest.approx(1.0, abs=0.15), path
