"""What commands have changed of the settings, and lies on Redis."""

from collections.abc import Iterator
from contextlib import closing

from pipeline.errors import PublishError
from pipeline.publishers.redis_control import FORMAT, RedisControl
from worker.orders import Order, settings_of
from worker.settings import Settings
from worker.trials.found import Found, failed

SUBJECT = "control"


def try_control(settings: Settings) -> Found:
    """Read what a worker will go by instead of its environment, and say which value is whose."""
    redis = settings.redis
    try:
        with closing(
            RedisControl(redis.address, prefix=redis.prefix, worker_id=settings.worker_id)
        ) as connection:
            held = connection.held()
    except PublishError as error:
        cure = "its user also needs +hgetall and +xread, and the line on redis above has the rest"
        return failed(SUBJECT, str(error), cure)
    if held.format not in ("", FORMAT):
        why = f"other_version: {redis.prefix}:questions holds format {held.format[:20]}"
        return failed(SUBJECT, why, f"expected {FORMAT}; delete it, or use that version of Vigil")
    lines = [
        line for name, text in sorted(held.items.items()) for line in _lines(settings, name, text)
    ]
    return Found(SUBJECT, "; ".join(lines) or "all is as in the environment")


def _lines(settings: Settings, name: str, text: str) -> Iterator[str]:
    kind, _, one = name.partition(":")
    try:
        order = Order.read(text)
    except ValueError as error:
        yield f"{kind} {one} is passed over: {error}"
        return
    base = settings.questions.get(one) if kind == "question" else None
    before = settings_of(base) if base is not None else {}
    if order.do == "remove":
        yield f"question {one} is not asked, by command"
    elif order.do == "put":
        yield f"question {one} is by command alone"
    elif order.settings and base is None:
        yield f"question {one} is passed over: the environment has it no more"
        return
    for setting, value in order.settings.items():
        was = f", not {before[setting] or 'empty'} as in the environment" if before else ""
        yield f"{kind} {one}: {setting}={value} by command{was}"
    if order.is_paused:
        yield f"{kind} {one} is paused, by command"
