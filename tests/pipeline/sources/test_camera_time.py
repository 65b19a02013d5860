"""A scripted camera that lies about time, and a reader that is late: what comes of its pictures."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import structlog.testing

from pipeline.cadence import Cadence
from pipeline.clock import SystemClock
from pipeline.errors import SourceError
from pipeline.metrics import CAMERA_LAG, STAMPS_MENDED
from pipeline.observer import UNOBSERVED, Observer
from pipeline.sources.rtsp import RtspSource
from pipeline.types import Tell, tell_nobody
from tests.fakes import Recorder
from tests.pipeline.sources.clips import FPS, NUM_MOMENTS, grid_of, index_of, moment
from tests.servers.rtp import Unit, coded, honest_stamp, stamp_in, stamp_jumps
from tests.servers.rtsp_camera import Manners, ScriptedCamera, Track

SECONDS = 8
# The units, constants and outliers of paparazzi#2068, RTSP-Server#79, open-nvr#229, mediamtx#6255.
STAMPS: dict[str, Callable[[int, float], int]] = {
    "honest": honest_stamp,
    "milliseconds": stamp_in(1_000),
    "microseconds": stamp_in(1_000_000),
    "constant": stamp_in(0),
    "a fifth slow": stamp_in(72_000),
    "one in ten far back": stamp_jumps(lambda n, _: -9_800 if n % 10 == 5 else 0),
    "one in ten far ahead": stamp_jumps(lambda n, _: 37_600 if n % 10 == 5 else 0),
    "a step of 12 hours": stamp_jumps(lambda _, t_s: 43_200 if t_s > 4 else 0),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture as it came: its number and times, when it came by the wall clock, what was said."""

    number: int
    pts_s: float
    captured_s: float
    at_s: float
    remark: str


def clip(*, gop_s: float, seconds: float = SECONDS) -> list[Unit]:
    pictures = (moment(number) for number in range(round(seconds * FPS)))
    return coded(pictures, fps=FPS, gop_s=gop_s)


def watch(
    track: Track,
    *,
    busy_s: Callable[[float], float] = lambda _: 0.0,
    halt_s: float = 0.0,
    observer: Observer = UNOBSERVED,
    tell: Tell = tell_nobody,
) -> list[Seen]:
    """Watch until the camera closes; be busy with each picture, and halt once, after the third."""
    cadence, began_s = Cadence(1.0), time.monotonic()

    def wanted(_camera_id: str, pts_s: float) -> bool:
        time.sleep(busy_s(time.monotonic() - began_s))
        return cadence.due(pts_s)

    seen: list[Seen] = []
    with ScriptedCamera([track], manners=Manners(at_end="silence")) as camera:
        source = RtspSource(
            "yard",
            camera.url,
            wanted=wanted,
            grid_of=grid_of,
            clock=SystemClock(),
            open_timeout_s=5.0,
            read_timeout_s=1.5,
            observer=observer,
            tell=tell,
        )
        with suppress(SourceError):  # stalled, when all has been sent
            for frame in source.frames():
                captured_s = frame.captured_at.timestamp()
                number = index_of(frame.pixels)
                while seen and number < seen[-1].number:  # they begin again after so many
                    number += NUM_MOMENTS
                remark = frame.video.remark if frame.video else ""
                seen.append(Seen(number, frame.pts_s, captured_s, time.time(), remark))
                if halt_s and len(seen) == 3:
                    time.sleep(halt_s)
    return seen


def errors_s(seen: list[Seen]) -> list[float]:
    """By how much each picture's capture time is wrong; the one that came soonest was right."""
    play_s = min(one.at_s - one.number / FPS for one in seen)
    return [one.captured_s - (play_s + one.number / FPS) for one in seen]


Watched = dict[str, tuple[list[Seen], Recorder]]


@pytest.fixture(scope="module")
def watched() -> Watched:
    """Watch a camera for each kind of stamp, all at once."""
    units = clip(gop_s=0.5)

    def one(stamp_of: Callable[[int, float], int]) -> tuple[list[Seen], Recorder]:
        observer = Recorder()
        return watch(Track(units, stamp_of=stamp_of), observer=observer), observer

    with ThreadPoolExecutor(len(STAMPS)) as pool:
        return dict(zip(STAMPS, pool.map(one, STAMPS.values()), strict=True))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("honest", None),
        ("one in ten far back", "outlier"),
        ("one in ten far ahead", "outlier"),
        ("a step of 12 hours", "jump"),
    ],
)
def test_a_clock_that_is_mended_is_counted(watched: Watched, name: str, kind: str | None) -> None:
    """paparazzi#2068, mediamtx#6255: nothing said so."""
    mended = watched[name][1].totals(STAMPS_MENDED, by="kind")
    assert set(mended) == ({kind} if kind else set())


def test_a_clock_that_is_mended_is_logged_once_for_each_kind_and_told() -> None:
    with structlog.testing.capture_logs() as logged:
        watch(Track(clip(gop_s=0.5, seconds=4), stamp_of=STAMPS["one in ten far back"]))
    (line,) = [line for line in logged if line["event"] == "camera_clock_mended"]
    assert line["kind"] == "outlier"
    assert line["detail"] == "its time stamps are put right: stamps out of line"


@pytest.mark.parametrize("name", STAMPS)
def test_a_frame_a_second_is_taken_whatever_the_stamps_say(watched: Watched, name: str) -> None:
    seen, _ = watched[name]
    assert len(seen) in (SECONDS - 1, SECONDS, SECONDS + 1)
    assert all(one.pts_s < later.pts_s for one, later in pairwise(seen))
    assert np.ptp([one.pts_s - one.captured_s for one in seen]) < 0.1
    assert max(map(abs, errors_s(seen))) < 1.0
    assert ("put right: jumps" in seen[-1].remark) == (name == "a step of 12 hours")


def test_after_a_halt_pictures_are_as_old_as_they_are() -> None:
    """frigate#136, Nager.VideoStream#12: pictures 41 s old were given as 2 s old."""
    told: list[tuple[str, str, str | None]] = []
    observer = Recorder()
    seen = watch(
        Track(clip(gop_s=1)),
        halt_s=4.0,
        observer=observer,
        tell=lambda *one: told.append(one),
    )
    camera_id, reason, detail = next(one for one in told if one[2] is not None)
    assert (camera_id, reason) == ("yard", "lagging")
    assert detail in {f"its pictures are {age_s} s old when they come" for age_s in (4, 5, 6)}
    lags_s = observer.numbers(CAMERA_LAG, camera="yard")
    assert max(lags_s) > 3.5
    assert lags_s[-1] < 0.5
    assert max(one.at_s - one.captured_s for one in seen) > 2.5
    assert max(map(abs, errors_s(seen))) < 0.5
    assert seen[-1].at_s - seen[-1].captured_s < 0.7


def test_a_reader_that_is_too_slow_decodes_key_frames_alone_until_it_is_in_time_again() -> None:
    """frigate#136: nothing lightened decoding, which was what was late."""
    seen = watch(Track(clip(gop_s=2, seconds=16)), busy_s=lambda t_s: 0.25 if t_s < 10 else 0.0)
    ages_s = [one.at_s - one.captured_s for one in seen]
    assert 1.0 < max(ages_s) < 5.0  # 15 s of decoding everything would be 9 s late
    assert max(map(abs, errors_s(seen))) < 1.0
    assert ages_s[-1] < 0.7
