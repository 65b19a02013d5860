"""What an operator would have seen, against what was done: /status, /metrics and the log."""

from itertools import groupby

from tests.chaos.faults import Fault
from tests.chaos.judge_events import without_worker
from tests.chaos.monitor import Sample
from tests.chaos.reader import ms_of
from tests.chaos.record import Record, Verdict
from tests.chaos.truth import Span

# A server that does not answer is given 2 s, and may be asked for that twice; a refusal comes with
# the next message.
SILENCE_NOTICED_MS, REFUSAL_NOTICED_MS = 4500, 2000
AGAIN_MS = 13_000  # the longest pause between two tries, and a try
SEEN_MS = 1500  # what is known at once, on a machine that may be busy

ORDINARY = {
    *("worker_started", "worker_stopped", "camera_online", "camera_offline", "camera_degraded"),
    *("publishing_failed", "publishing_restored", "hashes_not_swept", "replies_set_aside"),
    *("outbox_degraded", "outbox_recovered", "camera_summary", "health_port_unreachable"),
    *("visits_failed", "visits_refused", "register_not_written", "evidence_lost"),
}


def judge_metrics(record: Record) -> Verdict:
    found = Verdict()
    _judge_lives(record, found)
    _judge_reasons(record, found)
    _judge_changes(record, found)
    judged = [one for one in record.timeline.outages() if _is_by_itself(record, one)]
    for fault in judged:
        _judge_outage(record, fault, found)
    for fault in record.timeline.of("disk"):
        _judge_disk(record, fault, found)
    for fault in record.timeline.of("camera"):
        _judge_camera(record, fault, found)
    _judge_counts(record, found)
    found.figures["outages_told_by_reason"] = len(judged)
    return found


def _judge_lives(record: Record, found: Verdict) -> None:
    """Nothing that nobody foresaw, and outages told from their beginning to their end."""
    reason = None
    for number, life in enumerate(record.lives):
        found.wants(not life.noise, f"life {number}: {life.noise[:20]}")
        wanted = 0 if life.was_told_to_stop else -9
        found.wants(life.status == wanted, f"life {number}: ended with {life.status}")
        strange = [line for line in life.log if line["event"] not in ORDINARY]
        found.wants(not strange, f"life {number}: {strange[:5]}")
        reason = None
        for line in life.log:
            if line["event"] == "publishing_failed":
                found.wants(line["before"] == reason, f"life {number}: {line}, after {reason}")
                reason = line["reason"]
            elif line["event"] == "publishing_restored":
                found.wants(line["reason"] == reason, f"life {number}: {line}, after {reason}")
                reason = None
    # a process that ended in the middle of one could not tell of its end
    found.wants(reason is None, f"an outage for {reason} has no end in the log")


def _judge_reasons(record: Record, found: Verdict) -> None:
    """Publishing fails for what was done, and for nothing else."""
    outages = record.timeline.outages()
    for sample in record.samples:
        if sample.publishing["state"] != "failing":
            continue
        may = {
            reason
            for one in outages
            if one.begin_ms <= sample.until_ms and sample.at_ms <= one.end_ms + AGAIN_MS
            for reason in one.reasons
        }
        said = sample.publishing["reason"]
        found.wants(said in may, f"{sample.at_ms}: failing for {said}, what was done: {may}")
    counted = {
        key[1]
        for one in record.samples
        for key in one.series
        if key[0] == _FAILURES and len(key) > 1
    }
    done = {reason for one in outages for reason in one.reasons}
    found.wants(counted <= done, f"counted {counted}, done {done}")
    found.figures["reasons_counted"] = len(counted)


def _judge_changes(record: Record, found: Verdict) -> None:
    """While nothing new is counted, the reason told is one of those counted last."""
    num_changes, last = 0, ""
    samples = record.samples
    for before, counted, after in zip(samples, samples[1:], samples[2:], strict=False):
        newest = _grown(before, counted)
        if not newest or _grown(counted, after) or after.publishing["state"] != "failing":
            continue
        if len({before.life, counted.life, after.life}) == 1:
            said = after.publishing["reason"]
            found.wants(said in newest, f"{after.at_ms}: failing for {said}, counted {newest}")
            num_changes += said != last
            last = said
    found.figures["reasons_told"] = num_changes


def _grown(before: Sample, after: Sample) -> set[str]:
    """Return the reasons of which failures were counted in between."""
    return {
        key[1]
        for key, number in after.series.items()
        if key[0] == _FAILURES and number > before.series.get(key, 0)
    }


