"""Which outbox a worker has, and the name and the GPU that go with it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
import torch

from pipeline.clock import Clock
from pipeline.errors import OutboxError
from pipeline.observer import UNOBSERVED, Observer
from pipeline.outbox import Outbox
from pipeline.outbox_folder import first_free, take_up_earlier
from worker.settings import Settings

log = structlog.get_logger("vigil")


def open_outbox(
    settings: Settings, *, clock: Clock, observer: Observer = UNOBSERVED
) -> tuple[Outbox, Settings]:
    """Open or make the outbox; return it with the settings of the worker that has it.

    In a folder it is the first file that no other worker holds. Its number and a part of its random
    name, which no file on another machine has, are the id where none is set: a container that takes
    another's place has the id that went with what it finds, whatever its host's name. The number
    also says which of several GPUs is the worker's, where the device is not told by its number.

    Raises:
        OutboxError: it is of another version, or another worker has it open.
    """
    with _file(settings) as file:
        if file is not None and _is_in_folder(settings):
            take_up_earlier(file.parent, file)
        outbox = _opened(settings, file, clock=clock, observer=observer)
    if file is None or not _is_in_folder(settings) or outbox.trouble:
        return outbox, settings
    number = int(file.stem)
    worker_id = settings.worker_id
    if "worker_id" not in settings.model_fields_set:
        worker_id = f"worker-{number}-{outbox.origin[:6]}"
    elif number:
        worker_id = f"{worker_id}-{number}"
    device = _device(settings.model.device, number)
    log.info("outbox_taken", path=str(file), worker_id=worker_id, device=device)
    model = settings.model.model_copy(update={"device": device})
    return outbox, settings.model_copy(update={"worker_id": worker_id, "model": model})


def folder_of(settings: Settings) -> Path | None:
    """Return the folder that workers share; None where the outbox is a file or in memory."""
    return Path(settings.outbox.path) if _is_in_folder(settings) else None


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


def _device(device: str, number: int) -> str:
    num_gpus = torch.cuda.device_count() if device in {"auto", "cuda"} else 0
    return f"cuda:{number % num_gpus}" if num_gpus > 1 else device


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
