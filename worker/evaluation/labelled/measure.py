"""Labels and clips in, a report out: everything is played through the whole worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model import Engine
from model.training.labels import UNKNOWN, Label, Problem, read_labels, told
from model.videollama3.grid import pin_grid
from pipeline.clock import Clock, SystemClock
from pipeline.errors import ConfigError
from pipeline.events import EventRule
from worker import environment, log
from worker.benchmarks.report import Progress
from worker.evaluation.labelled.footage import (
    Clip,
    began_at,
    find_clips,
    questions_of,
    refuse_unreadable,
    settings_for,
)
from worker.evaluation.labelled.judging import Asked, Judged
from worker.evaluation.labelled.playing import Played, WayName, engine_for, play
from worker.evaluation.labelled.public_sets import read_public_set
from worker.evaluation.labelled.report import Report
from worker.evaluation.labelled.suggestions import suggest
from worker.evaluation.labelled.truth import Truth, Truths, beyond, truths_of
from worker.evaluation.labelled.ways import Run, read_ways, settings_of
from worker.evaluation.labelled.wordings import Wording, ranked, variants
from worker.loading import load_engine, try_questions
from worker.questions import standing_questions
from worker.settings import Settings
from worker.site_settings import QuestionSettings

Questions = dict[str, QuestionSettings]
FEWEST_FRAMES = 0.9  # of those that sampling takes of a clip; with fewer its rate is told


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to know.

    Attributes:
        folder: the model.
        video: a clip, or a folder of clips.
        labels: a file of labels, or a folder of such files.
        camera: what all clips are of; empty where it is not told.
        began: when the only clip began, RFC 3339; empty where it is not told.
        asks: further wordings.
        compare: ways, separated by commas.
    """

    folder: str
    video: Path
    labels: Path
    camera: str = ""
    began: str = ""
    asks: Sequence[str] = ()
    compare: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A report, and what a page about it needs: the settings and the clips' labels."""

    report: Report
    settings: Settings


def measure(wanted: Wanted, *, progress: Progress) -> Found:
    """Play the clips by the settings in effect and in the ways to compare; judge by the labels.

    Raises:
        ConfigError: a setting or an option is wrong, there is no clip, or no label can be used.
        DataError: a file of labels cannot be read.
        CheckpointError: the model's folder is not usable.
    """
    ways = read_ways(wanted.compare)
    began = began_at(wanted.began)
    brought = read_public_set(wanted.labels) if wanted.labels.is_file() else None
    if brought is None:
        labels, problems = read_labels(wanted.labels)
    else:
        labels, problems = brought.labels, [*brought.problems]
    settings = _settings(wanted.folder)
    if brought is not None:  # a question of the settings wins over the set's of the same id
        asked = {**brought.questions, **settings.questions}
        settings = settings.model_copy(update={"questions": asked})
    settings = _with_asks(settings, wanted.asks, labels)
    named = {label.camera for label in labels if label.camera}
    clips = find_clips(wanted.video, camera=wanted.camera, began=began, labelled=named)
    truths = truths_of(labels, clips, settings.questions)
    problems += _told(truths.problems, is_part=brought is not None)
    if brought is not None:  # a set has videos for training too
        clips = [one for one in clips if any(name == one.name for name, _ in truths.of)]
    if not truths.of:
        reasons = "".join(f"\n{one}" for one in told(problems))
        words = f"expected labels of the clips in {wanted.labels}, found none"
        raise ConfigError(f"eval: --labels: {words}{reasons}")
    grid_of = partial(pin_grid, max_tokens=settings.model.max_tokens_per_frame)
    refuse_unreadable(clips, grid_of=grid_of)
    others = variants(settings.questions, wanted.asks, labelled=truths.question_ids)
    log.configure(level="error", style="console", secrets=environment.secrets_of(settings))
    engine = load_engine(settings)
    asked = {**settings.questions, **{key: one for key, (_, one) in others.items()}}
    settings = settings.model_copy(update={"questions": asked})
    try_questions(engine, settings)
    plays = _Plays(engine, clips, clock=SystemClock(), progress=progress)
    played = plays.of(settings, "")
    run = Run("", played, _judged(settings, played, truths, known=others))
    compared = []
    for way in ways:
        chosen = settings_of(settings, way)
        again = played if chosen == settings and way != "last4" else plays.of(chosen, way)
        compared.append(Run(way, again, _judged(chosen, again, truths, known=others)))
    problems += [one for each in played for one in beyond(truths, each.clip, until_s=each.until_s)]
    problems += [Problem(one.clip.path.name, one.trouble) for one in played if one.trouble]
    progress("choosing settings")
    report = Report(
        run=run,
        compared=compared,
        wordings=_wordings(settings, run, truths, others),
        suggestions={key: suggest(one) for key, one in run.judged.items()},
        problems=problems,
        notes=_notes(settings, engine, run, truths),
    )
    return Found(report, settings)


def _told(problems: Sequence[Problem], *, is_part: bool) -> list[Problem]:
    """Return what is to be told: of a set's videos that are not here, how many they are."""
    if not is_part or not problems:
        return [*problems]
    words = f"{len(problems)} rows cannot be used, or their videos are not here; the first: "
    return [Problem(problems[0].place, words + problems[0].words)]