_FAILURES, _UP = "vigil_publish_failures_total", "vigil_publishing_up"


def _is_by_itself(record: Record, fault: Fault) -> bool:
    """Whether a fault of Redis' must be told by its own reason: alone, and long enough."""
    first = Span(fault.begin_ms - SEEN_MS, fault.begin_ms + _noticed_ms(fault))
    others = [
        one
        for one in record.timeline.outages()
        if one is not fault and one.begin_ms < first.end_ms and first.begin_ms < one.end_ms
    ]
    before = [one for one in record.samples if one.until_ms < fault.begin_ms]
    return (
        fault.is_sure
        and fault.span.length_ms >= _noticed_ms(fault)
        and not others
        and not without_worker(record, first)
        and bool(before)
        and before[-1].publishing["state"] == "ok"
    )


def _noticed_ms(fault: Fault) -> float:
    return SILENCE_NOTICED_MS if "timeout" in fault.reasons else REFUSAL_NOTICED_MS


def _judge_outage(record: Record, fault: Fault, found: Verdict) -> None:
    before = [one for one in record.samples if one.until_ms < fault.begin_ms][-1]
    logged = [
        line
        for line in record.lives[before.life].log
        if line["event"] == "publishing_failed"
        and line["reason"] in fault.reasons
        and fault.begin_ms - 100 <= ms_of(line["timestamp"]) <= fault.begin_ms + _noticed_ms(fault)
    ]
    found.wants(logged, f"{fault}: not in the log")
    during = _during(record, fault, after_ms=_noticed_ms(fault))
    for sample in during:
        publishing = sample.publishing
        is_told = publishing["state"] == "failing" and publishing["reason"] in fault.reasons
        grown = sum(sample.failures(one) - before.failures(one) for one in fault.reasons)
        up = sample.series[(_UP,)]
        found.wants(
            is_told and grown > 0 and up == 0,
            f"{fault}: {publishing}, {grown} failures counted, {_UP} {up}",
        )


def _judge_disk(record: Record, fault: Fault, found: Verdict) -> None:
    for sample in _during(record, fault, after_ms=SEEN_MS):
        is_told = sample.status["outbox"] != "ok" and sample.total("vigil_outbox_degraded") == 1
        found.wants(is_told, f"{fault}: outbox {sample.status['outbox']}")
        found.wants(sample.total("vigil_outbox_failures_total") > 0, f"{fault}: not counted")


def _judge_camera(record: Record, fault: Fault, found: Verdict) -> None:
    if without_worker(record, fault.span.wider(before_ms=5000)):
        return
    for sample in _during(record, fault, after_ms=SEEN_MS):
        up = sample.series["vigil_camera_up", fault.about]
        state = sample.status["cameras"][fault.about]["state"]
        found.wants(up == 0 and state == "offline", f"{fault}: {state}, vigil_camera_up {up}")


def _judge_counts(record: Record, found: Verdict) -> None:
    """At the end all is well again, and the last life has counted what it said."""
    last = record.samples[-1]
    found.wants(last.is_calm(), f"at the end: {last.status}")
    found.wants(last.series[(_UP,)] == 1, f"{_UP} at the end: {last.series[(_UP,)]}")
    found.wants(last.publishing["set_aside"] == 0, f"still set aside: {last.publishing}")
    made = sum(one.made_ms >= record.lives[-1].began_ms for one in record.of("event"))
    counted = last.total("vigil_events_total")
    found.wants(counted == made, f"events of the last life: {counted} counted, {made} read")
    for number, samples in groupby(record.samples, key=lambda one: one.life):
        totals = [one.total(_FAILURES) for one in samples]
        found.wants(totals == sorted(totals), f"life {number}: a counter went back")


def _during(record: Record, fault: Fault, *, after_ms: float) -> list[Sample]:
    """What was seen, to its end, while a fault lasted and was known; not of a worker that died."""
    return [
        one
        for one in record.samples
        if fault.begin_ms + after_ms <= one.at_ms
        and one.until_ms <= fault.end_ms - 300
        and not without_worker(record, Span(fault.begin_ms, one.until_ms + SEEN_MS))
        and not _is_overlaid(record, fault, one)
    ]


def _is_overlaid(record: Record, fault: Fault, sample: Sample) -> bool:
    """Whether another fault of Redis' has come on top by then."""
    return bool(fault.reasons) and any(
        one is not fault
        and one.begin_ms <= sample.until_ms + SEEN_MS
        and fault.begin_ms < one.end_ms
        for one in record.timeline.outages()
    )
