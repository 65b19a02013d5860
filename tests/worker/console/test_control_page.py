"""A camera's page changes what is asked: headless Chromium, and a worker that takes commands."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, expect

from pipeline.clock import SystemClock
from pipeline.tenures import Tenures
from tests.servers.redis import RedisServer
from tests.worker.console.messages import GATE, PEOPLE, Streams, listed
from tests.worker.console.process import TOKEN, Console, until, working
from tests.worker.test_controlling import Worker as Controlled
from worker.publishing import KnownCameras


def test_a_question_is_changed_and_paused_and_where_it_comes_from_is_shown(
    page: Page, console: Console, site: Streams, server: RedisServer
) -> None:
    page.goto(console.url("camera/gate"))
    assert not page.locator(".control").is_visible(), "its worker takes no commands"
    with controlled(server, site) as worker:
        page.get_by_text("Change what is asked").click()
        form = page.locator(".control form.question", has_text="fire")
        expect(form.locator(".enter .source")).to_have_text("by environment")
        form.get_by_label("enter at of fire").fill("0.2")
        form.get_by_role("button", name="Change").click()
        expect(form.get_by_role("status")).to_contain_text("malformed: exit: expected at most")
        form.get_by_label("enter at of fire").fill("0.6")
        form.get_by_label("words of fire").fill("Is there <b>smoke</b>?")
        form.get_by_role("button", name="Change").click()
        expect(form.get_by_role("status")).to_have_text("in effect, says worker-1")
        expect(form.locator(".enter .source")).to_have_text("by command")
        expect(form.locator(".exit .source")).to_have_text("by environment")
        assert (worker.asked(), worker.threshold()) == ({"fire": "Is there <b>smoke</b>?"}, 0.6)
        form.get_by_role("button", name="Pause").click()
        expect(form.get_by_role("button", name="Resume")).to_be_visible()
        page.get_by_role("button", name="Pause this camera").click()
        expect(page.get_by_role("button", name="Resume this camera")).to_be_visible()
        assert worker.control.is_paused("gate")
        page.set_viewport_size({"width": 390, "height": 844})
        until(lambda: page.evaluate("document.documentElement.scrollWidth <= 390"))
        form.get_by_role("button", name="Back to the environment").click()
        expect(form.locator(".ask input")).to_have_value("Is there fire?")
        assert worker.threshold() == 0.8


def test_a_question_is_added_and_removed_and_bad_input_is_told(
    page: Page, console: Console, site: Streams, server: RedisServer
) -> None:
    page.goto(console.url("camera/gate"))
    expect(page.locator(".control")).to_be_hidden()  # the last test's worker is forgotten
    with controlled(server, site) as worker:
        page.get_by_text("Change what is asked").click()
        new = page.locator(".control form.new")
        name, words = new.get_by_label("name"), new.get_by_label("new question")
        add, said = new.get_by_role("button", name="Add"), new.get_by_role("status")
        name.fill("fire")
        words.fill("What is <i>there</i>?")
        add.click()
        expect(said).to_have_text("fire: expected a name that no question has")
        name.fill("What?")
        add.click()
        expect(said).to_contain_text("malformed: question: expected small letters")
        name.fill("weather")
        new.get_by_label("kind").select_option("choice")
        add.click()
        expect(said).to_contain_text("malformed: options: expected")
        assert set(worker.asked()) == {"fire"}
        new.get_by_label("answers").fill("rain, sun")
        new.get_by_label("only of gate").check()
        add.click()
        expect(said).to_have_text("in effect, says worker-1")
        new.get_by_text("All of its settings").click()
        expect(new.locator('[data-setting="options"]')).to_have_text("rain,sun by command")
        expect(new.locator('[data-setting="cameras"]')).to_have_text("gate by command")
        expect(new.locator('[data-setting="every"]')).to_have_text("5s by environment or default")
        assert worker.asked()["weather"] == "What is <i>there</i>?"
        form = page.locator(".control form.question", has_text="weather").first
        expect(form.get_by_label("words of weather")).to_have_value("What is <i>there</i>?")
        page.set_viewport_size({"width": 390, "height": 844})
        until(lambda: page.evaluate("document.documentElement.scrollWidth <= 390"))
        own = {"name": "What is asked by another's name", "do": "put", "question": "fire"}
        token = {"authorization": f"Bearer {TOKEN}"}
        assert console.post("api/command", own, headers=token) == 409
        fire = page.locator(".control form.question", has_text="fire").first
        fire.get_by_role("button", name="Remove").click()
        assert "fire" in worker.asked(), "one click is not enough"
        fire.get_by_role("button", name="Remove it from all cameras?").click()
        expect(page.get_by_text("fire is not asked any more")).to_be_visible()
        assert set(worker.asked()) == {"weather"}
        expect(page.locator(".control form.question h3", has_text="fire")).to_have_count(0)
        page.get_by_role("button", name="Ask fire as the environment says").click()
        expect(page.get_by_label("words of fire")).to_have_value("Is there fire?")
        assert worker.asked()["fire"] == "Is there fire?"


@contextmanager
def controlled(server: RedisServer, site: Streams) -> Iterator[Controlled]:
    """A worker that takes commands, and tells the register of its camera as a real one does."""
    worker = Controlled(server.url, worker_id="worker-1")
    known = KnownCameras(worker.status, dict, Tenures(clock=SystemClock()), control=worker.control)

    def register(client: Any) -> None:
        for camera_id, entry in known.entries().items():
            told = {**entry, "owner": "worker-1"}
            client.hset("vigil:cameras", camera_id, json.dumps(told))

    try:
        with worker.serving(), working(server, register):
            yield worker
    finally:
        site.cameras({"gate": listed(GATE, PEOPLE), "yard": listed(GATE)})
