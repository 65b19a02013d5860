"""Asks the model, and has its answers as they come: most at once, what is said word by word later.

It is said between the ticks, and is about the moment it was asked at.
"""

from collections.abc import Callable, Collection, Sequence
from math import inf, isfinite

from model.errors import DeviceMemoryError
from model.types import Answer
from pipeline.camera_session import Ask
from pipeline.clock import Clock
from pipeline.counted import Timed
from pipeline.engine import Engine

SAY_WITHIN_S = 1.0
"""What was begun longer ago is said to its end before the next tick: else a busy worker, whose
ticks leave no time between them, would never end a sentence."""

LAST_WORDS_S = 10.0
"""What is not said so long after the worker was told to end is not said: its frames come again."""

Answered = tuple[Ask, Answer]


class Speaking:
    """What the model was asked and has not answered yet. For the inference thread alone."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Clock,
        timed: Timed,
        owe: Callable[[Sequence[Ask]], None],
    ) -> None:
        """Begin with nothing.

        Args:
            engine: the model.
            clock: for how long something is being said.
            timed: measures the model.
            owe: told of asks that the model had no memory for.
        """
        self._engine = engine
        self._clock = clock
        self._timed = timed
        self._owe = owe
        self._open: dict[int, tuple[Ask, float]] = {}  # by ticket, with when it was begun
        self._ages_s: list[float] = []
        self._spoken_s = 0.0

    @property
    def is_going(self) -> bool:
        """Whether anything is left to be said."""
        return self._engine.is_speaking

    @property
    def tickets(self) -> Collection[int]:
        """Of what is being said; a later one is larger."""
        return self._open.keys()

    def asks_already(self, ask: Ask) -> bool:
        """Say whether the same question is being answered about an earlier frame."""
        about = (ask.sent.frame.camera_id, ask.standing.id)
        return any((one.sent.frame.camera_id, one.standing.id) == about for one in self._asks)

    def is_about(self, camera_id: str) -> bool:
        """Say whether anything is being said about a camera."""
        return any(one.sent.frame.camera_id == camera_id for one in self._asks)

    def forget(self, camera_id: str) -> None:
        """Let what is being said about a camera come to nothing."""
        self._open = {
            ticket: one
            for ticket, one in self._open.items()
            if one[0].sent.frame.camera_id != camera_id
        }

    def ask(self, asks: Sequence[Ask]) -> list[Answered]:
        """Return the answers that stand and those that the model gives at once, in order."""
        new = [ask for ask in asks if ask.cached is None]
        questions = [(ask.sent.frame.camera_id, ask.standing.question) for ask in new]
        try:
            given = self._timed("ask", lambda: self._engine.begin(questions)) if new else []
        except DeviceMemoryError:
            self._owe(new)
            return [(ask, ask.cached) for ask in asks if ask.cached is not None]
        left, answered = iter(given), list[Answered]()
        for ask in asks:
            answer = ask.cached or next(left)
            if isinstance(answer, int):
                self._open[answer] = (ask, self._clock.monotonic_s())
            else:
                answered.append((ask, answer))
        return answered

    def say(self, until_s: float, *, at_most_s: float = inf) -> list[Answered]:
        """Go on until then, and beyond with what is late; return the first answers."""
        while self._engine.is_speaking:
            begun_s = self._clock.monotonic_s()
            is_late = any(begun_s - since_s >= SAY_WITHIN_S for _, since_s in self._open.values())
            if begun_s >= at_most_s or (begun_s >= until_s and not is_late):
                break
            told = self._timed("speak", self._engine.speak)
            if isfinite(until_s):  # else it is part of a tick
                self._spoken_s += self._clock.monotonic_s() - begun_s
            if answered := [one for ticket, answer in told for one in self._heard(ticket, answer)]:
                return answered
        return []

    def take_stock(self) -> tuple[list[float], float]:
        """Return, once, the ages of live frames at answers about them, and the time between ticks.

        That is the time that words took between the ticks; others are part of one.
        """
        stock, self._ages_s, self._spoken_s = (self._ages_s, self._spoken_s), [], 0.0
        return stock

    def _heard(self, ticket: int, answer: Answer | None) -> list[Answered]:
        if ticket not in self._open:  # its camera is gone
            return []
        ask, _ = self._open.pop(ticket)
        if ask.sent.is_live:
            self._ages_s.append(self._clock.monotonic_s() - ask.sent.arrived_s)
        if answer is None:
            self._owe([ask])
            return []
        return [(ask, answer)]

    @property
    def _asks(self) -> list[Ask]:
        return [ask for ask, _ in self._open.values()]
