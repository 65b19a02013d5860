import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.counted import oldest_age_s
from pipeline.errors import OutboxError
from pipeline.messages import KINDS, Message, MessageKind, status_message
from pipeline.metrics import OUTBOX_DROPPED, OUTBOX_SET_ASIDE
from pipeline.outbox import Outbox
from pipeline.stored import Stored
from tests.fakes import FakeClock, Recorder

ROOM = 1 << 20
AT = datetime(2026, 1, 2, tzinfo=UTC)


def message(
    kind: MessageKind = "caption", name: str = "a", *, camera_id: str = "gate", size: int = 0
) -> Message:
    return Message(kind, camera_id, name, {"id": name, "data": {"filler": "x" * size}})


def ids(stored: Sequence[Stored]) -> list[str]:
    return [one.message.id for one in stored]


def numbered(outbox: Outbox) -> list[tuple[str, int]]:
    return [(one.message.id, one.seq) for one in outbox.pending(1000)]


def dropped(observer: Recorder, kind: MessageKind) -> float:
    """What the gauge of dropped messages stands at."""
    return observer.numbers(OUTBOX_DROPPED, kind=kind)[-1]


def as_killed(path: Path, folder: Path) -> Path:
    """Return a copy of what a killed process leaves on the disk."""
    folder.mkdir()
    for part in path.parent.glob(f"{path.name}*"):
        shutil.copy(part, folder / part.name)
    return folder / path.name


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.db", max_bytes=ROOM)
    yield box
    box.close()


@pytest.mark.parametrize("path", [None, "outbox.db"], ids=["memory", "disk"])
def test_messages_come_out_as_they_went_in(path: str | None, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / path if path else None, max_bytes=ROOM)
    outbox.put([message("event", "a"), message("caption", "b")])
    outbox.put([message("caption", "c", camera_id="yard")])
    stored = outbox.pending(10)
    assert [one.message for one in stored] == [
        message("event", "a"),
        message("caption", "b"),
        message("caption", "c", camera_id="yard"),
    ]
    assert ids(outbox.pending(2)) == ["a", "b"]
    outbox.close()


def test_numbers_start_at_one_for_every_camera_and_kind_and_outlive_a_restart(
    tmp_path: Path,
) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, max_bytes=ROOM)
    outbox.put([message("caption", "a"), message("caption", "b"), message("event", "c")])
    outbox.put([message("caption", "d", camera_id="yard")])
    outbox.delivered([one.row for one in outbox.pending(10)])
    outbox.close()
    again = Outbox(path, max_bytes=ROOM)
    again.put([message("caption", "e")])
    (stored,) = again.pending(10)
    assert (stored.seq, stored.generation, stored.origin) == (3, 2, outbox.origin)
    again.close()


def test_another_file_has_another_origin(tmp_path: Path) -> None:
    boxes = [Outbox(tmp_path / name, max_bytes=ROOM) for name in ("a", "b")]
    assert boxes[0].origin != boxes[1].origin
    for box in boxes:
        box.close()


def test_a_number_given_again_after_a_power_cut_has_a_later_position(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, max_bytes=ROOM)
    rolled_back = as_killed(path, tmp_path / "before")
    outbox.put([message(name="published"), message(name="and lost")])
    lost = outbox.pending(2)[-1]
    outbox.close()
    after = Outbox(rolled_back, max_bytes=ROOM)
    after.put([message(name="new")])
    (new,) = after.pending(1)
    assert new.origin == lost.origin
    assert new.seq < lost.seq
    assert new.position > lost.position
    after.close()


def test_a_kill_loses_nothing_that_was_put(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, max_bytes=ROOM)
    outbox.put([message("event", "a")], states={"gate/fire": "on"})
    outbox.put([message("event", "b")], states={"gate/fire": "off", "gate/cars": "on"})
    after = Outbox(as_killed(path, tmp_path / "killed"), max_bytes=ROOM)
    assert ids(after.pending(10)) == ["a", "b"]
    assert after.load_states() == {"gate/fire": "off", "gate/cars": "on"}
    outbox.close()
    after.close()


