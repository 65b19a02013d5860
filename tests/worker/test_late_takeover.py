"""A camera that its worker goes on with before Redis could say how it stood."""

from pathlib import Path

import numpy as np
import redis

from pipeline.metrics import FENCED
from pipeline.tenures import WAIT_S
from tests.worker.shared_camera import Member, New, Site, check, phases, restarted, said


def go_on_without_redis(worker: Member, offset: int) -> None:
    """Have a record wait for Redis for as long as it may."""
    worker.read(offset, publishes=False)
    assert worker.tenures.is_held("yard")
    worker.site.clock.seconds += WAIT_S
    worker.runner.step()
    assert not worker.tenures.is_held("yard")


def come_back(worker: Member) -> None:
    """Let Redis be there again, until nothing waits."""
    while worker.outbox.num_waiting or worker.tenures.claims():
        worker.publish()
        worker.runner.step()


def test_an_event_that_was_on_before_redis_went_is_still_on_when_it_is_back(
    new: New, client: redis.Redis, tmp_path: Path
) -> None:
    after = restarted(new, tmp_path / "outbox.db")
    after.assigned(1)
    go_on_without_redis(after, 13)
    after.read(14, 15, publishes=False)
    come_back(after)
    assert phases(client) == ["start"], "it burns"
    after.read(*range(16, 25))
    check(client)
    assert said(client, "events")[-1]["data"]["reason"] == "answer"


def test_an_event_that_ended_while_redis_was_away_ends_once_and_another_one_starts(
    new: New, client: redis.Redis, site: Site, tmp_path: Path
) -> None:
    after = restarted(new, tmp_path / "outbox.db")
    after.assigned(1)
    go_on_without_redis(after, 13)
    after.read(*range(14, 25), publishes=False)
    come_back(after)
    check(client)
    site.burns = range(200, 210)
    after.read(*range(25, 30), *range(200, 220))
    assert phases(client) == ["start", "end", "start", "end"]
    assert len({one["data"]["event_id"] for one in said(client, "events")}) == 2


def test_an_event_that_two_had_goes_on_where_the_camera_is(new: New, client: redis.Redis) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(12))
    (start,) = said(client, "events")
    old.revoked()
    old.runner.step()
    young.assigned(2)
    go_on_without_redis(young, 9)  # what was committed lies that far back
    young.read(*range(10, 16), publishes=False)  # so it finds the same event
    come_back(young)
    young.read(*range(16, 25))
    events = [one["data"] for one in said(client, "events")]
    assert {one["event_id"] for one in events} == {start["data"]["event_id"]}
    assert [one["phase"] for one in events].count("end") == 1
    assert events[-1]["reason"] == "answer"


def test_what_was_said_without_redis_is_out_though_its_terms_ran_ahead_of_the_group(
    new: New, client: redis.Redis, tmp_path: Path
) -> None:
    """As after a group that was made anew: its generations are small, and the terms are not."""
    before = new("w", tmp_path / "outbox.db")
    before.assigned(57)
    before.read(0, 1)
    before.assigned(2)
    before.read(2, 3, 4)
    before.close()
    after = new("w", tmp_path / "outbox.db")
    after.assigned(2)
    go_on_without_redis(after, 5)
    after.read(*range(6, 25), publishes=False)
    come_back(after)
    assert after.observer.total(FENCED) == 0
    check(client)
    assert len(said(client, "answers")) == 25
    terms = [one["data"]["term"] for one in said(client, "answers")]
    assert terms == sorted(terms)


def test_a_camera_that_may_have_been_elsewhere_is_seen_as_it_is(new: New) -> None:
    old, young = new("old"), new("young")
    old.assigned(1)
    old.read(*range(15))
    old.revoked()
    young.assigned(2)
    young.read(*range(15, 25))
    young.revoked()
    old.assigned(3)
    go_on_without_redis(old, 25)
    old.read(26, publishes=False)
    assert np.array_equal(old.sees(), old.frame(26).pixels)
    (window,) = old.engine.windows["yard"]
    assert window.start_pts_s == 25.0, "it remembers nothing that may have a hole in it"
