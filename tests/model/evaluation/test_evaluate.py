"""Clips asked about by a viewer that knows the truth, and by the serving engine."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from model.evaluation.evaluate import Moment, ask_clip, moments_of, served
from model.evaluation.scores import accuracy, fact_score, mean_iou
from model.scenes import Scene
from model.scenes.quiz import caption
from model.types import Answer, PrunedFrame, Question

START_S, NUM_FRAMES = 3.0, 12


@dataclass
class Knowing:
    """A viewer that has the right answer to every question of a clip."""

    scene: Scene
    moments: Sequence[Moment]
    shown: list[PrunedFrame] = field(default_factory=list)

    def append(self, frames: Sequence[PrunedFrame]) -> None:
        self.shown += frames

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        return [self._answer(question) for _, question in asks]

    def remove(self, stream_id: str) -> None:  # noqa: ARG002
        self.shown.clear()

    def _answer(self, question: Question) -> Answer:
        now_s = self.shown[-1].pts_s
        if question.kind == "caption":
            rng = np.random.default_rng(7)
            text = caption(self.scene, now_s, start_s=self.shown[0].pts_s, rng=rng)
            return Answer("caption", text, None, 0)
        (here,) = [moment for moment in self.moments if moment.t_s == now_s]
        (right,) = {quiz.answer for quiz in here.quizzes if served(quiz) == question}
        return Answer(question.kind, right, None, 0)


def frames() -> list[PrunedFrame]:
    """What a camera sends where only the times matter; a frame that changed nothing is missing."""
    pixels = np.zeros((28, 28, 3), dtype=np.uint8)
    mask = np.ones((1, 1), dtype=np.bool_)
    times = [START_S + index for index in range(NUM_FRAMES) if index != 4]
    return [PrunedFrame("clip", pixels, mask, t_s, is_refresh=False) for t_s in times]


def asked(seed: int) -> tuple[Scene, tuple[Moment, ...]]:
    scene = Scene.from_seed(seed)
    return scene, moments_of(scene, frames(), rng=np.random.default_rng(seed))


def test_whoever_knows_the_truth_is_always_right() -> None:
    judged = []
    for seed in range(4):
        scene, moments = asked(seed)
        judged += ask_clip(Knowing(scene, moments), scene, frames(), moments)
    exact = [one for one in judged if one.task not in ("caption", "grounding")]
    assert {one.task for one in exact} == {"yes_no", "choice", "count", "text"}
    assert accuracy(exact) == 1.0
    assert fact_score([one for one in judged if one.task == "caption"]).f1 == 1.0
    spans = [one for one in judged if one.task == "grounding"]
    assert mean_iou(spans) == 1.0


def test_it_is_asked_after_the_last_frame_and_once_before() -> None:
    _, moments = asked(1)
    times = [frame.pts_s for frame in frames()]
    assert len(moments) == 2
    assert moments[1].t_s == times[-1]
    assert moments[0].t_s in times[1:-1]


def test_a_clip_of_one_frame_is_asked_about_once() -> None:
    scene = Scene.from_seed(2)
    (moment,) = moments_of(scene, frames()[:1], rng=np.random.default_rng(0))
    assert moment.t_s == START_S


def test_captions_are_asked_for_in_the_words_of_service() -> None:
    _, moments = asked(3)
    questions = [served(quiz) for moment in moments for quiz in moment.quizzes]
    assert {q.text for q in questions if q.kind == "caption"} == {""}
    assert {q.kind for q in questions} <= {"yes_no", "choice", "count", "when", "text", "caption"}


def test_the_same_seed_asks_the_same() -> None:
    assert asked(5)[1] == asked(5)[1]
