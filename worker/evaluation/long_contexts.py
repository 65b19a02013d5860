"""What a model still knows at the end of a long context, in calm scenes and in busy ones."""

from collections.abc import Iterator, Sequence

import numpy as np

from model.evaluation.evaluate import Moment, Viewer, ask_clip
from model.evaluation.scores import Judged, accuracy, balanced_accuracy, fact_score
from model.scenes import Scene
from model.scenes.quiz import Quiz, quizzes
from model.scenes.topics import TOPICS
from model.scenes.witness import Witness
from model.training.rendered import AFTER_S, LATEST_START_S
from model.training.samples import watch
from model.types import PrunedFrame
from pipeline.pruner import prune_clip
from worker.benchmarks.report import Progress, Row, at_least
from worker.evaluation.clips import is_history

LONG_S = 60
CAPTIONS_S = (30, LONG_S)
NUM_YES_NO = 12
MOVING_EVERY = 5
"""Of the frames that are shown, every so many is asked whether anything is moving."""
TARGETS = {
    "long_calm_caption_f1_30s": 0.95,
    "long_calm_caption_f1_60s": 0.90,
    "long_busy_caption_f1_30s": 0.90,
    "long_busy_caption_f1_60s": None,
    "long_history_60s": 0.97,
    "long_moving_yes": 0.95,
    "long_moving_no": 0.95,
}

Named = tuple[float, str, Quiz]
"""When a question is put, which figure it counts for, and what it is."""


def measure(viewer: Viewer, *, first_seed: int, num_clips: int, progress: Progress) -> list[Row]:
    """Show clips of a minute, every second one of a busy scene, and score what is told of them.

    Args:
        viewer: its window is longer than a clip.
        first_seed: of the first scene.
        num_clips: one a scene.
        progress: told how far it is.
    """
    judged: dict[str, list[Judged]] = {name: [] for name in TARGETS}
    for index in range(num_clips):
        manner = ("calm", "busy")[index % 2]
        progress(f"a minute of a {manner} scene, {index + 1} of {num_clips}")
        scene, frames = clip(first_seed + index, is_busy=manner == "busy")
        asked = sorted(questions(scene, frames, manner=manner), key=lambda one: one[0])
        times_s = dict.fromkeys(at_s for at_s, _, _ in asked)
        moments = [
            Moment(at_s, tuple(quiz for when_s, _, quiz in asked if when_s == at_s))
            for at_s in times_s
        ]
        answers = ask_clip(viewer, scene, frames, moments)
        for (_, name, _), one in zip(asked, answers, strict=True):
            judged[name].append(one)
    return rows_of(judged)


def clip(seed: int, *, is_busy: bool) -> tuple[Scene, tuple[PrunedFrame, ...]]:
    """Render a minute of a scene, as a context is shown it."""
    rng = np.random.default_rng((seed, 1))
    scene = Scene.from_seed(seed, duration_s=LATEST_START_S + LONG_S + AFTER_S, is_busy=is_busy)
    start_s = float(rng.integers(0, int(LATEST_START_S) + 1))
    return scene, watch(scene, start_s=start_s, num_frames=LONG_S + 1, prune=prune_clip)


def questions(scene: Scene, frames: Sequence[PrunedFrame], *, manner: str) -> Iterator[Named]:
    """Choose what is asked of a clip, each after the last frame shown until then."""
    start_s, rng = frames[0].pts_s, np.random.default_rng((scene.seed, 2))
    for until_s in CAPTIONS_S:
        at_s = max(frame.pts_s for frame in frames if frame.pts_s <= start_s + until_s)
        for quiz in quizzes(scene, at_s, start_s=start_s, rng=rng, num=1, tasks=("caption",)):
            yield at_s, f"long_{manner}_caption_f1_{until_s}s", quiz
    last_s = frames[-1].pts_s
    drawn = quizzes(scene, last_s, start_s=start_s, rng=rng, num=NUM_YES_NO, tasks=("yes_no",))
    yield from ((last_s, "long_history_60s", quiz) for quiz in drawn if is_history(quiz.topic))
    for frame in frames[MOVING_EVERY::MOVING_EVERY]:
        told = TOPICS["moving"](Witness(scene, start_s, frame.pts_s), rng)
        for words, is_so in told:
            answer = "yes" if is_so else "no"
            yield frame.pts_s, f"long_moving_{answer}", Quiz("yes_no", words, (), answer, "moving")


def rows_of(judged: dict[str, list[Judged]]) -> list[Row]:
    """Score answers by the figure they count for."""
    return [_row(name, answers) for name, answers in judged.items()]


def _row(name: str, answers: Sequence[Judged]) -> Row:
    if not answers:
        return Row(name, None, "ratio: nothing was asked", TARGETS[name])
    terms: dict[str, float] = {"questions": len(answers)}
    if "caption" in name:
        score = fact_score(answers)
        value = score.f1
        terms = {"captions": len(answers), "true_facts": score.num_true}
    elif name == "long_history_60s":
        value = balanced_accuracy(answers)
        terms["unbalanced"] = accuracy(answers)
    else:
        value = accuracy(answers)
    target = TARGETS[name]
    if target is None:
        return Row(name, value, "ratio", terms=terms)
    return at_least(name, value, target, terms=terms)
