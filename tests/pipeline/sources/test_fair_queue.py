"""One key's heavy pictures made the answers about all other cameras 22.9 s old."""

from datetime import UTC, datetime
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.fair_queue import (
    HEAVY_S,
    MAX_WAITING_BYTES,
    MAX_WAITING_OF_A_CAMERA,
    FairQueue,
    Taken,
)
from pipeline.types import Overflow

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def taken(camera_id: str, number: int = 0, *, num_bytes: int = 10) -> Taken:
    return Taken(SimpleNamespace(value=bytes(num_bytes), offset=number), camera_id, MOMENT)


def put(queue: FairQueue, one: Taken) -> int | None:
    """Put a record; return the offset of the one that gave way."""
    assert queue.has_room(one)
    gone = queue.put(one)
    return gone[0].record.offset if gone else None


def next_of(queue: FairQueue) -> tuple[str, int]:
    one = queue.take(1.0)
    assert one is not None
    return one.camera_id, one.record.offset


def filled(queue: FairQueue, camera_id: str) -> None:
    for number in range(MAX_WAITING_OF_A_CAMERA):
        assert put(queue, taken(camera_id, number)) is None


def test_light_pictures_do_not_wait_for_more_than_one_heavy_one() -> None:
    queue = FairQueue(Overflow.WAIT)
    filled(queue, "heavy")
    assert next_of(queue) == ("heavy", 0)
    filled(queue, "light")
    queue.decoded("heavy", spent_s=1.0)
    for number in range(MAX_WAITING_OF_A_CAMERA):
        assert next_of(queue) == ("light", number)
        queue.decoded("light", spent_s=0.01)
    assert next_of(queue) == ("heavy", 1)


def test_who_was_away_has_saved_no_time() -> None:
    queue = FairQueue(Overflow.WAIT)
    for number in range(10):
        put(queue, taken("old", number))
        assert next_of(queue) == ("old", number)
        queue.decoded("old", spent_s=1.0)
    filled(queue, "old")
    filled(queue, "new")
    order = []
    for _ in range(4):
        order.append(next_of(queue)[0])
        queue.decoded(order[-1], spent_s=1.0)
    assert sorted(order) == ["new", "new", "old", "old"]


def test_a_camera_whose_places_are_full_is_held_back() -> None:
    queue = FairQueue(Overflow.WAIT)
    filled(queue, "gate")
    assert not queue.has_room(taken("gate"))
    assert queue.has_room(taken("yard"))
    next_of(queue)
    assert queue.has_room(taken("gate"))


def test_a_heavy_camera_gives_up_its_oldest_where_others_would_wait_for_it() -> None:
    queue = FairQueue(Overflow.WAIT)
    filled(queue, "heavy")
    queue.decoded("heavy", spent_s=2 * HEAVY_S)
    assert not queue.has_room(taken("heavy"))  # it has the topic to itself
    put(queue, taken("light"))
    assert put(queue, taken("heavy", 99)) == 0


def test_where_the_newest_is_wanted_it_takes_the_place_of_the_one_that_waits() -> None:
    queue = FairQueue(Overflow.LATEST)
    assert [put(queue, taken("gate", number)) for number in range(3)] == [None, 0, 1]
    assert next_of(queue) == ("gate", 2)


def test_what_waits_is_bounded_in_bytes() -> None:
    queue = FairQueue(Overflow.WAIT)
    put(queue, taken("gate", num_bytes=MAX_WAITING_BYTES))
    assert not queue.has_room(taken("yard"))
    next_of(queue)
    assert queue.has_room(taken("yard"))


def test_nobody_waits_behind_a_camera_that_is_held() -> None:
    """While Redis was away at a takeover, all cameras of the worker stood still with one."""
    held = {"gate"}
    queue = FairQueue(Overflow.WAIT, is_held=held.__contains__)
    held.clear()
    put(queue, taken("gate", 1))
    put(queue, taken("gate", 2))
    put(queue, taken("yard", 3))
    assert next_of(queue) == ("gate", 1)
    held.add("gate")
    assert not queue.has_room(taken("gate"))
    assert next_of(queue) == ("yard", 3)
    assert queue.take(0.01) is None
    assert queue.waits("gate")
    held.clear()
    assert next_of(queue) == ("gate", 2)


@given(st.lists(st.sampled_from("abc"), max_size=40), st.data())
def test_every_camera_keeps_its_order_and_nothing_is_lost(
    cameras: list[str], data: st.DataObject
) -> None:
    queue = FairQueue(Overflow.WAIT)
    waiting, seen = list(enumerate(cameras)), list[tuple[str, int]]()
    while waiting or any(queue.waits(camera_id) for camera_id in "abc"):
        can_put = bool(waiting) and queue.has_room(taken(waiting[0][1]))
        must_put = not any(queue.waits(camera_id) for camera_id in "abc")
        if can_put and (must_put or data.draw(st.booleans())):
            number, camera_id = waiting.pop(0)
            put(queue, taken(camera_id, number))
        else:
            seen.append(next_of(queue))
            queue.decoded(seen[-1][0], spent_s=0.01)
    for camera_id in "abc":
        assert [number for one, number in seen if one == camera_id] == [
            number for number, one in enumerate(cameras) if one == camera_id
        ]
