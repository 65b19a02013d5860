"""The self-check: does the model answer, and do the settings leave its answers as they are?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from model import Engine, Question
from model.errors import AdmissionError, DeviceMemoryError
from model.kinds import CAPTION, kind_of
from model.kinds.base import Doubt
from model.kinds.text import Text
from model.videollama3.grid import pin_grid
from model.videollama3.hub import find
from pipeline.errors import ConfigError, SourceError
from pipeline.questions import StandingQuestion
from pipeline.recorded import sampled
from pipeline.types import Frame
from worker.benchmarks.report import Progress, Row, as_document, as_table
from worker.evaluation.self_check.first_logits import MAX_FRAMES, NAME, first_frames, logits_row
from worker.evaluation.self_check.operating_point import at_point, what_to_change
from worker.evaluation.self_check.plain_pictures import ask_about_plain_pictures, plain_rows
from worker.evaluation.self_check.two_ways import (
    EVERY_S,
    MAX_P_DIFFERENCE,
    MIN_AGREEMENT,
    MIN_MOMENTS,
    Way,
    compare,
    compared_rows,
    moments,
)
from worker.loading import engine_config, num_inference_threads
from worker.questions import standing_questions
from worker.settings import Settings
from worker.wiring import new_pruner

BUILT_IN = {
    "moving": Question("yes_no", "Is anything moving?"),
    "person": Question("yes_no", "Is a person in view?"),
    "people": Question("count", "How many people are there?"),
    "daylight": Question("choice", "Is it day or night?", ("day", "night")),
}
"""What is asked about a clip where no question with a counted answer is configured."""

_MASSES = ("plain_mass_median", "clip_mass_median")


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """What was found.

    Attributes:
        rows: the figures.
        notes: what to know of them, a line each.
        verdict: what follows from them, and what to change.
    """

    rows: Sequence[Row]
    notes: Sequence[str]
    verdict: str

    @property
    def status(self) -> int:
        """The process's exit status: 1 where a target is missed."""
        return int(any(row.holds is False for row in self.rows))

    def text(self, *, command: str, as_json: bool) -> str:
        """Write it as a table for people or as one JSON document."""
        if as_json:
            said = {"notes": list(self.notes), "verdict": self.verdict}
            return as_document(self.rows, what="check", command=command, said=said)
        table = as_table(self.rows)
        return "\n".join([table, "", *(f"note: {one}" for one in self.notes), self.verdict])


def moments_of(clip: Path, settings: Settings) -> int:
    """Count a clip's moments, before a model is loaded for it.

    Raises:
        ConfigError: there is no such file, it is no video, or it is too short.
    """
    if not clip.is_file():
        raise ConfigError(f"check: --clip: expected a video file at {clip}, found none")
    found = sum(is_moment for _, is_moment in moments(_frames(clip, settings)))
    if found < MIN_MOMENTS:
        raise ConfigError(
            f"check: --clip: expected a video with {MIN_MOMENTS} moments at least, one every "
            f"{EVERY_S:g} s; {clip} has {found}"
        )
    return found


def check(
    engine: Engine, settings: Settings, clip: Path, *, num_moments: int, progress: Progress
) -> SelfCheck:
    """Measure on a loaded model; the weights are used by both ways of showing the clip.

    Args:
        engine: loaded by the settings in effect.
        settings: those in effect.
        clip: of the camera whose answers are to be believed.
        num_moments: what `moments_of` found.
        progress: told of what is done.

    Raises:
        ConfigError: the clip ends in damage, or the model has no room for it.
    """
    threads = num_inference_threads(settings.model.threads, is_on_cpu=engine.is_on_cpu)
    torch.set_num_threads(threads)  # as the worker computes
    as_trained = at_point(settings, "reference")
    trained_engine = Engine(
        engine.family, model_name=engine.model_name, config=engine_config(as_trained)
    )
    questions, is_built_in = _questions(settings)
    min_mass = settings.model.min_mass
    try:
        asked = ask_about_plain_pictures(
            engine, max_tokens_per_frame=settings.model.max_tokens_per_frame, progress=progress
        )
        compared = compare(
            _frames(clip, settings),
            questions,
            reference=Way(trained_engine, new_pruner(as_trained)),
            in_effect=Way(engine, new_pruner(settings)),
            num_moments=num_moments,
            progress=progress,
        )
        progress("first logits beside transformers")
        logits = _logits(trained_engine, as_trained, clip, questions)
    except (AdmissionError, DeviceMemoryError) as error:
        raise ConfigError(f"check: expected room for two streams: {error}") from error
    rows = [
        *plain_rows(asked, min_mass=min_mass),
        *compared_rows(compared, min_mass=min_mass),
        logits,
    ]
    notes = _notes(engine, settings, is_built_in=is_built_in)
    return SelfCheck(rows, [*notes, *_notes_on(rows, engine)], _verdict(rows, settings))


