"""The pages in headless Chromium, over the real console and a real Redis."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from pipeline.messages import Asked, rfc3339
from pipeline.mp4 import mp4_of_packets, mp4_of_pictures
from tests.pipeline.sources.clips import clip
from tests.pipeline.test_clips import pieces_of
from tests.servers.redis import RedisServer
from tests.worker.console.browsing import chart_of
from tests.worker.console.messages import (
    MASKED,
    Streams,
    answer,
    event,
    named,
)
from tests.worker.console.process import SOON_S, TOKEN, Console, until, working

SOON_MS = 1000 * SOON_S


def picture(colour: str) -> bytes:
    made = BytesIO()
    Image.new("RGB", (616, 336), colour).save(made, "JPEG")
    return made.getvalue()


def show_pictures(client: Any) -> None:
    """Put the last picture of each camera that somebody looks at, as a worker does."""
    now = rfc3339(datetime.now(UTC))
    grid = json.dumps({"rows": 6, "cols": 11, "token_px": 28})
    for camera_id in ("gate", "yard"):
        if client.exists(f"vigil:{camera_id}:watched"):
            fields = {"jpeg": picture("teal"), "captured_at": now, "grid": grid}
            client.hset(
                f"vigil:{camera_id}:picture", mapping={**fields, "sent": "1" * 9 + "0" * 57}
            )
            client.pexpire(f"vigil:{camera_id}:picture", 10_000)


def answer_asks(client: Any) -> None:
    """Answer what is asked, once each, as a worker does."""
    for _, fields in client.xrange("vigil:asks"):
        told = {name.decode(): value.decode() for name, value in fields.items()}
        key = f"vigil:asks:{told['id']}"
        if client.setnx(f"{key}:by", "worker-1"):
            now = datetime.now(UTC)
            reply = answer("yes", now, p=0.83, asked=Asked("ask", told["question"], told["kind"]))
            client.rpush(key, Streams(client).envelope(reply))


def tile(page: Page, camera_id: str = "gate") -> Locator:
    return page.locator(f'.tile[data-camera="{camera_id}"]')


def test_a_wrong_token_is_refused(browser: Browser, console: Console) -> None:
    page = browser.new_page()
    page.goto(console.url("inbox"))
    page.get_by_label("Token").fill("not the token at all")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("This is not the token.")
    page.goto(console.url("camera/gate"))
    expect(page.get_by_label("Token")).to_be_visible()
    assert page.evaluate("document.cookie") == ""
    page.close()


def test_tiles_are_live(page: Page, console: Console, site: Streams, server: RedisServer) -> None:
    page.goto(console.url())
    expect(tile(page).locator(".chip", has_text="gate-open")).to_contain_text("no")
    expect(tile(page, "yard")).to_have_class(re.compile("wrong"))
    expect(tile(page, "yard")).to_contain_text("offline: timeout")
    expect(page.locator(".summary")).to_contain_text("yard: offline")
    with working(server, show_pictures):
        expect(tile(page).locator("img")).to_be_visible()
        until(lambda: tile(page).locator("img").evaluate("one => one.naturalWidth") == 616)
        first = tile(page).locator("img").get_attribute("data-at")
        until(lambda: tile(page).locator("img").get_attribute("data-at") != first)
        assert tile(page).locator(".picture").get_attribute("data-sent") == "9"
        veil = tile(page).locator("canvas")
        assert veil.evaluate("one => getComputedStyle(one).opacity") == "0"
        page.get_by_label("Dim what was not sent").check()
        until(lambda: veil.evaluate("one => getComputedStyle(one).opacity") == "1")
        seen = "one => [...one.getContext('2d').getImageData(0, 0, 11, 1).data].map(n => n > 0)"
        assert veil.evaluate(seen)[3::4] == [False] * 9 + [True] * 2
        page.get_by_label("Dim what was not sent").uncheck()
    now = datetime.now(UTC)
    site.put(answer("yes", now, p=0.97))
    chip = tile(page).locator('[data-question="gate-open"]')
    expect(chip).to_contain_text("yes")
    expect(chip).to_have_attribute("data-p", "0.97")
    assert not tile(page).evaluate("one => one.classList.contains('event')")


def test_no_worker_is_asked_for_pictures_while_nobody_looks(
    page: Page, console: Console, server: RedisServer
) -> None:
    with server.client() as client:
        page.goto(console.url())
        until(lambda: client.exists("vigil:gate:watched") == 1)
        assert 0 < client.pttl("vigil:gate:watched") <= 10_000
        page.goto(console.url("inbox"))
        expect(page.locator(".item").first).to_be_visible()
        bearer = {"authorization": f"Bearer {TOKEN}"}

        def asked() -> dict[str, Any]:
            told: dict[str, Any] = json.loads(console.request("api/health", headers=bearer)[2])
            return told

        until(lambda: asked()["watched"] == 0)
        left_ms = client.pttl("vigil:gate:watched")
        assert asked()["watched"] == 0
        assert client.pttl("vigil:gate:watched") <= left_ms, "it runs out"


def test_an_event_arrives_with_its_picture_and_is_marked(
    page: Page, console: Console, site: Streams
) -> None:
    key = "vigil:gate:evidence:second:at"
    site.client.set(key, picture("maroon"))
    other = page.context.new_page()
    other.goto(console.url())
    page.goto(console.url("inbox"))
    expect(page.locator(".item")).to_have_count(1)
    begun = datetime.now(UTC)
    site.put(named(event("start", begun, event_id="second"), [("at", key)]))
    expect(other.locator(".summary .alert")).to_contain_text("gate: gate-open since")
    expect(tile(other)).to_have_class(re.compile("event"))
    other.close()
    item = page.locator('.item[data-event="second"]')
    expect(item).to_be_visible()
    expect(page.locator("#nav-inbox .count")).to_have_text("2")
    # Kathmandu is 5:45 before UTC
    local = (begun + timedelta(hours=5, minutes=45)).strftime("%H:%M:%S")
    expect(item.locator("time")).to_have_text(local)
    item.get_by_role("button").click()
    shown = page.locator('.detail [data-role="at"] img')
    until(lambda: shown.evaluate("one => one.naturalWidth") == 616)
    page.keyboard.press("r")
    expect(page.locator('.detail [data-verdict="right"]')).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#nav-inbox .count")).to_have_text("1")
    page.keyboard.press("j")
    expect(page.locator(".item.chosen")).to_have_attribute("data-event", "first")
    page.keyboard.press("s")
    expect(page.locator("#nav-inbox .count")).to_have_count(0)
    site.put(event("end", begun, event_id="second", lasts_s=5.0))
    status_, _, labels = console.request(
        "api/export/labels.csv", headers={"authorization": f"Bearer {TOKEN}"}
    )
    assert status_ == 200
    until(
        lambda: (
            b"gate,gate-open"
            in console.request(
                "api/export/labels.csv", headers={"authorization": f"Bearer {TOKEN}"}
            )[2]
        )
    )
    assert labels.startswith(b"camera,question,start,end,value")


def test_a_clip_is_waited_for_and_played_in_the_inbox(
    page: Page, console: Console, site: Streams, tmp_path: Path
) -> None:
    sent = pieces_of(clip(tmp_path / "sent.mp4", seconds=4, gop_s=1.0))
    seen = [
        replace(sent[0], at=one.at, pts_s=one.pts_s, data=picture("teal")) for one in sent[::10]
    ]
    films = {"filmed": mp4_of_packets(sent), "pictured": mp4_of_pictures(seen)}
    video = page.locator(".detail video")
    page.goto(console.url("inbox"))
    for event_id, mp4 in films.items():
        key = f"vigil:gate:evidence:{event_id}:clip"
        begun = datetime.now(UTC)
        site.put(named(event("start", begun, event_id=event_id), [], clip=key))
        page.locator(f'.item[data-event="{event_id}"]').get_by_role("button").click()
        expect(page.locator(".detail")).to_contain_text("the clip is still being recorded")
        site.client.set(key, mp4)
        until(lambda: video.evaluate("one => one.readyState") >= 1)
        assert video.evaluate("one => one.duration") == pytest.approx(4.0, abs=1.01)
        video.evaluate("one => { one.muted = true; one.play(); }")
        until(lambda: video.evaluate("one => one.currentTime") > 0)
        assert video.evaluate("one => one.error") is None
        site.put(event("end", begun, event_id=event_id, lasts_s=1.0))
    page.get_by_role("button", name="All seen").click()


def test_the_chart_has_its_lines(page: Page, console: Console) -> None:
    page.goto(console.url("camera/gate"))
    chart = chart_of(page, "gate-open")
    heights = chart.evaluate(
        """one => {
          const y = (name) => Number(one.querySelector(`line.${name}`).getAttribute('y1'));
          const drawn = one.querySelector('path.p').getAttribute('d');
          const found = [...drawn.matchAll(/[ML][\\d.-]+ ([\\d.]+)/g)];
          const all = found.map((one) => Number(one[1]));
          const ends = { top: Math.min(...all), bottom: Math.max(...all) };
          return { enter: y('enter'), exit: y('exit'), ...ends };
        }"""
    )
    assert heights["top"] < heights["enter"] < heights["exit"] < heights["bottom"]
    chart.locator("svg").hover(position={"x": 300, "y": 60})
    expect(chart.locator(".readout")).to_contain_text(re.compile(r"p 0\.\d\d  mass 0\.97"))
    page.get_by_role("button", name="24 h").click()
    expect(chart.locator("path.p")).to_have_attribute("d", re.compile(r"^M"))


def test_markup_in_what_was_said_is_text(page: Page, console: Console) -> None:
    page.goto(console.url("camera/gate"))
    expect(page.locator(".captions")).to_contain_text(MASKED)
    page.goto(console.url("inbox"))
    page.get_by_role("searchbox").fill("bold")
    expect(page.locator(".hit")).to_contain_text(MASKED)
    expect(page.locator(".hit mark").first).to_have_text("bold")
    assert page.locator("main b", has_text="bold").count() == 0
    assert page.locator('img[src="x"]').count() == 0
    assert page.title() != "1"


def test_search_finds_and_says_when(page: Page, console: Console) -> None:
    page.goto(console.url("inbox"))
    page.keyboard.press("/")
    page.keyboard.type("white person")
    expect(page.locator(".hit")).to_contain_text("A person in white opens the gate.")
    page.get_by_role("searchbox").fill("When did the gate open?")
    expect(page.locator(".note")).to_contain_text("Last at")
    expect(page.locator(".hit").first).to_be_visible()
    page.get_by_role("searchbox").fill("elephants")
    expect(page.locator(".note")).to_have_text("Nothing was said of that.")
    page.keyboard.press("Escape")
    expect(page.locator(".listing")).not_to_contain_text("Nothing was said")


def test_what_is_asked_is_answered(page: Page, console: Console, server: RedisServer) -> None:
    page.goto(console.url("camera/gate"))
    page.get_by_label("Ask this camera, once").fill(f"Is it open? {MASKED}")
    with working(server, answer_asks):
        page.get_by_role("button", name="Ask now").click()
        expect(page.locator(".replies li")).to_contain_text("yes p 0.83 · mass 0.97")
    expect(page.locator(".replies li")).to_contain_text(MASKED)


def test_health_tells_of_workers_and_cameras(page: Page, console: Console) -> None:
    page.goto(console.url("health"))
    expect(page.locator("tr", has_text="worker-1")).to_contain_text("7")
    expect(page.locator("tr", has_text="yard")).to_contain_text("timeout")
    expect(page.locator("main")).to_contain_text("No message was passed over.")


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen_and_all_can_be_read(
    context: BrowserContext, console: Console, width: int, scheme: str
) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # one of two words
    for path in ("", "camera/gate", "inbox", "health"):
        page.goto(console.url(path))
        expect(page.locator("main > *").nth(1)).to_be_attached()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    contrast = page.evaluate(CONTRAST)
    assert min(contrast.values()) >= 4.5, contrast
    page.close()


def test_redis_away_is_said_and_it_recovers(
    page: Page, console: Console, server: RedisServer, site: Streams
) -> None:
    page.goto(console.url())
    expect(tile(page)).to_be_visible()
    server.kill()
    expect(page.locator("#link")).to_contain_text("Redis is away since")
    expect(tile(page)).to_be_visible()
    server.start()
    expect(page.locator("#link")).to_be_hidden()
    site.put(answer("no", datetime.now(UTC), p=0.01))
    expect(tile(page).locator('[data-question="gate-open"]')).to_have_attribute("data-p", "0.01")


def test_a_console_that_is_started_again_is_found_again(page: Page, console: Console) -> None:
    page.goto(console.url())
    expect(tile(page)).to_be_visible()
    console.kill()
    expect(page.locator("#link")).to_contain_text("The console does not answer")
    console.start()
    expect(page.locator("#link")).to_be_hidden()


def test_an_answer_that_breaks_off_is_none(page: Page, console: Console) -> None:
    """The page took it for an answer without cameras, and failed."""
    broken_off = {"content_type": "application/json", "body": '{"cameras": ['}
    page.route("**/api/cameras", lambda route: route.fulfill(**broken_off))
    page.goto(console.url())
    expect(page.locator("#link")).to_contain_text("The console does not answer")


# Each tone that words have, on each ground that they stand on: WCAG's ratio.
CONTRAST = """() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    const parts = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ratio = (one, other) => {
    const [dark, bright] = [light(one), light(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const found = { '--accent-ink --accent': ratio('--accent-ink', '--accent') };
  for (const words of ['--ink', '--quiet', '--accent'])
    for (const ground of ['--paper', '--card', '--chip', '--shade'])
      if (words !== '--accent' || ground !== '--shade')
        found[words + ' ' + ground] = ratio(words, ground);
  return found;
}"""
