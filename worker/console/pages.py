"""The pages' frames. What is in them is fetched and built by the modules under `static/`."""

from html import escape
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from pipeline.camera_id import is_camera_id
from worker.console.access import Access

MAX_FORM = 4096

_SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Vigil</title>
<base href="{base}/">
<link rel="icon" href="static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="static/console.css">
{script}
</head>
<body{data}>
{body}
</body>
</html>
"""

_BODY = """<a class="skip" href="{here}#main">To the content</a>
<header class="bar">
  <a class="brand" href="./">Vigil</a>
  <nav aria-label="Pages">{nav}</nav>
  {leave}
</header>
<p class="link" id="link" role="status" hidden></p>
<main id="main" tabindex="-1"><p class="quiet">Loading …</p>
<noscript><p>This page needs JavaScript, all of it from this host.</p></noscript></main>"""

_LEAVE = '<form class="leave" method="post" action="logout"><button>Log out</button></form>'

_LOGIN = """<main class="login">
<h1>Vigil</h1>
<form method="post" action="login">
  <label for="token">Token</label>
  <input id="token" name="token" type="password" required autofocus
    autocomplete="current-password"{told}>
  <p class="wrong" id="wrong" role="alert">{wrong}</p>
  <button class="main">Log in</button>
</form>
<p class="quiet">The token is <code>VIGIL_CONSOLE__TOKEN</code> of this console.</p>
</main>"""

_NAV = {"cameras": ("./", "Cameras"), "inbox": ("inbox", "Inbox"), "health": ("health", "Health")}


class Pages:
    """The handlers of all that a browser is led to."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def cameras(self, _request: Request) -> Response:
        return self._page("cameras", "Cameras")

    async def camera(self, request: Request) -> Response:
        camera_id = request.path_params["camera_id"]
        if not is_camera_id(camera_id):
            raise HTTPException(404, "no such camera")
        return self._page("camera", camera_id, camera_id)

    async def inbox(self, _request: Request) -> Response:
        return self._page("inbox", "Inbox")

    async def health(self, _request: Request) -> Response:
        return self._page("health", "Health")

    async def login(self, request: Request) -> Response:
        wrong = ""
        if request.method == "POST":
            answer = await self._access.log_in(request, await _given_token(request))
            if answer is not None:
                return answer
            wrong = "This is not the token."
        told = ' aria-invalid="true" aria-describedby="wrong"' if wrong else ""
        body = _LOGIN.format(wrong=wrong, told=told)
        return self._shown("Log in", body, status=403 if wrong else 200)

    async def logout(self, _request: Request) -> Response:
        return self._access.log_out()

    async def livez(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    def _page(self, module: str, title: str, camera_id: str = "") -> Response:
        nav = "".join(
            f'<a href="{href}" id="nav-{one}"{_current(one == module)}>{words}</a>'
            for one, (href, words) in _NAV.items()
        )
        here = {"camera": f"camera/{camera_id}", "cameras": ""}.get(module, module)
        leave = _LEAVE if self._access.is_closed else ""
        body = _BODY.format(nav=nav, leave=leave, here=escape(here))
        return self._shown(title, body, module=module, camera_id=camera_id)

    def _shown(
        self, title: str, body: str, *, module: str = "", camera_id: str = "", status: int = 200
    ) -> Response:
        script = f'<script type="module" src="static/{module}.js"></script>' if module else ""
        text = _SHELL.format(
            title=escape(title),
            base=escape(self._access.base_path),
            script=script,
            data=f' data-camera="{escape(camera_id)}"',
            body=body,
        )
        return HTMLResponse(text, status_code=status)


async def _given_token(request: Request) -> str:
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_FORM:
            return ""
    return parse_qs(raw.decode("utf-8", "replace")).get("token", [""])[0]


def _current(holds: bool) -> str:  # noqa: FBT001
    return ' aria-current="page"' if holds else ""
