"""What the plain pictures show, and what is made of the answers about them."""

import numpy as np

from model import Answer, Engine, EngineConfig
from model.types import PatchGrid
from model.videollama3.family import family_of
from tests.model.nano_model import nano_engine
from tests.model.qwen import qwen_tokenizer, random_network
from worker.evaluation.self_check.plain_pictures import (
    COLOURS,
    Asked,
    Case,
    ask_about_plain_pictures,
    plain_pictures,
    plain_rows,
)

GRID = PatchGrid(rows=4, cols=7)


def test_a_picture_is_of_the_colour_that_its_answers_name() -> None:
    named = {levels: name for name, levels in COLOURS.items()}
    filled = plain_pictures(GRID)[: len(COLOURS)]
    for pixels, cases in filled:
        assert pixels.shape == (GRID.height_px, GRID.width_px, 3)
        [levels] = np.unique(pixels.reshape(-1, 3), axis=0).tolist()
        name = named[tuple(levels)]
        is_it, is_it_another, which = cases
        assert (is_it.question.text, is_it.right) == (f"Is the picture {name}?", "yes")
        assert is_it_another.right == "no"
        assert name not in is_it_another.question.text
        assert which.right == name in which.question.options


def test_as_many_squares_are_drawn_as_are_to_be_counted() -> None:
    for pixels, [case] in plain_pictures(GRID)[len(COLOURS) :]:
        row = pixels[GRID.height_px // 2, :, 0].astype(int)
        assert np.count_nonzero(np.diff(row) > 0) == case.right
        assert not pixels[0].any()


def test_every_case_is_asked_and_no_stream_is_left() -> None:
    engine, said = nano_engine(), list[str]()
    asked = ask_about_plain_pictures(engine, max_tokens_per_frame=72, progress=said.append)
    assert [one.case for one in asked] == [
        case for _, cases in plain_pictures(GRID) for case in cases
    ]
    assert engine.stats.num_streams == 0
    assert said[-1] == "plain pictures: 9 of 9"
    alone = ask_about_plain_pictures(engine, max_tokens_per_frame=72, progress=said.append)
    assert [one.answer.value for one in alone] == [one.answer.value for one in asked]


def asked(value: str, right: str, mass: float) -> Asked:
    question = plain_pictures(GRID)[0][1][0].question
    return Asked(Case(question, right), Answer("yes_no", value, 0.9, 0, mass=mass))


def test_half_of_the_questions_must_be_answered_and_none_rightly() -> None:
    mute = [asked("yes", "yes", 0.01), asked("yes", "no", 0.02), asked("yes", "no", 0.9)]
    rows = {row.name: row for row in plain_rows(mute, min_mass=0.1)}
    assert rows["plain_mass_median"].holds is False
    assert rows["plain_mass_median"].terms["least"] == 0.01
    assert rows["plain_answered"].terms == {"answered": 1, "questions": 3}
    assert rows["plain_yes_no_right"].value == 1 / 3
    assert [row.name for row in rows.values() if row.holds is not None] == ["plain_mass_median"]
    talking = [asked("yes", "no", 0.8), asked("yes", "no", 0.7), asked("yes", "no", 0.0)]
    rows = {row.name: row for row in plain_rows(talking, min_mass=0.1)}
    assert rows["plain_mass_median"].holds is True


def test_random_weights_with_the_real_vocabulary_answer_nothing() -> None:
    family = family_of(random_network(spread=0.5), qwen_tokenizer())
    engine = Engine(family, model_name="random", config=EngineConfig(max_context_tokens=2048))
    asked = ask_about_plain_pictures(engine, max_tokens_per_frame=32, progress=lambda _line: None)
    rows = {row.name: row for row in plain_rows(asked, min_mass=0.1)}
    assert rows["plain_mass_median"].holds is False
    assert rows["plain_answered"].value == 0
