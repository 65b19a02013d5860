"""The outbox on a real disk of its own that is small, that others fill, or that is read-only."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.outbox import Outbox
from pipeline.outbox_trouble import LOOK_EVERY_S
from tests.fakes import FakeClock, Recorder
from tests.pipeline.test_outbox import as_killed, ids, message, numbered

ROOM = 64 << 20


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small disk of its own, where this process may."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip("only root may mount; the tests above cover the same")
        return folder

    yield mount
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def fill(folder: Path) -> None:
    """Let another program take what the disk has left."""
    with (
        Path("/dev/zero").open("rb", 0) as zeros,
        (folder / "ballast").open("wb", 0) as file,
        pytest.raises(OSError, match="space"),
    ):
        shutil.copyfileobj(zeros, file, 1 << 12)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("size_kib", [64, 256, 1024, 2048, 4096])
def test_a_real_disk_smaller_than_the_bound_loses_no_event(
    size_kib: int, mounted: Callable[[str], Path], observer: Recorder, clock: FakeClock
) -> None:
    folder = mounted(f"size={size_kib}k")
    outbox = Outbox(folder / "outbox.db", max_bytes=ROOM, observer=observer, clock=clock)
    for i in range(3000):
        outbox.put([message("caption", f"caption-{i}", size=1000)])
        outbox.put([message("event", f"event-{i}")] if i % 10 == 0 else [], states={"s": str(i)})
    assert outbox.trouble
    kept = outbox.pending(10_000)
    events = [one for one in kept if one.message.kind == "event"]
    assert [one.message.id for one in events] == [f"event-{i}" for i in range(0, 3000, 10)]
    assert [one.seq for one in events] == list(range(1, 301))
    outbox.delivered([one.row for one in kept])  # Redis is back
    for _ in range(3):
        clock.seconds += LOOK_EVERY_S
        outbox.put([message("event", "after")])
    if size_kib > 64:
        assert outbox.trouble == ""
    after = Outbox(as_killed(folder / "outbox.db", folder.parent / "killed"), max_bytes=ROOM)
    if size_kib > 64:
        assert [one.seq for one in after.pending(10)] == [301, 302, 303]
        assert after.load_states() == {"s": "2999"}
    after.close()
    outbox.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_real_disk_that_others_fill_and_free_again_loses_nothing(
    mounted: Callable[[str], Path], clock: FakeClock, observer: Recorder
) -> None:
    """jellyfin#10187: Redis well, the disk full for another program's sake."""
    folder = mounted("size=8m")
    outbox = Outbox(folder / "outbox.db", max_bytes=ROOM, clock=clock, observer=observer)
    outbox.put([message("event", "before")], states={"gate/fire": "on"})
    fill(folder)
    for i in range(200):
        outbox.put([message("event", f"{i}", size=2000)], states={"gate/fire": str(i)})
        outbox.delivered([outbox.pending(1)[0].row])
    assert ids(outbox.pending(10)) == ["199"]
    assert outbox.trouble
    (folder / "ballast").unlink()
    clock.seconds += LOOK_EVERY_S
    outbox.put([message("event", "after")])
    assert outbox.trouble == ""
    after = Outbox(as_killed(folder / "outbox.db", folder.parent / "killed"), max_bytes=ROOM)
    assert numbered(after) == [("199", 201), ("after", 202)]
    assert after.load_states() == {"gate/fire": "199"}
    after.close()
    outbox.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("begins", ["full", "read-only"])
def test_a_start_on_a_full_or_read_only_disk_goes_on_with_what_is_there(
    begins: str, mounted: Callable[[str], Path], clock: FakeClock, observer: Recorder
) -> None:
    """jellyfin#10187: every restart was exit status 2, mute while the broker was up."""
    folder = mounted("size=8m")
    path = folder / "outbox.db"
    before = Outbox(path, max_bytes=ROOM)
    before.put([message("event", "a"), message("event", "b")], states={"gate/fire": "on"})
    killed = as_killed(path, folder.parent / "kept")
    before.close()
    for part in killed.parent.iterdir():
        shutil.copyfile(part, folder / part.name)
    if begins == "read-only":
        remount(folder, "ro")
    else:
        fill(folder)
    outbox = Outbox(path, max_bytes=ROOM, clock=clock, observer=observer)
    assert "memory" in outbox.trouble
    assert outbox.load_states() == {"gate/fire": "on"}
    outbox.put([message("event", "c")])
    first = outbox.pending(10)
    outbox.delivered([one.row for one in first])
    rest = outbox.pending(10)
    assert [(one.message.id, one.seq) for one in (*first, *rest)] == [("a", 1), ("b", 2), ("c", 3)]
    assert len({one.origin for one in first}) == 1
    remount(folder, "rw")
    (folder / "ballast").unlink(missing_ok=True)
    clock.seconds += LOOK_EVERY_S
    outbox.put([message("event", "d")])
    assert outbox.trouble == ""
    outbox.close()
    after = Outbox(path, max_bytes=ROOM)
    assert [one.seq for one in after.pending(10)][-1] == 4
    assert after.load_states() == {"gate/fire": "on"}
    after.close()
