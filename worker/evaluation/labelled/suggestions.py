"""Thresholds chosen on some blocks of time and judged on the others.

The very event machines of the worker are run over the answers' probabilities, with every
combination of ENTER, EXIT, CONFIRM and MIN_DURATION in question.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pipeline.events import EventMachine, EventRule
from worker.evaluation.events import Matched, Outcome, Start, counted
from worker.evaluation.labelled.confidence import block_s_of
from worker.evaluation.labelled.judging import FEW_SPANS, Asked, Judged, Moment, became
from worker.settings import PREFIX

NUM_FOLDS = 4
MIN_BLOCKS = 2 * NUM_FOLDS
MIN_GAIN = 0.02  # in F1, on the blocks that the choice is made on
MIN_BETTER = 2  # events, on the other blocks: for fewer, the present settings stay
CONFIRMS = ((1, 1), (1, 2), (2, 2), (2, 3), (3, 4), (3, 5))
NUM_STEPS = 3  # of thresholds, that count as near
DURATION_PERIODS = (0, 4, 12)  # of a question, as MIN_DURATION
_LEVELS = tuple(round(0.1 * step, 1) for step in range(1, 10))
_TAILS = (0.5, 0.8, 0.9, 0.95, 0.99)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

Band = tuple[float, float]
Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings that might be.

    Attributes:
        rule: when answers become an event.
        band: probabilities of yes that are published as `unknown`; None for kinds without.
    """

    rule: EventRule
    band: Band | None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What is suggested for a question.

    Attributes:
        lines: for the settings file; none where the present settings stay.
        why: what they would have given, or why they stay.
        present: events by the present settings, on the blocks that suggestions were judged on.
        suggested: events by what was chosen without those blocks; None where nothing was chosen.
        chosen: the settings that the lines say; None where the present ones stay.
    """

    lines: tuple[str, ...]
    why: str
    present: Matched
    suggested: Matched | None
    chosen: Candidate | None = None


def suggest(judged: Judged, *, prefix: str | None = None) -> Suggestion:
    """Choose settings for a question and say what they would have given.

    Args:
        judged: the question's answers.
        prefix: what its variables begin with; by its id where it is None.
    """
    asked, present = judged.asked, judged.events
    if asked.target is None or not asked.has_events:
        return Suggestion((), "it has no events", present, None)
    if present.num_spans < FEW_SPANS:
        words = f"{present.num_spans} true event(s) are too few to choose by; {FEW_SPANS} at least"
        return Suggestion((), words, present, None)
    table = _Table(judged)
    if table.num_blocks < MIN_BLOCKS:
        words = f"{table.num_blocks} blocks of time are too few to choose and to judge by"
        return Suggestion((), words, present, None)
    chosen, stays = table.judged_elsewhere()
    if not _is_better(chosen, stays):
        words = (
            "the present settings stay: on other blocks of time than they were chosen on, others "
            f"gave {_told(chosen)}; these {_told(stays)}"
        )
        return Suggestion((), words, stays, stays)
    best = table.candidates[table.best(np.arange(table.num_blocks))]
    name = prefix or f"{PREFIX}QUESTIONS__{asked.question_id.upper()}__"
    words = f"events on other blocks of time than they were chosen on: {_told(chosen)}; " + (
        f"the present settings there: {_told(stays)}"
    )
    return Suggestion(tuple(_lines(best, asked, name)), words, stays, chosen, best)


class _Table:
    """What every candidate makes of every block of time."""

    def __init__(self, judged: Judged) -> None:
        self._judged = judged
        asked = judged.asked
        self.levels = _levels_for(asked.rule, [one.p for one in judged.moments])
        self.candidates = [_present(asked), *_candidates(asked, self.levels)]
        block_s = block_s_of(judged.total_s)
        keys = [
            (place.clip, number)
            for place in judged.places
            for number in range(int(place.until_s // block_s) + 1)
        ]
        self.num_blocks = len(keys)
        self._outcomes: list[list[list[Outcome]]] = []
        places = {key: place for place, key in enumerate(keys)}
        known: dict[Hashable, list[list[Outcome]]] = {}
        for candidate in self.candidates:
            pattern = _pattern(judged, candidate)
            if pattern not in known:
                blocks: list[list[Outcome]] = [[] for _ in keys]
                known[pattern] = blocks
                for clip, found in simulated(judged, candidate):
                    for one in found:
                        blocks[places[clip, int(one.at_s // block_s)]].append(one)
            self._outcomes.append(known[pattern])
        self._found, self._either, self._delays_s = self._counts()
        self._near = self._neighbours()
        present = self.candidates[0]
        self._changes = np.asarray([_num_changes(one, present) for one in self.candidates])

    def _counts(self) -> tuple[Counts, Counts, Counts]:
        shape = (len(self.candidates), self.num_blocks)
        found, either, delays_s = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for row, blocks in enumerate(self._outcomes):
            for column, block in enumerate(blocks):
                if block:
                    matched = counted(block)
                    found[row, column] = matched.num_found
                    either[row, column] = matched.num_starts + matched.num_spans
                    delays_s[row, column] = sum(matched.delays_s)
        return found, either, delays_s

    def _neighbours(self) -> list[list[int]]:
        """Return for each candidate those whose thresholds are a step away, itself among them."""
        step = {level: place for place, level in enumerate(self.levels)}

        def key(one: Candidate, *, enter: int = 0, exit_: int = 0) -> tuple[object, ...]:
            rule = one.rule
            places = (step.get(rule.enter, -9) + enter, step.get(rule.exit, -9) + exit_)
            return (*places, rule.confirm_n, rule.confirm_m, rule.min_duration_s)

        by_key = {key(one): place for place, one in enumerate(self.candidates)}
        steps = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
        return [
            [
                by_key[near]
                for enter, exit_ in steps
                if (near := key(one, enter=enter, exit_=exit_)) in by_key
            ]
            for one in self.candidates
        ]

    def best(self, blocks: NDArray[np.intp]) -> int:
        """Return the place of the candidate that is best on some blocks; 0 is the present one.

        Of equals, one is taken whose neighbours are as good, since it stands in the middle of what
        works; then the one that announces soonest; then the one that changes least.
        """
        found = self._found[:, blocks].sum(axis=1)
        f1 = 2 * found / np.maximum(self._either[:, blocks].sum(axis=1), 1)
        near = f1
        for _ in range(NUM_STEPS):
            near = np.asarray([near[mine].mean() for mine in self._near])
        delay_s = self._delays_s[:, blocks].sum(axis=1) / np.maximum(found, 1)
        periods = np.round(delay_s / self._judged.asked.every_s)
        order = np.lexsort((-self._changes, -periods, np.round(near, 2), np.round(f1, 3)))
        chosen = int(order[-1])
        return chosen if f1[chosen] >= f1[0] + MIN_GAIN else 0

    def judged_elsewhere(self) -> tuple[Matched, Matched]:
        """Choose on all blocks but a fold's and judge on the fold's: chosen, and present."""
        every = np.arange(self.num_blocks)
        chosen: list[Outcome] = []
        for fold in range(NUM_FOLDS):
            place = self.best(every[every % NUM_FOLDS != fold])
            chosen += [one for block in self._outcomes[place][fold::NUM_FOLDS] for one in block]
        return counted(chosen), counted(one for block in self._outcomes[0] for one in block)


def simulated(judged: Judged, candidate: Candidate) -> Iterator[tuple[str, list[Outcome]]]:
    """Yield for each clip what would have become of events and stretches.

    What counts as a stretch, and is long enough to count, goes by the present settings: candidates
    have one yardstick.
    """
    asked = judged.asked
    for place in judged.places:
        mine = [one for one in judged.moments if one.clip == place.clip]
        starts = _starts(mine, candidate, is_no=asked.target == "no")
        truth = judged.truths[place.clip]
        found = became(starts, truth, spans=place.spans, rule=asked.rule, every_s=asked.every_s)
        yield place.clip, found


def _pattern(judged: Judged, candidate: Candidate) -> Hashable:
    """Return all that a machine sees of the answers: candidates that see the same do the same."""
    rule, (low, high) = candidate.rule, candidate.band or (0.0, 0.0)
    p = np.asarray([one.p for one in judged.moments], dtype=np.float64)  # NaN where there is none
    p_yes = 1.0 - p if judged.asked.target == "no" else p
    seen = (p >= rule.enter, p <= rule.exit, (low <= p_yes) & (p_yes < high))
    flags = b"".join(np.packbits(one).tobytes() for one in seen)
    return flags, rule.confirm_n, rule.confirm_m, rule.min_duration_s


def _starts(moments: Sequence[Moment], candidate: Candidate, *, is_no: bool) -> list[Start]:
    machine = EventMachine(candidate.rule, new_id=lambda _record: "event")
    low, high = candidate.band or (0.0, 0.0)
    starts = []
    for one in moments:
        if one.p is None:
            continue
        p_yes = 1.0 - one.p if is_no else one.p
        p = None if low <= p_yes < high else one.p
        at = _EPOCH + timedelta(seconds=one.t_s)
        transition = machine.step(p, at, stream_s=one.t_s)
        if transition is not None and transition.phase == "start":
            began_s = (transition.started_at - _EPOCH).total_seconds()
            starts.append(Start(began_s, one.t_s))
    return starts


def _present(asked: Asked) -> Candidate:
    return Candidate(asked.rule, asked.doubt.band if asked.kind == "yes_no" else None)


def _levels_for(rule: EventRule, ps: Sequence[float | None]) -> list[float]:
    """Return the thresholds to try: tenths, the present ones, some where tenths are coarse."""
    known = np.asarray([p for p in ps if p is not None])
    tails = [float(f"{np.quantile(known, share):.2g}") for share in _TAILS] if len(known) else []
    fine = {level for level in tails if 0 < level < 0.1 or 0.9 < level < 1}
    return sorted({*_LEVELS, rule.enter, rule.exit, *fine})


def _candidates(asked: Asked, levels: Sequence[float]) -> Iterator[Candidate]:
    rule = asked.rule
    confirms = dict.fromkeys([*CONFIRMS, (rule.confirm_n, rule.confirm_m)])
    durations = dict.fromkeys(
        [rule.min_duration_s, *(periods * asked.every_s for periods in DURATION_PERIODS)]
    )
    for enter, exit_, (confirm_n, confirm_m), min_duration_s in product(
        levels, levels, confirms, durations
    ):
        if exit_ <= enter:
            evidence_s = rule.evidence_s * (confirm_m + 1) / (rule.confirm_m + 1)
            tried = replace(
                rule,
                enter=enter,
                exit=exit_,
                confirm_n=confirm_n,
                confirm_m=confirm_m,
                min_duration_s=min_duration_s,
                evidence_s=evidence_s,
            )
            yield Candidate(tried, _band(asked, enter=enter, exit_=exit_))


def _band(asked: Asked, *, enter: float, exit_: float) -> Band | None:
    """Return the present band without what would be beyond a threshold: that is no doubt."""
    if asked.kind != "yes_no":
        return None
    low, high = asked.doubt.band
    if asked.target == "no":
        enter, exit_ = 1.0 - exit_, 1.0 - enter
    low, high = max(low, exit_), min(high, enter)
    return (round(low, 4), round(high, 4)) if low < high else (round(enter, 4), round(enter, 4))


def _lines(best: Candidate, asked: Asked, name: str) -> Iterator[str]:
    rule, now = best.rule, asked.rule
    if rule.enter != now.enter:
        yield f"{name}ENTER={rule.enter:g}"
    if rule.exit != now.exit:
        yield f"{name}EXIT={rule.exit:g}"
    if (rule.confirm_n, rule.confirm_m) != (now.confirm_n, now.confirm_m):
        yield f"{name}CONFIRM={rule.confirm_n}/{rule.confirm_m}"
    if rule.min_duration_s != now.min_duration_s:
        yield f"{name}MIN_DURATION={rule.min_duration_s:g}s"
    if best.band is not None and best.band != asked.doubt.band:
        yield f"{name}UNKNOWN={best.band[0]:g}-{best.band[1]:g}"


def _num_changes(one: Candidate, present: Candidate) -> int:
    rule, now = one.rule, present.rule
    return sum(
        (
            rule.enter != now.enter,
            rule.exit != now.exit,
            (rule.confirm_n, rule.confirm_m) != (now.confirm_n, now.confirm_m),
            rule.min_duration_s != now.min_duration_s,
            one.band != present.band,
        )
    )


def _is_better(chosen: Matched, present: Matched) -> bool:
    """Say whether a choice is better by more than one event that may be chance."""
    num_more = chosen.num_found - present.num_found
    num_less = (present.num_starts - present.num_found) - (chosen.num_starts - chosen.num_found)
    gain = (chosen.f1 or 0.0) - (present.f1 or 0.0)
    return gain >= MIN_GAIN and max(num_more, num_less, num_more + num_less) >= MIN_BETTER


def _told(matched: Matched) -> str:
    num_false = matched.num_starts - matched.num_found
    delay = f", median delay {matched.median_delay_s:g} s" if matched.delays_s else ""
    f1 = f"F1 {matched.f1:.2f}" if matched.f1 is not None else "none"
    return f"{f1} ({matched.num_found} of {matched.num_spans} found, {num_false} false{delay})"
