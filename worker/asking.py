"""`vigil ask`: a question put once to the worker that has the camera, its answer for people."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

from pipeline.asks import REHEARSAL
from pipeline.clock import Clock
from pipeline.errors import PublishError
from pipeline.publishers.asker import Asker
from pipeline.publishers.tail import Tail
from worker.printer import Printer, in_words, say, tell
from worker.settings import Settings

ANSWERED, NO_ANSWER, REFUSED, UNKNOWN = 0, 1, 2, 3
"""Exit status: answered; nobody did in time, or Redis is away; refused; the answer is `unknown`."""

_CLOCKS_DIFFER_S = 60.0
_ARRIVES_WITHIN_S = 10.0


class Desk:
    """Puts questions and prints what is replied."""

    def __init__(self, settings: Settings, *, as_json: bool, wait_s: float, clock: Clock) -> None:
        """Note where to ask.

        Args:
            settings: name the Redis.
            as_json: print the reply as it is.
            wait_s: for an answer.
            clock: times that.
        """
        self._settings = settings
        self._as_json = as_json
        self._wait_s = wait_s
        self._clock = clock

    def ask(self, camera_id: str, text: str, *, kind: str, options: Sequence[str]) -> int:
        """Ask a question, print its answer, and return the exit status.

        Args:
            camera_id: about whom; "" for the only camera there is.
            text: the question.
            kind: how it is to be answered.
            options: for kind `choice`.
        """
        fields = {"question": text, "kind": kind, "asked_by": "vigil ask"}
        if options:
            fields["options"] = json.dumps(list(options))
        begun_s = self._clock.monotonic_s()
        reply = self._put(camera_id, **fields)
        if reply is None:
            return NO_ANSWER
        if "data" not in reply:
            return self._refused(reply)
        said = reply["data"]
        if self._as_json:
            say(json.dumps(reply, ensure_ascii=False))
        else:
            took_s = self._clock.monotonic_s() - begun_s
            say(f"{said['camera_id']}: {in_words('answer', said, has_mass=True)}")
            say(_about(said, took_s=took_s))
        return UNKNOWN if said["answer"] == "unknown" else ANSWERED

    def test_event(self, camera_id: str) -> int:
        """Let a worker make a test event; print it as it arrives; return the exit status."""
        reply = self._put(camera_id, kind=REHEARSAL)
        if reply is None:
            return NO_ANSWER
        if "event_id" not in reply:
            return self._refused(reply)
        printer, phases = Printer(as_json=self._as_json), {"start", "end"}
        redis, until_s = self._settings.redis, self._clock.monotonic_s() + _ARRIVES_WITHIN_S
        since = self._clock.now() - timedelta(seconds=_CLOCKS_DIFFER_S)
        tail = Tail(
            redis.address, prefix=redis.prefix, since=since, cameras=[camera_id], kinds=["event"]
        )
        with closing(tail):
            while phases and self._clock.monotonic_s() < until_s:
                for channel, message in self._read(tail):
                    if message["data"].get("event_id") == reply["event_id"]:
                        printer.show(channel, message)
                        phases.discard(message["data"]["phase"])
        if phases:
            missing = " or ".join(sorted(phases))
            tell(f"vigil: {reply['worker_id']} made it, but no {missing} has arrived")
        return NO_ANSWER if phases else ANSWERED

    def _read(self, tail: Tail) -> Sequence[tuple[str, dict[str, Any]]]:
        try:
            return tail.read()
        except PublishError as error:
            tell(f"vigil: {error}")
            return ()

    def _put(self, camera_id: str, **fields: str) -> dict[str, Any] | None:
        redis = self._settings.redis
        asker = Asker(redis.address, prefix=redis.prefix, clock=self._clock)
        with closing(asker):
            try:
                known = asker.cameras()
                if not camera_id and len(known) == 1:
                    camera_id = next(iter(known))
                reply = asker.ask(camera_id, wait_s=self._wait_s, **fields)
            except PublishError as error:
                tell(f"vigil: {error}")
                return None
        if reply is None:
            owner = known[camera_id]["owner"] if camera_id in known else None
            whose = f"camera {camera_id} is {owner}'s" if owner else _those(known)
            tell(f"vigil: no answer within {self._wait_s:g} s: {whose}; does its worker run?")
        return reply

    def _refused(self, reply: Mapping[str, Any]) -> int:
        if self._as_json:
            say(json.dumps(reply, ensure_ascii=False))
        else:
            tell(f"vigil: {reply.get('refused')}: {reply.get('detail')}")
        is_ours = reply.get("refused") in ("malformed", "unknown_camera")
        return REFUSED if is_ours else NO_ANSWER


def _those(known: Mapping[str, object]) -> str:
    return f"the cameras are {', '.join(known)}" if known else "no camera is known"


def _about(said: Mapping[str, Any], *, took_s: float) -> str:
    window, tokens = said["window"], said["tokens"]
    begin, end = (datetime.fromisoformat(window[one]).astimezone() for one in ("start", "end"))
    return (
        f"seen {begin:%H:%M:%S} to {end:%H:%M:%S}, {tokens['kept']} of {tokens['total']} tokens "
        f"sent; {said['model']} on {said['worker_id']} answered after {took_s:.1f} s"
    )
