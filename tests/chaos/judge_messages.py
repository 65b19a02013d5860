"""Ids once, numbers without gaps, the order kept, streams and channels agreeing."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable

from pipeline.publishers.redis import BATCH
from tests.chaos.reader import Entry, Lane, ms_of
from tests.chaos.record import Record, Verdict
from tests.chaos.truth import Span

# A message that Redis took as it died may not have reached a listener; one that was said just
# before he is known to listen may have gone by.
HEARD_BEFORE_MS, LISTENED_SINCE_MS = 2000, 300
# Of a block: what was made just before may wait still, what is made after it passes.
BEFORE_MS, LOGGED_MS = 2000, 1000


def judge_messages(record: Record) -> Verdict:
    found = Verdict()
    late = _judge_set_aside(record, found)
    _judge_copies(record, found)
    _judge_numbers(record, found, late=late)
    _judge_channels(record, found)
    _judge_hashes(record, found)
    found.figures["messages"] = len(record.once)
    return found


def _judge_copies(record: Record, found: Verdict) -> None:
    """Said twice is only what an emptied Redis had and the worker could not know of."""
    last: dict[str, Entry] = {}
    again: Counter[float] = Counter()
    for entry in record.entries:
        before = last.get(entry.id)
        last[entry.id] = entry
        if before is None:
            continue
        wiped = [
            at_ms
            for at_ms in record.timeline.wiped_ms
            if before.written_ms <= at_ms <= entry.written_ms
        ]
        found.wants(wiped, f"{entry.lane} {entry.seq}: twice, id {entry.id}")
        again.update(wiped[:1])
    for at_ms, number in again.items():
        found.wants(number <= BATCH, f"{number} messages twice after Redis was emptied, {at_ms}")
    found.figures["said_again_after_redis_was_emptied"] = again.total()


def _judge_numbers(record: Record, found: Verdict, *, late: set[str]) -> None:
    gaps = gaps_in(record.once, found, late=late)
    missing: Counter[str] = Counter()
    for lane, numbers in gaps.items():
        missing[lane[1]] += len(numbers)
        found.wants(not numbers or lane[1] != "event", f"{lane}: numbers missing: {numbers}")
    found.wants(
        missing == Counter(_dropped(record)),
        f"missing {dict(missing)}, told as dropped {_dropped(record)}",
    )
    found.figures["dropped"] = sum(_dropped(record).values())


def gaps_in(
    entries: Iterable[Entry], found: Verdict, *, late: Collection[str] = ()
) -> dict[Lane, list[int]]:
    """Return the numbers that no message has, of each stream; no two have one, and they grow.

    Args:
        entries: each message once, in the order of its stream.
        found: told what is broken.
        late: ids of messages that may come after newer ones.
    """
    numbers: defaultdict[Lane, list[int]] = defaultdict(list)
    order: defaultdict[Lane, list[int]] = defaultdict(list)
    for entry in entries:
        numbers[entry.lane].append(entry.seq)
        if entry.id not in late:
            order[entry.lane].append(entry.seq)
    for lane, mine in numbers.items():
        twice = [seq for seq, times in Counter(mine).items() if times > 1]
        found.wants(not twice, f"{lane}: numbers of two messages: {twice}")
        found.wants(order[lane] == sorted(order[lane]), f"{lane}: out of order")
    return {
        lane: sorted(set(range(1, max(mine) + 1)) - set(mine)) for lane, mine in numbers.items()
    }


def _dropped(record: Record) -> dict[str, int]:
    """What the metrics said was lost in each life, put together."""
    said: Counter[str] = Counter()
    for sample in {one.life: one for one in record.samples}.values():  # the last of each
        for (name, *labels), value in sample.series.items():
            if name == "vigil_outbox_dropped" and value:
                said[labels[0]] += round(value)
    return dict(said)


def _judge_set_aside(record: Record, found: Verdict) -> set[str]:
    """What was set aside comes at the next start, all of it; return its ids."""
    late: set[str] = set()
    for aside in record.set_aside:
        again_ms = record.lives[aside.life + 1].began_ms
        around = aside.span.wider(before_ms=BEFORE_MS)
        came = {
            one.id
            for one in record.once
            if one.lane == aside.lane
            and around.begin_ms <= one.made_ms <= around.end_ms
            and one.written_ms >= again_ms
        }
        logged = sum(
            line["count"]
            for line in record.lives[aside.life].log
            if line["event"] == "replies_set_aside"
            and (line["camera_id"], line["kind"]) == aside.lane
            and _is_within(line["timestamp"], around.wider(after_ms=LOGGED_MS))
        )
        found.wants(
            len(came) == aside.number == aside.counted == logged,
            f"{aside.lane}: set aside {aside.number} by /status, {aside.counted} by the metric, "
            f"{logged} by the log; {len(came)} came at the next start",
        )
        late |= came
    found.figures["set_aside"] = len(late)
    return late


def _is_within(timestamp: str, span: Span) -> bool:
    return span.begin_ms <= ms_of(timestamp) <= span.end_ms


def _judge_channels(record: Record, found: Verdict) -> None:
    """What is in a stream was heard, but where Redis went away before it was on the wire."""
    ends_ms = [one.begin_ms for one in record.timeline.outages() if "unreachable" in one.reasons]
    copies = Counter(one.id for one in record.entries)
    unknown = [said for said in record.heard if said not in copies]
    found.wants(not unknown, f"heard and in no stream: {unknown}")
    twice = [said for said, times in record.heard.items() if times > copies[said]]
    found.wants(not twice, f"heard more often than written: {twice}")
    unheard = [
        f"{one.lane} {one.seq}"
        for one in record.once
        if copies[one.id] == 1
        and one.id not in record.heard
        and any(
            span.begin_ms + LISTENED_SINCE_MS <= one.written_ms <= span.end_ms - HEARD_BEFORE_MS
            for span in record.listened
        )
        and not any(abs(one.written_ms - end_ms) <= HEARD_BEFORE_MS for end_ms in ends_ms)
    ]
    found.wants(not unheard, f"in the stream and not on the channel: {unheard}")
    found.figures["heard"] = record.heard.total()


def _judge_hashes(record: Record, found: Verdict) -> None:
    """A late joiner finds the newest message of each sort, unless Redis has lost it since."""
    newest: dict[tuple[str, str], Entry] = {}
    for entry in record.once:
        camera_id, kind = entry.lane
        name = {"event": "event:{question_id}", "answer": "question:{question_id}"}.get(kind, kind)
        field = camera_id, name.format(**entry.said)
        if field not in newest or newest[field].made_ms <= entry.made_ms:
            newest[field] = entry
    for field, entry in newest.items():
        is_lost = any(at_ms >= entry.written_ms for at_ms in record.timeline.wiped_ms)
        shown = record.shown.get(field)
        is_right = shown == entry.id or (shown is None and is_lost)
        found.wants(is_right, f"{field}: the hash has {shown}, the newest is {entry}")
