"""When pictures were taken, whatever a camera's stamps say. Times are simulated, none passes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import sin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cadence import Cadence
from pipeline.sources.stream_clock import Moment, StreamClock, told

SECONDS = 120
TOLD, SENT = 25, 21
WRAP_S = 2**33 / 90_000

Stamp = Callable[[float, int], float | None]
"""(seconds since the first picture, its number) -> what the camera stamps it with."""


def _jitter(number: int) -> float:
    return 0.3 * sin(97.0 * number)


# Patterns of public reports: paparazzi#2068, RTSP-Server#79 and open-nvr#229 (units, constant,
# rates); mediamtx#6255, raptor#43 and moonfire-nvr#36 (outliers, steps, jumps).
PATTERNS: dict[str, tuple[Stamp, float, set[str]]] = {
    "sound": (lambda t, _: t, 25, set()),
    "pictures out of order": (lambda t, n: t + (0.08 if n % 3 == 0 else -0.04), 25, set()),
    "ms for 90 kHz": (lambda t, _: t / 90, 25, {"rate"}),
    "us for 90 kHz": (lambda t, _: t / 0.09, 25, {"rate"}),
    "us for 90 kHz, 5 a second": (lambda t, _: t / 0.09, 5, {"rate", "outlier"}),
    "constant": (lambda _, __: 17.0, 25, {"rate"}),
    "none": (lambda _, __: None, 25, set()),
    "25 told, 21 sent": (lambda _, n: n / TOLD, SENT, {"rate"}),
    "a fifth fast": (lambda t, _: 1.19 * t, 25, {"rate"}),
    "one in ten far back": (lambda t, n: t - 9_800 if n % 10 == 5 else t, 25, {"outlier"}),
    "one in ten far ahead": (lambda t, n: t + 37_600 if n % 10 == 5 else t, 25, {"outlier"}),
    "2 s back for 2 s in 10": (lambda t, _: t - 2 if t % 10 > 8 else t, 25, {"jump"}),
    "26 years ahead": (lambda t, _: t + 8.2e8 if t > 60 else t, 25, {"jump"}),
    "33 bits are full": (lambda t, _: (t - 30) % WRAP_S, 25, {"jump"}),
    "jitter of 0.3 s": (lambda t, n: t + _jitter(n), 25, set()),
    "sender reports that step": (lambda t, _: t + 5 * (int(t / 20) % 2), 25, {"jump"}),
    "a picture every two seconds": (lambda t, _: t, 0.5, set()),
}


@dataclass(frozen=True, slots=True)
class Read:
    """A packet as it was read.

    Attributes:
        moment: what the clock made of it.
        true_s: when it was taken, in truth.
        now_s: when it was read.
    """

    moment: Moment
    true_s: float
    now_s: float


def reads(
    clock: StreamClock,
    stamp: Stamp,
    *,
    fps: float = 25,
    busy_s: Callable[[float], float] = lambda _: 0.001,
    halted_s: Callable[[float], float] = lambda _: 0.0,
) -> Iterator[Read]:
    """Read what a camera sends.

    `busy_s` tells how long the reader is away after each packet, `halted_s` how much longer than
    for the packet it waits, as the process or the network stands still; each by the time.
    """
    now_s = 1000.0
    for number in range(round(SECONDS * fps)):
        true_s = 1000.0 + number / fps
        asked_s, now_s = now_s, max(now_s, true_s + 0.01)
        now_s += halted_s(now_s - 1000.0)
        moment = clock.judge(stamp(number / fps, number), now_s=now_s, waited_s=now_s - asked_s)
        yield Read(moment, true_s, now_s)
        now_s += busy_s(now_s - 1000.0)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_frame_a_second_is_taken_and_its_age_is_known_within_a_second(name: str) -> None:
    stamp, fps, mended = PATTERNS[name]
    clock, cadence = StreamClock(), Cadence(1.0)
    taken = [read for read in reads(clock, stamp, fps=fps) if cadence.due(read.moment.taken_s)]
    assert len(taken) == pytest.approx(SECONDS * min(1.0, fps), rel=0.05)
    assert all(one.moment.taken_s < next_one.moment.taken_s for one, next_one in pairwise(taken))
    worst_s = max(abs(one.moment.lag_s - (one.now_s - one.true_s)) for one in taken)
    assert worst_s < 1.0
    assert set(clock.mended) == mended


@pytest.mark.parametrize("fps", [0.5, 1])
@pytest.mark.parametrize(
    "stamp",
    [
        pytest.param(lambda _, n: n / TOLD, id="25 told"),
        pytest.param(lambda t, _: t / 1000, id="ms for s"),
        pytest.param(lambda _, __: 17.0, id="constant"),
        pytest.param(lambda _, __: None, id="none"),
        pytest.param(lambda t, _: -t, id="backward"),
    ],
)
def test_few_pictures_a_second_have_no_lag_for_long_whatever_their_stamps_say(
    stamp: Stamp, fps: float
) -> None:
    """They were one or two pictures late for ever, and the load went by it."""
    seen = list(reads(StreamClock(), stamp, fps=fps))
    assert max(read.moment.lag_s for read in seen[-len(seen) // 4 :]) < 0.5


def test_a_camera_that_sends_fewer_pictures_at_night_has_no_lag_for_long() -> None:
    """It counts its pictures: its seconds are right by day, and far too short by night."""
    clock, now_s, lags_s = StreamClock(), 1000.0, []
    for number in range(1000 + SECONDS):
        waited_s = 1 / TOLD if number < 1000 else 1.0
        now_s += waited_s
        lags_s.append(clock.judge(number / TOLD, now_s=now_s, waited_s=waited_s).lag_s)
    assert max(lags_s[-SECONDS // 2 :]) < 0.5
    assert clock.mended["rate"] == 1


def test_what_was_mended_is_told_in_words() -> None:
    clock = StreamClock()
    for _ in reads(clock, PATTERNS["26 years ahead"][0]):
        pass
    assert told(clock.mended) == "jumps"
    assert not told({})


@pytest.mark.parametrize("halt_s", [5.0, 30.0])
def test_after_a_halt_the_backlog_is_as_old_as_it_is(halt_s: float) -> None:
    """frigate#136: pictures 41 s old were given as 2 s old."""
    clock = StreamClock()
    halted = reads(clock, lambda t, _: t, busy_s=lambda t: halt_s if 40 < t < 40.05 else 0.001)
    errors_s = [read.moment.lag_s - (read.now_s - read.true_s) for read in halted]
    assert max(map(abs, errors_s)) < 0.1
    assert not clock.mended


