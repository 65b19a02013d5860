import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import av
from structlog.testing import capture_logs

from pipeline.clock import SystemClock
from pipeline.sources.base import FrameSource
from pipeline.sources.file import FileSource
from pipeline.sources.rtsp import RtspSource
from pipeline.types import Frame, Overflow, Tell, Wanted
from tests.fakes import FakeClock, ScriptedSource, frame_at
from tests.pipeline.sources.clips import FPS, clip, grid_of, moment
from tests.pipeline.test_intake import Bench
from tests.servers.rtp import coded
from tests.servers.rtsp_camera import ScriptedCamera, Track
from tests.worker.supervised import feed
from worker.connection import Connection

STUCK_AFTER_S = 50.0


class Watching(FakeClock):
    """Looks, whenever somebody has waited, at whether a connection counts as stuck."""

    def __init__(self) -> None:
        super().__init__()
        self.connection: Connection | None = None
        self.was_stuck = False

    def wait(self, seconds: float, stop: Event) -> bool:
        is_stopped = super().wait(seconds, stop)
        self.was_stuck |= self.connection is not None and self.connection.is_stuck
        return is_stopped


def with_a_hole(path: Path, *, after_s: float, hole_s: float) -> Path:
    """Copy a clip, with nothing for a while in its midst."""
    holed = path.with_name("hole.mkv")
    with av.open(path) as whole, av.open(holed, "w") as out:
        source = whole.streams.video[0]
        stream = out.add_stream_from_template(source)
        assert source.time_base is not None
        for packet in whole.demux(source):
            if packet.pts is None or packet.dts is None:
                continue
            if packet.pts * source.time_base >= after_s:
                packet.pts += int(hole_s / source.time_base)
                packet.dts += int(hole_s / source.time_base)
            packet.stream = stream
            out.mux(packet)
    return holed


def test_a_live_file_waits_out_a_hole_of_minutes(tmp_path: Path) -> None:
    """open-nvr#229: it was `stalled` at 50 s and began again; nobody saw what lies behind."""
    whole = clip(tmp_path / "whole.mp4", seconds=4, gop_s=1)
    path = with_a_hole(whole, after_s=2, hole_s=186)
    clock, bench = Watching(), Bench()
    live = replace(
        feed(is_endless=False, stuck_after_s=STUCK_AFTER_S),
        overflow=Overflow.LATEST,
        build=lambda wanted, tell: FileSource(
            "yard",
            path,
            wanted=wanted,
            grid_of=grid_of,
            clock=clock,
            live=True,
            loop=False,
            tell=tell,
        ),
    )
    clock.connection = Connection(live, bench.intake, clock=clock, rng=random.Random(1))  # noqa: S311 (jitter)
    clock.connection.run()
    assert clock.connection.is_done
    assert not clock.was_stuck
    (last,) = bench.lanes.take()
    assert last.frame.pts_s > 188
    assert clock.seconds - last.frame.pts_s < 2
    assert list(dict.fromkeys(bench.changes)) == [
        ("yard", "connecting", ""),
        ("yard", "online", ""),  # and again, when the video has been measured
        ("yard", "offline", "ended"),
    ]


def test_a_camera_of_which_no_picture_is_wanted_for_long_is_not_stuck() -> None:
    """At a picture in ten seconds it was thrown away and connected to again for ever."""
    clock, bench = SystemClock(), Bench()
    units = coded((moment(number) for number in range(5 * FPS)), fps=FPS, gop_s=1)
    with ScriptedCamera([Track(units, rounds=None)]) as camera:
        live = replace(
            feed(stuck_after_s=2.0),
            build=lambda _wanted, tell: RtspSource(
                "yard",
                camera.url,
                wanted=lambda _camera_id, _pts_s: False,
                grid_of=grid_of,
                clock=clock,
                open_timeout_s=5.0,
                read_timeout_s=1.5,
                tell=tell,
            ),
        )
        connection = Connection(live, bench.intake, clock=clock, rng=random.Random(1))  # noqa: S311 (jitter)
        watching = Thread(target=connection.run)
        watching.start()
        was_stuck = False
        end_s = time.monotonic() + 4.0
        while time.monotonic() < end_s and not was_stuck:
            time.sleep(0.1)
            was_stuck = connection.is_stuck
        connection.abandon()
        watching.join(timeout=10.0)
    assert not was_stuck
    assert camera.num_connections == 1


def test_what_nobody_foresaw_of_a_source_is_its_cameras_trouble_alone() -> None:
    """Text of a camera that was not UTF-8 ended the worker, and with it every other camera."""
    bench, built = Bench(), 0

    class Broken(ScriptedSource):
        def frames(self) -> Iterator[Frame]:
            yield from super().frames()
            b"\xfc".decode()

    def build(_wanted: Wanted, _tell: Tell) -> FrameSource:
        nonlocal built
        built += 1
        return Broken([frame_at(float(built))])

    class ThreeTries(FakeClock):
        def wait(self, seconds: float, stop: Event) -> bool:
            if built == 3:
                connection.abandon()
            return super().wait(seconds, stop)

    connection = Connection(
        replace(feed(lambda: ScriptedSource([])), build=build),
        bench.intake,
        clock=ThreeTries(),
        rng=random.Random(1),  # noqa: S311 (jitter)
    )
    with capture_logs() as logs:
        connection.run()
    assert bench.changes[-2:] == [("yard", "online", ""), ("yard", "offline", "corrupt")]
    told = bench.said[-1].body["data"]["detail"]
    assert told.endswith("its driver failed unforeseen, with UnicodeDecodeError")
    assert [one["event"] for one in logs if one["log_level"] == "error"] == 3 * ["source_failed"]
