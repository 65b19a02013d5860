"""Cameras for which there is no room, or which turn out busier than was expected."""

from dataclasses import replace

import pytest

from model.engine.engine import Engine
from model.errors import AdmissionError, DeviceMemoryError
from model.types import PatchGrid, PrunedFrame, Window
from tests.model.engine.test_engine import FIRE, clip
from tests.model.nano_model import (
    GRID,
    nano_engine,
    picture,
    pruned,
)


def test_a_camera_that_does_not_fit_is_refused_and_the_others_go_on() -> None:
    needed, weights = nano_engine().bytes_usual(GRID), nano_engine().stats.weight_bytes
    budget_bytes = weights + needed + needed // 2
    engine = nano_engine(memory_budget_bytes=budget_bytes)
    engine.append(clip(2))
    yard = replace(clip(1)[0], stream_id="yard")
    with pytest.raises(AdmissionError, match="stream yard: expected at most") as refused:
        engine.append([yard])
    assert refused.value.needed_bytes == needed
    assert refused.value.left_bytes == needed // 2
    assert engine.window("yard") is None
    engine.append([clip(3)[2]])
    engine.remove("gate")
    engine.append([yard])
    assert engine.stats.budget_bytes == budget_bytes


def busy_engine(*, num_cameras: int, budget_of: int) -> Engine:
    """An engine whose budget has room for usual cameras, and so many busy ones on it."""
    usual, weights = nano_engine(window_s=40.0).bytes_usual(WIDE), nano_engine().stats.weight_bytes
    engine = nano_engine(window_s=40.0, memory_budget_bytes=weights + budget_of * usual)
    for n in range(num_cameras):
        engine.admit(f"camera-{n}", WIDE)
    return engine


WIDE = PatchGrid(rows=4, cols=10)


def wide(stream_id: str, second: int) -> PrunedFrame:
    """A frame all of which changed."""
    return pruned(picture(second, grid=WIDE), pts_s=float(second), stream_id=stream_id)


def test_busier_cameras_than_were_expected_end_contexts_early_and_lose_no_frame() -> None:
    engine = busy_engine(num_cameras=2, budget_of=2)
    asks = [("camera-0", FIRE), ("camera-1", FIRE)]
    lengths_s = []
    for second in range(60):
        engine.append([wide("camera-0", second), wide("camera-1", second)])
        stats = engine.stats
        held_bytes = stats.weight_bytes + stats.vision_cache_bytes + stats.context_bytes
        assert stats.budget_bytes is not None
        assert held_bytes <= stats.budget_bytes
        for camera_id, _ in asks:
            window = engine.window(camera_id)
            assert window is not None
            assert window.end_pts_s == second, "it was seen"
            lengths_s.append(second - window.start_pts_s)
    assert all(answer.p is not None for answer in engine.ask(asks))
    stats = engine.stats
    assert stats.num_cut_short > 0 == stats.num_out_of_memory == stats.num_shed
    assert min(lengths_s[80:]) >= 5


def test_what_was_cut_short_answers_like_a_stream_that_began_with_its_standby() -> None:
    engine, other = busy_engine(num_cameras=2, budget_of=2), nano_engine(window_s=40.0)
    second = 0
    while not engine.stats.num_cut_short:
        engine.append([wide("camera-0", second), wide("camera-1", second)])
        second += 1
    begins = {one: engine._context(one).window.start_pts_s for one in ("camera-0", "camera-1")}
    [cut] = [one for one, start_pts_s in begins.items() if start_pts_s > 0]
    assert begins[cut] == 20.0
    for at in range(20, second):
        other.append([wide(cut, at)])
    [got], [expected] = engine.ask([(cut, FIRE)]), other.ask([(cut, FIRE)])
    assert got.p == pytest.approx(expected.p, abs=1e-4)


def test_without_a_standby_a_camera_that_has_a_frame_begins_anew() -> None:
    engine = busy_engine(num_cameras=1, budget_of=1)
    engine._pool.expect(0, at_most=2)
    for second in range(20):
        engine.append([wide("camera-0", second)])
        assert engine._context("camera-0").window.end_pts_s == second
    assert engine.stats.num_cut_short == 1
    assert engine._context("camera-0").window.start_pts_s > 0


def test_what_may_not_make_room_is_refused_and_no_context_ends() -> None:
    engine = busy_engine(num_cameras=2, budget_of=2)
    for second in range(25):
        engine.append([wide("camera-0", second), wide("camera-1", second)])
    assert not engine._pool._free
    with pytest.raises(DeviceMemoryError, match="expected room for a pass over 2 streams"):
        engine.append([wide("camera-0", 25), wide("camera-1", 25)], may_shed=False)
    assert (engine.stats.num_cut_short, engine.stats.num_out_of_memory) == (0, 0)
    assert engine.window("camera-0") == engine.window("camera-1") == Window(0.0, 24.0, 25, 1000)


def test_pages_that_a_busy_camera_left_make_way_for_another_ones_pictures() -> None:
    engine = busy_engine(num_cameras=1, budget_of=4)
    engine._pool.expect(engine._pool._at_most or 0, at_most=engine._pool._at_most)
    engine.append([wide("camera-0", 0)])
    engine.remove("camera-0")
    made_bytes = engine.stats.context_bytes
    tall = PatchGrid(rows=10, cols=20)
    engine.append([pruned(picture(0, grid=tall), pts_s=0.0, stream_id="yard")])
    stats = engine.stats
    assert stats.context_bytes < made_bytes
    assert stats.budget_bytes is not None
    assert stats.weight_bytes + stats.vision_cache_bytes + made_bytes > stats.budget_bytes
    assert engine.ask([("yard", FIRE)])[0].p is not None
