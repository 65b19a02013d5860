"""`vigil eval --video --labels` beside `vigil eval`: `python -m tests.benchmarks labels`.

Held-out rendered cameras are labelled by their truth, second by second, and measured by the command
that users have. Beside its figures stand those that `vigil eval` has of the same cameras, which
knows their scenes and reads the worker's messages from Redis. What is suggested is measured twice:
by nano with sound settings, and with its probabilities squeezed to where the defaults are wrong.
"""

import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from model import Engine
from model.bundled import NANO
from model.engine.around import AroundEngine
from model.evaluation.scores import Judged
from model.scenes import Scene
from model.scenes.topics import TOPICS
from model.scenes.witness import Witness
from model.training.labels import UNKNOWN, as_csv
from model.training.rendered import FIRST_HELD_OUT_SEED
from model.types import Answer, Question
from pipeline.publishers.stream import replies
from tests.benchmarks.own_camera import stretches
from worker import log
from worker.__main__ import main
from worker.benchmarks.report import Progress, Row
from worker.demo.embedded_redis import embedded_redis
from worker.evaluation import end_to_end
from worker.evaluation.end_to_end import ASKED, EVENTS, Filmed, question_id
from worker.evaluation.events import Matched, total
from worker.evaluation.labelled import measure as labelled
from worker.evaluation.labelled import scores
from worker.evaluation.labelled.playing import WayName, engine_for
from worker.settings import Settings

PAST = (" has ", " put down")  # topics whose answer the window decides, which no label knows
TOLD = tuple(topic for topic in ASKED if not any(one in topic for one in PAST))
MAX_APART = 0.02
MAX_LOSS = 0.01
MIN_GAIN = 0.2
SQUEEZED = (0.2, 0.55)  # the probability of what is certainly not so, and certainly so
EVERY_SECOND = "VIGIL_MODEL__MAX_TOKENS_PER_FRAME=72\nVIGIL_WINDOW=30s\n" + "".join(
    f"VIGIL_QUESTIONS__{question_id(topic).upper()}__{line}\n"
    for topic in EVENTS
    for line in (f"ASK={ASKED[topic]}", "EVERY=1s", "COOLDOWN=0s")
)

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is filmed: so many cameras, of so many seconds each."""

    num_cameras: int
    duration_s: float


FULL = Size(5, 150.0)


@dataclass(frozen=True, slots=True)
class Own:
    """What `vigil eval` finds: each topic's answers, and its events."""

    answers: Mapping[str, Sequence[Judged]]
    events: Mapping[str, Matched]


class Squeezed(AroundEngine[Engine | AroundEngine[Any]]):
    """An engine whose probabilities lie between two values, in the same order."""

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        low, high = SQUEEZED
        return [
            replace(one, p=p, value="yes" if p >= 0.5 else "no")
            for one in self._engine.ask(asks)
            for p in (low + (high - low) * (one.p or 0.0),)
        ]


def measure(progress: Progress, size: Size = FULL) -> list[Row]:
    """Film, label and measure in both ways; then see what suggestions are worth."""
    with tempfile.TemporaryDirectory(prefix="vigil-labels-") as made:
        return rows_of(Path(made), film(Path(made), size, progress=progress), progress)


def rows_of(folder: Path, filmed: Sequence[Filmed], progress: Progress) -> list[Row]:
    """Measure what `film` made."""
    log.configure(level="error", style="console")
    own = own_figures(filmed, progress)
    by_labels = measured(folder, "as-eval.env", progress)
    defaults = measured(folder, "defaults.env", progress)
    with mock.patch.object(labelled, "engine_for", _squeezed):
        wrong = measured(folder, "defaults.env", progress)
        lines = "".join(f"{line}\n" for line in wrong["settings"])
        (folder / "suggested.env").write_text(EVERY_SECOND + lines, encoding="utf-8")
        again = measured(folder, "suggested.env", progress)
    return [
        *beside(by_labels, own),
        *(row for topic in EVENTS for row in suggested(topic, defaults, wrong, again)),
    ]


def film(folder: Path, size: Size, *, progress: Progress) -> list[Filmed]:
    """Write videos, `labels.csv` and settings: those of `vigil eval`, and defaults."""
    scenes = end_to_end.chosen(
        FIRST_HELD_OUT_SEED, number=size.num_cameras, duration_s=size.duration_s
    )
    filmed = []
    for number, scene in enumerate(scenes):
        progress(f"rendering camera {number + 1} of {len(scenes)}")
        filmed.append(end_to_end.film(scene, folder, camera_id=f"scene-{number}"))
    labels = [label for one in filmed for label in _labels(one)]
    (folder / "labels.csv").write_text(as_csv(labels), encoding="utf-8")
    kept = {"VIGIL_MODEL__MAX_TOKENS_PER_FRAME": "72", "VIGIL_WINDOW": f"{end_to_end.WINDOW_S:g}s"}
    variables = kept | end_to_end.question_variables()
    text = "".join(f"{name}={value}\n" for name, value in variables.items())
    (folder / "as-eval.env").write_text(text, encoding="utf-8")
    (folder / "defaults.env").write_text(EVERY_SECOND, encoding="utf-8")
    return filmed


