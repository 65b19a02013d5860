"""`vigil watch`, as whoever types it sees it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest

from pipeline.outbox import Outbox
from tests.pipeline.publishers.lane import Lane, message
from tests.servers.redis import RedisServer, StartRedis
from worker.__main__ import main
from worker.printer import Printer, Truth

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 30.0


@contextmanager
def watching(server: RedisServer, *options: str) -> Iterator["Queue[str]"]:
    """The lines that it prints, those on stderr among them."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "watch", *options],
        cwd=ROOT,
        env=os.environ | {"VIGIL_REDIS__URL": server.url_with("canary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: Queue[str] = Queue()
    assert process.stdout is not None
    output = process.stdout

    def pass_on() -> None:
        for line in output:
            lines.put(line)

    reader = Thread(target=pass_on, daemon=True)
    reader.start()
    try:
        yield lines
        process.terminate()
        assert process.wait(LIMIT_S) == 0
    finally:
        process.kill()
        reader.join(LIMIT_S)
        output.close()


def line_with(lines: "Queue[str]", words: str) -> str:
    while words not in (line := lines.get(timeout=LIMIT_S)):
        assert "canary" not in line
    return line


def test_what_was_is_shown_then_what_comes_and_redis_may_go_away(start_redis: StartRedis) -> None:
    server = start_redis(password="canary", is_persistent=True)
    outbox = Outbox(None, max_bytes=1 << 20)
    lane = Lane(server.url, outbox)
    lane.put(message("caption", "a yard"), message("event"))
    lane.deliver()
    with watching(server, "--camera", "gate", "--since", "10m") as lines:
        assert 'vigil:gate:captions  "a yard"' in line_with(lines, "captions")
        assert "start: Fire? -> yes (p 0.90)" in line_with(lines, "events")
        server.kill()
        line_with(lines, "vigil: redis: unreachable")
        server.start()
        line_with(lines, "vigil: redis: answers again")
        lane.put(message("caption", "a car"))
        lane.rebuild()
        lane.deliver()
        assert 'vigil:gate:captions  "a car"' in line_with(lines, "captions")
    lane.publisher.close()
    outbox.close()


def test_a_message_is_printed_as_it_is_where_a_program_reads_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Printer(as_json=True).show("vigil:gate:captions", {"type": "vigil.caption.v1", "data": {}})
    assert json.loads(capsys.readouterr().out) == {"type": "vigil.caption.v1", "data": {}}


def test_an_answer_is_shown_again_where_it_or_its_being_right_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printer = Printer(has_mass=True)
    envelope = {"published_at": "2026-01-02T03:04:05.678Z"}
    data = dict(message("answer").body["data"]) | envelope
    for truth in (None, None, Truth("no", is_right=False)):
        printer.show("vigil:gate:answers", {"type": "vigil.answer.v1", "data": data}, truth=truth)
    other = data | {"camera_id": "yard"}
    printer.show("vigil:yard:answers", {"type": "vigil.answer.v1", "data": other})
    out = capsys.readouterr().out
    assert out.count("Fire? -> yes (p 0.90, mass 0.90)") == 3
    assert out.count("truth  no") == 1
    assert out.startswith("2026-01-02\n"), "the day is told where it is not today"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--since", "soon"], "expected a time such as 10m, got soon"),
        (["--kind", "rumour"], "invalid choice"),
    ],
)
def test_what_cannot_be_watched_is_refused_with_what_was_expected(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["watch", *words])
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err
