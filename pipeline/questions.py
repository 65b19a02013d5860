"""Standing questions: what is asked of which camera, and when."""

from collections.abc import Iterable
from dataclasses import dataclass

from model.types import Question
from pipeline.cadence import Cadence
from pipeline.events import EventRule

CAPTION_ID = "caption"


@dataclass(frozen=True, slots=True)
class StandingQuestion:
    """A question that is asked again and again.

    Attributes:
        id: lower-case slug, unique; `caption` for the built-in one.
        question: what the model is asked.
        every_s: period in stream time.
        cameras: ids of the cameras it is asked of; None means all.
        unknown_band: for yes_no, [low, high): a probability of yes in it is published as `unknown`.
        rule: when its answers become an event; None for never.
        event_on: for choice, the option that counts as yes; for count, the least number that does.
    """

    id: str
    question: Question
    every_s: float
    cameras: frozenset[str] | None = None
    unknown_band: tuple[float, float] = (0.4, 0.6)
    rule: EventRule | None = None
    event_on: str | int | None = None


class Schedule:
    """When each of one camera's questions is due, by stream time.

    Questions of one period share their ticks, so that one look at the context serves them all.
    """

    def __init__(self, camera_id: str, questions: Iterable[StandingQuestion]) -> None:
        self._cadences = [
            (standing, Cadence(standing.every_s))
            for standing in questions
            if standing.cameras is None or camera_id in standing.cameras
        ]

    def due(self, pts_s: float) -> list[StandingQuestion]:
        """Return the questions due at this moment of stream time, and note them as asked."""
        return [standing for standing, cadence in self._cadences if cadence.due(pts_s)]

    def reset(self) -> None:
        """Make every question due with the next frame."""
        for _, cadence in self._cadences:
            cadence.reset()
