"""What becomes of a camera's window when the camera comes from elsewhere."""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count
from math import inf
from threading import Event

import numpy as np
import pytest
import torch

from model.types import Answer, Question, Window
from pipeline.camera_session import Shown
from pipeline.errors import SourceError
from pipeline.lane import Lanes
from pipeline.metrics import WINDOW_REBUILD_FRAMES, WINDOW_REBUILDS
from pipeline.pruner import Pruner
from pipeline.rebuilding import MAX_TAIL, MAX_TRIES, RETRY_S, Rebuilding
from pipeline.sources.base import Seen
from pipeline.types import Frame, Overflow, Receipt
from tests.fakes import FakeClock, Recorder, ScriptedEngine, frame_at, picture
from tests.model.nano_model import nano_engine
from tests.pipeline.runner_bench import FIRE, scripted
from tests.pipeline.runner_bench import Bench as Whole

WINDOW_S = 60.0


def record_at(pts_s: float, camera_id: str = "yard") -> Frame:
    """A camera's frame of a second, of which one token differs from the one before."""
    pixels = picture()
    pixels[:28, :28] = 40 + 40 * (int(pts_s) % 5)
    return frame_at(pts_s, pixels, camera_id=camera_id, receipt=Receipt((camera_id, pts_s)))


class Read:
    """Past frames, of which `ready` have been read."""

    def __init__(self, frames: Sequence[Frame], failure: SourceError | None) -> None:
        self.frames = list(frames)
        self.failure = failure
        self.ready: float = inf
        self.breaks = False  # after those
        self.is_closed = False

    @property
    def is_over(self) -> bool:
        return self.failure is None and not self.frames

    def take(self) -> Frame | None:
        if self.failure is not None:
            raise self.failure
        if self.breaks and self.ready < 1:
            raise SourceError("timeout", "no record has come")
        if not self.frames or self.ready < 1:
            return None
        self.ready -= 1
        return self.frames.pop(0)

    def close(self) -> None:
        self.is_closed = True


class Topic:
    """A past in which every camera has a frame a second from `from_s` on."""

    def __init__(self, from_s: float = 0.0) -> None:
        self.from_s = from_s
        self.groups: dict[str, int] = {}  # by camera
        self.failure: SourceError | None = None
        self.opened: list[tuple[str, float, Read]] = []
        self.is_closed = False

    def group(self, receipt: Receipt | None) -> int | None:
        return None if receipt is None else self.groups.get(receipt[0], 0)  # type: ignore[index]

    def open(self, camera_id: str, live: Sequence[Seen], *, since_s: float) -> Read:
        seconds = np.arange(self.from_s, live[-1].pts_s + 1)
        frames = [record_at(float(one), camera_id) for one in seconds if one > since_s]
        read = Read(frames, self.failure)
        self.opened.append((camera_id, since_s, read))
        return read

    def close(self) -> None:
        self.is_closed = True


def nothing(_stream_id: str, question: Question) -> Answer:
    return Answer(question.kind, "no", 0.1, 1)


class Bench:
    def __init__(
        self, *, max_streams: int | None = None, cost_s: float = 0.0, together: int = 1
    ) -> None:
        self.clock = FakeClock()
        self.lanes = Lanes(
            lambda _camera_id: Pruner(mode="last_seen", max_staleness_s=inf), clock=self.clock
        )
        self.engine = ScriptedEngine(
            nothing, WINDOW_S, max_streams=max_streams, clock=self.clock, cost_s=cost_s
        )
        self.topic = Topic()
        self.observer = Recorder()
        self.rebuilt: list[tuple[str, Shown]] = []
        self.rebuilding = Rebuilding(
            self.engine,
            self.lanes,
            self.topic,
            window_s=WINDOW_S,
            together=together,
            clock=self.clock,
            observer=self.observer,
        )
        self.rebuilding.rebuilt = lambda camera_id, shown: self.rebuilt.append((camera_id, shown))

    def live(self, pts_s: float, camera_id: str = "yard") -> int:
        """Show a live frame; return how many of its tokens the model sees."""
        self.lanes.lane(camera_id, overflow=Overflow.LATEST).offer(record_at(pts_s, camera_id))
        (sent,) = self.lanes.take()
        self.engine.append([sent.pruned])
        self.rebuilding.seen(sent.frame, self.engine.window(camera_id))
        return sent.pruned.num_kept

    def work(self, until: Callable[[], object]) -> None:
        for _ in range(200):
            if until():
                return
            self.rebuilding.work()
        raise AssertionError("in vain")

    @property
    def outcomes(self) -> dict[str, float]:
        return self.observer.totals(WINDOW_REBUILDS, by="outcome")

    def window(self, camera_id: str = "yard") -> Window:
        window = self.engine.window(camera_id)
        assert window is not None
        return window


