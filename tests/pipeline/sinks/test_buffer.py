import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import OutboxError
from pipeline.metrics import (
    INGEST_BYTES,
    INGEST_DROPPED,
    INGEST_WAITING,
    OUTBOX_DEGRADED,
)
from pipeline.outbox_trouble import LOOK_EVERY_S
from pipeline.sinks.buffer import ROW_BYTES, FrameBuffer
from pipeline.sinks.outlet import OutRecord
from tests.fakes import EPOCH, FakeClock, Recorder

PICTURE = bytes(1000)


@pytest.fixture
def buffer(tmp_path: Path, observer: Recorder, clock: FakeClock) -> Iterator[FrameBuffer]:
    path = tmp_path / "new" / "buffer.sqlite"
    opened = FrameBuffer(path, max_bytes=10_000, clock=clock, observer=observer)
    yield opened
    opened.close()


def record(second: float, value: bytes = PICTURE, *, camera_id: str = "gate") -> OutRecord:
    return OutRecord(camera_id, EPOCH + timedelta(seconds=second), "online", value)


def waiting(buffer: FrameBuffer) -> list[tuple[str, float, int]]:
    return [
        (
            one.record.camera_id,
            (one.record.captured_at - EPOCH).total_seconds(),
            len(one.record.value),
        )
        for one in buffer.pending(1000)
    ]


def test_records_come_out_as_they_went_in_and_stay_until_they_arrived(
    buffer: FrameBuffer, observer: Recorder
) -> None:
    assert not buffer.wait(0.0)
    put = [record(0.25), record(1, b""), record(1.5, b"x", camera_id="yard")]
    assert all(buffer.put(one) for one in put)
    assert buffer.wait(0.0)
    assert [one.record for one in buffer.pending(10)] == put
    first, *_ = buffer.pending(1)
    buffer.delivered(first.row)
    buffer.delivered(first.row)  # and no more than once
    assert [one.record for one in buffer.pending(10)] == put[1:]
    assert buffer.num_waiting == 2
    assert observer.total(INGEST_BYTES, camera="gate") == len(PICTURE)


def test_what_a_killed_process_left_is_there_for_the_next_one(
    buffer: FrameBuffer, tmp_path: Path, clock: FakeClock, observer: Recorder
) -> None:
    buffer.put(record(0))
    buffer.put(record(1, b""))
    path, copy = tmp_path / "new" / "buffer.sqlite", tmp_path / "copy.sqlite"
    for suffix in ("", "-wal"):  # as they lie on the disk at this moment
        copy.with_name(copy.name + suffix).write_bytes(
            path.with_name(path.name + suffix).read_bytes()
        )
    with closing(FrameBuffer(copy, max_bytes=10_000, clock=clock, observer=observer)) as after:
        assert waiting(after) == [("gate", 0.0, 1000), ("gate", 1.0, 0)]
        assert after.num_waiting == 2
        assert after.size_bytes == 1000 + 2 * ROW_BYTES
        assert not after.put(record(2, b"")), "a new process does not know what was sent before"


def test_the_oldest_picture_gives_way_with_what_stands_for_it_and_is_counted(
    buffer: FrameBuffer, observer: Recorder
) -> None:
    for second in range(3):
        buffer.put(record(second, PICTURE if second == 0 else b""))
    buffer.put(record(3, camera_id="yard"))
    for second in range(4, 11):
        buffer.put(record(second))
    assert waiting(buffer)[0] == ("yard", 3.0, 1000)
    assert buffer.size_bytes <= 10_000
    assert observer.total(INGEST_DROPPED, camera="gate", reason="full") == 3


def test_nothing_stands_for_a_picture_that_gave_way(buffer: FrameBuffer) -> None:
    """A worker would take it for the picture before."""
    buffer.put(record(0))
    for second in range(9):
        buffer.put(record(second, camera_id="yard"))
    assert not any(camera == "gate" for camera, *_ in waiting(buffer))
    assert not buffer.put(record(10, b""))
    assert buffer.put(record(10))
    assert buffer.put(record(11, b""))


