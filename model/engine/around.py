"""An engine around another one, which does whatever this one does not do itself."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from model.engine.engine import Engine
from model.types import Answer, EngineStats, PatchGrid, PrunedFrame, Question, Window

EngineT = TypeVar("EngineT", bound="Engine | AroundEngine[Any]")


class AroundEngine(Generic[EngineT]):
    """Passes everything on to an engine; see `Engine`."""

    def __init__(self, engine: EngineT) -> None:
        """Put it around an engine."""
        self._engine: EngineT = engine

    @property
    def model_name(self) -> str:
        """Its name in messages."""
        return self._engine.model_name

    @property
    def is_demo_model(self) -> bool:
        """Whether the model is a demonstration."""
        return self._engine.is_demo_model

    @property
    def is_on_cpu(self) -> bool:
        """Whether the model runs on the CPU."""
        return self._engine.is_on_cpu

    @property
    def stats(self) -> EngineStats:
        """What the engine beneath holds."""
        return self._engine.stats

    def admit(self, stream_id: str, grid: PatchGrid) -> None:
        """Make room for a stream."""
        self._engine.admit(stream_id, grid)

    def append(self, frames: Sequence[PrunedFrame], *, may_shed: bool = True) -> None:
        """Show frames."""
        self._engine.append(frames, may_shed=may_shed)

    def check(self, question: Question) -> None:
        """Refuse a question that cannot be put."""
        self._engine.check(question)

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        """Answer questions."""
        return self._engine.ask(asks)

    def begin(self, asks: Sequence[tuple[str, Question]]) -> list[Answer | int]:
        """Answer all at once, as `ask`: nothing is left to be said."""
        return [*self.ask(asks)]

    is_speaking = False

    def speak(self) -> list[tuple[int, Answer | None]]:
        """Say nothing."""
        return []

    def window(self, stream_id: str) -> Window | None:
        """Give the stretch of a stream that a question sees."""
        return self._engine.window(stream_id)

    def worth_saying(self, stream_id: str) -> float | None:
        """Give how much it has to say of its own accord."""
        return self._engine.worth_saying(stream_id)

    def take_over(self, stream_id: str, other_id: str) -> None:
        """Let a stream go on with the context of another, which ends."""
        self._engine.take_over(stream_id, other_id)

    def remove(self, stream_id: str) -> None:
        """Forget a stream."""
        self._engine.remove(stream_id)
