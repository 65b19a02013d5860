"""`vigil ingest` as it is wired, without a broker."""

from pathlib import Path

from pipeline.clock import SystemClock
from pipeline.intake import Intake
from pipeline.sinks.buffer import FrameBuffer
from pipeline.sources.file import FileSource
from tests.fakes import frame_at, picture
from worker.environment import load
from worker.ingest import build
from worker.parts import Process


def made(tmp_path: Path, **variables: str) -> Process:
    return build(
        load(
            {
                "VIGIL_CAMERAS__YARD__URL": str(tmp_path / "yard.mp4"),
                "VIGIL_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
                "VIGIL_INGEST__BUFFER__PATH": "memory",
                **variables,
            }
        ),
        clock=SystemClock(),
    )


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


def test_damage_that_lasts_is_sent_on_while_no_picture_is(tmp_path: Path) -> None:
    process = made(tmp_path)
    intake, source = connected(process)
    source._hold_back._tell("damaged", "its video cannot be decoded without errors")
    source._hold_back._tell("damaged", None)
    intake.take(frame_at(0, picture(1)), source)
    assert said(process) == [("yard", "damaged", False), ("yard", "online", True)]
    assert process.status.state("yard") == "online"


def test_a_connection_that_was_lost_is_followed_by_a_whole_picture(tmp_path: Path) -> None:
    process = made(tmp_path)
    intake, source = connected(process)
    for second in range(2):
        intake.take(frame_at(second, picture(1)), source)
    intake.lost("timeout", "")
    intake.take(frame_at(2, picture(1)), source)
    assert [is_whole for *_, is_whole in said(process)] == [True, False, True]
    assert process.lanes.counts()["yard"].offered == 3


def test_a_quarter_of_the_window_is_the_longest_time_without_a_whole_picture(
    tmp_path: Path,
) -> None:
    process = made(tmp_path, VIGIL_WINDOW="20s")
    intake, source = connected(process)
    for second in range(11):
        intake.take(frame_at(second, picture(1)), source)
    assert isinstance(process.outbox, FrameBuffer)
    whole = [bool(one.record.value) for one in process.outbox.pending(20)]
    assert [second for second, is_whole in enumerate(whole) if is_whole] == [0, 5, 10]
