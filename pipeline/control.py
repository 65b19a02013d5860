"""What is asked now and which cameras are paused: changed by one thread, heeded by another.

Whoever takes commands proposes, and waits; the inference thread says between two ticks whether the
model can be asked that, and goes over to what is in effect then. No camera connects anew for it and
no context is lost.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Condition, Event

from model.errors import InputError
from model.types import Question
from pipeline.camera_session import CameraSession
from pipeline.engine import Engine
from pipeline.event_machines import EventMachines
from pipeline.lane import Lanes
from pipeline.questions import StandingQuestion


@dataclass(frozen=True, slots=True)
class InEffect:
    """What is asked, and of whom nothing is.

    Attributes:
        questions: standing questions, the caption and those that are paused among them.
        paused: ids of the cameras whose frames the model is not shown.
        changed: by question, the names of its settings that a command has given.
    """

    questions: tuple[StandingQuestion, ...]
    paused: frozenset[str] = frozenset()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Control:
    """Between the thread that takes commands and the inference thread. Safe from any thread.

    Attributes:
        is_on: whether commands are taken.
        heeded: set once the inference thread goes by this.
    """

    def __init__(self, questions: Iterable[StandingQuestion], *, is_on: bool = False) -> None:
        """Begin with the questions of the settings."""
        self.is_on = is_on
        self.heeded = Event()
        self._now = InEffect(tuple(questions))
        self._is_new = False
        self._refreshes: set[str] = set()
        self._changed = Condition()
        self._doubtful: tuple[Question, ...] | None = None
        self._verdict: str | None = None

    @property
    def is_new(self) -> bool:
        """Whether something else is in effect than was taken last."""
        return self._is_new

    @property
    def now(self) -> InEffect:
        """What is in effect."""
        return self._now

    def is_paused(self, camera_id: str) -> bool:
        """Whether the model is shown nothing of a camera."""
        return camera_id in self._now.paused

    def put(self, in_effect: InEffect) -> None:
        """Put something else in effect, from the next tick on."""
        with self._changed:
            self._now, self._is_new = in_effect, True

    def refresh(self, camera_id: str) -> None:
        """Let a camera's next frame be sent whole."""
        with self._changed:
            self._refreshes.add(camera_id)

    def why_not(self, questions: Sequence[Question], *, timeout_s: float) -> str | None:
        """Return why the model cannot be asked something, in words; "" where it can.

        Returns:
            None where the inference thread did not say so in time.
        """
        with self._changed:
            self._doubtful, self._verdict = tuple(questions), None
            self._changed.wait_for(lambda: self._verdict is not None, timeout_s)
            self._doubtful = None
            return self._verdict

    # -- the inference thread --------------------------------------------------------------------

    def judge(self, check: Callable[[Question], object]) -> None:
        """Say of what is proposed whether the model can be asked that."""
        with self._changed:
            if self._doubtful is not None and self._verdict is None:
                self._verdict = refusal(check, self._doubtful)
                self._changed.notify_all()

    def take(self) -> tuple[InEffect | None, set[str]]:
        """Return what is in effect where that is new, and the cameras to refresh; each once."""
        with self._changed:
            now = self._now if self._is_new else None
            refreshes, self._refreshes, self._is_new = self._refreshes, set(), False
        if not self.heeded.is_set():
            self.heeded.set()
        return now, refreshes


def refusal(check: Callable[[Question], object], questions: Iterable[Question]) -> str:
    """Return why the model's own checks refuse one of several questions; "" where none is."""
    try:
        for question in questions:
            check(question)
    except InputError as error:
        return str(error)
    return ""


def obey(
    control: Control,
    engine: Engine,
    *,
    machines: EventMachines,
    lanes: Lanes,
    cameras: Mapping[str, CameraSession],
) -> bool:
    """Go over to what is in effect now; say whether it is new. For the inference thread.

    Args:
        control: knows it.
        engine: judges what is proposed.
        machines: end the events of what is not asked any more.
        lanes: where refreshes begin.
        cameras: whose questions it is about.
    """
    control.judge(engine.check)
    now, refreshes = control.take()
    for camera_id in refreshes:
        lanes.reset(camera_id)
    if now is not None:
        machines.follow(now.questions, paused=now.paused)
        for session in cameras.values():
            session.follow(now.questions)
    return now is not None
