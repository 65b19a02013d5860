"""What the pages fetch: JSON, pictures, clips, files to take away, and what they send."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from pipeline.camera_id import is_camera_id
from pipeline.errors import PublishError
from worker.console import exports
from worker.console.history import History
from worker.console.recall import Recall, Wanted
from worker.console.redis import ConsoleRedis
from worker.console.search import Query
from worker.console.tables import END_MS
from worker.console.threads import Threads
from worker.console.told import writable
from worker.console.wall import MAX_VIEWERS, Viewer, Wall

MAX_BODY = 64 * 1024
MAX_STRETCH_MS = 31 * 24 * 3600 * 1000
MAX_ASKS = 4  # of this console at a time
ASK_WAIT_S = 15.0
GRACE_S = 1.0  # for what a worker says at the deadline
STILL_S = 10.0
GATHER_S = 0.25
KINDS = ("yes_no", "choice", "count", "when", "text")

T = TypeVar("T")

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_TYPES = {"clip": "video/mp4"}


@dataclass(frozen=True, slots=True)
class Parts:
    """What the answers are made from.

    Attributes:
        wall: what stands now.
        redis: where pictures, workers and replies to asks come from.
        history: in its thread, for marks; `recall` in its own, for all else.
        threads: of these two.
        closing: set when the console ends, so that no page holds it up.
    """

    wall: Wall
    redis: ConsoleRedis
    history: History
    recall: Recall
    threads: Threads
    closing: asyncio.Event


class Answers:
    """The handlers of `api/...`; each is one request's."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._wall = parts.wall
        self._asks = 0

    # -- what stands now ------------------------------------------------------------------------

    async def cameras(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "cameras": list(self._wall.tiles.values()),
                "link": self._wall.link,
                "new": await self._recalled(Recall.num_new),
                "now_ms": self._wall.now_ms(),
            }
        )

    async def live(self, request: Request) -> Response:
        """Server-sent events: what changes, gathered four times a second, each camera once."""
        if len(self._wall.viewers) >= MAX_VIEWERS:
            raise HTTPException(503, f"{MAX_VIEWERS} pages are open already")
        camera_id = request.query_params.get("camera", "")
        return StreamingResponse(
            self._live(Viewer(camera_id)),
            media_type="text/event-stream",
            headers={"x-accel-buffering": "no"},
        )

    async def look(self, request: Request) -> Response:
        """Take which cameras a page shows at this moment."""
        shown = (await _body(request)).get("cameras")
        if not isinstance(shown, list) or not all(isinstance(one, str) for one in shown):
            raise HTTPException(400, "expected cameras: a list of ids")
        self._wall.look(frozenset(shown))
        return Response(status_code=204)

    async def picture(self, request: Request) -> Response:
        shot = self._wall.shot(_camera(request), request.query_params.get("at", ""))
        if shot is None:
            raise HTTPException(404, "no picture")
        return Response(shot.jpeg, media_type="image/jpeg")

    async def shot(self, request: Request) -> Response:
        """Tell of the last picture what its worker tells, and which earlier ones there are."""
        camera_id = _camera(request)
        return JSONResponse(_told_of(self._wall, camera_id))

    async def course(self, request: Request) -> Response:
        start_ms, end_ms = _whole(request, "from"), _whole(request, "to")
        if not 0 < end_ms - start_ms <= MAX_STRETCH_MS:
            raise HTTPException(400, "expected from and to, at most 31 days apart")
        return JSONResponse(
            await self._recalled(
                partial(Recall.course, camera_id=_camera(request), start_ms=start_ms, end_ms=end_ms)
            )
        )

    async def health(self, _request: Request) -> Response:
        told: dict[str, Any] = {
            "history": await self._recalled(Recall.standing),
            "gaps": await self._recalled(Recall.gaps),
            "link": self._wall.link,
            "viewers": len(self._wall.viewers),
            "watched": len(self._wall.watched()),
            "workers": None,
            "redis": None,
            "cameras": list(self._wall.tiles.values()),
            "now_ms": self._wall.now_ms(),
        }
        try:
            told["workers"] = await self._parts.redis.workers()
            told["redis"] = await self._parts.redis.about_server()
        except PublishError as error:
            told["link"] = {**told["link"], "reason": error.reason}
        return JSONResponse(told)

    # -- events ---------------------------------------------------------------------------------

    async def events(self, request: Request) -> Response:
        wanted = _wanted(request)
        return JSONResponse(
            {
                "events": await self._recalled(partial(Recall.events, wanted=wanted)),
                "asked": await self._recalled(Recall.asked),
                "new": await self._recalled(Recall.num_new),
            }
        )

    async def event(self, request: Request) -> Response:
        return JSONResponse(await self._event(request))

    async def search(self, request: Request) -> Response:
        text = request.query_params.get("q", "")[:500]
        before = _whole(request, "before") if "before" in request.query_params else None
        query = Query(text, request.query_params.get("camera", ""), before)
        return JSONResponse(await self._recalled(partial(Recall.find, query=query)))

    async def evidence(self, request: Request) -> Response:
        event = await self._event(request)
        role = request.path_params["role"]
        keys = {one["role"]: one["key"] for one in event["pictures"]}
        if event["clip"]:
            keys["clip"] = event["clip"]["key"]
        found = None
        if role in keys:
            try:
                found = await self._parts.redis.evidence(event["camera"], keys[role])
            except PublishError:
                raise HTTPException(503, "Redis does not answer") from None
        if found is None:
            raise HTTPException(404, "it is not kept any more")
        return _piece(request, found, _TYPES.get(role, "image/jpeg"))

    async def mark(self, request: Request) -> Response:
        event = await self._event(request)
        given = await _body(request)
        verdict, truth = given.get("verdict"), given.get("truth", "")
        if verdict not in ("right", "wrong", None) or not isinstance(truth, str):
            raise HTTPException(400, "expected verdict: right, wrong or null, and truth in words")
        await self._noted(
            lambda history: history.mark(event["event_id"], verdict, truth=truth.strip()[:200])
        )
        return JSONResponse(await self._event(request))

    async def review(self, request: Request) -> Response:
        given = await _body(request)
        ids, is_reviewed = given.get("events"), given.get("reviewed", True)
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise HTTPException(400, "expected events: a list of ids")
        if not isinstance(is_reviewed, bool):
            raise HTTPException(400, "expected reviewed: true or false")
        await self._noted(lambda history: history.review(ids, is_reviewed=is_reviewed))
        return JSONResponse({"new": await self._recalled(Recall.num_new)})

    async def export(self, request: Request) -> Response:
        wanted, name = _wanted(request), request.path_params["name"]
        write, kind = {
            "events.csv": (exports.events_csv, "text/csv"),
            "events.json": (exports.events_json, "application/json"),
            "labels.csv": (exports.labels_csv, "text/csv"),
        }.get(name, (None, ""))
        if write is None:
            raise HTTPException(404, "expected events.csv, events.json or labels.csv")
        text = await self._recalled(lambda recall: write(recall.all_events(wanted)))
        disposition = f'attachment; filename="vigil-{name}"'
        return Response(text, media_type=kind, headers={"content-disposition": disposition})

    # -- asking ---------------------------------------------------------------------------------

    async def ask(self, request: Request) -> Response:
        given = await _body(request)
        camera_id, words, kind = (given.get(name) for name in ("camera", "question", "kind"))
        if not isinstance(camera_id, str) or camera_id not in self._wall.tiles:
            raise HTTPException(404, "expected a camera that is there")
        if not isinstance(words, str) or not 0 < len(words.strip()) <= 500:
            raise HTTPException(400, "expected a question of 500 characters at most")
        if kind not in KINDS:
            raise HTTPException(400, f"expected a kind: {', '.join(KINDS)}")
        options = given.get("options", [])
        if not isinstance(options, list) or not all(isinstance(one, str) for one in options):
            raise HTTPException(400, "expected options: a list of words")
        if self._asks >= MAX_ASKS:
            raise HTTPException(429, f"{MAX_ASKS} questions wait for an answer already")
        self._asks += 1
        try:
            reply = await self._parts.redis.ask(
                uuid4().hex,
                camera_id=camera_id,
                question=words.strip(),
                kind=kind,
                options=options,
                deadline=self._wall.time_in(ASK_WAIT_S),
                wait_s=ASK_WAIT_S + GRACE_S,
            )
        except PublishError as error:
            raise HTTPException(503, f"Redis does not answer: {error.reason}") from None
        finally:
            self._asks -= 1
        if reply is None:
            raise HTTPException(504, f"no worker answered within {ASK_WAIT_S:g} s")
        return JSONResponse(reply)

    async def command(self, request: Request) -> Response:
        """Send a command to the workers; its fields are theirs to judge."""
        given = await _body(request)
        if not all(isinstance(one, str) for one in given.values()) or not given:
            raise HTTPException(400, "expected a command's fields, in words")
        if not any(tile["control"] for tile in self._wall.tiles.values()):
            raise HTTPException(409, "no worker takes commands: VIGIL_CONTROL=on lets it")
        if given.get("do") == "put" and self._wall.is_asked(given.get("question", "")):
            words = "expected a name that no question has: change it, or remove it first"
            raise HTTPException(409, f"question: {words}")
        if self._asks >= MAX_ASKS:
            raise HTTPException(429, f"{MAX_ASKS} questions wait for an answer already")
        self._asks += 1
        try:
            ack = await self._parts.redis.command(given, wait_s=ASK_WAIT_S)
        except PublishError as error:
            raise HTTPException(503, f"Redis does not answer: {error.reason}") from None
        finally:
            self._asks -= 1
        if ack is None:
            raise HTTPException(504, f"no worker answered within {ASK_WAIT_S:g} s")
        return JSONResponse(ack)

    # -- parts ----------------------------------------------------------------------------------

    async def _live(self, viewer: Viewer) -> AsyncIterator[str]:
        key = uuid4().hex
        self._wall.viewers[key] = viewer
        try:
            while not self._parts.closing.is_set():
                for name, value in await self._news(viewer):
                    yield f"event: {name}\ndata: {json.dumps(value)}\n\n"
                try:
                    await asyncio.wait_for(viewer.woken.wait(), STILL_S)
                except TimeoutError:
                    yield ": still here\n\n"
                viewer.woken.clear()
                await asyncio.sleep(GATHER_S)
        finally:
            del self._wall.viewers[key]

    async def _news(self, viewer: Viewer) -> list[tuple[str, Any]]:
        news: list[tuple[str, Any]] = []
        if viewer.is_link_new:
            viewer.is_link_new = False
            news.append(("link", self._wall.link))
        if viewer.changed:
            changed, viewer.changed = viewer.changed, set()
            news.append(("tiles", {one: self._wall.tiles.get(one) for one in changed}))
        if viewer.shots:
            shots, viewer.shots = viewer.shots, set()
            news.append(("shots", {one: _told_of(self._wall, one) for one in shots}))
        if viewer.told:
            told, viewer.told = list(viewer.told), type(viewer.told)(maxlen=viewer.told.maxlen)
            news.append(("told", told))
        if viewer.is_inbox_new:
            viewer.is_inbox_new = False
            news.append(("inbox", {"new": await self._recalled(Recall.num_new)}))
        return news

    async def _event(self, request: Request) -> dict[str, Any]:
        event_id = request.path_params["event_id"]
        found = await self._recalled(partial(Recall.event, event_id=event_id))
        if found is None:
            raise HTTPException(404, "no such event")
        return found

    async def _recalled(self, work: Callable[[Recall], T]) -> T:
        return await self._parts.threads.read(partial(work, self._parts.recall))

    async def _noted(self, work: Callable[[History], object]) -> None:
        await self._parts.threads.write(partial(work, self._parts.history))
        self._wall.inbox_changed()


