"""What an ask sees is the last four sampled frames, whole, and nothing of what was before."""

from collections.abc import Sequence

import numpy as np
import pytest

from model.engine.config import EngineConfig
from model.engine.engine import Engine
from model.engine.last_frames import LastFrames
from model.errors import InputError
from model.types import Answer, PrunedFrame, Question
from tests.model.nano_model import GRID, nano_family, picture

PERSON, MANY = Question("yes_no", "Is a person in view?"), Question("count", "How many cars?")


def config() -> EngineConfig:
    return LastFrames.config_for(EngineConfig(max_caption_tokens=8, max_answer_tokens=8))


def last_frames() -> LastFrames:
    return LastFrames(Engine(nano_family(), model_name="nano", config=config()))


def frames(times: Sequence[int], *, stream_id: str = "gate") -> list[PrunedFrame]:
    """What a pruner sends: all of the first, a token of the others, and of some nothing."""
    masks = [np.zeros((GRID.rows, GRID.cols), dtype=np.bool_) for _ in times]
    for index, mask in enumerate(masks):
        mask[0, 0] = index % 3 != 0
    return [
        PrunedFrame(stream_id, picture(t_s), mask, float(t_s), is_refresh=t_s == 0)
        for t_s, mask in zip(times, masks, strict=True)
    ]


def asked_alone(shown: Sequence[PrunedFrame]) -> list[Answer]:
    """Ask an engine that has seen these frames, whole, and no other."""
    engine = Engine(nano_family(), model_name="nano", config=config())
    whole = [
        PrunedFrame(one.stream_id, one.pixels, np.ones_like(one.keep_mask), one.pts_s, True)  # noqa: FBT003
        for one in shown
    ]
    engine.append(whole)
    return engine.ask([(shown[0].stream_id, one) for one in (PERSON, MANY)])


def ps(answers: Sequence[Answer]) -> list[float]:
    return [one.p or 0.0 for one in answers]


def test_an_ask_sees_the_last_four_frames_whole_and_no_other() -> None:
    viewer, shown = last_frames(), frames(range(9))
    asks = [("gate", one) for one in (PERSON, MANY)]
    for number in (1, 3, 4, 5, 9):
        viewer.append(shown[:number])
        expected = asked_alone(shown[max(0, number - 4) : number])
        assert ps(viewer.ask(asks)) == pytest.approx(ps(expected), abs=1e-5)
        assert ps(viewer.ask(asks)) == pytest.approx(ps(expected), abs=1e-5)
        viewer.remove("gate")


def test_streams_are_asked_together_and_do_not_mix() -> None:
    viewer, gate, yard = last_frames(), frames(range(6)), frames(range(20, 26), stream_id="yard")
    viewer.append([frame for both in zip(gate, yard, strict=True) for frame in both])
    both = viewer.ask([("yard", PERSON), ("gate", PERSON), ("yard", MANY), ("gate", MANY)])
    alone = [*asked_alone(yard[2:]), *asked_alone(gate[2:])]
    expected = [alone[place] for place in (0, 2, 1, 3)]
    assert ps(both) == pytest.approx(ps(expected), abs=1e-5)


def test_its_window_is_those_frames_whatever_was_asked_before() -> None:
    viewer = last_frames()
    assert viewer.window("gate") is None
    with pytest.raises(InputError, match="expected a frame before a question"):
        viewer.ask([("gate", PERSON)])
    viewer.append(frames(range(7)))
    viewer.ask([("gate", PERSON)])
    window = viewer.window("gate")
    assert window is not None
    assert (window.start_pts_s, window.end_pts_s) == (3.0, 6.0)
    assert (window.num_frames, window.num_tokens) == (4, 4 * GRID.num_tokens)
    viewer.append(frames([2]))  # the stream went back in time
    window = viewer.window("gate")
    assert window is not None
    assert window.num_frames == 1
    viewer.remove("gate")
    assert viewer.window("gate") is None
