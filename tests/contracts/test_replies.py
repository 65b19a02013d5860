"""What the runner needs of an outbox, of the fake and of the real one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.messages import Message, status_message
from pipeline.outbox import Outbox
from pipeline.settling import Replies
from tests.fakes import EPOCH, ListReplies


def message(number: int) -> Message:
    return status_message("yard", at=EPOCH, state="online", detail=str(number))


Opened = tuple[Replies, Callable[[], list[Message]], Callable[[], dict[str, str]]]


@pytest.fixture(params=["list", "outbox"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Replies, and what is in them: messages in order, states by name."""
    if request.param == "list":
        fake = ListReplies()
        yield fake, lambda: fake.messages, lambda: fake.states
        return
    real = Outbox(tmp_path / "outbox.sqlite", max_bytes=1_000_000)
    yield real, lambda: [stored.message for stored in real.pending(100)], real.load_states
    real.close()


def test_messages_keep_their_order(opened: Opened) -> None:
    replies, messages, _ = opened
    sent = [message(number) for number in range(7)]
    replies.put(sent[:3])
    replies.put(sent[3:])
    assert [one.id for one in messages()] == [one.id for one in sent]


def test_a_state_is_the_last_one_put_under_its_name(opened: Opened) -> None:
    replies, _, states = opened
    replies.put([message(1)], states={"yard/fire": "a", "yard/gate": "b"})
    replies.put([message(2)], states={"yard/fire": "c"})
    replies.put([message(3)])
    assert states() == {"yard/fire": "c", "yard/gate": "b"}


def test_a_state_that_is_put_as_none_is_forgotten(opened: Opened) -> None:
    replies, messages, states = opened
    replies.put([message(1)], states={"yard/fire": "a", "yard/gate": "b"})
    replies.put([message(2)], states={"yard/fire": None, "yard/never": None})
    assert states() == {"yard/gate": "b"}
    replies.put([], states={"yard/gate": None})
    assert states() == {}
    assert len(messages()) == 2
