"""What is fetched from the hub, in which order, and what is said when it cannot be."""

import errno
import json
import logging
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from huggingface_hub import errors
from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

from model.errors import CheckpointError
from model.progress import Progress
from model.videollama3.hub import _bar, find, locate

REPO = "DAMO-NLP-SG/VideoLLaMA3-2B"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": 3,
    "merges.txt": 5,
    "model-00001-of-00002.safetensors": 600,
    "model-00002-of-00002.safetensors": 400,
    "model.safetensors.index.json": 7,
    "modeling_videollama3.py": 1,
    "pytorch_model.bin": 1,
    "stray.safetensors": 1,
}
INDEX = json.dumps(
    {
        "weight_map": {name: name for name in FILES if name.startswith("model-")}
        | {"tied": "model-00001-of-00002.safetensors"}
    }
)


class Hub:
    """Stands for the hub's client: notes what is fetched, and fails as it is told to."""

    def __init__(self, snapshot: Path) -> None:
        self.snapshot = snapshot
        self.fetched: list[str] = []
        self.revisions: set[str | None] = set()
        self.error: Exception | None = None

    def hf_hub_download(
        self,
        repo: str,
        name: str,
        *,
        revision: str | None,
        dry_run: bool = False,
        tqdm_class: type | None = None,
    ) -> Any:
        assert repo == REPO
        if self.error is not None:
            raise self.error
        if name not in FILES:
            raise errors.EntryNotFoundError("404: https://hub/x?token=hf_canary")
        self.revisions.add(revision)
        if dry_run:
            return SimpleNamespace(will_download=name not in self.fetched, file_size=FILES[name])
        self.fetched.append(name)
        self._write(name)
        if tqdm_class is not None:
            with tqdm_class(total=FILES[name], initial=0, desc=name, unit="B") as bar:
                bar.update(FILES[name] // 2)
                bar.update(FILES[name] - FILES[name] // 2)
        return str(self.snapshot / name)

    def snapshot_download(
        self, repo: str, *, revision: str | None, allow_patterns: list[str]
    ) -> str:
        assert repo == REPO
        self.revisions.add(revision)
        for name in FILES:
            if any(fnmatch(name, pattern) for pattern in allow_patterns):
                self.fetched.append(name)
                self._write(name)
        return str(self.snapshot)

    def _write(self, name: str) -> None:
        self.snapshot.mkdir(parents=True, exist_ok=True)
        (self.snapshot / name).write_text(INDEX if name.endswith("index.json") else "{}")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    one = Hub(tmp_path / "snapshots" / COMMIT)
    monkeypatch.setattr("model.videollama3.hub.hf_hub_download", one.hf_hub_download)
    monkeypatch.setattr("model.videollama3.hub.snapshot_download", one.snapshot_download)
    return one


def test_config_json_comes_first_and_the_weights_last(hub: Hub) -> None:
    place = find(REPO)
    assert hub.fetched == ["config.json"]
    place.fetch_small()
    assert not [name for name in hub.fetched if name.endswith(".safetensors")]
    place.fetch_weights()
    assert hub.fetched[-2:] == [name for name in FILES if name.startswith("model-")]


def test_nothing_executable_and_no_stray_weights_are_fetched(hub: Hub) -> None:
    assert locate(REPO, revision="main") == hub.snapshot
    assert not {"modeling_videollama3.py", "pytorch_model.bin", "stray.safetensors"} & set(
        hub.fetched
    )


def test_all_files_are_of_the_commit_that_config_json_is_of(hub: Hub) -> None:
    place = find(REPO, revision="main")
    assert hub.revisions == {"main"}
    hub.revisions.clear()
    place.fetch_small()
    place.fetch_weights()
    assert hub.revisions == {COMMIT}


@pytest.mark.usefixtures("hub")
def test_what_was_downloaded_is_told_over_all_files() -> None:
    told: list[Progress] = []
    place = find(REPO)
    place.fetch_small()
    place.fetch_weights(told.append)
    assert [one.done_bytes for one in told] == [0, 300, 600, 600, 800, 1000]
    assert {one.total_bytes for one in told} == {1000}
    assert str(told[1]) == f"downloaded 30% of {REPO} (0.0 MB)"
    told.clear()
    place.fetch_weights(told.append)
    assert told == [], "what is here is not fetched again"


def test_the_clients_fast_transfer_is_told_of_once() -> None:
    told: list[Progress] = []
    bar = _bar(told.append, REPO, before_bytes=100, total_bytes=1100)
    reporter = XetDownloadProgressReporter(
        reconstruction_desc="x", total=1000, log_level=logging.INFO, tqdm_class=bar
    )
    for written, by_network in ((0, 400), (500, 900), (1000, 900)):
        reporter.update_progress(
            SimpleNamespace(
                total_bytes_completed=written,
                total_bytes_completion_rate=1.0,
                total_transfer_bytes_completed=by_network,
                total_transfer_bytes_completion_rate=1.0,
                total_bytes=1000,
            )
        )
    reporter.close()
    assert [one.done_bytes for one in told] == [600, 1100]


class Answered:
    """As much of an HTTP answer as the hub's errors look at."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code
        self.headers: dict[str, str] = {}
        self.request = None


def http(kind: type[Exception], status_code: int) -> Exception:
    make = cast("Callable[..., Exception]", kind)
    return make("https://hub/x?token=hf_canary", response=Answered(status_code))


def unreachable(cause: Exception | None = None) -> Exception:
    error = errors.LocalEntryNotFoundError("https://hub/x?token=hf_canary")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(unreachable(), "the hub cannot be reached: go online once", id="offline"),
        pytest.param(errors.OfflineModeIsEnabled("canary"), "cannot be reached", id="told offline"),
        pytest.param(
            http(errors.RepositoryNotFoundError, 404), "check the name; a private one", id="none"
        ),
        pytest.param(http(errors.GatedRepoError, 403), "accept them on its page", id="gated"),
        pytest.param(http(errors.RevisionNotFoundError, 404), "a branch, a tag or", id="revision"),
        pytest.param(
            errors.EntryNotFoundError("canary"), "expected config.json and model", id="no such file"
        ),
        pytest.param(http(errors.HfHubHTTPError, 401), r"refuses access \(401\): .*HF_TOKEN"),
        pytest.param(
            unreachable(http(errors.HfHubHTTPError, 403)), r"refuses access \(403\): .*HF_TOKEN"
        ),
        pytest.param(
            unreachable(http(errors.HfHubHTTPError, 503)), r"the hub failed \(503\): try again"
        ),
        pytest.param(
            OSError(errno.ENOSPC, "No space left on device", "/canary"),
            "cannot be stored on this machine: No space left",
            id="disk full",
        ),
        pytest.param(RuntimeError("https://canary"), "cannot be fetched .*RuntimeError", id="else"),
    ],
)
def test_what_the_hub_refuses_is_one_line_without_an_address(
    hub: Hub, error: Exception, words: str
) -> None:
    hub.error = error
    with pytest.raises(CheckpointError, match=words) as refusal:
        find(REPO, revision="no-such")
    line = str(refusal.value)
    assert REPO in line
    assert "\n" not in line
    assert "canary" not in line
    assert "https" not in line


@pytest.mark.usefixtures("hub")
def test_a_repository_without_safetensors_says_so() -> None:
    place = find(REPO)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        place.fetch_weights()


def test_the_clients_own_lines_are_kept_out_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    level = logging.getLogger("huggingface_hub").level

    def noisy(*_: object, **_named: object) -> str:
        client = logging.getLogger("huggingface_hub.file_download")
        client.warning("thrown while requesting https://hub/canary")
        raise unreachable()

    monkeypatch.setattr("model.videollama3.hub.hf_hub_download", noisy)
    with pytest.raises(CheckpointError):
        find(REPO)
    assert "canary" not in caplog.text
    assert logging.getLogger("huggingface_hub").level == level


def test_a_local_folder_is_its_own_location(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("path", ["./models/x", "/no/such/folder", "~/nowhere", "a/b/c", "models/"])
def test_a_folder_that_is_missing_is_called_one(path: str) -> None:
    with pytest.raises(CheckpointError, match=f"no such folder: {path}$"):
        locate(path)


@pytest.mark.parametrize("path", ["", "nano2", "owner/na me", "-x/y"])
def test_what_is_neither_a_folder_nor_a_name_on_the_hub_is_refused(path: str) -> None:
    with pytest.raises(CheckpointError, match=r"expected a folder, owner/name on the hub, or nano"):
        locate(path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(CheckpointError, match="expected a folder, got the file"):
        locate(str(tmp_path / "x"))


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="model revision: expected none for a folder"):
        locate(str(tmp_path), revision="main")


def test_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(CheckpointError, match="got a URL") as refusal:
        locate("https://user:secret@example.com/model")
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("path", ["x" * 5000, "~nobody-of-that-name/x"])
def test_a_path_that_cannot_be_looked_up_is_refused(path: str) -> None:
    with pytest.raises(CheckpointError, match="model path: cannot be read"):
        locate(path)
