"""Answers that come later: the same as those that are waited for, whatever happens meanwhile."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from model.engine import forks
from model.engine.engine import Engine
from model.errors import InputError
from model.types import Answer, Question
from tests.model.growing import used_bytes
from tests.model.nano_model import nano_engine, picture, pruned, some_tokens

CAPTION = Question("caption", "")
WHAT = Question("text", "What is in the video?")
WHEN = Question("when", "When is there a person?")
FIRE = Question("yes_no", "Is there fire?")
COLOUR = Question("choice", "Which colour?", ("red", "blue"))
CARS = Question("count", "How many cars are there?")
EVERY_KIND = (CAPTION, FIRE, COLOUR, WHAT, CARS, WHEN)
STREAMS = ("gate", "yard")


def grown(*, num_frames: int, window_s: float = 180.0) -> Engine:
    engine = nano_engine(window_s=window_s)
    show(engine, range(num_frames))
    return engine


def show(engine: Engine, seconds: Sequence[int]) -> None:
    for second in seconds:
        engine.append(
            [
                pruned(
                    picture(second + 100 * n),
                    pts_s=float(second),
                    keep=some_tokens(second + n),
                    stream_id=name,
                )
                for n, name in enumerate(STREAMS)
            ]
        )


def every_kind() -> list[tuple[str, Question]]:
    return [(name, question) for name in STREAMS for question in EVERY_KIND]


def said(engine: Engine, begun: list[Answer | int]) -> list[Answer | None]:
    """All answers of an ask, once they are whole."""
    later: dict[int, Answer | None] = {}
    while engine.is_speaking:
        later.update(engine.speak())
    return [one if isinstance(one, Answer) else later.pop(one) for one in begun]


def test_answers_that_come_later_are_those_that_are_waited_for() -> None:
    engine = grown(num_frames=8)
    expected = engine.ask(every_kind())
    begun = engine.begin(every_kind())
    at_once = [one.kind for one in begun if isinstance(one, Answer)]
    assert at_once == ["yes_no", "choice", "count"] * 2
    assert said(engine, begun) == expected


def test_sentences_join_and_leave_while_contexts_grow_and_retire() -> None:
    """Each is about the moment it was asked at, though its context is gone before it ends."""
    engine, alone = grown(num_frames=9, window_s=10.0), grown(num_frames=9, window_s=10.0)
    asks = [(name, question) for name in STREAMS for question in (CAPTION, WHAT)]
    tickets: dict[int, Answer] = {}
    later: dict[int, Answer | None] = {}
    held = []
    for second in range(9, 16):
        for one, answer in zip(engine.begin(asks), alone.ask(asks), strict=True):
            assert isinstance(one, int)
            tickets[one] = answer
        show(engine, [second])
        show(alone, [second])
        later.update(engine.speak())
        held.append(used_bytes(engine._pool) - used_bytes(alone._pool))
    assert max(held) > 0, "a retired context is held while it is spoken about"
    while engine.is_speaking:
        later.update(engine.speak())
    assert later == tickets
    assert used_bytes(engine._pool) == used_bytes(alone._pool)


def test_a_stream_that_is_gone_is_spoken_about_to_the_end() -> None:
    engine = grown(num_frames=5)
    [expected] = engine.ask([("gate", CAPTION)])
    begun = engine.begin([("gate", CAPTION)])
    engine.speak()
    engine.remove("gate")
    engine.remove("yard")
    assert used_bytes(engine._pool) > 0
    assert said(engine, begun) == [expected]
    assert used_bytes(engine._pool) == 0
    assert engine.speak() == []


def test_what_memory_runs_out_for_comes_to_nothing_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = grown(num_frames=5)
    expected = engine.ask([("yard", CAPTION)])
    before = used_bytes(engine._pool)
    lost = engine.begin([("gate", CAPTION), ("gate", WHAT), ("gate", FIRE)])
    kept = engine.begin([("yard", CAPTION)])
    real_step, failures = forks.Forks.step, [torch.OutOfMemoryError()]

    def short_of_memory(self: forks.Forks, tokens: Any) -> Any:
        if failures:
            raise failures.pop()
        return real_step(self, tokens)

    monkeypatch.setattr(forks.Forks, "step", short_of_memory)
    told = dict(engine.speak())
    assert told == {ticket: None for ticket in lost if isinstance(ticket, int)}
    assert said(engine, kept) == expected
    assert engine.stats.num_out_of_memory == 1
    assert used_bytes(engine._pool) == before


def test_a_question_that_cannot_be_put_holds_nothing() -> None:
    engine = grown(num_frames=3)
    with pytest.raises(InputError, match="options"):
        engine.begin([("gate", CAPTION), ("gate", Question("caption", "", ("a", "b")))])
    assert not engine.is_speaking
    engine.remove("gate")
    engine.remove("yard")
    assert used_bytes(engine._pool) == 0
