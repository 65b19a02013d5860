"""What is remembered of one camera between two ticks, and what is due to be asked of it."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from model.kinds import CAPTION
from model.types import Answer, PatchGrid, Window
from pipeline.caption_gate import CaptionGate, When
from pipeline.carry import Position
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
        is_told: the answer was published, by whoever had the camera then; its event was not.
        version: of what the model had seen of the camera then.
        told: what messages say of that; None before anything was noted.
        stream_s: how far its stream had come.
    """

    sent: PrunedSample
    standing: StandingQuestion
    cached: Answer | None
    is_deferred: bool
    is_told: bool = False
    version: int = 0
    told: Provenance | None = None
    stream_s: float = 0.0


class Shown:
    """The frames of a camera's window: how much of them was sent, and whether one was damaged."""

    def __init__(self) -> None:
        """Begin with none."""
        self._kept: deque[tuple[float, int, int]] = deque()  # (pts_s, kept, total)
        self._damaged_s: float | None = None  # when the newest damaged one was

    @property
    def end_pts_s(self) -> float | None:
        """Stream time of the newest; None before the first."""
        return self._kept[-1][0] if self._kept else None

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens sent of them, and tokens these would have had whole."""
        return sum(kept for _, kept, _ in self._kept), sum(total for _, _, total in self._kept)

    @property
    def is_damaged(self) -> bool:
        """Whether there are damaged ones among them."""
        return self._damaged_s is not None and self._damaged_s >= self._kept[0][0]

    def note(self, sent: PrunedSample, window: Window | None) -> None:
        """Note the next frame, with which the model's window is `window`."""
        pts_s = sent.frame.pts_s
        if self._kept and pts_s < self._kept[-1][0]:
            self.reset()
        self._kept.append((pts_s, sent.pruned.num_kept, sent.frame.grid.num_tokens))
        if sent.frame.is_damaged:
            self._damaged_s = pts_s
        while window and self._kept[0][0] < window.start_pts_s and len(self._kept) > 1:
            self._kept.popleft()

    def reset(self) -> None:
        """Forget them."""
        self._kept.clear()
        self._damaged_s = None


class CameraSession:
    """One camera's schedule, answers and counts of tokens.

    Attributes:
        shown: the frames of its window.
        grid: of the frames the engine has made room for; None while it holds nothing.
        seen_s: when its last frame was taken, monotonic.
        told: what messages say of its newest frame; None before the first, and once forgotten.
        stretch: how far its stream has come.
        newest: where the record of the newest frame stands that anybody has told of; None where
            none is known.
    """

    def __init__(self, schedule: Schedule, *, caption_when: When = "periodic") -> None:
        """Begin with nothing seen."""
        self.shown = Shown()
        self._gate = CaptionGate(caption_when)
        self.grid: PatchGrid | None = None
        self.seen_s = 0.0
        self.told: Provenance | None = None
        self.stretch = Stretch()
        self.newest: Position | None = None
        self._told: dict[str, Position] = {}  # by question
        self._answered_to: dict[str, Position] = {}  # the same, while events may be missing
        self._schedule = schedule
        self._replied_s: dict[str, float] = {}  # by question, monotonic
        self._version = 0  # grows with every token the asked context gets, and every other context
        self._context_s: float | None = None  # when the asked context begins
        self._answered: dict[str, tuple[int, Answer]] = {}  # by question, with the version
        self._deferred: dict[str, StandingQuestion] = {}

    def follow(self, questions: Iterable[StandingQuestion]) -> None:
        """Ask these from now on; of what is asked otherwise than before, no answer stands."""
        before = {one.id: one for one in self._schedule.questions}
        self._schedule.follow(questions)
        now = {one.id: one for one in self._schedule.questions}
        by_id = self._told, self._answered_to, self._replied_s, self._answered, self._deferred
        for question_id, one in before.items():
            if question_id not in now or now[question_id].question != one.question:
                for known in by_id:
                    known.pop(question_id, None)
        self._deferred = {question_id: now[question_id] for question_id in self._deferred}

    def rebuilt(self, shown: Shown) -> None:
        """Note that the model goes on with another context, of these frames: no answer stands."""
        self.shown = shown
        self._version += 1

    def note(self, sent: PrunedSample, window: Window | None, *, lost_s: float) -> bool:
        """Note a frame that the model has seen; say whether it is the first after a gap.

        A context that begins with it is no gap: each frame of a camera may begin one, as where they
        are a window apart, or each fills the tokens that a context may have.

        Args:
            sent: the frame.
            window: what the model's window is now.
            lost_s: when the camera was lost the last time, monotonic; -inf where it never was.
        """
        self.newest = Position.of(sent.frame)
        before_s = self.shown.end_pts_s
        context_s = window.start_pts_s if window else None
        is_back = before_s is not None and sent.frame.pts_s < before_s
        if sent.pruned.num_kept or context_s != self._context_s or is_back:
            self._version += 1
        self._context_s = context_s
        self.shown.note(sent, window)
        self._gate.note(num_sent=sent.pruned.num_kept)
        return self.stretch.advance(sent, lost_s=lost_s)

    def resume(self, told: Mapping[str, Position], answered: Mapping[str, Position]) -> None:
        """Go on after what was told of the camera by whoever had it.

        Args:
            told: by question, up to where.
            answered: the same for answers that an event message may not have followed.
        """
        self._told, self._answered_to = dict(told), dict(answered)
        own = [] if self.newest is None else [self.newest]
        known = [*told.values(), *answered.values(), *own]
        if known:
            self.newest = max(known, key=lambda one: one.captured_at)
            self.stretch.resume(self.newest.captured_at)

    def has_seen(self, sent: PrunedSample) -> bool:
        """Say whether the model was shown a frame that comes again."""
        return self.told is not None and _covers(self.newest, Position.of(sent.frame))

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
        asks, position = [], Position.of(sent.frame)
        for standing in (owed | due).values():
            if _covers(self._told.get(standing.id), position):
                continue
            is_told = _covers(self._answered_to.get(standing.id), position)
            version, answer = self._answered.get(standing.id, (-1, None))
            cached = answer if version == self._version else None
            if cached is None or standing.question.kind != CAPTION:  # a caption is not repeated
                asks.append(
                    Ask(
                        sent,
                        standing,
                        cached,
                        is_deferred=standing.id in owed,
                        is_told=is_told,
                        version=self._version,
                        told=self.told,
                        stream_s=self.stretch.stream_s,
                    )
                )
        return asks

    def answered(self, ask: Ask, answer: Answer, *, now_s: float) -> None:
        """Note the answer to a question, given now."""
        self._answered[ask.standing.id] = (ask.version, answer)
        self._replied_s[ask.standing.id] = now_s
        if (position := Position.of(ask.sent.frame)) is not None:
            self._told[ask.standing.id] = position

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
        self.shown.reset()
        self._gate.reset()


def _covers(told: Position | None, position: Position | None) -> bool:
    return told is not None and position is not None and told.covers(position)
