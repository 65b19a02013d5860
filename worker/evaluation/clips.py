"""How true a model's answers are: held-out clips shown to the engine, and ways of pruning compared.

Every clip is rendered, pruned as in service, shown and asked about in memory; nothing is kept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from model.evaluation.compare import COMPARED, WAYS, Way, judge, paper_frames
from model.evaluation.evaluate import Moment, Viewer, ask_clip, moments_of
from model.evaluation.scores import (
    Judged,
    accuracy,
    balanced_accuracy,
    by_topic,
    fact_score,
    mean_iou,
    share_of,
    span_of,
)
from model.scenes import Scene
from model.training.rendered import SCENE_S, stretch
from model.training.samples import watch
from model.types import PrunedFrame
from model.videollama3.checkpoint import load_model
from model.videollama3.hub import locate
from model.videollama3.prompt import prompt_of
from model.videollama3.tokenizer import Tokenizer
from pipeline.clock import Clock, SystemClock
from pipeline.pruner import prune_clip
from worker.benchmarks.report import Progress, Row, at_least

TARGETS = {"yes_no": 0.97, "choice": 0.92, "count": 0.92, "caption": 0.90, "grounding": 0.65}
NUM_COMPARED = 100
FRAME_S = 1.0
REPORT_EVERY_S = 10.0

Pictures = Sequence[tuple[NDArray[np.uint8], float]]


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of a held-out scene with what is asked about it.

    Attributes:
        scene: what there is to see.
        pictures: all of it, those before the context begins included, with their times.
        frames: what the camera's pruner sends of it.
        moments: the questions.
    """

    scene: Scene
    pictures: Pictures
    frames: tuple[PrunedFrame, ...]
    moments: tuple[Moment, ...]


def clips(first_seed: int, number: int) -> Iterator[Clip]:
    """Render clips one after the other; the same for the same seed."""
    for seed in range(first_seed, first_seed + number):
        start_s, num_frames = stretch(np.random.default_rng((seed, 1)))
        scene = Scene.from_seed(seed, duration_s=SCENE_S)
        pictures: list[tuple[NDArray[np.uint8], float]] = []

        def pruned(
            given: Iterable[tuple[NDArray[np.uint8], float]],
            seen: list[tuple[NDArray[np.uint8], float]] = pictures,
        ) -> list[PrunedFrame]:
            seen += given
            return prune_clip(seen)

        frames = watch(scene, start_s=start_s, num_frames=num_frames, prune=pruned)
        moments = moments_of(scene, frames, rng=np.random.default_rng((seed, 2)))
        yield Clip(scene, pictures, frames, moments)


class Comparison:
    """The same questions about the same clips, answered in each of `compare.WAYS`."""

    def __init__(self, folder: str) -> None:
        """Load the networks of a checkpoint, in float32.

        Raises:
            CheckpointError: the folder is not a whole checkpoint.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = load_model(locate(folder), device=device, dtype=torch.float32)
        self._tokenizer = Tokenizer.load(locate(folder))
        self._forms = prompt_of(locate(folder)).forms
        self._judged: dict[Way, list[Judged]] = {way: [] for way in WAYS}
        self._num_kept = dict.fromkeys(WAYS, 0)
        self._num_tokens = 0  # of whole frames
        self._num_clips = 0

    def add(self, clip: Clip) -> None:
        """Answer a clip's questions in every way."""
        by_paper = paper_frames(clip.frames, clip.pictures)
        for way in WAYS:
            frames = by_paper if way.is_paper else clip.frames
            self._judged[way] += judge(
                self._model,
                self._tokenizer,
                frames,
                clip.moments,
                mode=way.mode,
                forms=self._forms,
            )
            self._num_kept[way] += sum(frame.num_kept for frame in frames)
        self._num_tokens += len(by_paper) * by_paper[0].grid.num_tokens
        self._num_clips += 1

    def rows(self) -> list[Row]:
        """Give for each way the accuracy of each task, and what was kept."""
        rows: list[Row] = []
        for way in WAYS:
            for task in COMPARED:
                judged = [one for one in self._judged[way] if one.task == task]
                scored = balanced_accuracy if task == "yes_no" else accuracy
                value = scored(judged) if judged else None
                terms = {"questions": len(judged), "clips": self._num_clips}
                rows.append(_scored(f"{way.name}_{task}", value, terms=terms))
            kept = {"kept": self._num_kept[way], "in_whole_frames": self._num_tokens}
            ratio = self._num_kept[way] / self._num_tokens
            rows.append(_scored(f"{way.name}_tokens", ratio, terms=kept))
        return rows


