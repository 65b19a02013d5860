from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.sources.offsets import OffsetLedger


def ledger_of(*offsets: int) -> OffsetLedger:
    ledger = OffsetLedger()
    for offset in offsets:
        ledger.delivered(offset)
    return ledger


def test_nothing_is_to_be_committed_before_the_first_record() -> None:
    assert OffsetLedger().position() is None


def test_position_waits_for_the_oldest_record() -> None:
    ledger = ledger_of(5, 6, 7)
    ledger.settled(6)
    ledger.settled(7)
    assert ledger.position() == 5
    ledger.settled(5)
    assert ledger.position() == 8


def test_offsets_may_have_gaps() -> None:
    ledger = ledger_of(5, 9, 20)
    ledger.settled(5)
    assert ledger.position() == 9
    ledger.settled(9)
    ledger.settled(20)
    assert ledger.position() == 21


def test_settling_what_was_never_delivered_changes_nothing() -> None:
    ledger = ledger_of(5)
    ledger.settled(4)
    ledger.settled(6)
    assert ledger.position() == 5


def test_a_record_that_came_twice_is_settled_twice() -> None:
    ledger = ledger_of(5, 6)
    ledger.restart(5)
    ledger.delivered(5)
    ledger.settled(5)
    assert ledger.position() == 5
    ledger.settled(5)
    assert ledger.position() == 6


def test_a_partition_that_comes_back_does_not_commit_backwards() -> None:
    ledger = ledger_of(5, 6)
    ledger.restart(500)
    assert ledger.position() == 500
    ledger.settled(5)
    ledger.delivered(500)
    assert ledger.position() == 500
    ledger.settled(500)
    assert ledger.position() == 501


def test_a_topic_made_anew_is_committed_from_its_start() -> None:
    ledger = ledger_of(500)
    ledger.delivered(0)
    ledger.settled(0)
    assert ledger.position() == 1


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_all_settled_in_any_order_commits_the_end(gaps: list[int], random: Random) -> None:
    offsets = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    ledger = ledger_of(*offsets)
    left = offsets.copy()
    random.shuffle(left)
    while left:
        assert ledger.position() == min(left)
        ledger.settled(left.pop())
    assert ledger.position() == offsets[-1] + 1


class AnyInterleaving(RuleBasedStateMachine):
    """Deliveries, settlements and rebalances as a broker and a pipeline may make them."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = OffsetLedger()
        self.in_flight: Counter[int] = Counter()
        self.next = 0
        self.committed = 0
        self.is_begun = False

    @rule(gap=st.integers(0, 3))
    def deliver(self, gap: int) -> None:
        offset = self.next + gap
        self.is_begun = True
        self.ledger.delivered(offset)
        self.in_flight[offset] += 1
        self.next = offset + 1

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.in_flight)))
        self.ledger.settled(offset)
        self.in_flight -= Counter({offset: 1})

    @rule()
    def commit(self) -> None:
        position = self.ledger.position()
        if position is not None:
            self.committed = position

    @rule(others=st.integers(0, 5))
    def rebalance(self, others: int) -> None:
        """The partition goes and comes back, `others` records further on."""
        self.committed += others
        self.next = self.committed
        self.is_begun = True
        self.ledger.restart(self.next)
        # where the group stands, everything before is safe
        self.in_flight = Counter({o: n for o, n in self.in_flight.items() if o >= self.next})

    @precondition(lambda self: self.is_begun)
    @rule(distance=st.integers(1, 5))
    def jump(self, distance: int) -> None:
        """What lies between is passed over; what is in flight stays so."""
        self.next += distance
        self.ledger.jumped(self.next)

    @invariant()
    def no_unsettled_record_is_passed(self) -> None:
        position = self.ledger.position()
        assert (position is None) == (not self.is_begun)
        if position is not None:
            assert all(position <= offset for offset in self.in_flight)
            if not self.in_flight:
                assert position == self.next


TestAnyInterleaving = AnyInterleaving.TestCase
