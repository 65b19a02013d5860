"""From labels of one's own videos to conversation files: the questions that a camera is asked.

A context grows as in service and is asked at moments of which the labels know the answer, as often
of each answer as there are moments for. The last part of every video is kept for measuring.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from model.errors import InputError
from model.kinds import kind_of, wording
from model.kinds.base import Forms
from model.training.labels import UNKNOWN
from model.types import Question

TRAIN_FILE, HELD_OUT_FILE = "train.jsonl", "held_out.jsonl"
HELD_OUT_SHARE = 0.25
NUM_MOMENTS = 4
"""Moments of a context at which a question is put."""
STARTS_PER_WINDOW = 4
"""Contexts begin so often within a window's length."""


class Known(Protocol):
    """The right answers to one question over one clip."""

    def judged_at(self, t_s: float) -> str:
        """Return the value at a moment; `unknown` near a change and where nobody can tell."""
        ...


@dataclass(frozen=True, slots=True)
class Footage:
    """A video of which labels tell.

    Attributes:
        path: the file.
        duration_s: its length.
        truths: by question's id.
    """

    path: Path
    duration_s: float
    truths: Mapping[str, Known]


@dataclass(frozen=True, slots=True)
class Asking:
    """How a camera is asked.

    Attributes:
        questions: by id.
        forms: how the model is asked each kind of question.
        window_s: the longest stretch that a context covers.
        seed: of the moments.
    """

    questions: Mapping[str, Question]
    forms: Forms
    window_s: float
    seed: int


def write_conversations(out: Path, footage: Sequence[Footage], asking: Asking) -> tuple[Path, Path]:
    """Write the file to train on and the file to measure by into a folder.

    Raises:
        InputError: the labels tell of no moment of the first part, or of none of the last part.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = out / TRAIN_FILE, out / HELD_OUT_FILE
    for path, (first, last) in zip(
        paths, ((0.0, 1 - HELD_OUT_SHARE), (1 - HELD_OUT_SHARE, 1.0)), strict=True
    ):
        rows = [
            row
            for number, one in enumerate(footage)
            for row in _rows(
                one,
                asking,
                begin_s=first * one.duration_s,
                end_s=last * one.duration_s,
                rng=np.random.default_rng((asking.seed, number)),
            )
        ]
        if not rows:
            raise InputError(
                f"--labels: expected some that tell of {first:.0%} to {last:.0%} of a video, got "
                "none"
            )
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return paths


def _rows(
    one: Footage, asking: Asking, *, begin_s: float, end_s: float, rng: np.random.Generator
) -> list[dict[str, object]]:
    """Make a stream's row for each context within a stretch of a video."""
    rows: list[dict[str, object]] = []
    step_s = asking.window_s / STARTS_PER_WINDOW
    for start_s in np.arange(np.ceil(begin_s), end_s - 1.0, step_s).tolist():
        length_s = float(rng.uniform(0.25, 1.0)) * asking.window_s
        until_s = float(min(np.floor(start_s + length_s), np.floor(end_s)))
        turns = [
            (t_s, *turn)
            for question_id, truth in one.truths.items()
            for t_s, turn in _turns(
                truth, asking.questions[question_id], asking, span=(start_s, until_s), rng=rng
            )
        ]
        if not turns:
            continue
        messages = [
            {"role": role, "content": text, "time": t_s}
            for t_s, question, answer in sorted(turns)
            for role, text in (("user", question), ("assistant", answer))
        ]
        rows.append(
            {
                "stream": True,
                "video": [str(one.path.absolute())],
                "start_time": start_s,
                "end_time": until_s,
                "conversation": messages,
            }
        )
    return rows


def _turns(
    truth: Known,
    question: Question,
    asking: Asking,
    *,
    span: tuple[float, float],
    rng: np.random.Generator,
) -> list[tuple[float, tuple[str, str]]]:
    """Choose moments of a context, of each answer in turn; give them with question and answer."""
    by_value: dict[str, list[float]] = {}
    for t_s in np.arange(span[0] + 1.0, span[1] + 0.5).tolist():
        if (value := truth.judged_at(t_s)) != UNKNOWN:
            by_value.setdefault(value, []).append(t_s)
    for moments in by_value.values():
        rng.shuffle(moments)
    words = wording(question, asking.forms)
    chosen: list[tuple[float, tuple[str, str]]] = []
    while len(chosen) < NUM_MOMENTS and any(by_value.values()):
        for value, moments in by_value.items():
            if moments and len(chosen) < NUM_MOMENTS:
                said = kind_of(question.kind).taught(question, value, asking.forms)
                chosen.append((moments.pop(), (words, said)))
    return chosen