class WithoutWindow:
    """The same questions about the same clips, over the last four frames instead of a window."""

    def __init__(self, viewer: Viewer, *, clock: Clock) -> None:
        """Ask a viewer that sees the last frames of a clip, whole, and no other."""
        self._viewer = viewer
        self._clock = clock
        self._last: list[Judged] = []
        self._window: list[Judged] = []
        self._ratios: list[float] = []

    def add(self, clip: Clip, by_window: Sequence[Judged], *, window_s: float) -> None:
        """Answer a clip's questions, for which the window has just taken so many seconds."""
        whole = paper_frames(clip.frames, clip.pictures)
        begun_s = self._clock.monotonic_s()
        self._last += ask_clip(self._viewer, clip.scene, whole, clip.moments)
        self._ratios.append((self._clock.monotonic_s() - begun_s) / window_s)
        self._window += by_window

    def rows(self) -> list[Row]:
        """Give what each kind of question comes to beside the window's, and what it costs of it."""
        rows = []
        for name, asks, score in _BY_KIND:
            last, window = (
                [one for one in all_ if asks(one)] for all_ in (self._last, self._window)
            )
            value = score(last) if last else None
            terms = {"questions": len(last), "over_window": score(window)} if last else {}
            rows.append(_scored(f"last4_{name}", value, terms=terms))
        if self._ratios:
            clips = {"clips": len(self._ratios)}
            rows.append(Row("last4_time_over_window", median(self._ratios), "ratio", terms=clips))
        return rows


def is_history(topic: str) -> bool:
    """Say whether a topic is about what has happened, rather than about what is."""
    return " has " in topic or topic == "parcel put down"


_BY_KIND: Sequence[tuple[str, Callable[[Judged], bool], Callable[[Sequence[Judged]], float]]] = (
    (
        "yes_no_now",
        lambda one: one.task == "yes_no" and not is_history(one.topic),
        balanced_accuracy,
    ),
    (
        "yes_no_history",
        lambda one: one.task == "yes_no" and is_history(one.topic),
        balanced_accuracy,
    ),
    ("choice", lambda one: one.task == "choice", accuracy),
    ("count", lambda one: one.task == "count", accuracy),
    ("text", lambda one: one.task == "text", accuracy),
    ("caption_f1", lambda one: one.task == "caption", lambda all_: fact_score(all_).f1),
    ("grounding_mean_iou", lambda one: one.task == "grounding", mean_iou),
)
"""Kinds of questions: a name, which they are, and what answers to them are worth."""


def measure(
    folder: str,
    viewer: Viewer,
    *,
    last_frames: Viewer,
    first_seed: int,
    num_clips: int,
    progress: Progress,
) -> list[Row]:
    """Show clips to an engine, score its answers, and compare ways of seeing on some of them.

    Args:
        folder: the engine's checkpoint.
        viewer: the engine; its window is longer than a clip.
        last_frames: the same model over the last four frames.
        first_seed: of the first scene.
        num_clips: one a scene.
        progress: told how far it is.

    Raises:
        CheckpointError: the folder is not a whole checkpoint.
    """
    clock = SystemClock()
    comparison, without = Comparison(folder), WithoutWindow(last_frames, clock=clock)
    judged: list[Judged] = []
    for index, clip in enumerate(_told(clips(first_seed, num_clips), num_clips, progress)):
        begun_s = clock.monotonic_s()
        mine = ask_clip(viewer, clip.scene, clip.frames, clip.moments)
        window_s = clock.monotonic_s() - begun_s
        judged += mine
        if index < NUM_COMPARED:
            comparison.add(clip)
            without.add(clip, mine, window_s=window_s)
    return [*rows_of(judged), *comparison.rows(), *without.rows()]


