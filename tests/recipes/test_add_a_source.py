"""A source that nobody has heard of, run by the supervisor; it is built in `mailbox.py`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread

import pytest

from pipeline.sources.base import FrameSource
from pipeline.types import Overflow, Receipt, Tell, Wanted
from tests.recipes.mailbox import Mailbox, MailboxSource, Ticket
from tests.worker.supervised import Delivered, feed, make, until


@contextmanager
def running(mailbox: Mailbox, *, overflow: Overflow) -> Iterator[Delivered]:
    """A worker that reads the mailbox; its first two connections break."""
    breaks = [3, 7]

    def build(wanted: Wanted, _tell: Tell) -> FrameSource:
        return MailboxSource(mailbox, wanted=wanted, breaks_after=breaks.pop(0) if breaks else None)

    publisher = Delivered()
    post = replace(feed(name="post"), camera_ids=(), overflow=overflow, build=build)
    supervisor = make(post, publisher=publisher)
    thread = Thread(target=supervisor.run)
    thread.start()
    try:
        yield publisher
    finally:
        supervisor.stop()
        thread.join(timeout=10)


@pytest.mark.parametrize("overflow", Overflow)
def test_all_records_of_a_new_source_are_settled(overflow: Overflow) -> None:
    mailbox = Mailbox({index: ("yard" if index % 2 else "gate", index / 4) for index in range(40)})
    with running(mailbox, overflow=overflow) as publisher:
        until(lambda: not mailbox.letters)
    assert {one["camera_id"] for one in publisher.data("answer")} == {"yard", "gate"}
    states = {(one["camera_id"], one["state"]) for one in publisher.data("status")}
    assert {("yard", "offline"), ("gate", "online")} <= states


def test_receipts_that_are_not_its_own_settle_nothing() -> None:
    mailbox = Mailbox({1: ("yard", 0.0)})
    source = MailboxSource(mailbox, wanted=lambda _camera_id, _pts_s: True)
    for receipt in (Ticket(99), 1, object()):
        source.settle(Receipt(receipt))
    source.close()
    assert mailbox.letters == {1: ("yard", 0.0)}
