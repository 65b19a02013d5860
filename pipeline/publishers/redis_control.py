"""Commands, what they changed, and acknowledgements, in Redis; a connection of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from pipeline.messages import encode
from pipeline.publishers import redis_scripts as scripts
from pipeline.publishers.redis_client import connect
from pipeline.publishers.redis_keys import (
    acks_key,
    cameras_key,
    control_key,
    heartbeat_key,
    questions_key,
)
from pipeline.publishers.redis_refusals import failure
from pipeline.publishers.redis_register import camera_of

FORMAT = "1"
BATCH = 32  # commands in a round trip
COMMANDS_KEPT = 1000  # of the stream; whoever commands trims it too
ANSWERED_BY_LIVES_MS = 60_000
_FORMAT, _TAKEN = "format", "taken"


@dataclass(frozen=True, slots=True)
class Held:
    """What Redis holds of the commands so far.

    Attributes:
        format: of the items; "" where it holds nothing, as one that was emptied.
        taken: the id of the last command that was taken; "0-0" before the first.
        items: what commands changed, by name, as they were kept.
    """

    format: str
    taken: str
    items: Mapping[str, str]


class RedisControl:
    """For one thread. Every method but `close` raises PublishError where Redis does not answer."""

    def __init__(self, url: str, *, prefix: str, worker_id: str) -> None:
        """Note where; connect with the first question.

        Raises:
            ConfigError: the URL cannot be read.
        """
        self._prefix = prefix
        self._worker_id = worker_id
        self._is_tls = url.lower().startswith("rediss")
        self._redis = connect(url)

    def close(self) -> None:
        """Let go of the connection."""
        self._redis.close()

    def held(self) -> Held:
        """Return what is kept."""
        with self._told():
            found: Any = self._redis.hgetall(questions_key(self._prefix))
        items = {_text(name): _text(value) for name, value in found.items()}
        return Held(items.pop(_FORMAT, ""), items.pop(_TAKEN, "0-0"), items)

    def read(self, after: str, *, wait_s: float) -> list[tuple[str, dict[str, str]]]:
        """Return the next commands behind an entry of their stream, with their ids.

        Args:
            after: that entry's id.
            wait_s: for the first of them; less than the driver's own time-out.
        """
        key = control_key(self._prefix)
        with self._told():
            found: Any = self._redis.xread(
                {key: after}, count=BATCH, block=max(1, round(1000 * wait_s))
            )
            entries = [entry for _, page in found or () for entry in page]
            if entries:
                self._redis.xtrim(key, maxlen=COMMANDS_KEPT, approximate=True)
        return [
            (_text(entry_id), {_text(name): _text(value) for name, value in fields.items()})
            for entry_id, fields in entries
        ]

    def keep(self, name: str, value: str, *, at: str) -> str:
        """Keep what a command has changed; return what is held instead, "" where nothing is.

        Args:
            name: of the item.
            value: JSON with the command's id as `at`; "" takes the item away.
            at: that id.
        """
        with self._told():
            key = questions_key(self._prefix)
            held: Any = self._redis.eval(scripts.KEEP, 1, key, name, value, at, FORMAT)
        return _text(held)

    def acknowledge(self, command: str, told: Mapping[str, object], *, is_alone: bool) -> None:
        """Say what came of a command.

        Args:
            command: its id.
            told: what.
            is_alone: all workers would say the same: the first one does.
        """
        keys = acks_key(self._prefix), questions_key(self._prefix), acks_key(self._prefix, command)
        lives_ms = str(ANSWERED_BY_LIVES_MS) if is_alone else ""
        ack = encode({"command": command, "worker_id": self._worker_id, **told})
        with self._told():
            self._redis.eval(
                scripts.ACKNOWLEDGE, 3, *keys, ack, command, FORMAT, self._worker_id, lives_ms
            )

    def cameras(self) -> dict[str, bool]:
        """Return the cameras of the register, and whether the worker that has each lives."""
        with self._told():
            found: Any = self._redis.hgetall(cameras_key(self._prefix))
            entries = {_text(name): camera_of(entry) for name, entry in found.items()}
            owners = {name: str(entry["owner"]) if entry else "" for name, entry in entries.items()}
            lives = {
                owner: bool(self._redis.get(heartbeat_key(self._prefix, owner)))
                for owner in {*owners.values()}
            }
            return {name: lives[owner] for name, owner in owners.items()}

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the driver raises into a word of ours; its text may carry what was sent."""
        try:
            yield
        except (RedisError, OSError, UnicodeError) as error:
            found = failure(error, is_tls=self._is_tls)
        else:
            return
        raise found


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
