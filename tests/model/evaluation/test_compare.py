"""Answers read off a packed pass, against the engine that serves."""

import numpy as np
import pytest

from model.engine.config import VisionMode
from model.evaluation.compare import judge, paper_frames
from model.evaluation.evaluate import Moment, ask_clip
from model.patch_diff import paper_mask
from model.scenes import Scene
from model.scenes.quiz import Quiz
from tests.model.nano_model import nano_engine, nano_family
from tests.model.training.clips import clip, network, tokenizer

FORMS = nano_family().prompt.forms
QUIZZES = (
    Quiz("yes_no", "Is a person in view?", (), "yes", "person in view"),
    Quiz("choice", "What colour is the car?", ("red", "blue", "dark green"), "blue", "colour"),
    Quiz("count", "How many people are there?", (), "2", "count of people"),
    Quiz("text", "Who is in view?", (), "nobody", "who"),
    Quiz("yes_no", "Is there smoke?", (), "no", "smoke"),
)


def test_a_packed_pass_says_what_the_engine_says() -> None:
    frames = clip(4, seed=3, share=2.0)  # all of every frame: no way of encoding differs
    moments = [Moment(frames[1].pts_s, QUIZZES[:3]), Moment(frames[3].pts_s, QUIZZES)]
    got = judge(network(), tokenizer(), frames, moments, mode="full", forms=FORMS)
    served = ask_clip(nano_engine(window_s=60.0), Scene.from_seed(0), frames, moments)
    expected = [one for one in served if one.task != "text"]
    assert [(one.task, one.topic, one.expected) for one in got] == [
        (one.task, one.topic, one.expected) for one in expected
    ]
    for one, other in zip(got, expected, strict=True):
        assert one.said == (other.said[0] if one.task == "count" else other.said)


@pytest.mark.parametrize("mode", ["delta", "isolated"])
def test_every_way_of_encoding_answers_every_question(mode: VisionMode) -> None:
    frames = clip(3)
    got = judge(
        network(), tokenizer(), frames, [Moment(frames[2].pts_s, QUIZZES)], mode=mode, forms=FORMS
    )
    assert [one.task for one in got] == ["yes_no", "choice", "count", "yes_no"]
    assert got[0].said in ("yes", "no")
    assert got[1].said in QUIZZES[1].options
    assert got[2].said.isdigit()


def test_nothing_asked_is_nothing_judged() -> None:
    frames = clip(2)
    nothing = [Moment(frames[1].pts_s, ())]
    assert judge(network(), tokenizer(), frames, nothing, mode="full", forms=FORMS) == []


def test_the_paper_keeps_what_changed_since_the_frame_before() -> None:
    frames = clip(4)
    pictures = [(np.full_like(frames[0].pixels, 9), frames[0].pts_s - 1.0)]
    pictures += [(frame.pixels, frame.pts_s) for frame in frames]
    kept = paper_frames([frames[0], frames[2]], pictures)
    assert [frame.pts_s for frame in kept] == [frame.pts_s for frame in frames]
    assert kept[0].keep_mask.all()
    for frame, before in zip(kept[1:], frames, strict=False):
        assert np.array_equal(frame.keep_mask, paper_mask(frame.pixels, before.pixels))
