"""What stands now of every camera, and who looks at it: the console's live side, in memory."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pipeline.clock import Clock
from pipeline.messages import rfc3339
from worker.console.redis import Shot
from worker.console.told import Told

MAX_VIEWERS = 64
LOOKS_S = 5.0  # a page says again every two seconds what it shows
REEL_LEN = 12
REEL_STEP_S = 10.0
REEL_LIVES_S = 120.0


@dataclass(slots=True)
class Reel:
    """A watched camera's pictures: the last one, and a strip of earlier ones."""

    shots: deque[Shot] = field(default_factory=lambda: deque(maxlen=REEL_LEN))
    last: Shot | None = None
    strip_at_s: float = -1e9

    def put(self, shot: Shot, now_s: float) -> bool:
        """Take a picture; whether it is another than the last."""
        if self.last is not None and self.last.captured_at == shot.captured_at:
            return False
        self.last = shot
        if now_s - self.strip_at_s >= REEL_STEP_S:
            self.shots.append(shot)
            self.strip_at_s = now_s
        return True


class Viewer:
    """One open page: what it shows, and what has changed since it was last told."""

    def __init__(self, camera_id: str) -> None:
        self.camera_id = camera_id
        self.looks_at: frozenset[str] = frozenset()
        self.until_s = 0.0
        self.changed: set[str] = set()
        self.shots: set[str] = set()
        self.told: deque[dict[str, Any]] = deque(maxlen=256)
        self.is_inbox_new = False
        self.is_link_new = True
        self.woken = asyncio.Event()


class Wall:
    """Every camera's tile, the viewers, and the link to Redis. One event loop's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.tiles: dict[str, dict[str, Any]] = {}
        self.viewers: dict[str, Viewer] = {}
        self.link: dict[str, Any] = {"up": False, "reason": "connecting", "since_ms": self.now_ms()}
        self.reels: dict[str, Reel] = {}
        self._looked_s: dict[str, float] = {}

    def now_ms(self) -> int:
        """Return the wall clock in milliseconds since 1970."""
        return round(self._clock.now().timestamp() * 1000)

    def time_in(self, seconds: float) -> str:
        """Return the wall clock so many seconds from now, RFC 3339."""
        return rfc3339(self._clock.now() + timedelta(seconds=seconds))

    # -- cameras --------------------------------------------------------------------------------

    def register(self, entries: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Take the register of cameras; return those that were not known."""
        for camera_id in [one for one in self.tiles if one not in entries]:
            del self.tiles[camera_id]
            self._change(camera_id)
        new = [camera_id for camera_id in entries if camera_id not in self.tiles]
        for camera_id, entry in entries.items():
            tile = self.tiles.setdefault(camera_id, _new_tile(camera_id))
            before = {**tile, "questions": {**tile["questions"]}}
            # a status message says later than the register what the state is
            if tile["status_ms"] == 0:
                tile.update({name: entry.get(name) for name in ("state", "reason", "since")})
            tile.update({name: entry.get(name) for name in ("owner", "grid", "control", "paused")})
            asked = entry.get("questions")
            asked = asked if isinstance(asked, dict) else {}
            known = tile["questions"]
            tile["questions"] = {
                question_id: {**_new_question(), **known.get(question_id, {}), **_rule(one)}
                for question_id, one in asked.items()
                if isinstance(one, dict)
            }
            if tile != before:
                self._change(camera_id)
        return new

    def is_asked(self, question_id: str) -> bool:
        """Whether a question is asked of any camera."""
        return any(question_id in tile["questions"] for tile in self.tiles.values())

    def tell(self, told: Told) -> None:
        """Take a message: the newest of its sort stands."""
        tile = self.tiles.get(told.camera_id)
        for viewer in self.viewers.values():
            if viewer.camera_id == told.camera_id:
                viewer.told.append(_line(told))
                viewer.woken.set()
            if told.kind == "event":
                viewer.is_inbox_new = True
                viewer.woken.set()
        if tile is not None and _apply(tile, told):
            self._change(told.camera_id)

    def stand(self, *, is_up: bool, reason: str = "") -> None:
        """Note whether Redis answers."""
        if (self.link["up"], self.link["reason"]) == (is_up, reason):
            return
        since_ms = self.link["since_ms"] if self.link["up"] == is_up else self.now_ms()
        self.link = {"up": is_up, "reason": reason, "since_ms": since_ms}
        for viewer in self.viewers.values():
            viewer.is_link_new = True
            viewer.woken.set()

    def inbox_changed(self) -> None:
        """Note that events were reviewed or marked."""
        for viewer in self.viewers.values():
            viewer.is_inbox_new = True
            viewer.woken.set()

    # -- pictures -------------------------------------------------------------------------------

    def look(self, camera_ids: frozenset[str]) -> None:
        """Note that somebody looks at cameras now."""
        until_s = self._clock.monotonic_s() + LOOKS_S
        for camera_id in camera_ids & self.tiles.keys():
            self._looked_s[camera_id] = until_s

    def watched(self) -> list[str]:
        """Return the cameras that somebody looks at; forget the pictures of the others."""
        now_s = self._clock.monotonic_s()
        for camera_id, until_s in list(self._looked_s.items()):
            if camera_id not in self.tiles or until_s + REEL_LIVES_S < now_s:
                del self._looked_s[camera_id]
                self.reels.pop(camera_id, None)
        return [camera_id for camera_id, until_s in self._looked_s.items() if until_s >= now_s]

    def show(self, shots: Mapping[str, Shot]) -> None:
        """Take pictures of watched cameras."""
        now_s = self._clock.monotonic_s()
        for camera_id, shot in shots.items():
            if self.reels.setdefault(camera_id, Reel()).put(shot, now_s):
                for viewer in self.viewers.values():
                    viewer.shots.add(camera_id)
                    viewer.woken.set()

    def shot(self, camera_id: str, captured_at: str = "") -> Shot | None:
        """Return a camera's last picture, or the one of that time where it is still here."""
        reel = self.reels.get(camera_id)
        if reel is None:
            return None
        if not captured_at:
            return reel.last
        kept = [*reel.shots, *([reel.last] if reel.last else [])]
        return next((one for one in kept if one.captured_at == captured_at), None)

    def strip(self, camera_id: str) -> list[str]:
        """Return when the pictures of a camera's strip were captured, oldest first."""
        reel = self.reels.get(camera_id)
        return [one.captured_at for one in reel.shots] if reel else []

    def _change(self, camera_id: str) -> None:
        for viewer in self.viewers.values():
            viewer.changed.add(camera_id)
            viewer.woken.set()