def test_a_camera_goes_on_with_its_past_and_all_that_has_come_since() -> None:
    bench = Bench()
    bench.live(100.0)
    bench.live(101.0)
    assert bench.window().start_pts_s == 100.0
    bench.rebuilding.work()
    assert bench.live(102.0) == 1, "its own stream goes on meanwhile"
    bench.work(lambda: bench.rebuilt)
    # three quarters of a window: 45 s before the last frame when its turn had come
    assert bench.topic.opened[0][:2] == ("yard", 101.0 - 45.0)
    assert bench.window() == Window(57.0, 102.0, num_frames=46, num_tokens=12 + 45)
    assert list(bench.engine.held) == ["yard"]
    assert bench.engine.num_unshed > 0, "nothing is given up for it"
    ((camera_id, shown),) = bench.rebuilt
    assert (camera_id, shown.tokens) == ("yard", (12 + 45, 46 * 12))
    assert bench.outcomes == {"rebuilt": 1}
    assert bench.observer.total(WINDOW_REBUILD_FRAMES) == 46
    assert bench.topic.opened[0][2].is_closed
    assert not bench.rebuilding.is_pending
    assert bench.live(103.0) == 1, "by what this stream was shown last"
    assert bench.window().start_pts_s == 57.0


def test_the_frame_that_waits_is_pruned_by_what_the_new_context_was_shown() -> None:
    bench = Bench()
    bench.live(100.0)
    bench.lanes.reset("yard")  # the camera was lost: its next frame is whole
    bench.lanes.lane("yard", overflow=Overflow.LATEST).offer(record_at(101.0))
    waiting = bench.lanes.wait(0.0)
    assert waiting is not None
    assert waiting.pruned.num_kept == 12
    bench.work(lambda: bench.rebuilt)
    (sent,) = bench.lanes.take()
    assert sent.pruned.num_kept == 1


def test_past_frames_are_shown_only_where_they_fit_before_live_ones() -> None:
    bench = Bench(cost_s=0.02)
    bench.live(100.0)
    begun_s = bench.clock.seconds
    bench.rebuilding.work(begun_s + 0.25)  # until the next tick
    num_frames = bench.observer.total(WINDOW_REBUILD_FRAMES)
    assert 8 <= num_frames <= 12
    assert bench.clock.seconds <= begun_s + 0.25 + 1e-9
    bench.rebuilding.work(bench.clock.seconds + 0.01)  # not even one fits
    bench.rebuilding.work(bench.clock.seconds - 1.0)  # the tick is late
    assert bench.observer.total(WINDOW_REBUILD_FRAMES) == num_frames
    begun_s = bench.clock.seconds
    bench.rebuilding.work()  # nobody waits, but somebody may come
    assert 0.0 < bench.clock.seconds - begun_s <= 0.05


def test_live_frames_for_which_there_is_no_room_are_read_again() -> None:
    bench = Bench()
    bench.live(100.0)
    bench.rebuilding.work()
    bench.topic.opened[0][2].ready = 2
    for second in range(101, 102 + MAX_TAIL):
        bench.live(float(second))
        bench.rebuilding.work()
    bench.topic.opened[0][2].ready = inf
    bench.work(lambda: bench.rebuilt)
    assert [since_s for _, since_s, _ in bench.topic.opened] == [55.0, 100.0]
    # one that began at 56 s was a window old meanwhile
    assert bench.window() == Window(86.0, 101.0 + MAX_TAIL, num_frames=32, num_tokens=12 + 31)


@pytest.mark.parametrize(
    ("together", "max_streams", "most"), [(1, None, 4), (2, None, 5), (2, 4, 4)]
)
def test_cameras_are_rebuilt_a_few_at_a_time(
    together: int, max_streams: int | None, most: int
) -> None:
    bench = Bench(together=together, max_streams=max_streams, cost_s=0.002)
    for camera_id in ("yard", "gate", "roof"):
        bench.live(100.0, camera_id)
    held = 0
    while bench.rebuilding.is_pending:
        bench.rebuilding.work()
        bench.clock.seconds += 0.05
        held = max(held, len(bench.engine.held))
    assert held == most, "beside the cameras as many streams as there is room for"
    assert len(bench.topic.opened) == 3 + (max_streams is not None)
    assert bench.outcomes == {"rebuilt": 3}
    order = [camera_id for camera_id, _ in bench.rebuilt]
    assert order == (["yard", "roof", "gate"] if max_streams else ["yard", "gate", "roof"])
    for camera_id in order:
        assert bench.window(camera_id) == Window(56.0, 100.0, num_frames=45, num_tokens=12 + 44)


