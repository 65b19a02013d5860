"""What is remembered of one camera between two ticks, and what is due to be asked of it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from model.kinds import CAPTION
from model.types import Answer, PatchGrid, Window
from pipeline.caption_gate import CaptionGate, When
from pipeline.messages import Provenance
from pipeline.questions import Schedule, StandingQuestion
from pipeline.stretch import Stretch
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
    """One camera's schedule, answers and counts of tokens.

    Attributes:
        grid: of the frames the engine has made room for; None while it holds nothing.
        seen_s: when its last frame was taken, monotonic.
        told: what messages say of its newest frame; None before the first, and once forgotten.
        stretch: how far its stream has come.
    """

    def __init__(self, schedule: Schedule, *, caption_when: When = "periodic") -> None:
        """Begin with nothing seen."""
        self._gate = CaptionGate(caption_when)
        self.grid: PatchGrid | None = None
        self.seen_s = 0.0
        self.told: Provenance | None = None
        self.stretch = Stretch()
        self._schedule = schedule
        self._replied_s: dict[str, float] = {}  # by question, monotonic
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

    def note(self, sent: PrunedSample, window: Window | None, *, lost_s: float) -> bool:
        """Note a frame that the model has seen; say whether it is the first after a gap.

        Args:
            sent: the frame.
            window: what the model's window is now.
            lost_s: when the camera was lost the last time, monotonic; -inf where it never was.
        """
        pts_s, total = sent.frame.pts_s, sent.frame.grid.num_tokens
        context_s = window.start_pts_s if window else None
        is_back = bool(self._kept) and pts_s < self._kept[-1][0]
        if sent.pruned.num_kept or context_s != self._context_s or is_back:
            self._version += 1
        is_first = bool(self._kept) and context_s == pts_s != self._context_s
        self._context_s = context_s
        if is_back:
            self._kept.clear()
            self._damaged_s = None
        self._kept.append((pts_s, sent.pruned.num_kept, total))
        self._gate.note(num_sent=sent.pruned.num_kept)
        if sent.frame.is_damaged:
            self._damaged_s = pts_s
        while window and self._kept[0][0] < window.start_pts_s and len(self._kept) > 1:
            self._kept.popleft()
        return self.stretch.advance(sent, lost_s=lost_s) or is_first

    def due(
        self, sent: PrunedSample, *, caption_stretch: int, worth: float | None = None
    ) -> list[Ask]:
        """Return what is to be answered on this frame: what is owed and what has come due.

        Args:
            sent: the frame.
            caption_stretch: one caption is due where otherwise so many would be.
            worth: how likely the model finds something worth saying; None where it does not say.
        """
        owed, self._deferred = self._deferred, {}
        due = {
            one.id: one
            for one in self._schedule.due(sent.frame.pts_s, caption_stretch=caption_stretch)
        }
        captions = [one for one in self._schedule.questions if one.question.kind == CAPTION]
        for one in captions:
            is_open = self._gate.is_open(
                is_due=due.pop(one.id, None) is not None,
                num_tokens=sent.frame.grid.num_tokens,
                worth=worth,
                stretch=caption_stretch,
            )
            due |= {one.id: one} if is_open else {}
        asks = []
        for standing in (owed | due).values():
            version, answer = self._answered.get(standing.id, (-1, None))
            cached = answer if version == self._version else None
            if cached is None or standing.question.kind != CAPTION:  # a caption is not repeated
                asks.append(Ask(sent, standing, cached, standing.id in owed))
        return asks

    def answered(self, ask: Ask, answer: Answer, *, now_s: float) -> None:
        """Note the answer to a question, given now."""
        self._answered[ask.standing.id] = (self._version, answer)
        self._replied_s[ask.standing.id] = now_s

    def overdue(self, *, now_s: float) -> list[StandingQuestion]:
        """Return what would have been answered by now, captions aside; note it as answered now.

        It goes by the wall, as frames may not come. Nothing is due of a camera never seen.
        """
        if self.told is None:
            return []
        due = []
        for one in self._schedule.questions:
            late_s = now_s - self._replied_s.get(one.id, -inf) - one.every_s
            if one.question.kind != CAPTION and late_s >= 0:
                # a little late does not delay the next
                self._replied_s[one.id] = now_s - (late_s if late_s < one.every_s else 0.0)
                due.append(one)
        return due

    def defer(self, asks: Sequence[Ask]) -> None:
        """Note questions that could not be asked: they are due with the next frame."""
        self._deferred |= {ask.standing.id: ask.standing for ask in asks}

    def forget(self) -> None:
        """Note that the engine holds nothing of this camera. Events and schedule go on."""
        self.grid = None
        self.seen_s = inf  # nothing more to forget until it is back
        self.told = None
        self._answered.clear()
        self._kept.clear()
        self._gate.reset()
