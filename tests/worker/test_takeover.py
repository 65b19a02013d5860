"""Two workers' worth of inference, outbox and publishing, and a camera that goes between them."""

from pathlib import Path

import numpy as np
import redis

from pipeline.metrics import FENCED, OUTBOX_DROPPED
from tests.worker.shared_camera import New, check, phases, said


def test_an_open_event_goes_on_at_another_worker_under_its_id(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(15))
    assert phases(client) == ["start"]
    old.revoked()
    young.assigned(2)
    young.read(*range(old.site.committed, 25))
    check(client)
    start, end = said(client, "events")
    assert (start["data"]["worker_id"], end["data"]["worker_id"]) == ("old", "young")
    assert start["data"]["term"] < end["data"]["term"]
    assert len(said(client, "answers")) == 25


def test_evidence_that_is_not_confirmed_yet_counts_at_the_next_worker(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(11))  # the first that speaks for it is the tenth
    assert phases(client) == []
    old.revoked()
    young.assigned(2)
    young.read(11)
    young.publish()
    (start,) = said(client, "events")
    assert start["data"]["started_at"] == "2026-01-02T03:04:15.000Z"


def test_after_a_kill_between_redis_and_the_commit_nothing_is_said_twice(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(15))
    young.assigned(2)
    young.read(*range(8, 25))  # what was committed lies that far back
    check(client)
    assert len(said(client, "answers")) == 25


def test_what_was_answered_but_not_out_is_said_by_the_next_worker_with_the_same_ids(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(9))
    old.read(*range(9, 13), publishes=False)  # and it is stopped
    assert max(old.settled) == 8, "what is not in Redis is not committed"
    late = {(one.message.kind, one.message.id) for one in old.outbox.pending(100)}
    assert {kind for kind, _ in late} == {"answer", "event", "caption"}
    young.assigned(2)
    young.read(*range(old.site.committed, 25))
    again = {("answer", one["id"]) for one in said(client, "answers")}
    again |= {("event", one["id"]) for one in said(client, "events")}
    assert {one for one in late if one[0] != "caption"} <= again  # which are about other seconds
    old.publish()  # it is resumed
    assert old.outbox.num_waiting == 0
    assert old.observer.total(FENCED) == len(late)
    check(client)


def test_a_worker_that_is_started_again_goes_on_with_what_waits_in_its_outbox(
    new: New, client: redis.Redis, tmp_path: Path
) -> None:
    before = new("w", tmp_path / "outbox.db")
    before.assigned(1)
    before.read(*range(9))
    before.read(*range(9, 13), publishes=False)
    before.close()
    after = new("w", tmp_path / "outbox.db")
    after.assigned(1)  # a static member has its partitions again, in the same generation
    after.read(*range(9, 25))
    check(client)
    assert len(said(client, "answers")) == 25


def test_a_redis_that_is_emptied_between_two_records_costs_nothing_but_what_it_held(
    new: New, client: redis.Redis
) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(12))
    (start,) = said(client, "events")
    client.flushall()
    old.read(12)  # fills the carry again
    old.revoked()
    young.assigned(2)
    young.read(*range(13, 25))
    (end,) = said(client, "events")
    assert end["data"]["phase"] == "end"
    assert end["data"]["event_id"] == start["data"]["event_id"]


def test_while_redis_is_away_nothing_is_lost_for_want_of_room_and_nothing_committed(
    new: New, client: redis.Redis
) -> None:
    worker = new("w", max_bytes=64 << 10)
    worker.assigned(1)
    worker.read(0)
    worker.read(*range(1, 200), publishes=False)
    assert worker.lanes.counts()["yard"].waiting == 1, "it is held back"
    assert worker.outbox.size_bytes < 64 << 10
    assert worker.observer.total(OUTBOX_DROPPED) == 0
    assert worker.site.committed <= 1
    while worker.outbox.num_waiting:
        worker.publish()
    worker.read(200)
    assert worker.lanes.counts()["yard"].waiting == 0
    numbers = [one["data"]["seq"] for one in said(client, "answers")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_who_loses_a_camera_forgets_it_and_ends_nothing(new: New, client: redis.Redis) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(15))
    old.status.set("yard", "online")
    assert old.outbox.load_states()
    old.revoked()
    old.runner.step()
    assert old.outbox.load_states() == {}
    assert "yard" not in old.engine.held
    assert not old.lanes.is_waiting("yard")
    young.assigned(2)
    young.read(*range(15, 18))
    old.site.clock.seconds += 3600.0
    old.runner.step()
    old.publish()
    assert phases(client) == ["start"]


def test_a_camera_that_comes_back_before_its_worker_has_looked_is_seen_as_it_is(
    new: New, client: redis.Redis
) -> None:
    """As at a worker that was stopped: to it no time lies between the loss and the next frame."""
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(15))
    old.revoked()
    young.assigned(2)
    young.read(*range(15, 25))
    young.revoked()
    old.assigned(3)
    old.read(*range(23, 27))  # what was committed lies that far back
    assert np.array_equal(old.sees(), old.frame(26).pixels)
    (window,) = old.engine.windows["yard"]
    assert window.start_pts_s == 23.0, "it remembers nothing that has a hole in it"
    check(client)
    assert len(said(client, "answers")) == 27


def test_of_records_that_come_again_to_the_same_worker_nothing_is_missed(
    new: New, client: redis.Redis
) -> None:
    worker = new("w")
    worker.assigned(1)
    worker.read(*range(12))
    worker.assigned(2)  # as after a broker that was away
    worker.read(*range(10, 25))
    assert np.array_equal(worker.sees(), worker.frame(24).pixels)
    (window,) = worker.engine.windows["yard"]
    assert window.start_pts_s == 0.0, "no other worker had it"
    check(client)


def test_what_an_outbox_remembers_of_a_camera_is_not_believed_before_redis_was_asked(
    new: New, client: redis.Redis, tmp_path: Path
) -> None:
    old, young = new("old", tmp_path / "outbox.db"), new("young")
    old.assigned(1)
    old.read(*range(15))
    old.close()  # with an event that is on
    young.assigned(2)
    young.read(*range(15, 25))
    check(client)
    again = new("old", tmp_path / "outbox.db")
    again.site.clock.seconds += 3600.0
    for _ in range(3):
        again.runner.step()
        again.publish()
    check(client)


def test_an_event_whose_camera_sends_nothing_more_ends_at_the_start_of_its_worker(
    new: New, client: redis.Redis, tmp_path: Path
) -> None:
    before = new("w", tmp_path / "outbox.db")
    before.assigned(1)
    before.read(*range(15))
    before.close()
    after = new("w", tmp_path / "outbox.db")
    after.site.clock.seconds += 3600.0
    for _ in range(3):
        after.runner.step()
        after.publish()
    check(client)
    assert said(client, "events")[-1]["data"]["reason"] == "stale"