def test_cameras_whose_past_is_read_together_are_rebuilt_together() -> None:
    bench = Bench(together=2, cost_s=0.001)
    bench.topic.groups = {"gate": 1}
    for camera_id in ("yard", "gate", "roof"):
        bench.live(100.0, camera_id)
    bench.work(lambda: len(bench.rebuilt) == 3)
    assert [camera_id for camera_id, _, _ in bench.topic.opened] == ["yard", "roof", "gate"]


def noisy(pts_s: float) -> Frame:
    """A frame with a sensor's noise and a bright square that wanders."""
    rng = np.random.default_rng(int(pts_s))
    pixels = picture() + rng.integers(0, 5, picture().shape, dtype=np.uint8)
    left = 7 * int(pts_s) % 80
    pixels[30:50, left : left + 20] = 220
    return frame_at(pts_s, pixels, receipt=Receipt(("yard", pts_s)))


def test_a_rebuilt_window_answers_as_one_that_was_never_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.pipeline.test_rebuilding.record_at", lambda at_s, _: noisy(at_s))
    bench = Bench()
    lost, kept, pruner = nano_engine(window_s=40.0), nano_engine(window_s=40.0), Pruner()
    rebuilding = Rebuilding(
        lost,
        (lanes := Lanes(lambda _camera_id: Pruner(), clock=bench.clock)),
        bench.topic,
        window_s=40.0,
        together=1,
        clock=bench.clock,
        observer=bench.observer,
    )
    rebuilding.rebuilt = lambda camera_id, shown: bench.rebuilt.append((camera_id, shown))
    yes = Question("yes_no", "Is there a light?")
    for second in range(72, 115):  # a context begins at 72 s, the next one at 92 s
        one = pruner.prune(noisy(float(second)))
        kept.append([one])
        pruner.sent(one)
        if second < 100:
            continue
        lanes.lane("yard", overflow=Overflow.LATEST).offer(noisy(float(second)))
        (sent,) = lanes.take()
        lost.append([sent.pruned])
        rebuilding.seen(sent.frame, lost.window("yard"))
        if second == 101:
            for _ in range(100):
                rebuilding.work()
            assert bench.rebuilt
        if second > 101:
            np.testing.assert_array_equal(sent.pruned.keep_mask, one.keep_mask)
            assert lost.window("yard") == kept.window("yard")
            torch.testing.assert_close(
                lost.first_logits("yard", yes), kept.first_logits("yard", yes), atol=1e-3, rtol=0
            )
    window = kept.window("yard")
    assert window is not None
    assert window.start_pts_s == 92.0, "and it was handed over like the other"


def test_without_room_for_a_second_stream_a_camera_goes_on_as_it_is() -> None:
    bench = Bench(max_streams=1)
    bench.live(100.0)
    bench.work(lambda: bench.outcomes)
    assert bench.outcomes == {"no_room": 1}
    assert bench.live(101.0) == 1
    assert bench.window().start_pts_s == 100.0
    assert not bench.rebuilding.is_pending


def test_what_is_rebuilt_gives_way_to_live_frames() -> None:
    bench = Bench(max_streams=2)
    bench.live(100.0)
    bench.rebuilding.work()
    assert len(bench.engine.held) == 2
    assert bench.rebuilding.give_way()
    bench.live(100.0, "gate")
    assert bench.outcomes == {"no_room": 1}
    assert not bench.rebuilding.give_way()


def test_a_past_that_cannot_be_read_is_tried_again_and_then_given_up() -> None:
    bench = Bench()
    bench.topic.failure = SourceError("unreachable", "no broker")
    bench.live(100.0)
    bench.live(100.0, "gate")
    for tries in range(1, MAX_TRIES + 1):
        assert not bench.outcomes
        bench.rebuilding.work()
        assert len(bench.topic.opened) == 2 * tries, "and not again at once"
        bench.clock.seconds += RETRY_S
    assert bench.outcomes == {"failed": 2}
    assert list(bench.engine.held) == ["yard", "gate"]
    assert bench.live(101.0) == 1


