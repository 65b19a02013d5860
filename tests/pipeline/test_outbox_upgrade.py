"""An outbox of the version before, with an event open: its own code left it."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.events import EventMachine, EventRule
from pipeline.outbox import Outbox
from pipeline.outbox_trouble import LOOK_EVERY_S
from pipeline.stored import Stored
from tests.fakes import FakeClock
from tests.pipeline.test_outbox import as_killed, message
from tests.pipeline.test_outbox_disk import empty_disk, fill_disk
from tests.wire import validate

BEFORE = Path(__file__).parent / "outbox-0.2.0.sql"
ORIGIN = "2a7ffdd23d30df95"
OPEN = "f" * 32
ROOM = 1 << 20
AT = datetime(2026, 1, 2, 3, 10, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "outbox.db"
    with closing(sqlite3.connect(made)) as db:
        db.executescript(BEFORE.read_text(encoding="utf-8"))
    return made


def numbered(stored: list[Stored]) -> list[tuple[str, str, int, int]]:
    return [(one.message.camera_id, one.message.kind, one.seq, one.generation) for one in stored]


LEFT = [
    ("gate", "status", 1, 1),
    ("gate", "caption", 1, 1),
    ("gate", "answer", 17, 1),
    ("yard", "event", 1, 1),
    ("yard", "answer", 3, 1),
    ("yard", "answer", 4, 1),
    ("yard", "event", 2, 1),
]


def test_its_messages_go_first_and_its_numbers_go_on(path: Path) -> None:
    outbox = Outbox(path, max_bytes=ROOM)
    assert (outbox.origin, outbox.generation) == (ORIGIN, 2)
    outbox.put([message("event", "a"), message("event", "b", camera_id="yard")])
    assert numbered(outbox.pending(10)) == [
        *LEFT,
        ("gate", "event", 3, 2),
        ("yard", "event", 3, 2),
    ]
    outbox.close()


def test_its_messages_are_brought_up_to_date(path: Path) -> None:
    outbox = Outbox(path, max_bytes=ROOM)
    sent = [
        json.loads(one.envelope(prefix="vigil", worker_id="w", published_at=AT))
        for one in outbox.pending(len(LEFT))
    ]
    outbox.close()
    for one in sent:
        validate(one)
    (caption,) = (one["data"] for one in sent if one["type"] == "vigil.caption.v1")
    assert "changed" not in caption
    told = [(one["data"]["answer"], one["data"]["reason"]) for one in sent[2:]]
    assert told == [
        ("unknown", "in_doubt"),
        ("yes", None),
        ("no", None),
        ("no", None),
        ("no", "answer"),
    ]


def test_its_open_event_goes_on_and_ends_and_its_cooldown_holds(path: Path) -> None:
    outbox = Outbox(path, max_bytes=ROOM)
    states = outbox.load_states()
    assert set(states) == {"gate/fire", "yard/person"}, "<camera>/<question>"
    machine = EventMachine(EventRule(), new_id=lambda _record: "another")
    machine.restore(json.loads(states["gate/fire"]))
    steps = [machine.step(0.1, AT + timedelta(seconds=5 * i), stream_s=5.0 * i) for i in range(3)]
    (end,) = [one for one in steps if one and one.phase == "end"]
    assert (end.event_id, end.started_at) == (OPEN, datetime(2026, 1, 2, 3, 0, 5, tzinfo=UTC))
    outbox.put([message("event", "end")], states={"gate/fire": json.dumps(machine.snapshot())})
    outbox.close()
    again = Outbox(path, max_bytes=ROOM)
    assert OPEN not in again.load_states()["gate/fire"]
    assert again.load_states()["yard/person"] == states["yard/person"]
    again.close()


def test_a_state_that_nobody_moves_stays_as_it_was_put(path: Path) -> None:
    """It is for the machines to say whose it is: the outbox drops and renames none."""
    for _ in range(3):
        outbox = Outbox(path, max_bytes=ROOM)
        assert OPEN in outbox.load_states()["gate/fire"]
        outbox.put([message("event")], states={"gate/fire@another": "{}"})
        outbox.close()


def test_a_full_disk_during_the_upgrade_loses_none_of_it(path: Path, tmp_path: Path) -> None:
    clock = FakeClock()
    outbox = Outbox(path, max_bytes=ROOM, clock=clock)
    fill_disk(outbox)
    outbox.put([message("event", "a", size=50_000)])
    assert "kept in memory" in outbox.trouble
    assert numbered(outbox.pending(len(LEFT))) == LEFT
    empty_disk(outbox)
    clock.seconds += LOOK_EVERY_S
    outbox.put([])
    assert outbox.trouble == ""
    after = Outbox(as_killed(path, tmp_path / "killed"), max_bytes=ROOM)
    assert after.origin == ORIGIN
    assert numbered(after.pending(len(LEFT))) == LEFT
    assert OPEN in after.load_states()["gate/fire"]
    assert numbered(after.pending(10))[-1] == ("gate", "event", 3, 2)
    after.close()
    outbox.close()