def _told_of(wall: Wall, camera_id: str) -> dict[str, Any]:
    shot = wall.shot(camera_id)
    return {
        "captured_at": shot.captured_at if shot else None,
        "rows": shot.rows if shot else 0,
        "cols": shot.cols if shot else 0,
        "sent": shot.sent if shot else "",
        "strip": wall.strip(camera_id),
    }


def _camera(request: Request) -> str:
    camera_id = str(request.path_params["camera_id"])
    if not is_camera_id(camera_id):
        raise HTTPException(404, "no such camera")
    return camera_id


def _wanted(request: Request) -> Wanted:
    given = request.query_params
    state = given.get("state", "all")
    if state not in ("new", "reviewed", "all"):
        raise HTTPException(400, "expected state: new, reviewed or all")
    return Wanted(
        camera_id=given.get("camera", ""),
        question_id=given.get("question", ""),
        state=state,  # type: ignore[arg-type]  # it was just compared
        start_ms=_whole(request, "from") if "from" in given else 0,
        end_ms=_whole(request, "to") if "to" in given else END_MS,
    )


def _whole(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 13 and int(text) <= END_MS):
        raise HTTPException(400, f"expected {name}: milliseconds since 1970, {END_MS} at most")
    return int(text)


async def _body(request: Request) -> dict[str, Any]:
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_BODY:
            raise HTTPException(413, f"expected at most {MAX_BODY} bytes")
    try:
        given = writable(json.loads(raw))
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise HTTPException(400, "expected a JSON object of whole characters")
    return given


def _piece(request: Request, whole: bytes, kind: str) -> Response:
    """Return a file, or the stretch of it that a player asks for."""
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    headers = {"accept-ranges": "bytes"}
    if match is None or not (match[1] or match[2]):
        return Response(whole, media_type=kind, headers=headers)
    size = len(whole)
    first = int(match[1]) if match[1] else max(0, size - int(match[2]))
    last = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
    if first > last:
        return Response(status_code=416, headers={"content-range": f"bytes */{size}"})
    headers["content-range"] = f"bytes {first}-{last}/{size}"
    return Response(whole[first : last + 1], status_code=206, media_type=kind, headers=headers)
