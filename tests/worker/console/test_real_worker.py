"""The console over a real worker with the bundled model, in headless Chromium.

What the model says is not judged here, but that all of it arrives. It is asked about the rendered
scene it has learned, in which somebody is in view for most of the first half minute.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.servers.redis import free_port
from tests.worker.console.browsing import chart_of, logged_in, sound_page
from tests.worker.console.conftest import StartConsole
from tests.worker.console.process import SOON_S, TOKEN, Console, until
from worker import environment
from worker.demo.show import SCENE, SETTINGS
from worker.settings import PREFIX

STARTED_MS = 120_000  # a worker that loads its model beside other tests
PICTURE = "one => one.naturalWidth"


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator[None]:
    """The demo's worker, which takes commands too."""
    lines = SETTINGS.read_text(encoding="utf-8").splitlines()
    own = {
        "VIGIL_CAMERAS__YARD__URL": str(SCENE),
        "VIGIL_CAMERAS__YARD__LOOP": "true",
        "VIGIL_REDIS__URL": redis_url,
        "VIGIL_OUTBOX__PATH": "memory",
        "VIGIL_HEALTH__PORT": str(free_port()),
        "VIGIL_CONTROL": "on",
        "VIGIL_EVIDENCE__CLIPS": "on",
        "VIGIL_MODEL__DEVICE": "cpu",
        "VIGIL_REDIS__HEARTBEAT": "1s",
    }
    settings = dict(line.split("=", 1) for line in lines if line.startswith(PREFIX))
    log = tmp_path / "worker.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run"],
            env=environment.without_settings() | settings | own,
            stdout=said,
            stderr=said,
        )
    yield
    is_running = process.poll() is None
    process.terminate()
    process.wait()
    assert is_running, log.read_text()


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    expect.set_options(timeout=STARTED_MS)
    yield
    expect.set_options(timeout=1000 * SOON_S)


@pytest.mark.usefixtures("worker")
def test_a_real_worker_is_seen_asked_and_changed(
    browser: Browser, start_console: StartConsole
) -> None:
    console = start_console(token=TOKEN)
    with logged_in(browser, console) as context, sound_page(context, console) as page:
        page.set_default_timeout(STARTED_MS)
        tiles_are_live(page, console)
        an_event_arrives_with_its_picture_and_clip(page, console)
        the_chart_has_its_lines(page, console)
        what_is_asked_is_answered(page)
        a_question_is_changed(page)
        search_finds(page, console)


def tiles_are_live(page: Page, console: Console) -> None:
    page.goto(console.url())
    tile = page.locator('.tile[data-camera="yard"]')
    shown = tile.locator("img")
    expect(shown).to_have_attribute("data-at", re.compile(r"\d"))
    first = shown.get_attribute("data-at")
    expect(shown).not_to_have_attribute("data-at", first or "")
    until(lambda: shown.evaluate(PICTURE) > 0)
    expect(tile.locator('[data-question="person"]')).to_have_attribute("data-p", re.compile(r"\d"))


def an_event_arrives_with_its_picture_and_clip(page: Page, console: Console) -> None:
    page.goto(console.url("inbox"))
    item = page.locator(".item", has_text="Is a person in view?").first
    item.get_by_role("button").click()
    picture = page.locator('.detail [data-role="at"] img')
    until(lambda: picture.evaluate(PICTURE) > 0)
    until(lambda: page.locator(".detail video").evaluate("one => one.duration") > 1)


def the_chart_has_its_lines(page: Page, console: Console) -> None:
    page.goto(console.url("camera/yard"))
    chart_of(page, "person")


def what_is_asked_is_answered(page: Page) -> None:
    page.get_by_label("Ask this camera, once").fill("Is there smoke?")
    page.get_by_role("button", name="Ask now").click()
    said = re.compile(r"(yes|no|unknown) p .* · mass \d")
    expect(page.locator(".replies li")).to_contain_text(said)


def a_question_is_changed(page: Page) -> None:
    page.get_by_text("Change what is asked").click()
    form = page.locator(".control form.question", has_text="person").first
    form.get_by_label("enter at of person").fill("0.8")
    form.get_by_role("button", name="Change").click()
    expect(form.get_by_role("status")).to_contain_text("in effect, says")
    expect(form.locator(".enter .source")).to_have_text("by command")
    # and the register says so too, from which the chart has its lines
    expect(page.locator('.chart[data-question="person"] text.enter')).to_have_text("enter 0.8")


def search_finds(page: Page, console: Console) -> None:
    caption = page.locator(".captions li span").last
    expect(caption).to_have_text(re.compile(r"\w{4}"))
    word = re.search(r"\w{4,}", caption.inner_text())
    assert word is not None
    page.goto(console.url("inbox"))
    page.get_by_role("searchbox").fill(word[0])
    expect(page.locator(".hit").first).to_contain_text(word[0])
