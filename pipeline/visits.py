"""Between people who look and ask, and the inference thread: each camera's last picture, and asks.

One thread tells of pictures and answers questions, the inference thread; another talks with the
people. Neither waits for the other.
"""

from collections import deque
from collections.abc import Callable
from threading import Condition

from model.errors import InputError
from pipeline.asks import OneOff, Refused
from pipeline.clock import Clock
from pipeline.messages import Message
from pipeline.metrics import VISITS
from pipeline.observer import UNOBSERVED, Observer
from pipeline.types import PrunedSample

MAX_WAITING = 8  # a worker answers one a tick, four a second: two seconds' worth
PER_S = 4.0  # of asks that are taken, in the long run
BURST = 8  # at once, after a pause

Reply = Message | Refused


class Visits:
    """One-off questions on their way to the model and back, and the cameras' last pictures.

    The queue is bounded, and refuses what comes when it is full (`too_many`), as it does what comes
    faster than `PER_S`. A question is answered in what is left of a tick: while ticks are late it
    waits, and at its deadline it is refused (`too_busy`). Standing questions do not feel it.
    """

    def __init__(self, *, clock: Clock, observer: Observer = UNOBSERVED) -> None:
        """Begin with nothing seen or asked.

        Args:
            clock: for deadlines, and for how many may ask.
            observer: told what became of each question.
        """
        self._clock = clock
        self._observer = observer
        self._last: dict[str, PrunedSample] = {}
        self._changed = Condition()
        self._waiting: deque[OneOff] = deque()
        self._replies: list[tuple[OneOff, Reply]] = []
        self._num_open = 0
        self._allowance = float(BURST)
        self._allowed_s = clock.monotonic_s()

    # -- the inference thread --------------------------------------------------------------------

    def shown(self, sample: PrunedSample) -> None:
        """Note what the model was shown of a camera, just now."""
        self._last[sample.frame.camera_id] = sample

    def forget(self, camera_id: str) -> None:
        """Let go of a camera's picture."""
        self._last.pop(camera_id, None)

    def answer_one(self, ask: Callable[[OneOff], Message], *, is_late: bool) -> None:
        """Answer the question that has waited longest, if any, and if there is time.

        Args:
            ask: answers it, or raises InputError where it cannot be put.
            is_late: there is no time now.
        """
        if not self._waiting:
            return
        now = self._clock.now()
        with self._changed:
            late = [one for one in self._waiting if one.deadline_at <= now]
            for one in late:
                self._waiting.remove(one)
            chosen = self._waiting.popleft() if self._waiting and not is_late else None
        for one in late:
            self._reply(one, Refused(one.id, "too_busy", "expected time for it, found none"))
        if chosen is not None:
            try:
                self._reply(chosen, ask(chosen))
            except InputError as error:
                self._reply(chosen, Refused(chosen.id, "malformed", str(error)))

    def _reply(self, one: OneOff, reply: Reply) -> None:
        with self._changed:
            self._replies.append((one, reply))
            self._changed.notify_all()

    # -- the thread that talks with people -------------------------------------------------------

    def cameras(self) -> list[str]:
        """Return the cameras that there is a picture of."""
        return list(self._last)

    def last(self, camera_id: str) -> PrunedSample | None:
        """Return what the model was shown of a camera last; None where it remembers nothing."""
        return self._last.get(camera_id)

    def put(self, one: OneOff) -> Refused | None:
        """Let a question wait for the model, or say why it may not."""
        with self._changed:
            now_s = self._clock.monotonic_s()
            earned = (now_s - self._allowed_s) * PER_S
            self._allowed_s, self._allowance = now_s, min(float(BURST), self._allowance + earned)
            if self._allowance < 1:
                return Refused(one.id, "too_many", f"expected at most {PER_S:g} asks a second")
            if len(self._waiting) >= MAX_WAITING:
                return Refused(one.id, "too_many", f"expected at most {MAX_WAITING} asks at once")
            self._allowance -= 1
            self._waiting.append(one)
            self._num_open += 1
        return None

    @property
    def num_open(self) -> int:
        """Questions that wait, or whose reply nobody has taken yet."""
        return self._num_open

    def replies(self, timeout_s: float) -> list[tuple[OneOff, Reply]]:
        """Return what has been answered or refused since; wait so long for the first."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._replies), timeout_s)
            replies, self._replies = self._replies, []
            self._num_open -= len(replies)
        return replies

    def count(self, what: str, outcome: str) -> None:
        """Count what came of a visit."""
        self._observer.count(VISITS, what=what, outcome=outcome)
