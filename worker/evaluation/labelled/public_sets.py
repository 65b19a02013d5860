"""Public sets of alarms in their own annotation, made labels and questions of ours.

- UCF-Crime: its list of test videos, a line each: `NAME CLASS START END START END`, in frames, -1
  where there is no second one. One question, "anomaly", is asked of all of them every second.
- Proactive sets, in which one question is asked once and is to be answered whenever its time has
  come: IPIBench's rows (`question`, `answer` with `trigger_time`) and OVO-Bench's forward rows
  (`test_info` with a `realtime` each: of REC an `activity` and its `count`, of SSR a `step` and its
  `type`, of CRR a `question` and its `type`), as JSON. Each row is a question of its own, each step
  of SSR another, asked of its own video alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from model.errors import DataError
from model.training import json_rows
from model.training.labels import UNKNOWN, Label, Problem
from worker.evaluation.labelled.footage import slug
from worker.evaluation.labelled.truth import EDGE_S
from worker.site_settings import QuestionSettings

UCF_FPS = 30.0  # of all of its videos
TOLERANCE_S = 1.0  # IPIBench takes an answer that is so early or late
EVERY_S = 1.0
ANOMALY = "anomaly"
ANOMALY_ASK = (
    "Is something unusual or dangerous happening, such as a fight, an assault, a robbery, a theft, "
    "vandalism, a shooting, a fire, an explosion or an accident?"
)
_TELL = "Is it so now that somebody should be told, who asked for this: "


@dataclass(frozen=True, slots=True)
class PublicSet:
    """What an annotation says.

    Attributes:
        labels: what is so, by video.
        questions: what is asked.
        problems: what is wrong with rows.
    """

    labels: list[Label] = field(default_factory=list)
    questions: dict[str, QuestionSettings] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_public_set(path: Path) -> PublicSet | None:
    """Read a file as one of the sets; None where it is none of them, and perhaps labels of ours.

    Raises:
        DataError: it cannot be read, or has not one row that can be used.
    """
    if path.suffix.lower() == ".txt":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None  # whoever reads labels says what is wrong
        return _usable(_ucf_crime(text, path), path)
    try:
        rows = [*json_rows.rows(path)] if path.suffix.lower() == ".json" else []
    except DataError:
        return None
    if not rows or not isinstance(rows[0].value, Mapping):
        return None
    reader = next((reads for key, reads in _READERS.items() if key in rows[0].value), None)
    return _usable(_proactive(rows, path, reader), path) if reader else None


def _usable(found: PublicSet, path: Path) -> PublicSet:
    if not found.labels:
        told = "".join(f"\n{one}" for one in found.problems)
        raise DataError(f"{path}: expected annotations of a public set, found none{told}")
    return found


def _ucf_crime(text: str, path: Path) -> PublicSet:
    asked = QuestionSettings.model_validate({"ask": ANOMALY_ASK, "every": EVERY_S, "cooldown": 0.0})
    found = PublicSet(questions={ANOMALY: asked})
    for line, row in enumerate(text.splitlines(), start=1):
        if not row.strip():
            continue
        name, *words = row.split()
        place = f"{path}:{line}"
        try:
            bounds = [int(word) for word in words[1:]]
        except ValueError:
            bounds = []
        if len(bounds) not in (2, 4):
            expected = "expected NAME CLASS and two or four numbers of frames"
            found.problems.append(Problem(place, f"{expected}, got {row[:60]!r}: it is left out"))
            continue
        camera = slug(Path(name).stem)
        spans = [span for span in zip(bounds[::2], bounds[1::2], strict=True) if span != (-1, -1)]
        wrong = [f"{start} {end}" for start, end in spans if not 0 <= start < end]
        if wrong:  # nor is then known that it is not so elsewhere
            words_of = f"expected stretches of frames, or -1 -1, got {', '.join(wrong)}"
            found.problems.append(Problem(place, f"{words_of}: this video is left out"))
            continue
        found.labels.append(Label(camera, ANOMALY, None, None, "no", place))
        for start, end in spans:
            start_s, end_s = start / UCF_FPS, end / UCF_FPS
            found.labels.append(Label(camera, ANOMALY, start_s, end_s, "yes", place))
    return found


Row = Mapping[str, Any]
Stretches = list[tuple[float, float, str]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question of a proactive set, and from when to when its answers are known."""

    words: str
    stretches: Stretches
    kind: str = "yes_no"


