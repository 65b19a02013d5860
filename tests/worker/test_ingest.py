"""`vigil ingest` as it is wired, without a broker."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.clock import SystemClock
from pipeline.intake import Intake
from pipeline.sinks.buffer import FrameBuffer
from pipeline.sources.file import FileSource
from tests.fakes import frame_at, picture
from worker.environment import load
from worker.ingest import build
from worker.parts import Process

Made = Callable[..., Process]
"""variables -> a process."""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    with ExitStack() as stack:

        def make(**variables: str) -> Process:
            usual = {
                "VIGIL_CAMERAS__YARD__URL": str(tmp_path / "yard.mp4"),
                "VIGIL_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
                "VIGIL_INGEST__BUFFER__PATH": "memory",
            }
            process = build(load(usual | variables), clock=SystemClock())
            stack.callback(process.outbox.close)
            return process

        yield make


def said(process: Process) -> list[tuple[str, str, bool]]:
    assert isinstance(process.outbox, FrameBuffer)
    records = [one.record for one in process.outbox.pending(10)]
    return [(one.camera_id, one.state, bool(one.value)) for one in records]


def connected(process: Process) -> tuple[Intake, FileSource]:
    (feed,) = process.feeds
    intake = process.new_intake(feed)
    source = intake.connect(feed.build)
    assert isinstance(source, FileSource)
    return intake, source


def test_damage_that_lasts_is_sent_on_while_no_picture_is(made: Made) -> None:
    process = made()
    intake, source = connected(process)
    source._hold_back._tell("damaged", "its video cannot be decoded without errors")
    source._hold_back._tell("damaged", None)
    intake.take(frame_at(0, picture(1)), source)
    assert said(process) == [("yard", "damaged", False), ("yard", "online", True)]
    assert process.status.state("yard") == "online"


def test_a_connection_that_was_lost_is_followed_by_a_whole_picture(made: Made) -> None:
    process = made()
    intake, source = connected(process)
    for second in range(2):
        intake.take(frame_at(second, picture(1)), source)
    intake.lost("timeout", "")
    intake.take(frame_at(2, picture(1)), source)
    assert [is_whole for *_, is_whole in said(process)] == [True, False, True]
    assert process.lanes.counts()["yard"].offered == 3


def test_a_quarter_of_the_window_is_the_longest_time_without_a_whole_picture(made: Made) -> None:
    process = made(VIGIL_WINDOW="20s")
    intake, source = connected(process)
    for second in range(11):
        intake.take(frame_at(second, picture(1)), source)
    assert isinstance(process.outbox, FrameBuffer)
    whole = [bool(one.record.value) for one in process.outbox.pending(20)]
    assert [second for second, is_whole in enumerate(whole) if is_whole] == [0, 5, 10]
