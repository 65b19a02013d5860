from types import SimpleNamespace
from typing import Any

from kafka.structs import MemberState
from structlog.testing import capture_logs

from pipeline.sources.membership import IDLE_AFTER_S, Membership
from tests.fakes import FakeClock


class Member:
    """A KafkaConsumer in the hands of a test."""

    def __init__(self) -> None:
        self.assigned: set[int] = set()
        self.state = MemberState.STABLE

    def group_metadata(self) -> Any:
        return SimpleNamespace(group_id="vigil", generation_id=4, state=self.state)

    def assignment(self) -> set[int]:
        return self.assigned

    def partitions_for_topic(self, topic: str) -> set[int]:
        assert topic == "frames"
        return {0, 1}


def told(membership: Membership) -> list[str]:
    with capture_logs() as logs:
        membership.look()
    return [one["detail"] for one in logs]


def test_more_workers_than_partitions_is_said_once_and_not_while_the_group_comes_together() -> None:
    clock, member = FakeClock(), Member()
    membership = Membership(member, "frames", clock=clock)
    assert told(membership) == []
    clock.seconds += IDLE_AFTER_S
    (detail,) = told(membership)
    assert "2 partitions" in detail
    assert "expected at least one for each worker" in detail
    assert told(membership) == []
    member.assigned = {1}
    assert told(membership) == []
    member.assigned = set()
    assert told(membership) == []
    clock.seconds += IDLE_AFTER_S
    assert len(told(membership)) == 1


def test_a_group_is_settled_once_it_has_given_its_partitions_out() -> None:
    member = Member()
    membership = Membership(member, "frames", clock=FakeClock())
    assert membership.is_settled
    member.state = MemberState.REBALANCING
    assert not membership.is_settled


def test_a_tenure_has_the_groups_generation() -> None:
    tenure = Membership(Member(), "frames", clock=FakeClock()).tenure()
    assert (tenure.group, tenure.generation, tenure.is_over) == ("vigil", 4, False)