def _proactive(
    rows: Sequence[json_rows.Row], path: Path, reader: Callable[[Row], Sequence[_Asked]]
) -> PublicSet:
    found = PublicSet()
    for number, given in enumerate(rows, start=1):
        row: Row = given.value
        place = f"{path}:{given.line}"
        try:
            video = Path(str(row.get("video") or row["id"]))
            camera = slug(video.stem if video.suffix else video.name)
            all_asked = reader(row)
            questions = {
                f"proactive-{number}" + (f"-{step}" if len(all_asked) > 1 else ""): (
                    one,
                    QuestionSettings.model_validate(
                        {
                            "ask": one.words,
                            "kind": one.kind,
                            "every": EVERY_S,
                            "cooldown": 0.0,
                            "cameras": camera,
                        }
                    ),
                )
                for step, one in enumerate(all_asked, start=1)
            }
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            got = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
            words = f"expected a video, a question and times, got {got}: it is left out"
            found.problems.append(Problem(place, words))
            continue
        for question_id, (one, settings) in questions.items():
            found.questions[question_id] = settings
            found.labels.append(Label(camera, question_id, None, None, UNKNOWN, place))
            found.labels.extend(Label(camera, question_id, *each, place) for each in one.stretches)
    return found


def _ipibench(row: Row) -> Sequence[_Asked]:
    """Due times are known, and that nothing is due before them; what follows one is not."""
    asked = row["question"]
    text = str(asked if isinstance(asked, str) else asked[0]["text"])
    asked_s = 0.0 if isinstance(asked, str) else _seconds(asked[0].get("time", 0.0))
    due_s = sorted(_seconds(one["trigger_time"]) for one in row["answer"])
    if not due_s:
        raise KeyError("trigger_time")
    stretches: Stretches = []
    if due_s[0] - TOLERANCE_S > asked_s:
        stretches.append((asked_s, due_s[0] - TOLERANCE_S, "no"))
    for at_s, next_s in pairwise([*dict.fromkeys(due_s), math.inf]):
        stretches.append((at_s, min(at_s + 2 * TOLERANCE_S, next_s), "yes"))
    return [_Asked(text if text.rstrip().endswith("?") else _TELL + text, stretches)]


def _ovo_forward(row: Row) -> Sequence[_Asked]:
    """Say what is known at each test time.

    Of REC how often by then, of SSR whether a step is being done, of CRR whether it can be told.
    """
    tests: Sequence[Row] = row["test_info"]
    if not tests:
        raise KeyError("realtime")
    if "activity" in row:
        words = f"How many times did they {row['activity']}?"
        return [_Asked(words, _at_tests(tests, lambda one: str(_whole(one["count"]))), "count")]
    if "question" in row:
        words = f"Can this be answered from the video by now: {row['question']}"
        return [_Asked(words, _at_tests(tests, _yes_or_no))]
    steps: dict[str, list[Row]] = {}
    for one in tests:
        steps.setdefault(str(one["step"]), []).append(one)
    return [
        _Asked(f"Is somebody doing this step now: {step}", _at_tests(mine, _yes_or_no))
        for step, mine in steps.items()
    ]


def _at_tests(tests: Sequence[Row], value_of: Callable[[Row], str]) -> Stretches:
    """Give what is known around each test time, so far that the answer next to it is judged.

    Where two tests are near each other and alike, answers between them are judged, too.
    """
    reach_s = EVERY_S / 2 + EDGE_S
    told = sorted((_seconds(one["realtime"]), value_of(one)) for one in tests)
    times_s = [at_s for at_s, _ in told]
    middles_s = [(one_s + next_s) / 2 for one_s, next_s in pairwise(times_s)]
    return [
        (max(0.0, at_s - reach_s, from_s), min(at_s + reach_s, until_s), value)
        for (at_s, value), from_s, until_s in zip(
            told, [0.0, *middles_s], [*middles_s, math.inf], strict=True
        )
        if from_s < until_s  # none lies between tests at one time
    ]


def _yes_or_no(one: Row) -> str:
    return "yes" if _whole(one["type"]) else "no"


def _whole(given: object) -> int:
    """Read a number of things."""
    number = float(str(given))
    if not (number >= 0 and number.is_integer()):
        raise ValueError(f"{given} where a whole number belongs")
    return int(number)


def _seconds(given: object) -> float:
    """Read a time in seconds of the video."""
    at_s = float(str(given))
    if not (math.isfinite(at_s) and at_s >= 0):
        raise ValueError(f"{given} where seconds of the video belong")
    return at_s


_READERS: Mapping[str, Callable[[Row], Sequence[_Asked]]] = {
    "test_info": _ovo_forward,
    "answer": _ipibench,
}
