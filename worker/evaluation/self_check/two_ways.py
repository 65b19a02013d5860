"""A clip shown in two ways, as the model was trained and by the settings; answers compared."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import floor
from statistics import median

from model import Answer, Engine, Question
from model.kinds import kind_of
from model.kinds.base import Published
from pipeline.pruner import Pruner
from pipeline.questions import StandingQuestion
from pipeline.types import Frame
from worker.benchmarks.report import Progress, Row, at_least, at_most

EVERY_S = 5.0
MIN_MOMENTS = 2
MIN_AGREEMENT = 0.99
MAX_P_DIFFERENCE = 0.1
MAX_SHARE_APART = 0.01

_TOLERANCE_S = 0.1  # a frame's time stamp may be a little early


class Way:
    """An engine and a pruner that see a clip frame by frame."""

    def __init__(self, engine: Engine, pruner: Pruner) -> None:
        """Begin with nothing seen; a clip's frames must be of one camera."""
        self._engine = engine
        self._pruner = pruner
        self._stream_id = ""
        self.num_kept = 0
        self.num_tokens = 0

    def show(self, frame: Frame) -> None:
        """Show the next frame, or what the pruner keeps of it."""
        pruned = self._pruner.prune(frame)
        self._engine.append([pruned])
        self._pruner.sent(pruned)
        self._stream_id = frame.camera_id
        self.num_kept += pruned.num_kept
        self.num_tokens += frame.grid.num_tokens

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer about what was shown so far."""
        return self._engine.ask([(self._stream_id, question) for question in questions])

    def close(self) -> None:
        """Free what the engine holds of the clip."""
        self._engine.remove(self._stream_id)


@dataclass(frozen=True, slots=True)
class Pair:
    """One question at one moment, answered in both ways.

    Attributes:
        standing: the question.
        reference: the answer as the model was trained.
        in_effect: the answer by the settings in effect.
    """

    standing: StandingQuestion
    reference: Answer
    in_effect: Answer

    @property
    def is_counted(self) -> bool:
        """Whether the kind is scored: words that are decoded differ in ways that mean nothing."""
        return self.reference.mass is not None

    @property
    def is_answered(self) -> bool:
        """Whether one of both at least is published as an answer: two that are none say nothing."""
        both = (self.reference, self.in_effect)
        return any(self._published(one).reason != "no_answer" for one in both)

    @property
    def agrees(self) -> bool:
        """Whether both would be published as the same answer."""
        return self._published(self.reference).answer == self._published(self.in_effect).answer

    @property
    def p_difference(self) -> float | None:
        """How far apart the probabilities are that both give to what `reference` answers.

        None where the kind has none, or where one of both is published as no answer.
        """
        both = (self.reference, self.in_effect)
        if any(self._published(one).p is None for one in both):
            return None
        of_reference, of_other = (self._p_of_reference(one) for one in both)
        return abs(of_reference - of_other)

    def _p_of_reference(self, answer: Answer) -> float:
        """Return the probability that an answer gives to what `reference` answers."""
        value, options = self.reference.value, self.standing.question.options
        if answer.value == value or answer.kind == "yes_no":
            return answer.p or 0.0
        place = options.index(str(value)) if options else int(value)
        return answer.shares[place] if place < len(answer.shares) else 0.0

    def _published(self, answer: Answer) -> Published:
        return kind_of(answer.kind).published(answer, self.standing.doubt)


@dataclass(frozen=True, slots=True)
class Compared:
    """A clip's answers in both ways.

    Attributes:
        pairs: of every moment and question.
        num_moments: how often all questions were asked.
        num_tokens: visual tokens of the clip's frames, whole.
        kept_by_reference: how many of them were kept as the model was trained.
        kept_in_effect: how many of them were kept by the settings in effect.
    """

    pairs: Sequence[Pair]
    num_moments: int
    num_tokens: int
    kept_by_reference: int
    kept_in_effect: int


def moments(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Yield each frame, and whether it is the first of another five seconds of stream time."""
    last = 0
    for frame in frames:
        number = floor((frame.pts_s + _TOLERANCE_S) / EVERY_S)
        yield frame, number > last
        last = max(last, number)


