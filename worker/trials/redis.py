"""Redis: reached, and written to as a worker writes."""

from collections.abc import Mapping

from pipeline.clock import Clock
from pipeline.errors import PublishError
from pipeline.publishers.redis_trial import RedisFound, try_redis
from worker.publishers import redis_publishers
from worker.settings import Settings
from worker.trials.found import Found, failed, sized

SUBJECT = "redis"
_RIGHTS = ("not_permitted", "refused")  # the second by the script, which does not always say why
_CURES: Mapping[str, str] = {
    "unreachable": "check host and port of VIGIL_REDIS__URL, and that this machine or container "
    "can reach them",
    "timeout": "something listens there and does not answer: check host and port, or its load",
    "auth_failed": "check user and password of VIGIL_REDIS__URL",
    "read_only": "it is a replica: name the primary",
    "out_of_memory": "raise its maxmemory, or lower VIGIL_REDIS__STREAM_MAX_LEN",
}


def try_publishing(settings: Settings, *, clock: Clock) -> Found:
    """Publish a message of a camera that nobody has, and delete it again."""
    prefix = settings.redis.prefix
    try:
        found = try_redis(
            settings.redis.address,
            new_publisher=lambda worker_id: redis_publishers(
                settings, clock=clock, worker_id=worker_id
            )(),
            prefix=prefix,
            clock=clock,
        )
    except PublishError as error:
        reason = error.reason
        rights = (
            f"the user needs ~{prefix}:* &{prefix}:* +@read +@write +@pubsub +@scripting "
            "+@connection"
        )
        other = "see what deploy/README.md says of this reason"
        cure = rights if reason in _RIGHTS else _CURES.get(reason, other)
        return failed(SUBJECT, f"{reason}: {error.detail}" if error.detail else reason, cure)
    return Found(SUBJECT, ", ".join(_told(found)))


def _told(found: RedisFound) -> list[str]:
    told = [found.server or "version not told", "a message was published and deleted"]
    if found.left_behind:
        told[-1] = f"a message was published; {' '.join(found.left_behind)} may not be deleted"
    if found.max_memory_bytes is None:
        told.append("maxmemory not told")
    elif found.max_memory_bytes == 0:
        told.append("no maxmemory: it may take all of its machine's")
    else:
        told.append(f"maxmemory {sized(found.max_memory_bytes)}, {found.policy}")
    return told
