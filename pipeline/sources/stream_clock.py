"""Judges a live stream's time stamps by the clock of this machine: one place for every camera.

Cameras stamp in the wrong unit, stand still, run slow, jump by years, and their packets wait in
buffers. What counts is when a picture was taken, in seconds of this machine's monotonic clock: from
it follow the stream time that everything behind works by, and the age of the picture.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Mend = Literal["outlier", "jump", "rate"]
"""What was wrong with a stamp: it stood alone; all that followed went on from it; its seconds were
none."""
MENDS: tuple[Mend, ...] = get_args(Mend)

REORDER_S = 0.75  # a picture is sent before those it is shown after, and stamps jitter
MAX_AHEAD_S = 1.0  # how much further than the time that passed a stamp may go on
JOIN_AFTER = 3  # stamps in a row that fit each other and not what came before: a jump
GIVE_UP_AFTER = 12  # stamps in a row that fit nothing: their seconds are none
SLACK_S = 0.25  # the reader has time to spare where it waits for most of such a stretch,
SLACK_SHARE = 0.6
NUM_SLACK = 2  # for so many stretches in a row
MEASURE_S = 10.0  # what a rate is measured over; jitter of half a second is a twentieth of it
WRONG_RATE = 0.1
STANDS_STILL = 0.002  # seconds of stream in a second: such stamps say nothing
USUAL_INTERVAL_S = 0.04
MAX_BURST_S = 10.0  # cameras begin with what they have sent since their last key frame,
MAX_BURST_INTERVAL_S = 0.25  # picture by picture


@dataclass(frozen=True, slots=True)
class Moment:
    """When a picture was taken.

    Attributes:
        taken_s: in seconds of this machine's monotonic clock; never later than now.
        lag_s: how long ago that is: what the picture spent in buffers.
    """

    taken_s: float
    lag_s: float


class StreamClock:
    """Gives every packet of one connection its moment.

    A packet that had to be waited for is as young as it can be; one that was there already may be
    late. So where the reader mostly waited for a while, the packet with the least delay in that
    while counts as taken when it came. While the reader does not wait, time runs by the stamps
    alone, and what it falls behind by is lag.

    Not guaranteed: that a delay is seen which was there from the first packets on, or one that
    grows while every packet is still waited for: these are the network's, and look like a slow
    clock.

    Attributes:
        mended: how often each kind of wrong stamp was put right.
    """

    def __init__(self) -> None:
        """Begin before the first packet."""
        self.mended: Counter[Mend] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forget the stream; what was mended stays counted."""
        # the line: taken_s = stamp_s * scale + offset_s
        self._scale, self._offset_s = 1.0, 0.0
        self._now_s: float | None = None
        self._elapsed_s = 0.0  # before the last packet
        self._newest_s = 0.0
        self._interval_s = USUAL_INTERVAL_S
        self._stands_still = False
        self._odd: list[tuple[float, float]] = []  # stamps in a row that do not fit: (stamp, now)
        self._odd_offset_s, self._num_agreeing = 0.0, 0
        self._slack = _Slack()
        self._measured_from: tuple[float, float, float] | None = None  # (stamp, now, lag)

    def begin(self, stamps_s: Sequence[float | None], *, now_s: float) -> None:
        """Take the newest of some packets that came at once for one of now; `judge` them next."""
        known_s = [stamp_s for stamp_s in stamps_s if stamp_s is not None] or [0.0]
        self._offset_s = now_s - known_s[-1]
        self._now_s = self._newest_s = now_s
        span_s, num_steps = known_s[-1] - known_s[0], len(known_s) - 1
        if 0 < span_s <= min(MAX_BURST_S, num_steps * MAX_BURST_INTERVAL_S):
            self._interval_s = span_s / num_steps
            num_before = next(n for n, one in enumerate(stamps_s, 1) if one is not None)
            self._newest_s = self._at(known_s[0]) - num_before * self._interval_s

    def judge(self, stamp_s: float | None, *, now_s: float, waited_s: float) -> Moment:
        """Return when the picture in a packet was taken.

        Args:
            stamp_s: the packet's own time in seconds of whatever clock; None where it has none.
            now_s: monotonic time at which the packet was read.
            waited_s: how long the reader waited for it.
        """
        if self._now_s is None:
            self.begin([stamp_s], now_s=now_s)
        elapsed_s = max(0.0, now_s - (self._now_s or now_s))
        usual_s = max(MAX_AHEAD_S, 2 * self._elapsed_s)  # what is longer, once, is a halt
        self._now_s, self._elapsed_s = now_s, elapsed_s
        if elapsed_s / 2 < waited_s <= elapsed_s <= usual_s:
            self._interval_s += (elapsed_s - self._interval_s) / 8
        if stamp_s is None or self._stands_still:
            taken_s = self._newest_s + self._interval_s
        else:
            taken_s = self._by_stamp(stamp_s, now_s=now_s, elapsed_s=elapsed_s)
        if taken_s > now_s:  # it is here, so that all before it were taken earlier too
            self._offset_s -= taken_s - now_s
            taken_s = now_s
        self._newest_s = max(self._newest_s, taken_s)
        moment = Moment(taken_s, now_s - taken_s)
        spare_s = self._slack.spare_s(moment.lag_s, elapsed_s=elapsed_s, waited_s=waited_s)
        if spare_s is not None:
            self._offset_s += spare_s
            self._newest_s += spare_s
            if stamp_s is not None and not self._odd and not self._stands_still:
                self._measure(stamp_s, now_s, moment.lag_s - spare_s)
        return moment

    def _by_stamp(self, stamp_s: float, *, now_s: float, elapsed_s: float) -> float:
        taken_s = self._at(stamp_s)
        step_s = taken_s - self._newest_s
        if -REORDER_S <= step_s <= elapsed_s + MAX_AHEAD_S:
            if self._odd:
                self.mended["outlier"] += len(self._odd)
                self._odd.clear()
            return taken_s
        return self._odd_one(stamp_s, now_s=now_s)

    def _odd_one(self, stamp_s: float, *, now_s: float) -> float:
        """Stamp a packet anew, by those before it; go on from its own stamp if the next agree."""
        taken_s = min(now_s, self._newest_s + self._interval_s)
        offset_s = taken_s - stamp_s * self._scale
        agrees = bool(self._odd) and abs(offset_s - self._odd_offset_s) <= REORDER_S
        self._num_agreeing = self._num_agreeing + 1 if agrees else 1
        self._odd_offset_s = offset_s
        self._odd.append((stamp_s, now_s))
        if self._num_agreeing >= JOIN_AFTER:
            self.mended["jump"] += 1
            self._lay(self._scale, stamp_s, taken_s)
        elif len(self._odd) >= GIVE_UP_AFTER:
            (first_s, first_now_s), length = self._odd[0], len(self._odd)
            self.mended["outlier"] += length
            self._set_rate(stamp_s - first_s, now_s - first_now_s, stamp_s, taken_s)
            self._odd.clear()
        return taken_s

    def _measure(self, stamp_s: float, now_s: float, lag_s: float) -> None:
        """Compare the stream's seconds with ours, between two moments of like lag.

        There may be none without: few packets a second are late for as long as the rate is wrong.
        """
        here = stamp_s, now_s, lag_s
        from_s, from_now_s, from_lag_s = self._measured_from or here
        stream_s, passed_s = stamp_s - from_s, now_s - from_now_s
        is_over = passed_s >= MEASURE_S
        if self._measured_from is None or is_over or lag_s < from_lag_s - REORDER_S:
            self._measured_from = here
        is_alike = abs(lag_s - from_lag_s) < REORDER_S  # not the first packet after a halt
        if is_over and is_alike and abs(stream_s * self._scale / passed_s - 1) > WRONG_RATE:
            self._set_rate(stream_s, passed_s, stamp_s, self._at(stamp_s))

    def _set_rate(self, stream_s: float, passed_s: float, stamp_s: float, taken_s: float) -> None:
        """Take so many seconds of the stream for so many of ours."""
        self.mended["rate"] += 1
        self._stands_still = not stream_s > STANDS_STILL * passed_s > 0
        if not self._stands_still:
            self._lay(passed_s / stream_s, stamp_s, taken_s)

    def _lay(self, scale: float, stamp_s: float, taken_s: float) -> None:
        """Let time go on at a rate from a stamp that is so late."""
        self._scale, self._offset_s = scale, taken_s - stamp_s * scale
        self._odd.clear()
        self._measured_from = None

    def _at(self, stamp_s: float) -> float:
        return stamp_s * self._scale + self._offset_s


