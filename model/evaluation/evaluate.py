"""Clips shown to an engine frame by frame, as in service, and questions put to it on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from model.evaluation.scores import Judged
from model.scenes import Scene
from model.scenes.quiz import Quiz, quizzes, true_facts
from model.types import Answer, PrunedFrame, Question

NUM_EACH: Mapping[str, int] = MappingProxyType(
    {"yes_no": 6, "choice": 2, "count": 2, "text": 1, "grounding": 1, "caption": 1}
)
"""Questions of each task at a moment, where the scene has that many to ask."""


class Viewer(Protocol):
    """What is asked of an engine: see `model.Engine`."""

    def append(self, frames: Sequence[PrunedFrame]) -> None:
        """Show frames."""
        ...

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        """Answer questions about streams."""
        ...

    def remove(self, stream_id: str) -> None:
        """Forget a stream."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """Questions at one time of a clip.

    Attributes:
        t_s: the scene's time.
        quizzes: what is asked, with the answers.
    """

    t_s: float
    quizzes: tuple[Quiz, ...]


def moments_of(
    scene: Scene,
    frames: Sequence[PrunedFrame],
    *,
    rng: np.random.Generator,
    num_moments: int = 2,
    num_each: Mapping[str, int] = NUM_EACH,
) -> tuple[Moment, ...]:
    """Draw questions for after the last of a clip's frames, and after some before it.

    Args:
        scene: what the clip shows.
        frames: as `samples.watch` gives them, times in the scene's own seconds.
        rng: draws moments and questions.
        num_moments: how many; fewer where the clip has fewer frames.
        num_each: questions of each task.
    """
    times = [frame.pts_s for frame in frames]
    others = rng.permutation(times[1:-1])[: num_moments - 1].tolist()
    return tuple(
        Moment(
            t_s,
            tuple(
                quiz
                for task, num in num_each.items()
                for quiz in quizzes(scene, t_s, start_s=times[0], rng=rng, num=num, tasks=(task,))
            ),
        )
        for t_s in sorted([*others, times[-1]])
    )


def ask_clip(
    viewer: Viewer, scene: Scene, frames: Sequence[PrunedFrame], moments: Sequence[Moment]
) -> list[Judged]:
    """Show a clip and ask on the way, every moment's questions together.

    Args:
        viewer: its window must be at least as long as the clip.
        scene: what the clip shows.
        frames: the first one whole; all of one stream.
        moments: at times of frames.
    """
    stream_id = frames[0].stream_id
    due = {moment.t_s: moment.quizzes for moment in moments}
    viewer.remove(stream_id)
    judged: list[Judged] = []
    for frame in frames:
        viewer.append([frame])
        asked = due.get(frame.pts_s, ())
        answers = viewer.ask([(stream_id, served(quiz)) for quiz in asked]) if asked else []
        for quiz, answer in zip(asked, answers, strict=True):
            facts: frozenset[tuple[str, str, str]] = frozenset()
            if quiz.task == "caption":
                facts = true_facts(scene, frame.pts_s, start_s=frames[0].pts_s)
            said = _said(answer, start_s=frames[0].pts_s)
            judged.append(Judged(quiz.task, quiz.topic, quiz.answer, said, facts))
    viewer.remove(stream_id)
    return judged


def _said(answer: Answer, *, start_s: float) -> str:
    """Return an answer in words, a stretch in seconds of the clip, whatever the context's are."""
    if answer.span_s is None:
        return str(answer.value)
    begun_s, ended_s = (at_s - start_s for at_s in answer.span_s)
    return f"{begun_s:.1f}-{ended_s:.1f} s"


def served(quiz: Quiz) -> Question:
    """Give a quiz as a standing question; captions in the engine's own words."""
    match quiz.task:
        case "yes_no" | "choice" | "count" as kind:
            return Question(kind, quiz.question, quiz.options)
        case "caption":
            return Question("caption", "")
        case "grounding":
            return Question("when", quiz.question)
        case _:
            return Question("text", quiz.question)