@pytest.mark.parametrize("stamp", [lambda t, _: t, lambda _, __: None], ids=["sound", "none"])
@pytest.mark.parametrize("halt_s", [5.0, 30.0])
def test_a_halt_within_a_wait_says_nothing_of_the_rate(stamp: Stamp, halt_s: float) -> None:
    """Its first packet was waited for, and is late all the same."""
    clock = StreamClock()
    halted = reads(clock, stamp, halted_s=lambda t: halt_s if 40 < t < 40.05 else 0.0)
    assert max(abs(read.moment.lag_s - (read.now_s - read.true_s)) for read in halted) < 0.1
    assert not clock.mended


@pytest.mark.parametrize(("stamp", "fps"), [(lambda t, _: t, 25), (lambda _, n: n / TOLD, SENT)])
def test_a_slow_reader_falls_behind_and_recovers_and_the_age_is_right(
    stamp: Stamp, fps: float
) -> None:
    slow = reads(StreamClock(), stamp, fps=fps, busy_s=lambda t: 0.06 if 20 < t < 60 else 0.005)
    seen = list(slow)
    assert max(read.moment.lag_s for read in seen) > 5
    assert max(abs(one.moment.lag_s - (one.now_s - one.true_s)) for one in seen) < 1.0
    assert seen[-1].moment.lag_s < 0.5


def test_a_reader_that_is_busy_and_keeps_up_has_no_lag() -> None:
    busy = list(reads(StreamClock(), lambda t, _: t, busy_s=lambda _: 0.036))
    assert max(read.moment.lag_s for read in busy) < 0.1


def test_a_first_burst_is_taken_for_what_is_shown_now() -> None:
    clock = StreamClock()
    burst = [clock.judge(n / 25, now_s=50.0 + n / 1000, waited_s=0.0) for n in range(100)]
    assert max(moment.lag_s for moment in burst) == 0.0
    later = clock.judge(100 / 25, now_s=50.14, waited_s=0.04)
    assert later.lag_s == pytest.approx(0.0, abs=0.05)


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.floats(0, 100),
            st.floats(0, 1),
        ),
        max_size=60,
    )
)
def test_whatever_comes_no_picture_is_from_the_future(
    packets: list[tuple[int | None, float, float]],
) -> None:
    clock, now_s = StreamClock(), 5000.0
    for ticks, passed_s, waited_share in packets:
        now_s += passed_s
        stamp_s = None if ticks is None else ticks / 90_000
        moment = clock.judge(stamp_s, now_s=now_s, waited_s=passed_s * waited_share)
        assert moment.lag_s >= 0
        assert moment.taken_s == pytest.approx(now_s - moment.lag_s)
        assert 4990.0 <= moment.taken_s <= now_s
