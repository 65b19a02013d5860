"""Who may use the console, what it refuses, and what it never says."""

import http.client
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.errors import ConfigError
from tests.servers.redis import RedisServer
from tests.worker.console.conftest import StartConsole
from tests.worker.console.messages import GATE, Streams, caption, event, listed, named
from tests.worker.console.process import TOKEN, Console, until
from worker.__main__ import main
from worker.environment import load_for_console


@pytest.fixture(scope="module")
def closed(
    shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Console]:
    """A console with a token."""
    console = Console(tmp_path_factory.mktemp("closed"), shared_redis.url, token=TOKEN)
    yield console
    console.close()


@pytest.fixture(scope="module")
def opened(
    shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Console]:
    """A console without one."""
    console = Console(tmp_path_factory.mktemp("opened"), shared_redis.url)
    yield console
    console.close()


OWN = {"sec-fetch-site": "same-origin"}
FORM = {**OWN, "content-type": "application/x-www-form-urlencoded"}
CLOSED = [
    "api/cameras",
    "api/live",
    "api/cameras/gate/picture",
    "api/cameras/gate/course?from=0&to=1",
    "api/events",
    "api/events/e-1/at",
    "api/search?q=gate",
    "api/export/labels.csv",
    "api/health",
]


def log_in(console: Console, token: str, base: str = "") -> tuple[int, str]:
    """Return the status, and the cookie as it was set."""
    status, headers, _ = console.request(
        f"{base}login", method="POST", body=f"token={token}".encode(), headers=FORM
    )
    return status, headers.get("set-cookie", "")


def cookie_of(given: str) -> dict[str, str]:
    return {"cookie": given.partition(";")[0]}


def test_without_the_token_there_is_nothing_but_the_form(closed: Console) -> None:
    for path in CLOSED:
        assert closed.request(path)[0] == 401, path
    for path in ("", "camera/gate", "inbox", "health"):
        status, headers, _ = closed.request(path)
        assert (status, headers["location"]) == (303, "/login")
    for path in ("api/look", "api/ask", "api/command", "api/events/review", "api/events/e-1/mark"):
        assert closed.post(path, {}) == 401, path
    assert closed.request("login")[0] == 200
    assert closed.request("livez")[0] == 200
    assert closed.request("static/console.css")[0] == 200
    assert closed.request("static/../server.py")[0] == 404


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("api/cameras", "x/static/?", 401),
        ("api/cameras", "x/login?", 401),
        ("inbox", "x/static/?", 303),
        ("stat%09ic/console.css", "x", 303),
        ("logi%0an", "x", 303),
    ],
)
def test_the_path_that_is_routed_is_the_one_that_is_guarded(
    closed: Console, path: str, host: str, status: int
) -> None:
    """An address is made of the Host header too, and loses some characters."""
    assert closed.request(path, headers={"host": host})[0] == status


def test_a_token_of_any_letters_works_in_the_form_and_in_the_header(
    start_console: StartConsole,
) -> None:
    token = "pässwörtpässwört"
    console = start_console(token=token)
    assert log_in(console, quote(token))[0] == 303
    sent = f"Bearer {token}".encode().decode("latin-1")  # as UTF-8: http.client sends Latin-1
    assert console.request("api/cameras", headers={"authorization": sent})[0] == 200
    assert console.request("api/cameras", headers={"authorization": f"{sent}."})[0] == 401


def test_a_login_is_a_cookie_that_no_script_reads_and_no_other_site_sends(
    closed: Console,
) -> None:
    status, cookie = log_in(closed, TOKEN)
    assert status == 303
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert closed.request("api/cameras", headers=cookie_of(cookie))[0] == 200
    name, value = cookie_of(cookie)["cookie"].split("=")
    until_s, _, signature = value.partition(".")
    for forged in (
        f"{int(until_s) + 9}.{signature}",
        f"{until_s}.{'0' * 64}",
        "",
        ".",
        f"1.{signature}",
    ):
        assert closed.request("api/cameras", headers={"cookie": f"{name}={forged}"})[0] == 401
    assert closed.request("api/cameras", headers={"authorization": f"Bearer {TOKEN}"})[0] == 200
    assert closed.request("api/cameras", headers={"authorization": "Bearer no"})[0] == 401
    assert closed.request(f"api/cameras?token={TOKEN}")[0] == 401, "never in an address"


def test_a_wrong_token_is_refused_and_in_no_log(start_console: StartConsole) -> None:
    console = start_console(token=TOKEN)
    status, cookie = log_in(console, "a-wrong-token-of-somebody")
    assert (status, cookie) == (403, "")
    log_in(console, TOKEN)
    console.stop()
    log = console.log.read_text()
    assert "console_starts" in log
    assert TOKEN not in log
    assert "a-wrong-token" not in log


