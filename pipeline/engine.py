"""What the pipeline asks of the model."""

from collections.abc import Sequence
from typing import Protocol

from model.types import Answer, EngineStats, PatchGrid, PrunedFrame, Question, Window


class Contexts(Protocol):
    """What growing contexts asks of the model."""

    def admit(self, stream_id: str, grid: PatchGrid) -> None:
        """Make room for a camera, or raise AdmissionError."""
        ...

    def append(self, frames: Sequence[PrunedFrame], *, may_shed: bool = True) -> None:
        """Encode frames of several cameras and grow their contexts.

        A frame in which nothing changed brings the time, by which contexts begin and end. After a
        DeviceMemoryError every camera is as it was, but that, with `may_shed`, standby contexts may
        be gone, and contexts may have ended early.
        """
        ...

    def take_over(self, stream_id: str, other_id: str) -> None:
        """Let a camera go on with what another stream was shown, which ends."""
        ...

    def window(self, stream_id: str) -> Window | None:
        """Return what a camera's context covers, or None before its first frame."""
        ...

    def remove(self, stream_id: str) -> None:
        """Forget a camera and free what it holds."""
        ...


class Engine(Contexts, Protocol):
    """What the runner asks of the model. Not guaranteed: that two calls may run at once."""

    @property
    def model_name(self) -> str:
        """Its name, as messages give it."""
        ...

    @property
    def is_demo_model(self) -> bool:
        """Whether it is a demonstration, which knows only a rendered world."""
        ...

    @property
    def stats(self) -> EngineStats:
        """What it holds, and what has become of it."""
        ...

    def worth_saying(self, stream_id: str) -> float | None:
        """Return how likely the model finds something worth saying; None where it is not asked."""
        ...

    def check(self, question: Question) -> None:
        """Refuse a question that cannot be put to this model, by an InputError."""
        ...

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        """Answer questions over the cameras' contexts, in the order given."""
        ...

    def begin(self, asks: Sequence[tuple[str, Question]]) -> Sequence[Answer | int]:
        """Answer what can be at once, and give tickets for the rest, in the order given.

        A later ticket is larger. What becomes of the contexts meanwhile changes no answer.
        """
        ...

    @property
    def is_speaking(self) -> bool:
        """Whether `speak` has anything to do."""
        ...

    def speak(self) -> Sequence[tuple[int, Answer | None]]:
        """Go on a little with what was begun; return by ticket the answers that are whole.

        None: there was no memory, and no answer will come.
        """
        ...