def _labels(filmed: Filmed) -> Iterator[Any]:
    """Yield what is true of a camera, by the same truth that `vigil eval` judges by."""
    for topic in TOLD:
        seconds = np.arange(0.0, filmed.scene.duration_s).tolist()
        told = [_truth(filmed.scene, topic, second) for second in seconds]
        yield from stretches(filmed.camera_id, question_id(topic), told)


def _truth(scene: Scene, topic: str, t_s: float) -> str:
    found = TOPICS[topic](Witness(scene, 0.0, t_s), np.random.default_rng(0))
    return UNKNOWN if not found else "yes" if found[0][1] else "no"


def own_figures(filmed: Sequence[Filmed], progress: Progress) -> Own:
    """Play the videos and judge the messages as `vigil eval` does, at every answer."""
    answers: dict[str, list[Judged]] = {topic: [] for topic in TOLD}
    events: dict[str, list[Matched]] = {topic: [] for topic in EVENTS}
    with embedded_redis() as redis_url:
        for one in filmed:
            progress(f"as vigil eval measures: {one.path.name}")
            settings = end_to_end.settings_for(str(NANO), [one], redis_url=redis_url)
            end_to_end.play(settings, num_frames=len(one.pictures), progress=progress)
            said = replies(redis_url, one.camera_id, "answer")
            told = replies(redis_url, one.camera_id, "event")
            for judged in end_to_end.judged_answers(one.scene, said, every_s=1.0):
                answers.setdefault(judged.topic, []).append(judged)
            began_at = said[0]["data"]["captured_at"] if said else None
            for topic, mine in events.items():
                mine.append(end_to_end.matched(topic, one.scene, told, began_at=began_at))
    return Own(answers, {topic: total(mine) for topic, mine in events.items()})


def measured(folder: Path, env: str, progress: Progress) -> Document:
    """Do what a user does: `vigil eval nano --video FOLDER --labels FILE --env FILE --json`."""
    given = f"--video {folder} --labels {folder / 'labels.csv'} --env {folder / env}"
    words = f"eval {NANO} {given} --json"
    progress(f"vigil {words}")
    with redirect_stdout(io.StringIO()) as said:
        status = main(words.split())
    if status:
        raise RuntimeError(f"vigil {words}: expected exit status 0, got {status}")
    document: Document = json.loads(said.getvalue())
    return document


def beside(by_labels: Document, own: Own) -> Iterator[Row]:
    """Yield the figures by labels, `vigil eval`'s own as what is aimed at."""
    rows = {row["name"]: row for row in by_labels["rows"]}
    for topic in TOLD:
        said = np.asarray([one.said == "yes" for one in own.answers[topic]], dtype=np.bool_)
        is_true = np.asarray([one.expected == "yes" for one in own.answers[topic]], dtype=np.bool_)
        for what, of in (("precision", scores.precision), ("recall", scores.recall)):
            row = rows[f"{question_id(topic)}_answers_{what}"]
            yield _apart(row, of(said, is_true), {"own_answers": len(said)})
    for topic in EVENTS:
        mine = own.events[topic]
        counts = {"own_found": mine.num_found, "own_starts": mine.num_starts}
        yield _apart(rows[f"{question_id(topic)}_events_precision"], mine.precision, counts)
        counts = {"own_found": mine.num_found, "own_spans": mine.num_spans}
        yield _apart(rows[f"{question_id(topic)}_events_recall"], mine.recall, counts)


def _apart(row: Mapping[str, Any], own: float | None, counts: Mapping[str, float]) -> Row:
    """Give a figure by labels with the other one, and whether they are the same but for noise."""
    value, terms = row["value"], {**row["terms"], **counts}
    if value is None or own is None:
        holds = None if value is own else False
        return Row(row["name"], value, row["unit"], own, holds, terms)
    return Row(row["name"], value, row["unit"], own, abs(value - own) <= MAX_APART, terms)


def suggested(topic: str, defaults: Document, wrong: Document, again: Document) -> Iterator[Row]:
    """Yield what suggestions gave on other blocks of time, and what their lines gave at last."""
    name = question_id(topic)
    for prefix, document, gain in (("", defaults, -MAX_LOSS), ("squeezed_", wrong, MIN_GAIN)):
        found = document["suggestions"][name]
        present, value = found["present_f1"], found["suggested_f1"]
        row = f"{prefix}{name}_suggested_events_f1"
        if value is None or present is None:
            yield Row(row, value, f"ratio: {found['why']}")
        else:
            target = present + gain
            yield Row(row, value, "ratio", target, value >= target, {"at_present": present})
    by_lines = {row["name"]: row for row in again["rows"]}[f"{name}_events_f1"]
    value, row = by_lines["value"], f"squeezed_{name}_events_f1_by_its_lines"
    if wrong["suggestions"][name]["lines"]:
        target = (wrong["suggestions"][name]["present_f1"] or 0.0) + MIN_GAIN
        yield Row(row, value, by_lines["unit"], target, (value or 0.0) >= target)
    else:
        yield Row(row, value, by_lines["unit"])


def _squeezed(loaded: Engine, settings: Settings, way: WayName) -> Squeezed:
    return Squeezed(engine_for(loaded, settings, way))