class _Plays:
    """Plays all clips by some settings, on weights that are loaded once."""

    def __init__(
        self, engine: Engine, clips: Sequence[Clip], *, clock: Clock, progress: Progress
    ) -> None:
        self._engine = engine
        self._clips = clips
        self._clock = clock
        self._progress = progress

    def of(self, settings: Settings, way: WayName | str) -> list[Played]:
        played = []
        for number, clip in enumerate(self._clips, start=1):
            words = f" by {way}" if way else ""
            self._progress(f"clip {number} of {len(self._clips)}{words}: {clip.path.name}")
            mine = settings_for(settings, clip, questions=questions_of(settings, clip))
            kind: WayName = "last4" if way == "last4" else settings.fidelity
            engine = engine_for(self._engine, mine, kind)
            played.append(play(mine, clip, engine, clock=self._clock, progress=self._progress))
        return played


def _settings(folder: str) -> Settings:
    settings = environment.load()
    model = settings.model.model_copy(update={"path": folder})
    return settings.model_copy(update={"model": model})


def _with_asks(settings: Settings, asks: Sequence[str], labels: Sequence[Label]) -> Settings:
    """Take the first wording of a labelled question as the question, where there is none."""
    labelled = list(dict.fromkeys(label.question for label in labels))
    made: Questions = {}
    for text in asks:
        named, found, words = text.partition("=")
        question_id = named.strip().lower()
        if not found or question_id not in labelled:
            question_id, words = labelled[0] if len(labelled) == 1 else "", text
        if question_id and question_id not in settings.questions and words.strip():
            made.setdefault(question_id, QuestionSettings(ask=words.strip()))
    return settings.model_copy(update={"questions": {**settings.questions, **made}})


def asked_of(settings: Settings, question_id: str) -> Asked:
    """Return a question as it is asked, with the rule its events would have."""
    question = settings.questions[question_id]
    events = question.model_copy(update={"events": True})
    alone = settings.model_copy(update={"questions": {question_id: events}})
    standing = standing_questions(alone)[-1]
    return Asked(
        question_id,
        question.ask,
        question.kind,
        standing.rule.target if standing.rule else None,
        standing.rule or EventRule(),
        standing.doubt,
        every_s=max(standing.every_s, 1.0 / settings.sample_fps),
        has_events=question.events,
    )


def _truths(truths: Truths, question_id: str) -> Mapping[str, Truth]:
    return {name: truth for (name, mine), truth in truths.of.items() if mine == question_id}


def _judged(
    settings: Settings,
    played: Sequence[Played],
    truths: Truths,
    *,
    known: Mapping[str, object],
) -> dict[str, Judged]:
    return {
        question_id: Judged(asked_of(settings, question_id), played, _truths(truths, question_id))
        for question_id in truths.question_ids
        if question_id not in known
    }


def _wordings(
    settings: Settings,
    run: Run,
    truths: Truths,
    others: Mapping[str, tuple[str, QuestionSettings]],
) -> dict[str, list[Wording]]:
    found: dict[str, list[Wording]] = {}
    for variant_id, (question_id, _) in others.items():
        if question_id not in found:
            present = run.judged[question_id]
            found[question_id] = [Wording(question_id, present, suggest(present), is_present=True)]
        asked = asked_of(settings, variant_id)
        judged = Judged(asked, run.played, _truths(truths, question_id), as_id=variant_id)
        prefix = f"VIGIL_QUESTIONS__{question_id.upper()}__"
        suggestion = suggest(judged, prefix=prefix)
        found[question_id].append(Wording(variant_id, judged, suggestion, is_present=False))
    return {question_id: ranked(mine, question_id) for question_id, mine in found.items()}


def _notes(settings: Settings, engine: Engine, run: Run, truths: Truths) -> list[str]:
    notes = []
    if engine.is_demo_model:
        notes.append("a demo model: what it is worth on a real camera is nothing")
    if strange := sorted({one.clip.camera for one in run.played} - set(settings.cameras)):
        names = ", ".join(strange)
        notes.append(f"no camera {names} is configured: no PRIVATE, IGNORE or ROTATE is applied")
    for one in run.played:
        name, expected = one.clip.path.name, one.until_s * settings.sample_fps
        if one.num_frames < FEWEST_FRAMES * expected:
            period_s = one.until_s / one.num_frames
            notes.append(
                f"{name}: a picture every {period_s:.1f} s, where {settings.sample_fps:g} a second "
                "are sampled: answers are rarer, and events later, than on the camera"
            )
        asked = {said.question_id for said in one.answers}
        labelled = {question_id for clip, question_id in truths.of if clip == one.clip.name}
        if missing := sorted(set(truths.question_ids) - labelled):
            notes.append(f"{name}: no labels of {', '.join(missing)}: not judged there")
        if unasked := sorted(labelled - asked):
            notes.append(f"{name}: {', '.join(unasked)}: labelled, but not asked of this camera")
    for question_id in truths.question_ids:
        rests = {truth.rest for truth in _truths(truths, question_id).values()} - {UNKNOWN}
        notes += [f"{question_id}: what no row speaks of counts as {one}" for one in sorted(rests)]
    return notes