def test_a_process_killed_in_the_middle_of_putting_loses_nothing_it_had_put(
    tmp_path: Path,
) -> None:
    program = """
import itertools, sys
from pathlib import Path
from pipeline.messages import Message
from pipeline.outbox import Outbox
from tests.fakes import FakeClock, Recorder
outbox = Outbox(Path(sys.argv[1]), max_bytes=1 << 30)
for i in itertools.count():
    outbox.put([Message("event", "gate", str(i), {})], states={"gate/fire": str(i)})
    print(i, flush=True)
"""
    path = tmp_path / "outbox.db"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        for _ in range(100):
            process.stdout.readline()
        process.kill()
        last = 99 + len(process.stdout.read().splitlines())
    outbox = Outbox(path, max_bytes=1 << 30)
    stored = outbox.pending(100_000)
    assert len(stored) in (last + 1, last + 2)  # the last put may not have been printed
    assert ids(stored) == [str(i) for i in range(len(stored))]
    assert outbox.load_states() == {"gate/fire": str(len(stored) - 1)}
    outbox.close()


def test_when_full_captions_go_before_status_before_answers_before_events() -> None:
    observer = Recorder()
    outbox = Outbox(None, max_bytes=10_000, observer=observer)
    kinds: list[MessageKind] = ["event", "answer", "status", "caption"]
    lost_first = []
    outbox.put([message(kind, f"{kind}-{i}", size=500) for kind in kinds for i in range(3)])
    before = ids(outbox.pending(100))
    for i in range(12):
        outbox.put([message("event", f"late-{i}", size=500)])
        after = ids(outbox.pending(100))
        lost_first += [name for name in before if name not in after]
        before = after
    assert lost_first[:9] == [f"{kind}-{i}" for kind in reversed(kinds[1:]) for i in range(3)]
    assert lost_first[9:] == [f"event-{i}" for i in range(len(lost_first) - 9)]
    lost = {"caption": 3, "status": 3, "answer": 3, "event": len(lost_first) - 9}
    assert {kind: dropped(observer, kind) for kind in kinds} == lost
    assert outbox.size_bytes <= 10_000
    outbox.close()


def test_a_message_larger_than_the_outbox_is_dropped_and_counted() -> None:
    observer = Recorder()
    outbox = Outbox(None, max_bytes=1000, observer=observer)
    outbox.put([message("event", size=2000)])
    assert outbox.pending(10) == []
    assert dropped(observer, "event") == 1
    assert (outbox.num_waiting, outbox.size_bytes) == (0, 0)
    outbox.close()


def test_what_is_set_aside_is_out_of_the_way_counted_and_the_first_to_go() -> None:
    observer = Recorder()
    outbox = Outbox(None, max_bytes=2500, observer=observer)
    outbox.put([message("event", "refused", size=500), message("caption", "kept", size=500)])
    outbox.set_aside([outbox.pending(1)[0].row])
    assert ids(outbox.pending(10)) == ["kept"]
    assert observer.totals(OUTBOX_SET_ASIDE, by="kind") == {"event": 1}
    assert outbox.size_bytes > 1000
    outbox.put([message("caption", f"more-{i}", size=500) for i in range(2)])
    assert ids(outbox.pending(10)) == ["kept", "more-0", "more-1"]
    assert all(dropped(observer, kind) == 0 for kind in KINDS)
    outbox.close()


