"""A camera that came by an address comes by a group from now on, or the other way round."""

import json
from pathlib import Path

import redis

from pipeline.metrics import FENCED
from tests.worker.shared_camera import New, check, phases, restarted, said


def test_an_open_event_goes_on_when_its_camera_comes_to_the_worker_by_a_group(
    new: New, client: redis.Redis, tmp_path: Path
) -> None:
    after = restarted(new, tmp_path / "outbox.db", had_address=True)
    after.assigned(1)
    after.read(*range(13, 25))
    check(client)


def test_an_open_event_goes_on_when_its_camera_comes_to_another_worker_by_a_group(
    new: New, client: redis.Redis, tmp_path: Path
) -> None:
    after, other = restarted(new, tmp_path / "outbox.db", had_address=True), new("other")
    other.assigned(1)
    other.read(13)
    assert "by an address of its own" in other.tenures.why("yard"), "of which nobody has heard else"
    after.publish()
    other.site.clock.seconds += 5.0
    other.read(*range(14, 25))
    check(client)
    after.site.clock.seconds += 3600.0
    for _ in range(3):
        after.runner.step()
        after.publish()
    check(client)


def test_an_event_of_a_camera_that_another_worker_has_by_an_address_now_ends(
    new: New, client: redis.Redis, tmp_path: Path
) -> None:
    after = restarted(new, tmp_path / "outbox.db", name="k")
    other = new("w", has_address=True)
    after.publish()
    other.read(*range(13, 18))
    assert other.observer.total(FENCED) == 0
    assert {one["data"]["worker_id"] for one in said(client, "answers")} == {"k", "w"}
    other.site.clock.seconds += 3600.0
    for _ in range(3):
        after.runner.step()
        after.publish()
    by_k = [one["data"] for one in said(client, "events") if one["data"]["worker_id"] == "k"]
    assert [one["phase"] for one in by_k] == ["start", "end"]
    assert by_k[-1]["reason"] == "stale"


def test_an_event_ends_though_the_group_that_its_camera_came_by_is_no_more(
    new: New, client: redis.Redis, tmp_path: Path
) -> None:
    after = restarted(new, tmp_path / "outbox.db", has_group=False)
    after.runner.step()
    after.publish()
    assert after.observer.total(FENCED) == 0
    check(client)
    assert said(client, "events")[-1]["data"]["reason"] == "camera_removed"


def test_who_has_a_camera_no_more_keeps_nobody_from_it(new: New, client: redis.Redis) -> None:
    old, young = new("old"), new("young", has_address=True)
    old.assigned(1)
    old.read(*range(5))
    old.revoked()
    old.publish()  # it lives
    young.read(*range(5, 25))
    assert young.observer.total(FENCED) == 0
    assert phases(client) == ["start", "end"]


def test_how_far_a_question_was_told_goes_with_the_question_where_the_camera_is(
    new: New, client: redis.Redis
) -> None:
    worker, other = new("w"), new("other")
    worker.assigned(1)
    worker.read(*range(3))
    carry = "vigil:yard:carry"
    place = client.hget(carry, "at:fire")
    assert place is not None
    client.hset(carry, mapping={"at:gone": place, "answered:gone": place, "machine:gone": "{}"})
    other.outbox.put([])
    worker.publish()
    left = {name for name in client.hkeys(carry) if ":" in name and "cursor" not in name}
    assert left == {"at:fire", "at:caption", "machine:fire", "machine:gone"}, (
        "an event is ended by whoever takes the camera up"
    )
    assert json.loads(client.hget(carry, "machine:fire") or "")["event_id"] is None
