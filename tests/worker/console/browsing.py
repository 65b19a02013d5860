"""Debian's Chromium at the console's pages: what all of its tests begin with."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.worker.console.process import SOON_S, TOKEN, Console

expect.set_options(timeout=1000 * SOON_S)


def chromium_path() -> str | None:
    """Where Debian's Chromium is: none is downloaded."""
    return shutil.which(os.environ.get("CHROMIUM", "chromium"))


@contextmanager
def chromium(executable: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def logged_in(browser: Browser, console: Console) -> Iterator[BrowserContext]:
    """A browser that has logged in, in a zone that is no whole hour from UTC."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, timezone_id="Asia/Kathmandu", locale="en-GB"
    )
    page = context.new_page()
    page.goto(console.url())
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(console.url())
    page.close()
    yield context
    context.close()


@contextmanager
def sound_page(context: BrowserContext, console: Console) -> Iterator[Page]:
    """A page that asked no other host, and in which nothing failed."""
    page = context.new_page()
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.on(
        "console",
        lambda line: failed.append(line.text) if "Content Security" in line.text else None,
    )
    yield page
    page.close()
    assert [url for url in asked if not url.startswith(console.url())] == []
    assert not failed, failed


def chart_of(page: Page, question_id: str) -> Locator:
    """A question's chart on a camera's page, drawn: p and mass, thresholds, and an event's bar."""
    chart = page.locator(f'.chart[data-question="{question_id}"]')
    expect(chart.locator("path.p")).to_have_attribute("d", re.compile(r"^M.*L"))
    expect(chart.locator("path.mass")).to_have_attribute("d", re.compile(r"^M.*L"))
    expect(chart.locator("text.enter")).to_have_text("enter 0.7")
    expect(chart.locator("text.exit")).to_have_text("exit 0.4")
    expect(chart.locator("rect.bar").first).to_be_visible()
    return chart