def test_what_was_set_aside_waits_again_after_a_restart_behind_the_rest_under_its_number(
    tmp_path: Path,
) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, max_bytes=ROOM)
    outbox.put([message("event", name) for name in "abc"])
    outbox.set_aside([outbox.pending(1)[0].row])
    assert (outbox.num_set_aside, outbox.num_waiting) == (1, 2)
    outbox.close()
    again = Outbox(path, max_bytes=ROOM)
    assert (again.num_set_aside, again.num_waiting) == (0, 3)
    again.put([message("event", "d")])
    assert [(one.message.id, one.seq) for one in again.pending(10)] == [
        ("b", 2),
        ("c", 3),
        ("a", 1),
        ("d", 4),
    ]
    positions = [one.position for one in again.pending(10)]
    assert positions == sorted(set(positions)), "each is later than those before it"
    assert again.camera_ids() == {"gate"}
    again.close()


def test_a_state_that_is_put_as_none_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, max_bytes=ROOM)
    outbox.put([], states={"gate/fire": "on", "gate/cars": "on"})
    outbox.put([], states={"gate/fire": None})
    assert outbox.load_states() == {"gate/cars": "on"}
    outbox.close()
    again = Outbox(path, max_bytes=ROOM)
    assert again.load_states() == {"gate/cars": "on"}
    again.close()


def test_the_oldest_message_tells_how_long_it_has_waited(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=ROOM)
    assert oldest_age_s(outbox, AT) == 0
    for ago_s in (90, 30):
        made_at = AT - timedelta(seconds=ago_s)
        outbox.put([status_message("gate", at=made_at, state="online")])
    assert oldest_age_s(outbox, AT) == 90
    outbox.delivered([outbox.pending(1)[0].row])
    assert oldest_age_s(outbox, AT) == 30
    assert oldest_age_s(outbox, AT - timedelta(hours=1)) == 0
    outbox.close()
    assert isnan(oldest_age_s(outbox, AT))


def test_wait_wakes_when_something_is_put_and_not_before() -> None:
    outbox = Outbox(None, max_bytes=ROOM)
    assert not outbox.wait(0.0)
    woken = threading.Event()

    def waiting() -> None:
        assert outbox.wait(30.0)
        woken.set()

    thread = threading.Thread(target=waiting)
    thread.start()
    outbox.put([message()])
    assert woken.wait(10.0)
    thread.join()
    outbox.delivered([outbox.pending(1)[0].row])
    assert not outbox.wait(0.0)
    outbox.close()


def test_threads_may_put_and_deliver_at_once(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=ROOM)
    each = 50

    def put(camera_id: str) -> None:
        for i in range(each):
            outbox.put([message(name=f"{camera_id}-{i}", camera_id=camera_id)])

    threads = [threading.Thread(target=put, args=(name,)) for name in ("gate", "yard")]
    for thread in threads:
        thread.start()
    out: list[Stored] = []
    while len(out) < 2 * each:
        assert outbox.wait(10.0)
        out += (batch := outbox.pending(7))
        outbox.delivered([one.row for one in batch])
    for thread in threads:
        thread.join()
    for name in ("gate", "yard"):
        mine = [one for one in out if one.message.camera_id == name]
        assert [one.seq for one in mine] == list(range(1, each + 1))
        assert ids(mine) == [f"{name}-{i}" for i in range(each)]
    outbox.close()


@pytest.mark.parametrize("damage", ["not-a-database", "torn-page", "cut-short"])
def test_a_corrupt_file_is_moved_aside_and_a_new_one_begun(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, max_bytes=ROOM)
    outbox.put([message(name=f"{i}", size=3000) for i in range(20)])
    outbox.close()
    content = path.read_bytes()
    path.write_bytes(
        {
            "not-a-database": b"<html>" * 1000,
            "torn-page": content[:8192] + b"\xa5" * 8192 + content[16384:],
            "cut-short": content[: len(content) // 2],
        }[damage]
    )
    for number in (1, 2):
        again = Outbox(path, max_bytes=ROOM)
        assert again.moved_aside == tmp_path / f"outbox.db.corrupt-{number}"
        assert again.moved_aside.exists()
        assert again.origin != outbox.origin
        again.put([message(name="new")])
        assert ids(again.pending(10)) == ["new"]
        again.close()
        path.write_bytes(b"<html>" * 1000)


def test_a_sound_file_is_not_moved_aside(outbox: Outbox) -> None:
    assert outbox.moved_aside is None


@pytest.mark.usefixtures("outbox")
def test_a_second_outbox_on_the_same_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match="locked"):
        Outbox(tmp_path / "outbox.db", max_bytes=ROOM)


