"""`when`: from the model's words to a stretch of time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InputError
from model.evaluation.evaluate import served
from model.evaluation.scores import span_of
from model.kinds import KINDS, standing_kinds, wording
from model.kinds.base import Doubt, Limits
from model.kinds.when import placed
from model.scenes import Scene
from model.scenes.quiz import Quiz, quizzes
from model.training.samples import put, watch
from model.types import Answer, Question, Window
from model.videollama3.prompt import NANO_1, VIDEOLLAMA3
from pipeline.pruner import prune_clip
from tests.model.nano_model import nano_engine, nano_tokenizer

TRUCK = Question("when", "When did the truck arrive?")
WHEN = KINDS["when"]


def told(text: str) -> Answer:
    """What is made of a text, said token by token."""
    tokenizer = nano_tokenizer()
    limits = Limits(max_caption_tokens=8, max_answer_tokens=60, end_ids=tokenizer.end_ids)
    reader = WHEN.readers(tokenizer, limits=limits, forms=VIDEOLLAMA3.forms)(TRUCK, [1])
    first, *others = (*tokenizer.encode(text), tokenizer.im_end_id)
    going = reader.begin([[float(first)]])
    for token in others:
        assert going is not None
        going = reader.go_on([float(token)])
    assert going is None
    return reader.answer()


@pytest.mark.parametrize(
    ("text", "span_s"),
    [
        ("1.0-4.0 s", (1.0, 4.0)),
        ("12.5 - 30 seconds", (12.5, 30.0)),
        ("The truck arrives from 3 to 7.5 seconds.", (3.0, 7.5)),
        ("3.0s to 7.0s", None),
        ("At 4 s.", None),
        ("I cannot tell.", None),
        ("", None),
    ],
)
def test_a_stretch_is_found_in_words(text: str, span_s: tuple[float, float] | None) -> None:
    answer = told(text)
    assert (answer.kind, answer.value, answer.span_s) == ("when", text, span_s)
    assert (answer.p, answer.mass) == (None, None)


def test_it_is_asked_in_the_words_of_the_checkpoint() -> None:
    assert wording(TRUCK, NANO_1.forms) == TRUCK.text
    assert wording(TRUCK, VIDEOLLAMA3.forms) == (
        f"{TRUCK.text}\nPlease output the start and end timestamps in seconds."
    )
    quiz = Quiz("grounding", "When was the gate open?", (), "1.0-4.0 s", "when gate")
    assert served(quiz).kind == "when"
    words, _answer = put(quiz, forms=NANO_1.forms, rng=np.random.default_rng(0))
    assert wording(served(quiz), NANO_1.forms) == words


def test_it_is_a_standing_question_that_raises_no_event() -> None:
    assert "when" in standing_kinds()
    assert WHEN.target("", ()) is None
    with pytest.raises(InputError, match="event_on: expected none for a when question"):
        WHEN.target("yes", ())
    with pytest.raises(InputError, match="ask: expected words for a when question"):
        WHEN.check(Question("when", " "))


def test_without_a_stretch_it_is_unknown() -> None:
    answer = Answer("when", "At 4 s.", None, 3)
    published = WHEN.published(answer, Doubt())
    assert (published.answer, published.p, published.reason) == ("unknown", None, "no_answer")
    assert WHEN.published(replace(answer, span_s=(1.0, 2.0)), Doubt()).reason is None


@pytest.mark.parametrize(
    "said", ["", "At 4 s.", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z/2026-01-02T03:04:04Z", 3]
)
def test_what_is_no_interval_is_not_published(said: str | int) -> None:
    with pytest.raises(InputError, match="answer: expected START/END"):
        WHEN.check_published(said)


def test_an_interval_is_published() -> None:
    WHEN.check_published("2026-01-02T03:04:05.000Z/2026-01-02T03:04:09.500Z")
    WHEN.check_published("unknown")


@given(start_s=st.floats(0, 40), length_s=st.floats(-2, 40), window_s=st.floats(0, 30).map(round))
def test_a_stretch_is_placed_in_the_window_or_nowhere(
    start_s: float, length_s: float, window_s: int
) -> None:
    window = Window(100.0, 100.0 + window_s, num_frames=1, num_tokens=1)
    answer = Answer("when", "", None, 1, span_s=(start_s, start_s + length_s))
    got = placed(answer, window, sample_period_s=1.0).span_s
    if got is None:
        assert length_s <= 0 or start_s + length_s > window_s + 1.0
    else:
        assert 100.0 <= got[0] <= got[1] <= window.end_pts_s
        assert got[0] == pytest.approx(100.0 + min(start_s, window_s))


def test_nano_says_when_in_the_streams_own_time() -> None:
    engine, asked = nano_engine(window_s=120.0), 0
    for seed in (3, 4, 5):
        scene = Scene.from_seed(seed)
        frames = watch(scene, start_s=6.0, num_frames=14, prune=prune_clip)
        engine.remove(frames[0].stream_id)
        engine.append(frames)
        t_s, rng = frames[-1].pts_s, np.random.default_rng(seed)
        for quiz in quizzes(scene, t_s, start_s=6.0, rng=rng, num=2, tasks=("grounding",)):
            stream_id = frames[0].stream_id
            as_text = Question("text", quiz.question)
            answer, text = engine.ask([(stream_id, served(quiz)), (stream_id, as_text)])
            assert answer.value == text.value
            span_s = span_of(str(answer.value))
            assert span_s is not None
            assert answer.span_s == pytest.approx((6.0 + span_s[0], 6.0 + span_s[1]))
            asked += 1
    assert asked > 2