def test_the_token_may_come_from_a_file_which_wins(
    start_console: StartConsole, tmp_path: Path
) -> None:
    secret = tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    console = start_console(token="another-token-of-tests", token_file=str(secret))
    assert log_in(console, TOKEN)[0] == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://elsewhere.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {},
    ],
)
def test_what_another_site_sends_is_refused(opened: Console, headers: dict[str, str]) -> None:
    assert opened.post("api/look", {"cameras": []}, headers) == 403
    own = {"origin": f"http://127.0.0.1:{opened.port}"}
    assert opened.post("api/look", {"cameras": []}, own) == 204


def test_without_a_token_another_hosts_name_is_refused(opened: Console) -> None:
    """A page elsewhere whose name leads to 127.0.0.1 would else be one with the opened."""
    assert opened.request("api/cameras", headers={"host": "elsewhere.example"})[0] == 421
    assert opened.request("api/cameras", headers={"host": f"localhost:{opened.port}"})[0] == 200


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("BIND", "0.0.0.0", "TOKEN: expected one, since VIGIL_CONSOLE__BIND is reached"),  # noqa: S104 (that is refused)
        ("BIND", "::", "TOKEN: expected one, since VIGIL_CONSOLE__BIND is reached"),
        ("BIND", "cameras.example", "TOKEN: expected one, since VIGIL_CONSOLE__BIND is reached"),
        ("TOKEN", "short", "TOKEN: expected 16 characters at least"),
        ("BASE_PATH", "/a b", "BASE_PATH: expected a path such as /vigil"),
        ("KEEP", "3 weeks", "KEEP: expected a duration such as 30s"),
    ],
)
def test_what_would_be_open_or_cannot_be_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"VIGIL_CONSOLE__{name}", value)
    with pytest.raises(ConfigError) as refused:
        load_for_console()
    assert f"VIGIL_CONSOLE__{told}" in str(refused.value)
    assert "short" not in str(refused.value)


