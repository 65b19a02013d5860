"""`vigil watch`: what any Redis gets from workers, printed as it comes."""

from collections.abc import Callable, Collection
from contextlib import closing
from datetime import timedelta
from threading import Event

from pipeline.clock import Clock
from pipeline.errors import PublishError
from pipeline.messages import KINDS, MessageKind
from pipeline.publishers.tail import Tail
from worker.printer import Printer
from worker.settings import Settings

_TRY_AGAIN_S = 1.0


def watch(
    settings: Settings,
    printer: Printer,
    *,
    cameras: Collection[str],
    kinds: Collection[MessageKind],
    since_s: float,
    clock: Clock,
    stop: Event,
    tell: Callable[[str], None],
) -> None:
    """Print messages until told to stop; while Redis is away say so, and go on where it was.

    Args:
        settings: name the Redis.
        printer: prints them.
        cameras: whose; all where there are none.
        kinds: which; all where there are none.
        since_s: begin with what came so long ago.
        clock: says when that was.
        stop: ends it.
        tell: is told, in a line, of everything but the messages.
    """
    tail = Tail(
        settings.redis.address,
        prefix=settings.redis.prefix,
        since=clock.now() - timedelta(seconds=since_s),
        cameras=cameras,
        kinds=kinds or KINDS,
    )
    reason, num_broken, has_told = "", 0, False
    with closing(tail):
        while not stop.is_set():
            try:
                for channel, message in tail.read():
                    _show(printer, channel, message, tell=tell)
            except PublishError as error:
                if error.reason != reason:
                    tell(f"{error}; goes on when it answers again")
                reason = error.reason
                clock.wait(_TRY_AGAIN_S, stop)
                continue
            if reason:
                tell("redis: answers again")
            reason = ""
            if tail.num_broken > num_broken:
                num_broken = tail.num_broken
                tell(f"{num_broken} entries that are no messages were passed over")
            if not tail.has_streams:
                if not has_told:
                    tell(f"no camera in {settings.redis.prefix}:cameras yet; waiting for one")
                has_told = True
                clock.wait(_TRY_AGAIN_S, stop)


def _show(
    printer: Printer, channel: str, message: dict[str, object], *, tell: Callable[[str], None]
) -> None:
    try:
        printer.show(channel, message)
    except (KeyError, TypeError, ValueError):  # of another version, or another program's
        tell(f"a message on {channel} that cannot be read was passed over")
