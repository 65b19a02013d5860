import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.errors import ConfigError
from tests.fakes import FakeClock
from worker.environment import load
from worker.own_outbox import open_outbox, try_outbox
from worker.settings import Settings
from worker.wiring import build


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def on(path: object, **variables: str) -> Settings:
    return load({"VIGIL_MODEL__PATH": "nano", "VIGIL_OUTBOX__PATH": str(path), **variables})


def started(settings: Settings, stack: ExitStack) -> str:
    return as_started(settings, stack).worker_id


def as_started(settings: Settings, stack: ExitStack) -> Settings:
    outbox, its_own = open_outbox(settings, clock=FakeClock())
    stack.callback(outbox.close)
    return its_own


@pytest.mark.parametrize("written", ["{}/new/", "{}"], ids=["by its slash", "it is there"])
def test_workers_that_share_a_folder_have_ids_that_go_with_their_files(
    tmp_path: Path, written: str, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = on(written.format(tmp_path))
    with ExitStack() as gone:
        first = started(settings, gone)
        second = started(settings, stack)
        assert re.fullmatch(r"worker-0-[0-9a-f]{6}", first)
        assert re.fullmatch(r"worker-1-[0-9a-f]{6}", second)
    monkeypatch.setattr("socket.gethostname", lambda: "another-container")
    with capture_logs() as told:
        assert started(on(written.format(tmp_path)), stack) == first
    assert told[-1]["event"] == "outbox_taken"
    assert told[-1]["worker_id"] == first


def test_a_worker_goes_by_the_id_that_its_file_gives_it(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says to Kafka too, or a new container would wait for the old one's session."""
    named: list[str] = []

    def refuse(given: Settings, **_options: object) -> None:
        named.append(given.worker_id)
        raise ConfigError("something else")

    for place in ("worker.wiring.redis_publishers", "worker.wiring.feeds_of"):
        monkeypatch.setattr(place, refuse)
        with pytest.raises(ConfigError):
            build(on(f"{tmp_path}/"), clock=FakeClock())
    assert named == [started(on(tmp_path), stack)] * 2, "and what failed left the file"


def test_an_id_that_is_set_stays_and_those_that_share_it_are_told_apart(
    tmp_path: Path, stack: ExitStack
) -> None:
    settings = on(tmp_path, VIGIL_WORKER_ID="hall")
    assert [started(settings, stack) for _ in range(3)] == ["hall", "hall-1", "hall-2"]


@pytest.mark.parametrize(
    ("num_gpus", "device", "expected"),
    [
        (2, "cuda", ["cuda:0", "cuda:1", "cuda:0"]),
        (2, "auto", ["cuda:0", "cuda:1", "cuda:0"]),
        (2, "cuda:1", ["cuda:1"] * 3),
        (2, "cpu", ["cpu"] * 3),
        (1, "cuda", ["cuda"] * 3),
    ],
)
def test_of_several_gpus_each_worker_has_one(
    tmp_path: Path,
    stack: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
    num_gpus: int,
    device: str,
    expected: list[str],
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: num_gpus)
    settings = on(tmp_path, VIGIL_MODEL__DEVICE=device)
    assert [as_started(settings, stack).model.device for _ in range(3)] == expected


def test_a_file_of_its_own_leaves_a_worker_the_id_that_it_had(
    tmp_path: Path, stack: ExitStack
) -> None:
    settings = on(tmp_path / "outbox.sqlite")
    assert started(settings, stack) == settings.worker_id
    assert started(on("memory"), stack) == settings.worker_id


def test_without_a_file_that_it_holds_a_worker_takes_no_number(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that fails two workers would both be the first."""

    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.outbox.open_file", full)
    settings = on(f"{tmp_path}/")
    assert started(settings, stack) == settings.worker_id


def test_a_check_takes_its_turn_and_leaves_nothing_behind(tmp_path: Path, stack: ExitStack) -> None:
    folder = tmp_path / "new" / "outbox"
    settings = on(f"{folder}/")
    try_outbox(settings, clock=FakeClock())
    assert list(tmp_path.iterdir()) == []
    started(settings, stack)
    try_outbox(settings, clock=FakeClock())
    assert {path.name[:8] for path in folder.iterdir()} == {"0.sqlite"}