def _frames(clip: Path, settings: Settings) -> Iterator[Frame]:
    grid_of = partial(pin_grid, max_tokens=settings.model.max_tokens_per_frame)
    try:
        yield from sampled(clip, grid_of=grid_of, period_s=1.0 / settings.sample_fps)
    except SourceError as error:
        raise ConfigError(f"check: --clip: {clip}: {error}") from error


def _questions(settings: Settings) -> tuple[list[StandingQuestion], bool]:
    """Return the questions but the caption; say whether built-in ones had to be added."""
    configured = [one for one in standing_questions(settings) if one.question.kind != CAPTION]
    if any(_is_scored(one.question) for one in configured):
        return configured, False
    doubt = Doubt(min_mass=settings.model.min_mass)
    built_in = [
        StandingQuestion(f"built-in-{key}", question, EVERY_S, doubt=doubt)
        for key, question in BUILT_IN.items()
    ]
    return [*configured, *built_in], True


def _logits(
    engine: Engine, settings: Settings, clip: Path, questions: Sequence[StandingQuestion]
) -> Row:
    period_s = 1.0 / settings.sample_fps
    frames = first_frames(
        list(islice(_frames(clip, settings), MAX_FRAMES)),
        window_periods=int(settings.window / period_s),
        max_context_tokens=settings.model.max_context_tokens,
    )
    return logits_row(
        engine,
        new_pruner(settings),
        frames,
        next(one.question for one in questions if _is_scored(one.question)),
        period_s=period_s,
        folder=find(settings.model.path, revision=settings.model.revision or None).folder,
    )


def _notes(engine: Engine, settings: Settings, *, is_built_in: bool) -> Iterator[str]:
    if is_built_in:
        yield "no question with a counted answer is configured: built-in ones were asked"
    if any(not _is_scored(one) for one in _asked(settings)):
        yield "of text and when it is shown how often the words are equal, and not counted"
    if engine.is_demo_model:
        yield "a demo model: its answers about plain pictures say nothing of it"
    if note := at_point(settings, "reference").window_note():
        yield f"reference sees a {note}"


def _notes_on(rows: Sequence[Row], engine: Engine) -> Iterator[str]:
    by_name = {row.name: row for row in rows}
    right = [row for row in rows if row.name.startswith("plain_") and "right" in row.terms]
    if not engine.is_demo_model and any((row.value or 0.0) < 0.5 for row in right):
        yield (
            "many answers about plain pictures are wrong: a trained VideoLLaMA3 is expected to "
            "know colours"
        )
    if by_name[NAME].terms.get("same_token") == 0:
        yield (
            "the likeliest first token is another than transformers': where the difference of the "
            "logits is large, report it"
        )


def _verdict(rows: Sequence[Row], settings: Settings) -> str:
    by_name = {row.name: row for row in rows}
    if mute := [by_name[name] for name in _MASSES if by_name[name].holds is False]:
        masses = ", ".join(f"{row.name} {row.value:.2g}" for row in mute)
        return (
            f"FAILED: the model does not answer ({masses}; {settings.model.min_mass:g} at least). "
            "Name trained VideoLLaMA3 weights in VIGIL_MODEL__PATH, with the tokenizer and, if "
            "they were trained on other prompts than VideoLLaMA3's, the vigil.json that belong to "
            "them"
        )
    agreement = by_name["agreement_with_reference"]
    above = by_name.get(f"p_differences_above_{MAX_P_DIFFERENCE:g}")
    share = above.value if above is not None and above.value is not None else 0.0
    figures = (
        f"they agree with reference in {agreement.value:.1%} of {agreement.terms['answers']:g} "
        f"answers ({MIN_AGREEMENT:.0%} at least) and differ in p by more than "
        f"{MAX_P_DIFFERENCE:g} in {share:.1%}"
    )
    if any(row.holds is False for row in rows):
        return (
            f"FAILED: the settings change what the model answers: {figures}. To change: "
            f"{what_to_change(settings)}"
        )
    return f"OK: the model answers, and the settings in effect leave its answers alone: {figures}"


def _asked(settings: Settings) -> list[Question]:
    asked = [one.question for one in standing_questions(settings)]
    return [one for one in asked if one.kind != CAPTION]


def _is_scored(question: Question) -> bool:
    """Say whether a kind's answers have a probability and so are counted."""
    return not isinstance(kind_of(question.kind), Text)
