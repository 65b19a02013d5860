"""Numbers shared out to workers by Ray Data: on a laptop, or on the cluster that is there."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
import ray.data

STORE_BYTES = 256 << 20
"""Ray's object store on one machine. Only numbers and captions go through it: parts are files."""


@contextmanager
def session(num_cpus: int, *, address: str | None = None) -> Iterator[None]:
    """Have Ray while the block runs: one that is there already, a cluster's, or one of our own.

    Args:
        num_cpus: of our own.
        address: of a cluster, such as `auto` or `ray://head:10001`; None for our own.

    Raises:
        ConnectionError: Ray has not started, or the cluster can't be reached.
    """
    if ray.is_initialized():
        yield
        return
    try:
        _start(num_cpus, address=address)
        yield
    finally:
        ray.shutdown()


def _start(num_cpus: int, *, address: str | None) -> None:
    try:
        if address is None:
            ray.init(
                num_cpus=num_cpus,
                object_store_memory=STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        else:
            ray.init(address=address, log_to_driver=False)
    except Exception as error:  # no narrower one: where a machine is too busy, Ray raises this
        raise ConnectionError(
            f"Ray: expected it to start, got: {error} What is done is kept; call again to go on."
        ) from error


def each(
    worker: Callable[..., Any],
    numbers: Sequence[int],
    *,
    given: tuple[Any, ...],
    num_workers: int,
    num_gpus: float = 0,
) -> Iterator[dict[str, Any]]:
    """Let workers take numbers one at a time, in no order, and yield what they say of each.

    A worker that dies is started again and what it had is done again; Ray Data sees to that.

    Args:
        worker: class of a callable from a batch with the column `number` to a batch.
        numbers: what is to be done.
        given: arguments of the class.
        num_workers: at most so many at a time.
        num_gpus: that each needs.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    done = ray.data.from_items(
        [{"number": number} for number in numbers], override_num_blocks=len(numbers)
    ).map_batches(
        worker,
        fn_constructor_args=given,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(num_workers, len(numbers))),
        num_cpus=1,
        num_gpus=num_gpus,
    )
    yield from done.iter_rows()
