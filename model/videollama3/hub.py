"""From a path or a name on the Hugging Face hub to a folder, the small files before the large."""

import errno
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from model.bundled import BUNDLED
from model.errors import CheckpointError
from model.progress import Progress, Tell, untold
from model.videollama3.files import CONFIG, SMALL_FILES, WEIGHTS, WEIGHTS_INDEX, shards

_CLIENT_LOGGERS = ("huggingface_hub", "httpx", "httpx2")  # their lines carry addresses
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a checkpoint is.

    Attributes:
        folder: with `config.json` in it, if it comes from the hub.
        repo: its name on the hub; empty for a folder of this machine's, which is whole.
        revision: what is fetched of it: one commit, whatever happens to a branch meanwhile.
    """

    folder: Path
    repo: str = ""
    revision: str | None = None

    def fetch_small(self) -> None:
        """Fetch all but the weights.

        Raises:
            CheckpointError: they cannot be had.
        """
        if self.repo:
            with _refusals(self.repo):
                snapshot_download(
                    self.repo, revision=self.revision, allow_patterns=list(SMALL_FILES)
                )

    def fetch_weights(self, tell: Tell = untold) -> None:
        """Fetch the weights, safetensors alone, after the small files.

        Args:
            tell: told how far it is, from any thread, often.

        Raises:
            CheckpointError: they cannot be had.
        """
        sizes = self.to_download()
        with _refusals(self.repo):
            done_bytes, total_bytes = 0, sum(sizes.values())
            for name, num_bytes in sizes.items():
                tell(Progress("downloaded", self.repo, done_bytes, total_bytes))
                bar = _bar(tell, self.repo, before_bytes=done_bytes, total_bytes=total_bytes)
                hf_hub_download(self.repo, name, revision=self.revision, tqdm_class=bar)
                done_bytes += num_bytes

    def to_download(self) -> dict[str, int]:
        """Tell which weight files are not here yet, and their sizes in bytes; the small ones are.

        Raises:
            CheckpointError: the hub does not say.
        """
        if not self.repo:
            return {}
        index = self.folder / WEIGHTS_INDEX
        names = sorted(set(shards(index).values())) if index.exists() else [WEIGHTS]
        sizes = {}
        with _refusals(self.repo):
            for name in names:
                found: Any = hf_hub_download(self.repo, name, revision=self.revision, dry_run=True)
                if found.will_download:
                    sizes[name] = int(found.file_size)
        return sizes


def find(path: str, *, revision: str | None = None) -> Place:
    """Find a checkpoint, and of one on the hub fetch `config.json` alone.

    `nano` is the bundled model, whatever folder of that name there is; `./nano` is the folder.

    Args:
        path: `nano`, a folder, or owner/name on the hub.
        revision: a branch, tag or commit on the hub.

    Raises:
        CheckpointError: no such folder; no such repository or revision; the hub asks for a token,
            or cannot be reached. One line, without an address or a token.
    """
    folder = BUNDLED.get(path) or Path(path)
    try:
        folder = folder.expanduser()
        is_folder, is_there = folder.is_dir(), folder.exists()
    except (OSError, RuntimeError) as exc:  # RuntimeError: ~ of nobody
        reason = exc.strerror if isinstance(exc, OSError) else "no such user"
        raise CheckpointError(f"model path: cannot be read: {reason}") from None
    if path and is_folder:
        if revision:
            raise CheckpointError(
                "model revision: expected none for a folder: revisions are the hub's"
            )
        return Place(folder)
    if path and is_there:
        raise CheckpointError(f"model path: expected a folder, got the file {path}")
    _refuse_unlike_a_repository(path)
    with _refusals(path):
        config = hf_hub_download(path, CONFIG, revision=revision)
    snapshot = Path(config).parent
    return Place(snapshot, path, snapshot.name if _COMMIT.fullmatch(snapshot.name) else revision)


def locate(path: str, *, revision: str | None = None) -> Path:
    """Return a whole checkpoint's folder, fetched from the hub where it is not here.

    Nothing executable is fetched: configuration, tokenizer files and safetensors only.

    Raises:
        CheckpointError: see `find`.
    """
    place = find(path, revision=revision)
    place.fetch_small()
    place.fetch_weights()
    return place.folder


def _refuse_unlike_a_repository(path: str) -> None:
    """Refuse what was meant as a folder, or is no name on the hub, before the hub is asked."""
    if "://" in path:  # not repeated in the message: it may carry a credential
        raise CheckpointError("model path: expected a folder or owner/name on the hub, got a URL")
    if path.startswith((".", "/", "~")) or path.count("/") > 1 or path.endswith("/"):
        raise CheckpointError(f"model path: no such folder: {path}")
    if not _REPO.fullmatch(path):
        got = f"no such folder: {path!r}" if path else "got none"
        names = " or ".join(BUNDLED)
        raise CheckpointError(
            f"model path: expected a folder, owner/name on the hub, or {names}; {got}"
        )


@contextmanager
def _refusals(repo: str) -> Iterator[None]:
    """Say in one line why something cannot be had; the hub's own messages carry addresses."""
    loggers = [logging.getLogger(name) for name in _CLIENT_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    except CheckpointError:
        raise
    except RevisionNotFoundError:
        raise CheckpointError(
            f"model revision: expected a branch, a tag or a commit of {repo} on the hub, found none"
        ) from None
    except Exception as exc:  # noqa: BLE001, the hub's transports raise kinds of their own
        raise CheckpointError(f"model path: {repo}: {_reason(exc)}") from None
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _reason(error: Exception) -> str:
    match error:
        case LocalEntryNotFoundError(__cause__=HfHubHTTPError() as cause):  # it did answer
            return _reason(cause)
        case LocalEntryNotFoundError() | OfflineModeIsEnabled():
            return (
                "it is neither a folder here nor in this machine's cache, and the hub cannot be "
                "reached: go online once, or copy its folder here and give that as the path"
            )
        case GatedRepoError():
            return (
                "the hub asks for its terms to be accepted (gated): accept them on its page and "
                "set HF_TOKEN to a token of that account"
            )
        case RepositoryNotFoundError():
            return (
                "neither a folder here nor a repository on the hub: check the name; a private one "
                "needs HF_TOKEN"
            )
        case EntryNotFoundError():
            return f"expected {CONFIG} and {WEIGHTS} or {WEIGHTS_INDEX} on the hub, one is missing"
        case HfHubHTTPError() if error.response.status_code in (401, 403):
            return (
                f"the hub refuses access ({error.response.status_code}): check that HF_TOKEN is "
                "valid and may read it"
            )
        case HfHubHTTPError():
            return f"the hub failed ({error.response.status_code}): try again later"
        case OSError(errno=errno.ENOSPC | errno.EACCES | errno.EROFS):
            return f"it cannot be stored on this machine: {error.strerror}"
        case _:
            return f"it cannot be fetched from the hub: {type(error).__name__}"


def _bar(tell: Tell, model: str, *, before_bytes: int, total_bytes: int) -> type:
    """Make the class that the hub's client tells how much of a file has come.

    The client may make several at once, of which each counts the same bytes in its own way: what
    is told is the most of them.
    """
    most_bytes = before_bytes

    class Bar:
        """Tells of bytes; draws nothing."""

        def __init__(self, *_: object, initial: int = 0, **_ignored: object) -> None:
            self.n, self.total = 0, 0
            self.format_dict: dict[str, object] = {}
            self.update(initial)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def update(self, num_bytes: float | None = 1) -> None:
            nonlocal most_bytes
            self.n += int(num_bytes or 0)
            if before_bytes + self.n > most_bytes:
                most_bytes = before_bytes + self.n
                tell(Progress("downloaded", model, most_bytes, total_bytes))

        def update_transfer(self, num_bytes: float | None = 1) -> None:
            """Pass over what came by the network: `update` tells what of it was written."""

        def __getattr__(self, _name: str) -> Callable[..., None]:
            """Take whatever else a progress bar is told."""
            return lambda *_args, **_named: None

    return Bar