def test_nothing_stands_for_a_picture_that_the_broker_refused(
    buffer: FrameBuffer, observer: Recorder
) -> None:
    buffer.put(record(0))
    buffer.put(record(1, b""))
    buffer.put(record(1, camera_id="yard"))
    buffer.refused(buffer.pending(1)[0].row)
    assert waiting(buffer) == [("yard", 1.0, 1000)]
    assert not buffer.put(record(2, b""))
    assert observer.total(INGEST_DROPPED, camera="gate", reason="too_large") == 2


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["put", "again", "send", "refuse"])),
        max_size=60,
    )
)
def test_whatever_gives_way_nobody_sees_another_picture_than_was_there(
    steps: list[tuple[str, str]],
) -> None:
    buffer = FrameBuffer(None, max_bytes=3000, clock=FakeClock(), observer=Recorder())
    true: dict[float, int] = {}  # what the camera showed at each second
    seen: dict[str, int] = {}  # what a reader of the topic takes for its last picture
    shown: dict[str, int] = {}

    def send(*, is_refused: bool) -> None:
        for one in buffer.pending(1):
            if one.record.value and is_refused:
                buffer.refused(one.row)
                return
            if one.record.value:
                seen[one.record.camera_id] = len(one.record.value)
            second = (one.record.captured_at - EPOCH).total_seconds()
            assert seen[one.record.camera_id] == true[second]
            buffer.delivered(one.row)

    for second, (camera, step) in enumerate(steps):
        if step in ("send", "refuse"):
            send(is_refused=step == "refuse")
            continue
        if step == "put" or camera not in shown:
            shown[camera] = 500 + second
        true[second] = shown[camera]
        again = step == "again" and buffer.put(record(second, b"", camera_id=camera))
        if not again:
            buffer.put(record(second, bytes(shown[camera]), camera_id=camera))
        assert buffer.size_bytes <= 3000
    while buffer.num_waiting:
        send(is_refused=False)
    assert buffer.size_bytes == 0
    buffer.close()


class FailingFile:
    """A connection whose disk is full."""

    def __init__(self, real: sqlite3.Connection, *, reads: bool) -> None:
        self._real = real
        self._reads = reads

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        if not sql.startswith("SELECT") or not self._reads:
            raise sqlite3.OperationalError("database or disk is full")
        return self._real.execute(sql, *values)  # type: ignore[arg-type]  # a test's own words

    def close(self) -> None:
        self._real.close()


@pytest.mark.parametrize("reads", [True, False])
def test_while_the_disk_fails_pictures_wait_in_memory_and_go_back(
    buffer: FrameBuffer, observer: Recorder, clock: FakeClock, *, reads: bool
) -> None:
    buffer.put(record(0))
    buffer._db = FailingFile(buffer._db, reads=reads)  # type: ignore[assignment]  # a full disk
    assert buffer.put(record(1))
    assert [second for _, second, _ in waiting(buffer)] == ([0.0, 1.0] if reads else [1.0])
    assert observer.total(INGEST_DROPPED, camera="", reason="disk") == (0 if reads else 1)
    assert "pictures wait in memory" in buffer.trouble
    assert observer.numbers(OUTBOX_DEGRADED)[-1] == 1
    clock.seconds += LOOK_EVERY_S
    stop = Event()
    buffer.run(stop, beat=stop.set)
    assert buffer.trouble == ""
    assert observer.numbers(OUTBOX_DEGRADED)[-1] == 0
    assert waiting(buffer)[-1] == ("gate", 1.0, 1000)
    assert buffer.put(record(2))
    assert buffer.num_waiting == observer.numbers(INGEST_WAITING)[-1] == (3 if reads else 2)


def test_more_than_memory_holds_is_cut_off_with_what_stood_for_it(
    buffer: FrameBuffer, observer: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sinks.buffer.MAX_MEMORY_BYTES", 2700)
    for second, value in enumerate((PICTURE, b"", b"", PICTURE, b"")):
        buffer.put(record(second, value))
    buffer._db = FailingFile(buffer._db, reads=True)  # type: ignore[assignment]  # a full disk
    buffer.put(record(5))
    assert [second for _, second, _ in waiting(buffer)] == [3.0, 4.0, 5.0]
    assert observer.total(INGEST_DROPPED, camera="", reason="disk") == 3


def test_a_file_that_a_power_cut_broke_is_begun_anew_and_counted(
    tmp_path: Path, clock: FakeClock, observer: Recorder
) -> None:
    path = tmp_path / "buffer.sqlite"
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 32)
    with closing(FrameBuffer(path, max_bytes=10_000, clock=clock, observer=observer)) as after:
        assert after.put(record(0))
        assert after.trouble == ""
    assert observer.total(INGEST_DROPPED, camera="", reason="disk") == 1


def test_a_file_in_use_or_of_another_program_is_refused(
    buffer: FrameBuffer, tmp_path: Path, clock: FakeClock, observer: Recorder
) -> None:
    def opened(path: Path) -> None:
        FrameBuffer(path, max_bytes=10_000, clock=clock, observer=observer).close()

    buffer.put(record(0))
    with pytest.raises(OutboxError, match="in use by another vigil ingest"):
        opened(tmp_path / "new" / "buffer.sqlite")
    with closing(sqlite3.connect(tmp_path / "mail.sqlite")) as db:
        db.execute("CREATE TABLE mail (x)")
    with pytest.raises(OutboxError, match="expected a buffer of pictures, got another's"):
        opened(tmp_path / "mail.sqlite")
