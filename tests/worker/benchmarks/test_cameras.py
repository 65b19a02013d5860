from pathlib import Path
from threading import Event
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.engine.engine import Engine
from model.engine.made_up_past import EngineWithMadeUpPast
from pipeline.errors import ConfigError
from pipeline.lane import Lanes
from pipeline.pruner import Pruner
from pipeline.sources.encoder import encode_clip
from pipeline.ticks import Ticks
from pipeline.types import Frame, Overflow
from tests.fakes import FakeClock
from tests.model.nano_model import nano_family
from worker.benchmarks import camera_trial
from worker.benchmarks.camera_trial import Seen, make_up_pasts, trial
from worker.benchmarks.cameras import BUNDLED_GRID, GRID, MOST, measure, search
from worker.benchmarks.metered_pruner import MeteredPruner
from worker.benchmarks.rendered_cameras import Clips, Played, play, play_decoded


@given(st.integers(0, 2 * MOST), st.sampled_from([1, 16, 48, 128]))
def test_the_search_finds_the_most_that_hold(most: int, start: int) -> None:
    tried: list[int] = []

    def holds(number: int) -> bool:
        tried.append(number)
        return number <= most

    found = search(holds, start=start)
    assert len(tried) == len(set(tried))
    assert found <= most
    if found <= MOST // 2 and found:
        assert most < found + max(1, start // 8)
    if not found:
        assert most < max(1, start // 8)


def test_cameras_are_played_a_frame_a_second_and_spread() -> None:
    clips = Clips(np.zeros((2, 3, GRID.height_px, GRID.width_px, 3), np.uint8))
    clock, ticks, quarters = FakeClock(), Ticks(period_s=1.0, per_period=4), []
    for number in range(4):
        stop, times = Event(), list[float]()
        lanes = Lanes(lambda _camera_id: Pruner(mode="last_seen"), clock=clock)

        def note(_late_s: float) -> None:
            times.append(clock.seconds)  # noqa: B023 (it is called within this turn alone)
            if len(times) > 9:  # noqa: B023
                stop.set()  # noqa: B023

        camera = Played(f"c{number}", number, history_s=5)
        play(camera, clips, lanes, ticks=ticks, clock=clock, stop=stop, pruned=note)
        assert np.diff(times[1:]) == pytest.approx(1.0)
        assert list(lanes.counts()) == [camera.camera_id]
        quarters.append(int(times[-1] % 1 * 4))
    assert sorted(quarters) == [0, 1, 2, 3]


def test_no_two_cameras_show_the_same_at_the_same_time() -> None:
    pictures = np.zeros((2, 40, GRID.height_px, GRID.width_px, 3), np.uint8)
    pictures[..., 0, 0, :2] = np.stack(
        np.broadcast_arrays(np.arange(2)[:, None], np.arange(40)), axis=-1
    )
    clips = Clips(pictures)
    shown = {tuple(clips.at(camera, 7)[0, 0, :2]) for camera in range(10)}
    assert len(shown) == 10


def test_a_made_up_past_gives_every_camera_its_window() -> None:
    pictures = np.zeros((2, 20, BUNDLED_GRID.height_px, BUNDLED_GRID.width_px, 3), np.uint8)
    for second in range(20):  # something bright that moves
        pictures[:, second, 28:84, 14 * second : 14 * second + 56] = 200
    clips = Clips(pictures)
    engine = EngineWithMadeUpPast(nano_family(), model_name="random")
    cameras = [Played(f"c{n}", n, history_s=90 + 15 * n) for n in range(3)]
    make_up_pasts(cameras, clips, engine=engine, clock=FakeClock())
    for camera in cameras:
        window = engine.window(camera.camera_id)
        assert window is not None
        assert window.num_frames == camera.history_s == window.end_pts_s + 1
        assert BUNDLED_GRID.num_tokens + camera.history_s < window.num_tokens


def test_a_trial_without_an_answer_does_not_hold() -> None:
    seen = Seen().trial(
        4, measured_s=1.0, num_dropped=0, level=0, pruning_s=0.5, process_s=1.0, context_tokens=1.0
    )
    assert not seen.holds


def test_a_trial_tells_what_pruning_took_and_how_late_it_was() -> None:
    seen = Seen()
    for late_s in (0.01, 0.02, 0.03):
        seen.pruned(late_s)
    told = seen.trial(
        4, measured_s=2.0, num_dropped=0, level=0, pruning_s=0.5, process_s=1.0, context_tokens=1.0
    )
    terms = told.row("nano").terms
    assert terms["pruning_core_s_a_second"] == 0.25
    assert terms["process_core_s_a_second"] == 0.5
    assert terms["pruned_late_p95_s"] == pytest.approx(0.029)


def test_a_pruner_is_metered_on_whatever_thread_it_works() -> None:
    pruners: list[MeteredPruner] = []
    lanes = Lanes(lambda _camera_id: MeteredPruner(pruners), clock=FakeClock())
    clips = Clips(np.zeros((1, 2, GRID.height_px, GRID.width_px, 3), np.uint8))
    lane = lanes.lane("c0", overflow=Overflow.LATEST)
    lane.offer(Played("c0", 0, 0).frame(clips, 0, captured_at=FakeClock().now()))
    pruned_s = pruners[0].spent_s
    assert pruned_s > 0.0
    assert len(lanes.take()) == 1
    assert pruners[0].spent_s > pruned_s


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_trial_whose_inference_ends_early_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        is_on_cpu = True
        is_speaking = False

        def append(self, frames: object) -> None: ...

        def admit(self, camera_id: str, grid: object) -> None:
            raise ValueError(camera_id, grid)

    monkeypatch.setattr(camera_trial, "SETTLE_S", 0.0)
    monkeypatch.setattr(camera_trial, "WINDOW_S", 2.0)
    clips = Clips(np.zeros((1, 3, GRID.height_px, GRID.width_px, 3), np.uint8))
    with pytest.raises(RuntimeError, match="1 cameras: a thread ended early"):
        trial(1, cast("Engine", Broken()), clips, lambda _words: None, measured_s=10.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_trial_one_of_whose_cameras_ends_early_tells_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(camera: Played, *_: object, stop: Event, **__: object) -> None:
        if camera.number:
            raise ValueError(camera)
        stop.wait()

    monkeypatch.setattr(camera_trial, "SETTLE_S", 0.0)
    monkeypatch.setattr(camera_trial, "WINDOW_S", 2.0)
    monkeypatch.setattr(camera_trial, "play", broken)
    engine = Engine(nano_family(), model_name="random")
    clips = Clips(np.zeros((1, 3, GRID.height_px, GRID.width_px, 3), np.uint8))
    with pytest.raises(RuntimeError, match="2 cameras: a thread ended early"):
        trial(2, engine, clips, lambda _words: None, measured_s=10.0)


@pytest.mark.parametrize(("cameras", "seconds"), [(0, 60.0), (4, 0.0)])
def test_no_camera_or_no_time_is_refused(cameras: int, seconds: float) -> None:
    with pytest.raises(ConfigError, match="expected"):
        measure(lambda _words: None, cameras=cameras, seconds=seconds)


def test_a_camera_tells_its_stream_time() -> None:
    clips = Clips(np.zeros((1, 2, GRID.height_px, GRID.width_px, 3), np.uint8))
    frame = Played("c0", 0, 5).frame(clips, 5, captured_at=FakeClock().now())
    assert isinstance(frame, Frame)
    assert frame.pts_s == 5.0


def test_cameras_that_decode_are_played_at_the_videos_pace(tmp_path: Path) -> None:
    path = encode_clip(
        tmp_path / "a.mp4",
        (np.full((96, 128, 3), level, np.uint8) for level in range(30)),
        fps=10,
        gop_s=1,
        bits_per_s=500_000,
    )
    clips = Clips(np.zeros((1, 3, GRID.height_px, GRID.width_px, 3), np.uint8))
    clock, stop, late_s = FakeClock(), Event(), []
    lanes = Lanes(lambda _camera_id: Pruner(), clock=clock)
    taken: list[float] = []

    def pruned(late: float) -> None:
        late_s.append(late)
        taken.extend(sent.frame.pts_s for sent in lanes.take())
        if len(late_s) == 8:  # beyond the end of the video
            stop.set()

    play_decoded(
        Played("c0", 0, 5),
        clips,
        lanes,
        path=path,
        device=None,
        ticks=Ticks(period_s=1.0, per_period=4),
        clock=clock,
        stop=stop,
        pruned=pruned,
    )
    assert taken == [float(second) for second in range(5, 13)]
    assert 6.0 < clock.seconds < 10.0