def compare(
    frames: Iterable[Frame],
    questions: Sequence[StandingQuestion],
    *,
    reference: Way,
    in_effect: Way,
    num_moments: int,
    progress: Progress,
) -> Compared:
    """Show every frame in both ways and ask all questions at every fifth second.

    Args:
        frames: of one camera, in the order of their times.
        questions: what is asked.
        reference: shows the clip as the model was trained.
        in_effect: shows it by the settings in effect.
        num_moments: how many there will be, for whoever waits.
        progress: told of every moment.
    """
    pairs: list[Pair] = []
    asked, done = [one.question for one in questions], 0
    for frame, is_moment in moments(frames):
        for way in (reference, in_effect):
            way.show(frame)
        if not is_moment:
            continue
        answers = zip(questions, reference.ask(asked), in_effect.ask(asked), strict=True)
        pairs += [Pair(*answered) for answered in answers]
        done += 1
        progress(f"clip: {frame.pts_s:.0f} s, moment {done} of {num_moments}")
    for way in (reference, in_effect):
        way.close()
    return Compared(pairs, done, reference.num_tokens, reference.num_kept, in_effect.num_kept)


def compared_rows(compared: Compared, *, min_mass: float) -> list[Row]:
    """Return the figures: those of all counted answers have targets, those of a question none."""
    scored = [pair for pair in compared.pairs if pair.is_counted]
    counted = [pair for pair in scored if pair.is_answered]
    apart = _differences(counted)
    masses = [mass for pair in scored if (mass := pair.in_effect.mass) is not None]
    rows = [
        at_least(
            "clip_mass_median",
            median(masses),
            min_mass,
            unit="probability",
            terms={"least": min(masses), "answers": len(masses)},
        ),
        _agreement(counted, num_left_out=len(scored) - len(counted)),
    ]
    if apart:
        rows += [
            at_most(
                f"p_differences_above_{MAX_P_DIFFERENCE:g}",
                _num_apart(apart) / len(apart),
                MAX_SHARE_APART,
                terms={"above": _num_apart(apart), "compared": len(apart)},
            ),
            Row("largest_p_difference", max(apart), "probability"),
        ]
    rows += [
        _kept("tokens_kept_by_reference", compared.kept_by_reference, compared.num_tokens),
        _kept("tokens_kept_in_effect", compared.kept_in_effect, compared.num_tokens),
    ]
    return rows + list(_rows_by_question(compared.pairs))


def _agreement(pairs: Sequence[Pair], *, num_left_out: int) -> Row:
    name = "agreement_with_reference"
    if not pairs:
        return Row(name, None, "neither way answers", terms={"unanswered": num_left_out})
    num_agree = sum(pair.agrees for pair in pairs)
    terms = {"agree": num_agree, "answers": len(pairs), "unanswered": num_left_out}
    return at_least(name, num_agree / len(pairs), MIN_AGREEMENT, terms=terms)


def _rows_by_question(pairs: Sequence[Pair]) -> Iterator[Row]:
    for question_id in dict.fromkeys(pair.standing.id for pair in pairs):
        mine = [pair for pair in pairs if pair.standing.id == question_id]
        num_agree = sum(pair.agrees for pair in mine)
        terms: dict[str, float] = {"agree": num_agree, "answers": len(mine)}
        if apart := _differences(mine):
            terms["largest_p_difference"] = max(apart)
            terms[f"above_{MAX_P_DIFFERENCE:g}"] = _num_apart(apart)
        unit = "ratio" if mine[0].is_counted else "ratio, not counted"
        yield Row(f"{question_id}_agreement", num_agree / len(mine), unit, terms=terms)


def _differences(pairs: Iterable[Pair]) -> list[float]:
    return [apart for pair in pairs if (apart := pair.p_difference) is not None]


def _num_apart(differences: Iterable[float]) -> int:
    return sum(apart > MAX_P_DIFFERENCE for apart in differences)


def _kept(name: str, num_kept: int, num_tokens: int) -> Row:
    terms = {"tokens_kept": num_kept, "tokens": num_tokens}
    return Row(name, num_kept / num_tokens, "ratio", terms=terms)