def rows_of(judged: Sequence[Judged]) -> list[Row]:
    """Score what was answered: a row for each task, and one for each yes/no topic."""
    of = {task: [one for one in judged if one.task == task] for task in (*TARGETS, "text")}
    return [
        _yes_no_row("yes_no_balanced_accuracy", of["yes_no"], target=TARGETS["yes_no"]),
        *(
            _yes_no_row(f"yes_no_{topic.replace(' ', '_')}", members)
            for topic, members in by_topic(of["yes_no"]).items()
        ),
        _parted_row("choice_accuracy", of["choice"], TARGETS["choice"], by_topic(of["choice"])),
        _parted_row(
            "count_accuracy",
            of["count"],
            TARGETS["count"],
            {
                f"of_{number}": [one for one in of["count"] if one.expected == number]
                for number in sorted({one.expected for one in of["count"]})
            },
        ),
        _caption_row(of["caption"]),
        _grounding_row(of["grounding"]),
        _parted_row("text_exact", of["text"], None, by_topic(of["text"])),
    ]


def _yes_no_row(name: str, judged: Sequence[Judged], target: float | None = None) -> Row:
    if not judged:
        return _scored(name, None, target=target)
    terms = {
        "questions": len(judged),
        "share_yes": share_of("yes", judged),
        "unbalanced": accuracy(judged),
    }
    for answer in ("yes", "no"):
        due = [one for one in judged if one.expected == answer]
        terms |= {f"right_of_{answer}": accuracy(due)} if due else {}
    return _scored(name, balanced_accuracy(judged), target=target, terms=terms)


def _parted_row(
    name: str,
    judged: Sequence[Judged],
    target: float | None,
    parts: Mapping[str, Sequence[Judged]],
) -> Row:
    terms: dict[str, float] = {"questions": len(judged)}
    terms |= {part: accuracy(members) for part, members in parts.items()}
    return _scored(name, accuracy(judged) if judged else None, target=target, terms=terms)


def _caption_row(judged: Sequence[Judged]) -> Row:
    score = fact_score(judged)
    terms = {
        "captions": len(judged),
        "true_facts": score.num_true,
        "stated_facts": score.num_told,
        "precision": score.precision,
        "recall": score.recall,
    }
    return _scored(
        "caption_f1", score.f1 if judged else None, target=TARGETS["caption"], terms=terms
    )


def _grounding_row(judged: Sequence[Judged]) -> Row:
    if not judged:
        return _scored("grounding_mean_iou", None, target=TARGETS["grounding"])
    terms = {
        "questions": len(judged),
        "unreadable": sum(span_of(one.said) is None for one in judged),
        "iou_of_frames": mean_iou(judged, frame_s=FRAME_S),
    }
    return _scored("grounding_mean_iou", mean_iou(judged), target=TARGETS["grounding"], terms=terms)


def _scored(
    name: str,
    value: float | None,
    *,
    target: float | None = None,
    terms: Mapping[str, float] | None = None,
) -> Row:
    """Give a row, left open where there was nothing to ask."""
    if value is None:
        return Row(name, None, "ratio: nothing was asked", target, None, terms or {})
    if target is None:
        return Row(name, value, "ratio", terms=terms or {})
    return at_least(name, value, target, terms=terms)


def _told(shown: Iterable[Clip], number: int, progress: Progress) -> Iterator[Clip]:
    """Pass clips on and tell how many there were, now and then."""
    clock = SystemClock()
    begun_s = told_s = clock.monotonic_s()
    for done, clip in enumerate(shown):
        now_s = clock.monotonic_s()
        if now_s - told_s >= REPORT_EVERY_S:
            told_s = now_s
            left_s = (now_s - begun_s) / done * (number - done) if done else float("nan")
            progress(f"{done} of {number} clips, {left_s:.0f} s left")
        yield clip
    progress(f"{number} of {number} clips, {clock.monotonic_s() - begun_s:.0f} s")