def _new_tile(camera_id: str) -> dict[str, Any]:
    return {
        "camera": camera_id,
        "state": None,
        "reason": None,
        "detail": None,
        "since": None,
        "next_try_at": None,
        "lag_ms": None,
        "owner": None,
        "grid": None,
        "control": None,
        "paused": None,
        "kept_ratio": None,
        "tokens": None,
        "caption": None,
        "caption_ms": 0,
        "status_ms": 0,
        "seen_ms": 0,
        "captured_at": None,
        "model": None,
        "demo_model": False,
        "degraded": False,
        "window": None,
        "questions": {},
    }


def _new_question() -> dict[str, Any]:
    return {
        "answer": None,
        "p": None,
        "mass": None,
        "why": None,
        "at_ms": 0,
        "event_id": None,
        "event_since_ms": None,
        "event_ms": 0,
    }


def _rule(entry: Mapping[str, Any]) -> dict[str, Any]:
    asked = ("question", "kind", "options", "every_s", "target", "enter", "exit")
    names = (*asked, "paused", "changed")
    return {name: entry.get(name) for name in names}


def _apply(tile: dict[str, Any], told: Told) -> bool:
    detail = told.detail or {}
    if told.kind == "status":
        if told.at_ms < tile["status_ms"]:
            return False
        tile.update(state=told.said, reason=told.reason, status_ms=told.at_ms)
        tile.update(
            {name: detail.get(name) for name in ("detail", "since", "next_try_at", "lag_ms")}
        )
        return True
    if told.at_ms >= tile["seen_ms"] and told.asked_by != "ask":
        tile["seen_ms"] = told.at_ms
        if told.total:
            tile["kept_ratio"] = (told.kept or 0) / told.total
            tile["tokens"] = {"kept": told.kept, "total": told.total}
        names = ("captured_at", "model", "demo_model", "degraded", "window")
        tile.update({name: detail.get(name) for name in names})
    if told.kind == "caption":
        if told.at_ms >= tile["caption_ms"]:
            tile.update(caption=told.said, caption_ms=told.at_ms)
        return True
    asked = tile["questions"].get(told.question_id)
    if asked is None or told.asked_by == "ask":
        return True
    if told.kind == "answer" and told.at_ms >= asked["at_ms"]:
        asked.update(answer=told.said, p=told.p, mass=told.mass, why=told.reason)
        asked["at_ms"] = told.at_ms
    if told.happening is not None and told.at_ms >= asked["event_ms"]:
        is_open = told.happening.phase != "end"
        asked["event_ms"] = told.at_ms
        asked["event_id"] = told.happening.event_id if is_open else None
        asked["event_since_ms"] = told.happening.started_ms if is_open else None
    return True


def _line(told: Told) -> dict[str, Any]:
    """Return a message as a camera's page takes it."""
    return {
        "kind": told.kind,
        "at_ms": told.at_ms,
        "said": told.said,
        "question_id": told.question_id,
        "p": told.p,
        "mass": told.mass,
        "why": told.reason,
        "asked_by": told.asked_by,
        "kept": told.kept,
        "total": told.total,
    }
