"""What the runner needs of an engine, of the fake and of the real one on the bundled model."""

from collections.abc import Callable

import numpy as np
import pytest

from model.errors import AdmissionError, InputError
from model.types import Answer, PrunedFrame, Question
from pipeline.engine import Engine
from tests.fakes import SMALL, ScriptedEngine, picture
from tests.model.nano_model import nano_engine


def shown(stream_id: str, pts_s: float, *, num_kept: int) -> PrunedFrame:
    keep_mask = np.zeros((SMALL.rows, SMALL.cols), dtype=np.bool_)
    keep_mask.ravel()[:num_kept] = True
    return PrunedFrame(stream_id, picture(), keep_mask, pts_s, is_refresh=pts_s == 0.0)


def scripted(*, max_streams: int | None = None, window_s: float = 180.0) -> Engine:
    return ScriptedEngine(
        lambda _stream, question: Answer(question.kind, "no", 0.2, 0),
        window_s,
        max_streams=max_streams,
    )


def real(*, max_streams: int | None = None, window_s: float = 180.0) -> Engine:
    if max_streams is None:
        return nano_engine(window_s=window_s)
    with pytest.raises(AdmissionError) as refused:
        nano_engine(memory_budget_bytes=1).admit("yard", SMALL)
    budget_bytes = nano_engine().stats.weight_bytes + max_streams * refused.value.needed_bytes
    return nano_engine(memory_budget_bytes=budget_bytes)


@pytest.fixture(params=[scripted, real])
def make(request: pytest.FixtureRequest) -> Callable[..., Engine]:
    make: Callable[..., Engine] = request.param
    return make


@pytest.fixture
def engine(make: Callable[..., Engine]) -> Engine:
    return make()


def test_the_window_is_what_was_appended(engine: Engine) -> None:
    assert engine.window("yard") is None
    engine.append([shown("yard", 0.0, num_kept=12), shown("gate", 0.0, num_kept=12)])
    engine.append([shown("yard", 1.0, num_kept=3)])
    window = engine.window("yard")
    assert window is not None
    assert (window.start_pts_s, window.end_pts_s) == (0.0, 1.0)
    assert (window.num_frames, window.num_tokens) == (2, 15)


def test_time_alone_begins_and_ends_windows(make: Callable[..., Engine]) -> None:
    engine = make(window_s=10.0)
    starts = []
    for second in range(26):
        engine.append([shown("yard", float(second), num_kept=12 if second == 0 else 0)])
        window = engine.window("yard")
        assert window is not None
        assert (window.end_pts_s, window.num_frames, window.num_tokens) == (second, 1, 12)
        starts.append(window.start_pts_s)
    assert starts == [0.0] * 10 + [5.0] * 5 + [10.0] * 5 + [15.0] * 5 + [20.0]


def test_answers_come_in_the_order_of_the_questions(engine: Engine) -> None:
    engine.append([shown("yard", 0.0, num_kept=12), shown("gate", 0.0, num_kept=12)])
    asks = [
        ("gate", Question("yes_no", "Is there fire?")),
        ("yard", Question("text", "What is there?")),
        ("gate", Question("yes_no", "Is it night?")),
    ]
    answers = engine.ask(asks)
    assert [answer.kind for answer in answers] == ["yes_no", "text", "yes_no"]
    assert engine.ask([]) == []
    assert engine.model_name
    assert engine.is_demo_model is False


def test_a_removed_camera_is_forgotten_and_another_is_not(engine: Engine) -> None:
    engine.append([shown("yard", 0.0, num_kept=12), shown("gate", 0.0, num_kept=12)])
    assert engine.stats.num_streams == 2
    gate = engine.window("gate")
    engine.remove("yard")
    engine.remove("a camera it has never seen")
    assert engine.window("yard") is None
    assert engine.window("gate") == gate
    assert engine.stats.num_streams == 1


def test_a_camera_too_many_is_refused_until_another_goes(make: Callable[..., Engine]) -> None:
    engine = make(max_streams=2)
    engine.append([shown("yard", 0.0, num_kept=12), shown("gate", 0.0, num_kept=12)])
    with pytest.raises(AdmissionError, match="stream roof") as refused:
        engine.admit("roof", SMALL)
    assert refused.value.needed_bytes > refused.value.left_bytes >= 0
    with pytest.raises(AdmissionError, match="stream roof"):
        engine.append([shown("yard", 1.0, num_kept=3), shown("roof", 1.0, num_kept=12)])
    assert engine.window("roof") is None
    yard = engine.window("yard")
    assert yard is not None
    assert yard.num_frames == 1, "a refused camera leaves the others as they were"
    engine.remove("gate")
    engine.admit("roof", SMALL)
    engine.append([shown("roof", 1.0, num_kept=12)])
    assert engine.window("roof") is not None


def test_a_camera_goes_on_with_what_another_was_shown(make: Callable[..., Engine]) -> None:
    engine = make(max_streams=2)
    engine.append([shown("yard", 0.0, num_kept=12), shown("past", 0.0, num_kept=12)])
    engine.append([shown("past", 1.0, num_kept=3)], may_shed=False)
    past = engine.window("past")
    engine.take_over("yard", "past")
    assert engine.window("yard") == past
    assert engine.window("past") is None
    assert engine.stats.num_streams == 1
    engine.append([shown("yard", 2.0, num_kept=1), shown("gate", 0.0, num_kept=12)])
    window = engine.window("yard")
    assert window is not None
    assert (window.start_pts_s, window.num_frames, window.num_tokens) == (0.0, 3, 16)
    with pytest.raises(InputError, match="stream past"):
        engine.take_over("yard", "past")
    assert engine.window("yard") == window
