"""A folder that workers share: each has a numbered file in it, 0.sqlite, 1.sqlite and so on."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from pipeline.outbox_file import has_waiting, is_held, move


@contextmanager
def first_free(folder: Path) -> Iterator[Path]:
    """Give the first file that no process holds, which may be a new one; open it within.

    Until then no other process is given any: of two that try one file at once, both may fail.
    """
    with in_turn(folder):
        yield next(file for file in _numbered(folder) if not is_held(file))


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Open files of the folder within: no other process does meanwhile."""
    with ExitStack() as turn:
        with suppress(OSError):  # a disk that cannot be written, or knows no such locks
            turn.callback(os.close, _locked(folder))
        yield


def abandoned(folder: Path) -> list[Path]:
    """Return the files that no process holds and in which messages wait."""
    return [one for one in sorted(folder.glob("[0-9]*.sqlite")) if has_waiting(one)]


def take_up_earlier(folder: Path, file: Path) -> None:
    """Let a new file begin with the outbox that lies beside the folder: 0.2.0 had it there.

    FOLDER.sqlite is moved to the file, where nobody holds it and the file is not there yet.
    """
    earlier = folder.with_name(f"{folder.name}.sqlite")
    if earlier.is_file() and not file.exists() and not is_held(earlier):
        with suppress(OSError):
            move(earlier, file)


def _numbered(folder: Path) -> Iterator[Path]:
    return (folder / f"{number}.sqlite" for number in count())


def _locked(folder: Path) -> int:
    """Return a descriptor of the folder, locked until it is closed.

    Raises:
        OSError: the folder cannot be made or locked.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # `vigil check`, which leaves nothing behind, may have taken it away meanwhile
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), folder.stat()):
                    return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