def test_a_file_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(OutboxError, match="expected version 2, got 7"):
        Outbox(path, max_bytes=ROOM)
    assert path.exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutboxError, match="outbox"):
        Outbox(tmp_path / "file" / "outbox.db", max_bytes=ROOM)
    with pytest.raises(OutboxError, match="expected a file, got a folder"):
        Outbox(tmp_path, max_bytes=ROOM)


def test_a_closed_outbox_says_so(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=ROOM)
    outbox.close()
    with pytest.raises(OutboxError, match="closed"):
        outbox.put([message()])


class AnyHistory(RuleBasedStateMachine):
    """Whatever is put, delivered, killed and opened again: order stays, nothing is lost."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.clock = FakeClock()
        self.path = Path(self.folder.name) / "0" / "outbox.db"
        self.outbox = self.opened()
        self.expected: list[tuple[str, str, str, int]] = []
        self.states: dict[str, str] = {}
        self.numbers: dict[tuple[str, str], int] = {}
        self.num_put = 0
        self.num_opened = 1

    def opened(self) -> Outbox:
        return Outbox(self.path, max_bytes=ROOM, clock=self.clock)

    @rule(
        kinds=st.lists(
            st.tuples(
                st.sampled_from(["gate", "yard"]),
                st.sampled_from(["caption", "answer", "event", "status"]),
            ),
            max_size=4,
        ),
        states=st.dictionaries(st.sampled_from("pq"), st.text("01", max_size=2), max_size=2),
    )
    def put(self, kinds: list[tuple[str, MessageKind]], states: dict[str, str]) -> None:
        messages = []
        for camera_id, kind in kinds:
            self.num_put += 1
            messages.append(message(kind, str(self.num_put), camera_id=camera_id))
            seq = self.numbers[camera_id, kind] = self.numbers.get((camera_id, kind), 0) + 1
            self.expected.append((camera_id, kind, str(self.num_put), seq))
        self.states |= states
        self.outbox.put(messages, states=states)

    @rule(limit=st.integers(1, 4))
    def deliver(self, limit: int) -> None:
        self.outbox.delivered([one.row for one in self.outbox.pending(limit)])
        del self.expected[:limit]

    @rule()
    def restart(self) -> None:
        self.outbox.close()
        self.outbox = self.opened()
        self.num_opened += 1

    @rule()
    def kill(self) -> None:
        killed = as_killed(self.path, Path(self.folder.name) / str(self.num_opened))
        self.outbox.close()
        self.path = killed
        self.outbox = self.opened()
        self.num_opened += 1

    @invariant()
    def everything_is_there_in_order(self) -> None:
        stored = self.outbox.pending(1000)
        assert [
            (one.message.camera_id, one.message.kind, one.message.id, one.seq) for one in stored
        ] == self.expected
        assert self.outbox.load_states() == self.states
        assert self.outbox.num_waiting == len(self.expected)
        assert self.outbox.generation == self.num_opened
        positions: dict[tuple[str, str], list[int]] = {}
        for one in stored:
            positions.setdefault((one.message.camera_id, one.message.kind), []).append(one.position)
        assert all(found == sorted(set(found)) for found in positions.values())

    def teardown(self) -> None:
        self.outbox.close()
        self.folder.cleanup()


AnyHistory.TestCase.settings = settings(settings(), max_examples=20, stateful_step_count=12)
test_any_history = AnyHistory.TestCase