@dataclass(slots=True)
class _Slack:
    """Tells lag from a slow clock: who has time to spare is not late.

    Attributes:
        passed_s: of the present stretch; one long wait, as after a halt, is no more than a stretch.
        waited_s: of that.
        lag_s: the least in it.
        before_s: the least lag of each stretch of slack before it, in a row.
    """

    passed_s: float = 0.0
    waited_s: float = 0.0
    lag_s: float = float("inf")
    before_s: tuple[float, ...] = ()

    def spare_s(self, lag_s: float, *, elapsed_s: float, waited_s: float) -> float | None:
        """Take a packet; return what is no lag, at the end of enough stretches of slack."""
        self.passed_s += min(elapsed_s, SLACK_S)
        self.waited_s += min(waited_s, elapsed_s, SLACK_S)
        self.lag_s = min(self.lag_s, lag_s)
        if self.passed_s < SLACK_S:
            return None
        has_slack = self.waited_s >= SLACK_SHARE * self.passed_s
        least_s = (*self.before_s, self.lag_s)[-NUM_SLACK:] if has_slack else ()
        self.passed_s = self.waited_s = 0.0
        self.lag_s = float("inf")
        self.before_s = least_s
        if len(least_s) < NUM_SLACK:
            return None
        spare_s = min(least_s)
        self.before_s = tuple(one - spare_s for one in least_s)
        return spare_s


def told(mended: Mapping[Mend, int]) -> str:
    """Return what was mended, for people; nothing where nothing was. How often is a metric's."""
    words = {"outlier": "stamps out of line", "jump": "jumps", "rate": "a wrong rate"}
    return ", ".join(words[one] for one in MENDS if mended.get(one))
