"""Whether many workers were one system, by what a subscriber and the streams have."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from tests.chaos.judge_events import announced_in, judge_one, pieces_of
from tests.chaos.judge_messages import gaps_in
from tests.chaos.reader import Entry, ms_of
from tests.chaos.record import Verdict
from tests.chaos.truth import Span
from tests.workers.record import Record, Takeover

NOTICED_MS = 8_000  # a start or an end, of stream time: two answers of three, a second apart
REBUILT_WITHIN_MS = 30_000
FEWEST_AGES = 30
WORSE = 1.5
FRESH_MS = 1_000  # an answer about a camera of which nothing waits any more
AFTER_MS = 10_000  # how long the others may feel a takeover
SEEN_MS = 2_000  # a page is looked at that often, and asked for one worker after the other


def judge(record: Record) -> Verdict:
    """Judge all of it."""
    found = Verdict()
    for part in (
        judge_events,
        judge_messages,
        judge_records,
        judge_owners,
        judge_windows,
        judge_ages,
        judge_fences,
    ):
        part(record, found)
    return found


def judge_events(record: Record, found: Verdict) -> None:
    """Every true event has one start and one end; frames wait in Kafka, so nothing is excused."""
    announced = announced_in(record.of("event"), found)
    for watched, true in record.truth.spans.items():
        mine = announced.get(watched, [])
        judge_one(watched, pieces_of(true, unseen=[]), mine, found, latest_ms=NOTICED_MS)
    found.figures["true_events"] = record.truth.num_events
    found.figures["announced"] = sum(map(len, announced.values()))


def judge_messages(record: Record, found: Verdict) -> None:
    """Ids once, in the streams and on the channels; numbers without gaps, in their order."""
    copies = Counter(one.id for one in record.entries)
    twice = [one for one, times in copies.items() if times > 1]
    found.wants(not twice, f"{len(twice)} ids twice in the streams: {twice[:5]}")
    again = [one for one, times in record.heard.items() if times > 1]
    found.wants(not again, f"{len(again)} ids twice on the channels: {again[:5]}")
    strange = [one for one in record.heard if one not in copies]
    found.wants(not strange, f"heard and in no stream: {strange[:5]}")
    for lane, numbers in gaps_in(record.entries, found).items():
        found.wants(not numbers, f"{lane}: numbers missing: {numbers[:20]}")
    found.figures["messages"] = len(record.entries)


def judge_records(record: Record, found: Verdict) -> None:
    """No picture is taken for one that kills workers, only because they died."""
    letters = [(one["partition"], one["offset"]) for one in record.logged("record_dead_lettered")]
    found.wants(not letters, f"dead letters of good pictures (partition, offset): {letters}")


def judge_owners(record: Record, found: Verdict) -> None:
    """Every camera is watched by exactly one worker, but for moments in which it changes hands.

    A worker that works off what has waited calls its camera `degraded`: it has it all the same. At
    the end all are online.
    """
    owners: defaultdict[str, dict[str, float]] = defaultdict(dict)  # camera -> worker -> last seen
    num_looks = 0
    for sighting in sorted(record.sightings, key=lambda one: one.at_ms):
        for mine in owners.values():
            mine.pop(sighting.worker_id, None)
        for camera_id in sighting.watched:
            owners[camera_id][sighting.worker_id] = sighting.at_ms
        if any(one.begin_ms <= sighting.at_ms <= one.end_ms for one in record.disturbed):
            continue
        num_looks += 1
        for camera_id in record.cameras:
            now = [
                worker_id
                for worker_id, at_ms in owners[camera_id].items()
                if sighting.at_ms - at_ms <= SEEN_MS
            ]
            said = f"{sighting.at_ms:.0f}: {camera_id} is watched at {now}"
            found.wants(len(now) == 1, said)
    for camera_id in record.cameras:
        owner = record.shown.get(camera_id)
        said = f"{camera_id}: its hash has {owner} at the end, {sorted(record.running)} ran"
        found.wants(owner in record.running, said)
    found.figures["looks_at_owners"] = num_looks


def judge_windows(record: Record, found: Verdict) -> None:
    """After a takeover the model soon looks back on half a window, as far as there is one."""
    shortest_s, num_judged = record.window_s, 0
    for one in record.takeovers:
        by_ms = one.first.written_ms + REBUILT_WITHIN_MS
        mine = [entry for entry in one.answers if entry.written_ms <= by_ms]
        if mine[-1].written_ms < by_ms - 5_000 and not _is_whole(record, mine[-1]):
            continue  # the next takeover, or the end, came before it was due
        num_judged += 1
        best = max(mine, key=_reach_s)
        wanted_s = min(record.window_s / 2, _history_s(record, best))
        shortest_s = min(shortest_s, _reach_s(best))
        said = f"{one.camera_id} from {one.old} to {one.new}"
        found.wants(
            _reach_s(best) >= wanted_s - 1.0,
            f"{said}: after {REBUILT_WITHIN_MS / 1000:.0f} s its window reaches back "
            f"{_reach_s(best):.1f} s of {wanted_s:.1f}",
        )
    found.wants(num_judged, "no takeover's window could be judged")
    found.figures["takeovers"] = len(record.takeovers)
    found.figures["windows_judged"] = num_judged
    found.figures["shortest_window_s"] = round(shortest_s, 1)


def _reach_s(entry: Entry) -> float:
    return (ms_of(entry.said["captured_at"]) - ms_of(entry.said["window"]["start"])) / 1000


def _history_s(record: Record, entry: Entry) -> float:
    return (ms_of(entry.said["captured_at"]) - record.first_ms) / 1000


def _is_whole(record: Record, entry: Entry) -> bool:
    return _reach_s(entry) >= min(record.window_s / 2, _history_s(record, entry)) - 1.0


def judge_ages(record: Record, found: Verdict) -> None:
    """A takeover keeps the cameras of the others hardly waiting.

    A camera that was taken over is itself no other until what had waited of it is worked off; and
    at the beginning, and while the broker is away, all wait, with and without a takeover. In two
    minutes a second in which a busy machine does something else is more than a twentieth of the
    answers: so long as they are fresh, no more is wanted there.
    """
    taken: defaultdict[str, list[Span]] = defaultdict(list)
    for one in record.takeovers:
        taken[one.camera_id].append(_until_fresh(one))
    spans = [_around(one) for one in record.takeovers]
    away = [one.span.wider(after_ms=AFTER_MS) for one in record.timeline.of("begin", "broker")]
    during: list[float] = []
    calm: list[float] = []
    for camera_id, answers in record.answers.items():
        for entry in answers:
            at_ms = entry.made_ms
            if _is_in(at_ms, [*taken[camera_id], *away]):
                continue
            (during if _is_in(at_ms, spans) else calm).append(entry.said["frame_age_ms"])
    is_enough = len(during) >= FEWEST_AGES and len(calm) >= FEWEST_AGES
    found.wants(is_enough, f"ages of {len(during)} answers beside takeovers, {len(calm)} without")
    if is_enough:
        worst, usual = p95(during), p95(calm)
        most = WORSE * usual
        found.wants(
            worst <= (most if record.is_long else max(most, FRESH_MS)),
            f"p95 age of the others beside takeovers {worst:.0f} ms, without {usual:.0f} ms",
        )
        found.figures |= {"p95_age_beside_ms": worst, "p95_age_without_ms": usual}


def _is_in(at_ms: float, spans: Sequence[Span]) -> bool:
    return any(span.begin_ms <= at_ms <= span.end_ms for span in spans)


def _around(one: Takeover) -> Span:
    return Span(one.first.made_ms - AFTER_MS / 2, one.first.made_ms + AFTER_MS)


def _until_fresh(one: Takeover) -> Span:
    fresh = (entry.made_ms for entry in one.answers if entry.said["frame_age_ms"] <= FRESH_MS)
    end_ms = next(fresh, one.answers[-1].made_ms)
    return Span(_around(one).begin_ms, max(end_ms, _around(one).end_ms))


def p95(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def judge_fences(record: Record, found: Verdict) -> None:
    """Of an owner that was taken over nothing is taken any more, and that is counted."""
    for camera_id, answers in record.answers.items():
        terms = [one.said["term"] for one in answers]
        found.wants(terms == sorted(terms), f"{camera_id}: an older term came after a newer one")
        for before, after in pairwise(answers):
            if before.said["worker_id"] != after.said["worker_id"]:
                grown = before.said["term"] < after.said["term"]
                found.wants(grown, f"{camera_id}: {after.said['worker_id']} has no newer term")
    if record.resumed is not None:
        said = f"{record.resumed} was resumed after its session, and nothing of its was refused"
        found.wants(record.fenced.get(record.resumed, 0) > 0, said)
    found.figures["fenced"] = sum(record.fenced.values())
