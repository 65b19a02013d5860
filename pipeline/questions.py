"""Standing questions: what is asked of which camera, and when."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from math import floor

from model.kinds import CAPTION
from model.kinds.base import Doubt
from model.types import Question
from pipeline.cadence import Cadence
from pipeline.events import EventRule
from pipeline.ticks import AskPhase

CAPTION_ID = CAPTION
DEFAULT_DOUBT = Doubt()


@dataclass(frozen=True, slots=True)
class StandingQuestion:
    """A question that is asked again and again.

    Attributes:
        id: lower-case slug, unique; `caption` for the built-in one.
        question: what the model is asked.
        every_s: period in stream time.
        cameras: ids of the cameras it is asked of; None means all.
        doubt: when its answers are published as `unknown`.
        rule: when its answers become an event; None where they never do.
        is_paused: it is not asked for now.
    """

    id: str
    question: Question
    every_s: float
    cameras: frozenset[str] | None = None
    doubt: Doubt = DEFAULT_DOUBT
    rule: EventRule | None = None
    is_paused: bool = False

    @property
    def fingerprint(self) -> str:
        """What an event of this question is about, in short: another one is another event."""
        target = str(self.rule.target) if self.rule else None
        asked = [self.question.kind, self.question.text, list(self.question.options), target]
        return sha256(json.dumps(asked).encode()).hexdigest()[:16]

    def is_asked_of(self, camera_id: str) -> bool:
        """Say whether it is asked of a camera."""
        return self.cameras is None or camera_id in self.cameras


class Schedule:
    """When each of one camera's questions is due, by stream time.

    All are due with the first frame. Questions of one period share their ticks, and those of a
    multiple of it fall on them, so that one look at the context serves them all.

    Attributes:
        questions: those asked of this camera.
    """

    def __init__(
        self,
        camera_id: str,
        questions: Iterable[StandingQuestion],
        *,
        phase: AskPhase = AskPhase(),  # noqa: B008 (immutable)
    ) -> None:
        """Begin with nothing asked.

        Args:
            camera_id: whose questions.
            questions: of all cameras.
            phase: when within the periods this camera is asked. Cameras of different phases are not
                asked in the same second.
        """
        self._camera_id = camera_id
        self._phase = phase
        self.questions: list[StandingQuestion] = []
        self._cadences: list[Cadence] = []
        self._num_captions_due = 0
        self.follow(questions)

    def follow(self, questions: Iterable[StandingQuestion]) -> None:
        """Ask these from now on; those that were asked, and as often, keep their ticks."""
        before = {(one.id, one.question, one.every_s): cadence for one, cadence in self._pairs()}
        mine = [one for one in questions if one.is_asked_of(self._camera_id) and not one.is_paused]
        shortest_s = min((one.every_s for one in mine), default=1.0)
        num_turns = round(max((one.every_s for one in mine), default=1.0) / shortest_s)
        delay_s = (self._phase.within + floor(self._phase.among * num_turns)) * shortest_s
        tolerance_s = shortest_s / 10  # the same for all, so that their ticks coincide
        self.questions, self._cadences = mine, []
        for one in mine:
            cadence = before.get((one.id, one.question, one.every_s)) or Cadence(
                one.every_s,
                tolerance_s=tolerance_s,
                first_gap_s=_first_gap_s(one.every_s, delay_s),
                is_kept_in_gaps=True,
            )
            cadence.tolerance_s = tolerance_s
            self._cadences.append(cadence)

    def due(self, pts_s: float, *, caption_stretch: int = 1) -> list[StandingQuestion]:
        """Return the questions due at this moment of stream time, and note them as asked.

        Args:
            pts_s: the moment.
            caption_stretch: one caption is due where otherwise so many would be.
        """
        due = [standing for standing, cadence in self._pairs() if cadence.due(pts_s)]
        return [one for one in due if one.question.kind != CAPTION or self._is_in(caption_stretch)]

    def reset(self) -> None:
        """Make every question due with the next frame."""
        self._num_captions_due = 0
        for cadence in self._cadences:
            cadence.reset()

    def _pairs(self) -> list[tuple[StandingQuestion, Cadence]]:
        return list(zip(self.questions, self._cadences, strict=True))

    def _is_in(self, caption_stretch: int) -> bool:
        self._num_captions_due += 1
        return (self._num_captions_due - 1) % caption_stretch == 0


def _first_gap_s(every_s: float, delay_s: float) -> float:
    """Return the gap between half a period and one and a half that ends at the delay's phase."""
    gap_s = delay_s % every_s
    return gap_s if gap_s >= every_s / 2 else gap_s + every_s
