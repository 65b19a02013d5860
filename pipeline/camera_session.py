"""What is remembered of one camera between two ticks, and what is due to be asked of it."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from model.kinds import CAPTION
from model.types import Answer, PatchGrid, Window
from pipeline.events import EventMachine
from pipeline.questions import Schedule, StandingQuestion
from pipeline.types import PrunedSample


@dataclass(frozen=True, slots=True)
class Ask:
    """A question due on a camera's newest frame.

    Attributes:
        sent: that frame.
        standing: the question.
        cached: the answer it had, where it was given about the context as it is; None where it must
            be asked.
        is_deferred: it was due on an earlier frame and could not be asked then.
    """

    sent: PrunedSample
    standing: StandingQuestion
    cached: Answer | None
    is_deferred: bool


class CameraSession:
    """One camera's schedule, answers, event machines and counts of tokens.

    Attributes:
        machines: by question id, for those that make events.
        grid: of the frames the engine has made room for; None while it holds nothing.
        seen_s: when its last frame was taken, monotonic.
    """

    def __init__(self, schedule: Schedule, machines: Mapping[str, EventMachine]) -> None:
        """Begin with nothing seen."""
        self.machines = machines
        self.grid: PatchGrid | None = None
        self.seen_s = 0.0
        self._schedule = schedule
        self._version = 0  # grows with every token the asked context gets, and every other context
        self._context_s: float | None = None  # when the asked context begins
        self._answered: dict[str, tuple[int, Answer]] = {}  # by question, with the version
        self._deferred: dict[str, StandingQuestion] = {}
        self._kept: deque[tuple[float, int, int]] = deque()  # (pts_s, kept, total)
        self._damaged_s: float | None = None  # when the newest damaged frame was

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens sent of the frames in the window, and tokens these would have had whole."""
        return sum(kept for _, kept, _ in self._kept), sum(total for _, _, total in self._kept)

    @property
    def is_damaged(self) -> bool:
        """Whether there are damaged frames in the window."""
        return self._damaged_s is not None and self._damaged_s >= self._kept[0][0]

    def note(self, sent: PrunedSample, window: Window | None) -> None:
        """Note a frame that the model has seen, and what its window is now."""
        pts_s, total = sent.frame.pts_s, sent.frame.grid.num_tokens
        context_s = window.start_pts_s if window else None
        is_back = bool(self._kept) and pts_s < self._kept[-1][0]
        if sent.pruned.num_kept or context_s != self._context_s or is_back:
            self._version += 1
        self._context_s = context_s
        if is_back:
            self._kept.clear()
            self._damaged_s = None
        self._kept.append((pts_s, sent.pruned.num_kept, total))
        if sent.frame.is_damaged:
            self._damaged_s = pts_s
        while window and self._kept[0][0] < window.start_pts_s and len(self._kept) > 1:
            self._kept.popleft()

    def due(self, sent: PrunedSample, *, caption_stretch: int) -> list[Ask]:
        """Return what is to be answered on this frame: what is owed and what has come due."""
        owed, self._deferred = self._deferred, {}
        due = {
            one.id: one
            for one in self._schedule.due(sent.frame.pts_s, caption_stretch=caption_stretch)
        }
        asks = []
        for standing in (owed | due).values():
            version, answer = self._answered.get(standing.id, (-1, None))
            cached = answer if version == self._version else None
            if cached is None or standing.question.kind != CAPTION:  # a caption is not repeated
                asks.append(Ask(sent, standing, cached, standing.id in owed))
        return asks

    def answered(self, ask: Ask, answer: Answer) -> None:
        """Note the answer to a question."""
        self._answered[ask.standing.id] = (self._version, answer)

    def defer(self, asks: Sequence[Ask]) -> None:
        """Note questions that could not be asked: they are due with the next frame."""
        self._deferred |= {ask.standing.id: ask.standing for ask in asks}

    def forget(self) -> None:
        """Note that the engine holds nothing of this camera. Events and schedule go on."""
        self.grid = None
        self.seen_s = inf  # nothing more to forget until it is back
        self._answered.clear()
        self._kept.clear()
