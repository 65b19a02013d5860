"""Which outbox a worker has, and the name that it goes by."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from pipeline.clock import Clock
from pipeline.errors import OutboxError
from pipeline.observer import UNOBSERVED, Observer
from pipeline.outbox import Outbox
from pipeline.outbox_folder import first_free, take_up_earlier
from worker.settings import Settings

log = structlog.get_logger("vigil")


def open_outbox(
    settings: Settings, *, clock: Clock, observer: Observer = UNOBSERVED
) -> tuple[Outbox, str]:
    """Open or make the outbox; return it with the worker's id.

    In a folder it is the first file that no other worker holds. Its number and a part of its random
    name, which no file on another machine has, are the id where none is set: a container that takes
    another's place has the id that went with what it finds, whatever its host's name.

    Raises:
        OutboxError: it is of another version, or another worker has it open.
    """
    with _file(settings) as file:
        if file is not None and _is_in_folder(settings):
            take_up_earlier(file.parent, file)
        outbox = _opened(settings, file, clock=clock, observer=observer)
    worker_id = settings.worker_id
    if file is not None and _is_in_folder(settings) and not outbox.trouble:
        number = file.stem
        if "worker_id" not in settings.model_fields_set:
            worker_id = f"worker-{number}-{outbox.origin[:6]}"
        elif number != "0":
            worker_id = f"{worker_id}-{number}"
        log.info("outbox_taken", path=str(file), worker_id=worker_id)
    return outbox, worker_id


def try_outbox(settings: Settings, *, clock: Clock) -> None:
    """Open the outbox as a start would, and take away again what was made by that.

    Raises:
        OutboxError: a start would be refused.
    """
    place = Path(settings.outbox.path).absolute()
    made = [one for one in (place, *place.parents) if not one.exists()]
    with _file(settings) as file:  # another worker's start must not find what is taken away
        if file is not None and not file.exists() and _is_in_folder(settings):
            made.insert(0, file)
        try:
            _opened(settings, file, clock=clock).close()
        finally:
            for one in made:
                with suppress(OSError):  # somebody else put something there meanwhile
                    one.rmdir() if one.is_dir() else one.unlink()


def _is_in_folder(settings: Settings) -> bool:
    path = settings.outbox.path
    return path.endswith("/") or Path(path).is_dir()


@contextmanager
def _file(settings: Settings) -> Iterator[Path | None]:
    path = settings.outbox.path
    if _is_in_folder(settings):
        with first_free(Path(path)) as file:
            yield file
    else:
        yield None if path == "memory" else Path(path)


def _opened(
    settings: Settings, file: Path | None, *, clock: Clock, observer: Observer = UNOBSERVED
) -> Outbox:
    max_bytes = settings.outbox.max_bytes
    try:
        return Outbox(file, max_bytes=max_bytes, observer=observer, clock=clock)
    except OutboxError as error:
        raise OutboxError(f"VIGIL_OUTBOX__PATH: {error}") from None
