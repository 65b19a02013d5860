"""Answers that come later: the same as those that are waited for, whatever happens meanwhile."""

from collections.abc import Sequence

import pytest
import torch

from model.engine.decoding import Decoding
from model.engine.engine import Engine
from model.engine.sentences import Sentences
from model.errors import DeviceMemoryError, InputError
from model.layers.paged import plain_step
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


def grown(
    *, num_frames: int, window_s: float = 180.0, num_rows: int = 0, budget_bytes: int | None = None
) -> Engine:
    """An engine, as on a CPU, or with so many rows on pages as where there is CUDA."""
    engine = nano_engine(window_s=window_s, memory_budget_bytes=budget_bytes)
    if num_rows:
        decoding = Decoding(
            engine._model,
            engine._pool,
            num_rows=num_rows,
            kernel=plain_step,
            capture=lambda work: work,
        )
        engine._speech._sentences = Sentences(decoding)
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


NUM_ROWS = pytest.mark.parametrize("num_rows", [0, 3], ids=["copied", "paged"])


@NUM_ROWS
def test_answers_that_come_later_are_those_that_are_waited_for(num_rows: int) -> None:
    engine, alone = grown(num_frames=8, num_rows=num_rows), grown(num_frames=8)
    expected = alone.ask(every_kind())
    one_by_one = [answer.value for one in every_kind() for answer in alone.ask([one])]
    assert [answer.value for answer in expected] == one_by_one
    begun = engine.begin(every_kind())
    at_once = [one.kind for one in begun if isinstance(one, Answer)]
    assert at_once == ["yes_no", "choice", "count"] * 2
    assert said(engine, begun) == expected
    assert engine.ask(every_kind()) == expected


@NUM_ROWS
def test_sentences_join_and_leave_while_contexts_grow_and_retire(num_rows: int) -> None:
    """Each is about the moment it was asked at, though its context is gone before it ends."""
    engine = grown(num_frames=9, window_s=10.0, num_rows=num_rows)
    alone = grown(num_frames=9, window_s=10.0)
    asks = [("gate", WHAT), ("yard", CAPTION)]
    tickets: dict[int, Answer] = {}
    later: dict[int, Answer | None] = {}
    held = []
    for second in range(9, 13):
        for one, answer in zip(engine.begin(asks), alone.ask(asks), strict=True):
            assert isinstance(one, int)
            tickets[one] = answer
        show(engine, [second])
        show(alone, [second])
        held.append(used_bytes(engine._pool) - used_bytes(alone._pool))
        later.update(engine.speak())
    assert max(held) > 0, "a retired context is held while it is spoken about"
    while engine.is_speaking:
        later.update(engine.speak())
    assert later == tickets
    assert used_bytes(engine._pool) == used_bytes(alone._pool)


@NUM_ROWS
def test_a_stream_that_is_gone_is_spoken_about_to_the_end(num_rows: int) -> None:
    engine = grown(num_frames=5, num_rows=num_rows)
    expected = engine.ask([("gate", CAPTION), ("gate", WHAT)])
    begun = engine.begin([("gate", CAPTION), ("gate", WHAT)])
    engine.remove("gate")
    engine.remove("yard")
    assert used_bytes(engine._pool) > 0
    assert said(engine, begun) == expected
    assert used_bytes(engine._pool) == 0
    assert engine.speak() == []


def test_who_waits_for_an_answer_keeps_nobody_else_from_theirs() -> None:
    engine = grown(num_frames=5)
    expected = engine.ask([("gate", CAPTION), ("yard", WHAT)])
    begun = engine.begin([("gate", CAPTION)])
    while engine.is_speaking and not engine._speech._told:
        assert engine.ask([("yard", WHAT)]) == expected[1:]
    assert said(engine, begun) == expected[:1]


@NUM_ROWS
def test_what_memory_runs_out_for_comes_to_nothing_and_what_is_begun_then_is_said(
    monkeypatch: pytest.MonkeyPatch, num_rows: int
) -> None:
    engine = grown(num_frames=5, num_rows=num_rows)
    asks = [("gate", CAPTION), ("gate", WHAT), ("yard", CAPTION)]
    expected = engine.ask(asks)
    before = used_bytes(engine._pool)
    lost = engine.begin([*asks, ("gate", FIRE)])
    engine.speak()
    real_launch, failures = Decoding.launch, [torch.OutOfMemoryError()]

    def short_of_memory(self: Decoding, num_steps: int) -> None:
        if failures:
            raise failures.pop()
        real_launch(self, num_steps)

    monkeypatch.setattr(Decoding, "launch", short_of_memory)
    told = dict(engine.speak())
    assert told == {ticket: None for ticket in lost if isinstance(ticket, int)}
    assert not engine.is_speaking
    assert (engine.stats.num_out_of_memory, engine.stats.num_unsaid) == (1, 3)
    assert used_bytes(engine._pool) == before
    assert said(engine, engine.begin(asks)) == expected
    failures.append(torch.OutOfMemoryError())
    with pytest.raises(DeviceMemoryError):
        engine.ask(asks)


def test_what_is_said_of_a_context_that_is_over_gives_way_before_another_is_cut_short() -> None:
    """The budget has room for the streams alone."""
    engine = grown(num_frames=9, window_s=10.0, num_rows=4)
    begun = engine.begin([("gate", CAPTION), ("yard", CAPTION), ("yard", WHAT)])
    show(engine, [10])
    held = used_bytes(engine._pool)
    engine._pool.expect(0, at_most=held // engine._pool.page_bytes)
    show(engine, range(11, 20))
    assert engine.stats.num_unsaid > 0 == engine.stats.num_cut_short
    assert used_bytes(engine._pool) <= held
    assert said(engine, begun).count(None) == engine.stats.num_unsaid


def test_a_question_that_cannot_be_put_holds_nothing() -> None:
    engine = grown(num_frames=3)
    with pytest.raises(InputError, match="options"):
        engine.begin([("gate", CAPTION), ("gate", Question("caption", "", ("a", "b")))])
    assert not engine.is_speaking
    engine.remove("gate")
    engine.remove("yard")
    assert used_bytes(engine._pool) == 0
