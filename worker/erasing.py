"""`vigil erase`: what Redis keeps of a camera, told, and erased once somebody agrees."""

from collections.abc import Callable
from contextlib import closing

from pipeline.errors import PublishError
from pipeline.publishers.eraser import Eraser, Found
from worker.printer import say, tell
from worker.settings import Settings

ERASED, FAILED, REFUSED = 0, 1, 2


def erase(settings: Settings, camera_id: str, *, agrees: Callable[[str], bool]) -> int:
    """Erase a camera's pictures and messages in Redis; return the exit status.

    Args:
        settings: name the Redis.
        camera_id: whose.
        agrees: asked in words whether to.
    """
    redis = settings.redis
    with closing(Eraser(redis.address, prefix=redis.prefix)) as eraser:
        try:
            found = eraser.find(camera_id)
            if found.is_empty:
                say(f"{camera_id}: nothing is kept")
                return ERASED
            if not agrees(f"{camera_id}: erase {_in_words(found)}? [y/N] "):
                tell("vigil: nothing was erased")
                return REFUSED
            eraser.erase(camera_id, found)
        except PublishError as error:
            tell(f"vigil: {error}")
            return FAILED
    say(f"{camera_id}: erased {_in_words(found)}")
    if found.owner is not None:
        tell(
            f"vigil: {found.owner} watches {camera_id}: what it publishes from now on, and what "
            "waits in its outbox, comes to Redis"
        )
    return ERASED


def _in_words(found: Found) -> str:
    counts = ((found.num_pictures, "picture"), (found.num_messages, "message"))
    told = [f"{number} {name}{'s' * (number != 1)}" for number, name in counts]
    return f"{' and '.join(told)} in {len(found.keys)} keys"
