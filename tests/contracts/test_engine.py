"""What the runner needs of an engine, of the fake and of the real one on the bundled model."""

import numpy as np
import pytest

from model.engine.engine import Engine as RealEngine
from model.types import Answer, PrunedFrame, Question
from pipeline.runner import Engine
from tests.fakes import SMALL, ScriptedEngine, picture
from tests.model.nano_model import nano_engine


def shown(stream_id: str, pts_s: float, *, num_kept: int) -> PrunedFrame:
    keep_mask = np.zeros((SMALL.rows, SMALL.cols), dtype=np.bool_)
    keep_mask.ravel()[:num_kept] = True
    return PrunedFrame(stream_id, picture(), keep_mask, pts_s, is_refresh=pts_s == 0.0)


@pytest.fixture(params=["scripted", "nano"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "scripted":
        return ScriptedEngine(lambda _stream, question: Answer(question.kind, "no", 0.2, 0))
    real: RealEngine = nano_engine()
    return real


def test_the_window_is_what_was_appended(engine: Engine) -> None:
    assert engine.window("yard") is None
    engine.append([shown("yard", 0.0, num_kept=12), shown("gate", 0.0, num_kept=12)])
    engine.append([shown("yard", 1.0, num_kept=3)])
    window = engine.window("yard")
    assert window is not None
    assert (window.start_pts_s, window.end_pts_s) == (0.0, 1.0)
    assert (window.num_frames, window.num_tokens) == (2, 15)


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
