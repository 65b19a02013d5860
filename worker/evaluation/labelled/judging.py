"""One question's answers and events beside the truth, over all clips that have labels of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from model.kinds import kind_of
from model.kinds.base import Doubt, Target
from model.training.labels import UNKNOWN
from pipeline.events import EventRule
from worker.evaluation.events import (
    Matched,
    Outcome,
    Span,
    Start,
    counted,
    joined,
    outcomes,
)
from worker.evaluation.labelled import scores
from worker.evaluation.labelled.confidence import (
    MIN_BLOCKS,
    Figure,
    Indices,
    block_s_of,
    by_block,
    share,
    with_interval,
)
from worker.evaluation.labelled.playing import Played, Said
from worker.evaluation.labelled.truth import Truth, holds

FEW_SPANS = 5
FRAMES_A_SECOND = 10  # to a tenth of a second; answers are a second apart at the least
NEVER_SO = "it is never so in the labels"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was asked.

    Attributes:
        question_id: of the labels.
        words: that the model was asked.
        kind: of the answer.
        target: what its event is about; None where it has none.
        rule: when answers become an event, by the present settings.
        doubt: when an answer is `unknown`.
        every_s: how often it was asked.
        has_events: whether the settings publish events of it.
    """

    question_id: str
    words: str
    kind: str
    target: Target | None
    rule: EventRule
    doubt: Doubt
    every_s: float
    has_events: bool = True


@dataclass(frozen=True, slots=True)
class Moment:
    """One answer with the truth of its moment.

    Attributes:
        clip: the clip's name.
        t_s: of the frame, in seconds of the clip.
        said: the published answer.
        p: the probability of what the event is about, in doubt or not; None where the model did
            not answer.
        reason: why it is `unknown`.
        value: the right answer; `unknown` where nobody can tell.
    """

    clip: str
    t_s: float
    said: str
    p: float | None
    reason: str | None
    value: str


@dataclass(frozen=True, slots=True)
class Placed:
    """A clip's stretches, events and what became of them.

    Attributes:
        clip: the clip's name.
        until_s: how long it lasts.
        spans: in which what the event is about holds.
        due: the same, those joined that are too close together to be two events.
        open: in which nobody can tell.
        found: what became of events and stretches.
    """

    clip: str
    until_s: float
    spans: tuple[tuple[float, float], ...]
    due: tuple[Span, ...]
    open: tuple[tuple[float, float], ...]
    found: tuple[Outcome, ...]


