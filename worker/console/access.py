"""Who may use the console: the token, its cookie, where a request comes from, and the headers."""

import asyncio
import hmac
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.clock import Clock
from worker.health import is_loopback

COOKIE = "vigil_console"
LIVES_S = 14 * 24 * 3600
WRONG_S = 0.5  # a wrong token is answered after so long, and four at a time
MAX_TRIES = 4

_SAFE = ("GET", "HEAD")
_OPEN = ("login", "livez")
_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'self'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Access:
    """The token and what is derived from it. Without a token everybody on this machine may."""

    def __init__(self, token: str, *, base_path: str, clock: Clock) -> None:
        """Note the token.

        Args:
            token: "" where nobody logs in.
            base_path: the path before all others, "" or such as `/vigil`.
            clock: says when a login is over.
        """
        self._token = token.encode()
        self._clock = clock
        self._tries = asyncio.Semaphore(MAX_TRIES)
        self.base_path = base_path

    @property
    def is_closed(self) -> bool:
        """Whether a token is needed."""
        return bool(self._token)

    def admits(self, request: Request) -> bool:
        """Whether a request bears the token in its header, or the cookie of a login."""
        if not self._token:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        sent = given.encode("latin-1")  # as which Starlette reads a header's bytes
        if scheme.lower() == "bearer" and hmac.compare_digest(sent, self._token):
            return True
        until, _, signature = request.cookies.get(COOKIE, "").partition(".")
        if not hmac.compare_digest(signature.encode(), self._signed(until).encode()):
            return False
        return until.isascii() and until.isdigit() and int(until) > self._now_s()

    async def log_in(self, request: Request, given: str) -> Response | None:
        """Return the answer that sets the cookie; None where the token is wrong.

        The cookie says until when it holds, signed by the token: another token ends all logins.
        """
        if self._tries.locked():
            return JSONResponse({"error": "too many tries, wait a second"}, status_code=429)
        async with self._tries:
            if not self._token or not hmac.compare_digest(given.encode(), self._token):
                await asyncio.sleep(WRONG_S)
                return None
        until = str(self._now_s() + LIVES_S)
        answer = RedirectResponse(f"{self.base_path}/", status_code=303)
        forwarded = request.headers.get("x-forwarded-proto", request.url.scheme)
        answer.set_cookie(
            COOKIE,
            f"{until}.{self._signed(until)}",
            max_age=LIVES_S,
            path=f"{self.base_path}/",
            secure=forwarded == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    def log_out(self) -> Response:
        """Return the answer that takes the cookie away."""
        answer = RedirectResponse(f"{self.base_path}/login", status_code=303)
        answer.delete_cookie(COOKIE, path=f"{self.base_path}/", httponly=True, samesite="strict")
        return answer

    def _signed(self, until: str) -> str:
        return hmac.new(self._token, f"console {until}".encode(), sha256).hexdigest()

    def _now_s(self) -> int:
        return int(self._clock.now().timestamp())


class Guard:
    """What stands before all pages: refuses who may not, and puts the headers on all answers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        # what is routed by: an address has a host too, which whoever asks may write as a path
        path = request.scope["path"].removeprefix(self._access.base_path).strip("/")
        if not self._access.is_closed and not _is_of_this_machine(request.headers):
            # another site's name that leads to this machine would make it one with this page
            return _refused(421, "without a token, only localhost and 127.0.0.1 are served")
        if request.method not in _SAFE and not _is_own(request.headers):
            return _refused(403, "refused: it does not come from this page")
        first = path.partition("/")[0]
        if first == "static" or path in _OPEN or self._access.admits(request):
            return None
        if first == "api":
            return _refused(401, "log in first")
        return RedirectResponse(f"{self._access.base_path}/login", status_code=303)


def _refused(status: int, words: str) -> Response:
    return JSONResponse({"error": words}, status_code=status)


def _is_of_this_machine(headers: Headers) -> bool:
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return False
    return is_loopback(host)


def _is_own(headers: Headers) -> bool:
    """Whether a browser says that a page of ours sent this, or it is no browser at all.

    A cookie goes with requests of this very site alone (SameSite=Strict); ports of one host are one
    site though, so the origin is compared too.
    """
    if "sec-fetch-site" in headers:
        return headers["sec-fetch-site"] == "same-origin"
    if "origin" not in headers:
        return "authorization" in headers  # no page of another can set that
    origin = urlsplit(headers["origin"]).netloc
    return bool(origin) and origin in (headers.get("host"), headers.get("x-forwarded-host"))
