import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.errors import OutboxError
from pipeline.messages import Message
from pipeline.outbox import Outbox
from pipeline.outbox_folder import first_free, take_up_earlier

ROOM = 1 << 20
WORKER = """
import sys
from pathlib import Path
from pipeline.outbox import Outbox
from pipeline.outbox_folder import first_free
with first_free(Path(sys.argv[1])) as file:
    outbox = Outbox(file, max_bytes=1 << 20)
print(file.name, flush=True)
sys.stdin.read()
"""
Worker = subprocess.Popen[str]


def opened(folder: Path) -> Outbox:
    with first_free(folder) as file:
        return Outbox(file, max_bytes=ROOM)


def started(folder: Path) -> Worker:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def file_of(worker: Worker) -> str:
    assert worker.stdout
    return worker.stdout.readline().strip()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_workers_that_start_at_once_take_the_first_files_and_none_stays_free(
    tmp_path: Path, stack: ExitStack
) -> None:
    workers = [started(tmp_path / "new" / "outbox") for _ in range(3)]
    for worker in workers:
        stack.enter_context(worker)
        stack.callback(worker.kill)
    assert sorted(map(file_of, workers)) == ["0.sqlite", "1.sqlite", "2.sqlite"]


def test_what_a_killed_worker_left_is_taken_up_by_the_next_that_comes(
    tmp_path: Path, stack: ExitStack
) -> None:
    left = opened(tmp_path)
    left.put([Message("event", "gate", "a", {"id": "a"})])
    left.close()
    killed = stack.enter_context(started(tmp_path))
    stack.callback(killed.kill)
    assert file_of(killed) == "0.sqlite"
    other = opened(tmp_path)
    killed.kill()
    killed.wait()
    next_one = opened(tmp_path)
    assert [one.message.id for one in next_one.pending(10)] == ["a"]
    for outbox in (other, next_one):
        outbox.close()
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert files == {"0.sqlite": 0o600, "1.sqlite": 0o600}


def test_the_outbox_of_the_version_before_is_the_first_new_file(tmp_path: Path) -> None:
    """0.2.0 in compose had /var/lib/vigil/outbox.sqlite, where the folder is now outbox/."""
    earlier = Outbox(tmp_path / "outbox.sqlite", max_bytes=ROOM)
    folder = tmp_path / "outbox"
    earlier.put([], states={"event": "open"})
    with first_free(folder) as file:
        take_up_earlier(folder, file)
        assert not file.exists(), "a worker still has it"
    earlier.close()
    with first_free(folder) as file:
        take_up_earlier(folder, file)
        outbox = Outbox(file, max_bytes=ROOM)
    assert (file.name, outbox.load_states()) == ("0.sqlite", {"event": "open"})
    outbox.close()
    assert not (tmp_path / "outbox.sqlite").exists()


def test_another_programs_database_is_refused_rather_than_passed_over(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "0.sqlite") as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(OutboxError, match=r"0.sqlite: .*another program"):
        opened(tmp_path)


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutboxError, match="expected a file in a folder that can be made"):
        opened(tmp_path / "file" / "outbox")