class Judged:
    """A question's figures."""

    def __init__(
        self,
        asked: Asked,
        played: Sequence[Played],
        truths: Mapping[str, Truth],
        *,
        as_id: str | None = None,
    ) -> None:
        """Judge answers.

        Args:
            asked: the question.
            played: all clips.
            truths: the labels' answers, by clip's name.
            as_id: what it was called while it was asked, where that is another id than the labels'.
        """
        self.asked = asked
        self.played = [one for one in played if one.clip.name in truths]
        self.truths = truths
        mine = as_id or asked.question_id
        self.moments = [
            self._moment(one.clip.name, said, truths[one.clip.name])
            for one in self.played
            for said in one.answers
            if said.question_id == mine
        ]
        self.known = [one for one in self.moments if one.value != UNKNOWN]
        self.places = [self._placed(one, mine) for one in self.played]

    def _moment(self, clip: str, said: Said, truth: Truth) -> Moment:
        asked, p = self.asked, None
        kind = kind_of(asked.kind)
        if said.raw is not None and asked.target is not None:
            is_answer = kind.published(said.raw, asked.doubt).reason != "no_answer"
            p = kind.event_p(said.raw, asked.target) if is_answer else None
        value = truth.judged_at(said.t_s)
        return Moment(clip, said.t_s, str(said.answer), p, said.reason, value)

    def _placed(self, played: Played, question_id: str) -> Placed:
        truth, target = self.truths[played.clip.name], self.asked.target
        if target is None:
            return Placed(played.clip.name, played.until_s, (), (), (), ())
        events = [one for one in played.events if one.question_id == question_id]
        starts = [Start(one.start_s, one.announced_s) for one in events]
        spans = truth.spans(target, until_s=played.until_s)
        found = became(starts, truth, spans=spans, rule=self.asked.rule, every_s=self.asked.every_s)
        is_open = truth.open(until_s=played.until_s)
        due = joined(spans, gap_s=self.asked.rule.confirm_m * self.asked.every_s)
        return Placed(
            played.clip.name,
            played.until_s,
            tuple(spans),
            tuple(due),
            tuple(is_open),
            tuple(found),
        )

    @property
    def total_s(self) -> float:
        """Seconds of video with labels."""
        return sum(one.until_s for one in self.played)

    @cached_property
    def events(self) -> Matched:
        """How events fit the truth."""
        return counted(one for place in self.places for one in place.found)

    @cached_property
    def scored(self) -> tuple[scores.Probabilities, scores.Flags, list[Indices]]:
        """Probabilities, the truth beside them, and the blocks of time they lie in."""
        target = self.asked.target
        mine = [one for one in self.known if one.p is not None] if target is not None else []
        p = np.asarray([one.p for one in mine], dtype=np.float64)
        is_true = np.asarray([holds(one.value, target or "") for one in mine], dtype=np.bool_)
        return p, is_true, self.blocks_of(mine)

    def blocks_of(self, moments: Sequence[Moment]) -> list[Indices]:
        """Gather moments by blocks of time."""
        block_s = block_s_of(self.total_s)
        return by_block([(one.clip, int(one.t_s // block_s)) for one in moments])

    @cached_property
    def average_precision(self) -> Figure:
        """How well the probability tells when it is so from when it is not."""
        p, is_true, blocks = self.scored
        why = NEVER_SO if not is_true.any() else "it is always so in the labels"
        return with_interval(
            lambda at: scores.average_precision(p[at], is_true[at]),
            blocks,
            counting=lambda at: bool(is_true[at].any()),
            why_none=why if len(p) else "no probability to judge",
        )

    @cached_property
    def frame_auc(self) -> float | None:
        """The area under the curve over every frame, each with the last answer's probability.

        Frame-level AUC as UCF-Crime is scored. None where it is never so, or always.
        """
        frames: list[tuple[float, bool]] = []
        for one in self.played:
            told = [
                (moment.t_s, moment.p)
                for moment in self.moments
                if moment.clip == one.clip.name and moment.p is not None
            ]
            if not told or self.asked.target is None:
                continue
            times_s, ps = (np.asarray(column) for column in zip(*told, strict=True))
            for t_s in np.arange(0.0, one.until_s, 1.0 / FRAMES_A_SECOND):
                place = max(0, int(np.searchsorted(times_s, t_s, side="right")) - 1)
                is_so = holds(self.truths[one.clip.name].value_at(float(t_s)), self.asked.target)
                if is_so is not None:
                    frames.append((float(ps[place]), is_so))
        p = np.asarray([one for one, _ in frames], dtype=np.float64)
        return scores.area_under_roc(p, np.asarray([one for _, one in frames], dtype=np.bool_))

    @cached_property
    def answers(self) -> Mapping[str, Figure]:
        """Precision, recall and F1 of the published answers; accuracy where there is no target."""
        target = self.asked.target
        blocks = self.blocks_of(self.known)
        if target is None:
            right = np.asarray([one.said == one.value for one in self.known], dtype=np.bool_)
            accuracy = with_interval(
                lambda at: float(right[at].mean()) if len(at) else None,
                blocks,
                counting=lambda _at: True,
                why_none="no answer to judge",
            )
            return {"accuracy": accuracy}
        is_true = np.asarray([holds(one.value, target) for one in self.known], dtype=np.bool_)
        said = np.asarray(
            [one.said != UNKNOWN and bool(holds(one.said, target)) for one in self.known],
            dtype=np.bool_,
        )
        either = said | is_true
        return {
            name: with_interval(
                lambda at, of=of: of(said[at], is_true[at]),  # type: ignore[misc]
                blocks,
                counting=lambda at, counts=counts: bool(counts[at].any()),  # type: ignore[misc]
                why_none=why,
            )
            for name, of, counts, why in (
                ("precision", scores.precision, said, "it was never answered so"),
                ("recall", scores.recall, is_true, NEVER_SO),
                ("f1", scores.f1, either, "it is never so, and was never answered so"),
            )
        }

    @property
    def event_precision(self) -> Figure:
        """The share of events that are right."""
        found = self.events
        return share(found.num_found, found.num_starts, why_none="there was no event")

    @property
    def event_recall(self) -> Figure:
        """The share of true stretches that were found."""
        found = self.events
        return share(found.num_found, found.num_spans, why_none=NEVER_SO)

    @property
    def unknown_share(self) -> float | None:
        """The share of all answers that are `unknown`."""
        unknown = sum(one.said == UNKNOWN for one in self.moments)
        return unknown / len(self.moments) if self.moments else None

    @cached_property
    def bins(self) -> list[scores.Bin]:
        """How often it was so, by probability."""
        p, is_true, _ = self.scored
        return scores.reliability(p, is_true)

    @property
    def calibration_error(self) -> float | None:
        """How far probabilities are from how often it was so."""
        return scores.calibration_error(self.bins)

    @property
    def brier(self) -> float | None:
        """The mean squared distance of probabilities from the truth."""
        p, is_true, _ = self.scored
        return scores.brier(p, is_true)

    @property
    def doubts(self) -> list[str]:
        """Say what there is too little of to say more, a line each."""
        words = []
        target, found = self.asked.target, self.events
        blocks = self.blocks_of(self.known)
        if not self.known:
            return ["no answer lies where the labels say what is right: nothing can be said"]
        if len(blocks) < MIN_BLOCKS:
            minutes = self.total_s / 60
            words.append(f"{minutes:.1f} minutes are too little to say how far to believe figures")
        if target is None:
            return words
        values = {holds(one.value, target) for one in self.known}
        places = " and ".join(truth.place for truth in self.truths.values())
        if values == {False}:
            words.append(
                f"{places}: the labels are never {target!s}: only false alarms can be told, not "
                "misses"
            )
        elif values == {True}:
            words.append(f"{places}: the labels are always {target!s}: false alarms cannot be told")
        if not self.asked.has_events:
            return words
        rule, every_s = self.asked.rule, self.asked.every_s
        if num_cooling := sum(_num_within(one.due, rule, every_s) for one in self.places):
            words.append(
                f"{num_cooling} of {found.num_spans} true event(s) begin within COOLDOWN, "
                f"{rule.cooldown_s:g} s, of the one before, when none can start"
            )
        if values == {False, True} and found.num_spans < FEW_SPANS:
            words.append(
                f"{found.num_spans} true event(s) of {rule.confirm_n} answers or "
                f"longer: too few for a share of them to mean much; {FEW_SPANS} are few"
            )
        return words


def _num_within(due: Sequence[Span], rule: EventRule, every_s: float) -> int:
    """Count stretches, of those long enough to count, that begin before an event can start."""
    shortest_s = rule.confirm_n * every_s
    long = [one for one in due if one.end_s - one.start_s >= shortest_s]
    pauses_s = [after.start_s - before.end_s for before, after in pairwise(long)]
    return sum(pause_s < rule.cooldown_s for pause_s in pauses_s)


def became(
    starts: Sequence[Start],
    truth: Truth,
    *,
    spans: Sequence[tuple[float, float]],
    rule: EventRule,
    every_s: float,
) -> list[Outcome]:
    """Say what became of events and stretches; events where nobody can tell are passed over.

    A gap that is too short for the answers that would end an event joins two stretches, and a
    stretch that is too short for the answers that would start one counts for nothing.
    """
    true = joined(spans, gap_s=rule.confirm_m * every_s)
    judged = [placed for one in starts if (placed := _settled(one, truth, true)) is not None]
    return outcomes(judged, true, shortest_s=rule.confirm_n * every_s)


def _settled(start: Start, truth: Truth, spans: Sequence[Span]) -> Start | None:
    """Give an event that began where nobody can tell to the stretch that follows at once."""
    if truth.value_at(start.start_s) != UNKNOWN:
        return start
    until_s = truth.known_from(start.start_s)
    follows = any(one.start_s <= until_s <= one.end_s for one in spans)
    return Start(until_s, max(until_s, start.announced_s)) if follows else None