def test_a_port_that_is_taken_is_refused_in_words(
    opened: Console,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VIGIL_CONSOLE__PORT", str(opened.port))
    monkeypatch.setenv("VIGIL_CONSOLE__PATH", str(tmp_path / "console.sqlite"))
    assert main(["console"]) == 2
    assert "a port that is free" in capfd.readouterr().err


def test_every_answer_lets_nothing_in_from_outside(closed: Console) -> None:
    for path in ("login", "api/cameras", "static/page.js", "nowhere"):
        _, headers, _ = closed.request(path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    _, headers, _ = closed.request("api/cameras")
    assert headers["cache-control"] == "no-store"


def test_it_is_served_under_a_base_path_whether_or_not_the_proxy_takes_it_off(
    start_console: StartConsole,
) -> None:
    console = start_console(token=TOKEN, base_path="cameras/vigil/")
    for prefix in ("", "cameras/vigil/"):
        status, headers, _ = console.request(prefix)
        assert (status, headers["location"]) == (303, "/cameras/vigil/login")
        status, cookie = log_in(console, TOKEN, prefix)
        assert status == 303
        assert "Path=/cameras/vigil/" in cookie
        page = console.request(prefix, headers=cookie_of(cookie))[2].decode()
        assert '<base href="/cameras/vigil/">' in page
        assert console.request(f"{prefix}static/cameras.js")[0] == 200
        assert console.request(f"{prefix}api/cameras", headers=cookie_of(cookie))[0] == 200


def test_an_event_leads_to_its_own_evidence_and_to_no_other_key(
    streams: Streams, opened: Console
) -> None:
    now = datetime.now(UTC)
    streams.cameras({"gate": listed(GATE)})
    film = "vigil:gate:evidence:e-1:clip"
    streams.client.set("vigil:gate:evidence:e-1:at", b"\xff\xd8 a picture")
    streams.client.set(film, bytes(range(100)))
    streams.client.set("secret", b"of somebody")
    streams.client.set("vigil:yard:evidence:e-9:at", b"another camera's")
    pictures = [
        ("at", "vigil:gate:evidence:e-1:at"),
        ("before", "secret"),
        ("latest", "vigil:yard:evidence:e-9:at"),
        ("strip", "vigil:gate:evidence:e-1:strip"),
    ]
    streams.put(named(event("start", now), pictures, clip=film))
    until(lambda: opened.request("api/events/e-1")[0] == 200)
    status, headers, body = opened.request("api/events/e-1/at")
    assert (status, headers["content-type"], body) == (200, "image/jpeg", b"\xff\xd8 a picture")
    for role in ("before", "latest", "strip", "nothing"):
        assert opened.request(f"api/events/e-1/{role}")[0] == 404, role
    for asked, first, last in (
        ("bytes=10-19", 10, 19),
        ("bytes=90-", 90, 99),
        ("bytes=-5", 95, 99),
    ):
        status, headers, body = opened.request("api/events/e-1/clip", headers={"range": asked})
        assert (status, headers["content-type"]) == (206, "video/mp4")
        assert body == bytes(range(first, last + 1))
        assert headers["content-range"] == f"bytes {first}-{last}/100"
    assert opened.request("api/events/e-1/clip", headers={"range": "bytes=200-"})[0] == 416
    assert opened.request("api/events/nobody/at")[0] == 404
    endless = {"range": f"bytes={'9' * 5000}-"}
    assert opened.request("api/events/e-1/clip", headers=endless)[0] == 200, "it means nothing"


@pytest.mark.parametrize(
    ("path", "told", "status"),
    [
        ("api/ask", {"camera": "nowhere", "question": "?", "kind": "yes_no"}, 404),
        ("api/ask", {"camera": "gate", "question": " ", "kind": "yes_no"}, 400),
        ("api/ask", {"camera": "gate", "question": "x" * 501, "kind": "yes_no"}, 400),
        ("api/ask", {"camera": "gate", "question": "?", "kind": "caption"}, 400),
        ("api/ask", {"camera": ["gate"], "question": "?"}, 404),
        ("api/ask", {"camera": "gate", "question": "?", "kind": "choice", "options": [1]}, 400),
        ("api/ask", ["gate"], 400),
        ("api/command", {}, 400),
        ("api/command", {"do": 1}, 400),
        ("api/command", {"do": "pause", "camera": "gate"}, 409),
        ("api/ask", "x" * 100_000, 413),
        ("api/look", {"cameras": "gate"}, 400),
        ("api/events/nobody/mark", {"verdict": "right"}, 404),
        ("api/events/review", {"events": [1]}, 400),
        ("api/events/review", {"events": ["\ud800"]}, 400),
        ("api/ask", {"camera": "gate", "question": "\ud800?", "kind": "yes_no"}, 400),
        ("api/command", {"do": "pause", "camera": "\ud800"}, 400),
    ],
)
def test_what_is_malformed_is_refused_with_what_was_expected(
    streams: Streams, opened: Console, path: str, told: object, status: int
) -> None:
    streams.cameras({"gate": listed(GATE)})
    until(lambda: opened.get("api/cameras")["cameras"])
    assert opened.post(path, told) == status


@pytest.mark.parametrize(
    "path",
    [
        "api/events?to={}",
        "api/events?from={}",
        "api/export/events.csv?to={}",
        "api/search?q=zebra&before={}",
        "api/cameras/gate/course?from=9999999990000&to={}",
    ],
)
def test_a_time_that_nothing_can_have_is_refused(opened: Console, path: str) -> None:
    assert opened.request(path.format(9_999_999_999_999))[0] == 400
    assert opened.request(path.format(-1))[0] == 400


def test_only_so_many_asks_wait_at_a_time(streams: Streams, opened: Console) -> None:
    streams.cameras({"gate": listed(GATE)})
    until(lambda: opened.get("api/cameras")["cameras"])
    body = json.dumps({"camera": "gate", "question": "?", "kind": "yes_no"}).encode()
    waiting = [http.client.HTTPConnection("127.0.0.1", opened.port) for _ in range(4)]
    for one in waiting:
        one.request("POST", "/api/ask", body=body, headers=OWN)
    until(lambda: streams.client.xlen("vigil:asks") == 4)
    assert opened.post("api/ask", json.loads(body)) == 429
    for one in waiting:
        one.close()


def test_exports_are_files_of_what_is_filtered(streams: Streams, opened: Console) -> None:
    now = datetime.now(UTC)
    streams.cameras({"gate": listed(GATE), "yard": listed(GATE)})
    for camera_id in ("gate", "yard"):
        for phase in ("start", "end"):
            streams.put(event(phase, now, event_id=camera_id, camera_id=camera_id))
    streams.put(caption("More.", now))
    until(lambda: opened.request("api/events/gate")[0] == 200)
    until(lambda: opened.request("api/events/yard")[0] == 200)
    until(lambda: opened.get("api/events/gate")["ended_ms"])
    half = {"verdict": "wrong", "truth": "\ud800"}
    assert opened.post("api/events/gate/mark", half) == 400
    assert opened.post("api/events/gate/mark", {"verdict": "right"}) == 200
    _, headers, body = opened.request("api/export/events.csv?camera=gate")
    assert headers["content-disposition"] == 'attachment; filename="vigil-events.csv"'
    lines = body.decode().splitlines()
    assert {line.split(",")[1] for line in lines} == {"camera", "gate"}
    assert {"gate", "yard"} <= {one["event_id"] for one in opened.get("api/export/events.json")}
    labels = opened.request("api/export/labels.csv")[2].decode().splitlines()
    assert labels[0] == "camera,question,start,end,value"
    marked, rest = labels[1:]
    assert marked.startswith("gate,gate-open,2"), labels
    assert rest == "gate,gate-open,,,unknown"
    assert opened.request("api/export/all.sql")[0] == 404
    assert opened.request("api/events?state=odd")[0] == 400
    assert opened.request("api/cameras/gate/course?from=5&to=1")[0] == 400


def test_without_its_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "worker.console.server", None)
    assert main(["console"]) == 2
    assert "pip install '.[console]'" in capfd.readouterr().err