def test_nothing_is_held_for_a_past_that_breaks_off() -> None:
    bench = Bench(together=2, cost_s=0.001)
    bench.live(100.0)
    bench.live(100.0, "gate")
    bench.rebuilding.work()
    bench.rebuilding.work()
    _, (_, _, gate) = bench.topic.opened
    gate.ready = 1
    gate.breaks = True
    bench.rebuilding.work()
    assert sorted(bench.engine.held) == ["gate", "yard", "yard+past"]
    bench.work(lambda: bench.outcomes)
    assert [camera_id for camera_id, _ in bench.rebuilt] == ["yard"]


def test_a_camera_without_older_pictures_stays_as_it_is() -> None:
    bench = Bench()
    bench.topic.from_s = 100.0
    bench.live(100.0)
    bench.work(lambda: bench.outcomes)
    assert bench.outcomes == {"nothing": 1}
    assert bench.window() == Window(100.0, 100.0, num_frames=1, num_tokens=12)


def test_a_window_that_has_grown_by_itself_is_left_alone() -> None:
    bench = Bench()
    for second in range(100, 131):
        bench.live(float(second))
    assert bench.outcomes == {"outgrown": 1}
    bench.rebuilding.work()
    assert bench.topic.opened == []


@pytest.mark.parametrize("end", ["forgotten", "closed", "begun anew"])
def test_nothing_is_left_of_a_rebuilding_that_is_cut_short(end: str) -> None:
    bench = Bench()
    bench.live(100.0)
    bench.rebuilding.work()
    if end == "forgotten":
        bench.rebuilding.forget("yard")
    elif end == "closed":
        bench.rebuilding.close()
        assert bench.topic.is_closed
    else:
        bench.live(500.0)
    assert list(bench.engine.held) == ["yard"]
    assert bench.topic.opened[0][2].is_closed
    assert bench.rebuilding.is_pending == (end == "begun anew")


def test_frames_that_no_topic_holds_have_no_past() -> None:
    bench = Bench()
    lane = bench.lanes.lane("yard", overflow=Overflow.LATEST)
    lane.offer(frame_at(100.0))
    (sent,) = bench.lanes.take()
    bench.engine.append([sent.pruned])
    bench.rebuilding.seen(sent.frame, bench.engine.window("yard"))
    assert not bench.rebuilding.is_pending


def still(pts_s: float) -> Frame:
    return frame_at(pts_s, receipt=Receipt(("yard", pts_s)))


def test_no_answer_stands_beyond_the_context_that_it_was_given_about() -> None:
    topic = Topic()
    whole = Whole(FIRE, answers=scripted(0.1), window_s=WINDOW_S, past=topic)
    stop, seconds = Event(), count(101)

    def beat() -> None:
        """Send a still frame, a second later than the last one."""
        whole.clock.seconds = float(next(seconds))
        lane.offer(still(whole.clock.seconds))
        if len(whole.data("answer")) == 5:
            stop.set()

    lane = whole.lanes.lane("yard", overflow=Overflow.LATEST)
    lane.offer(still(100.0))
    whole.runner.run(stop, beat=beat)
    assert topic.is_closed
    (_, _, read), *others = topic.opened
    assert others == []
    assert read.is_closed
    said = whole.data("answer")
    reaches = [_reach_s(one["window"]) for one in said]
    assert reaches[0] == 0.0
    assert max(reaches) >= WINDOW_S / 2, "and messages say how far they reach"
    swapped = next(index for index, reach_s in enumerate(reaches) if reach_s >= WINDOW_S / 2)
    assert said[swapped]["reused"] is False
    assert any(one["reused"] for one in said[swapped + 1 :]), "until the next one"


def test_a_camera_that_needs_room_has_it_before_a_window_that_is_rebuilt() -> None:
    whole = Whole(FIRE, answers=scripted(0.1), window_s=WINDOW_S, past=Topic())
    whole.engine.max_streams = 2
    whole.show(record_at(100.0))
    whole.runner._rebuilding.work()
    assert len(whole.engine.held) == 2
    whole.show(record_at(100.5, "gate"))
    assert list(whole.engine.held) == ["yard", "gate"]
    assert whole.observer.totals(WINDOW_REBUILDS, by="outcome") == {"no_room": 1}
    assert whole.status.state("gate") != "degraded"


def _reach_s(window: object) -> float:
    assert isinstance(window, dict)
    start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
    return (end - start).total_seconds()
