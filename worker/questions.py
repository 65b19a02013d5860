"""The questions of the settings, as the pipeline asks them."""

from model import Question
from model.kinds import CAPTION, kind_of
from model.kinds.base import Doubt
from pipeline.events import EventRule
from pipeline.questions import CAPTION_ID, StandingQuestion
from worker.settings import Settings
from worker.site_settings import QuestionSettings


def standing_questions(settings: Settings) -> list[StandingQuestion]:
    """Return the configured questions, the caption first."""
    caption = StandingQuestion(
        id=CAPTION_ID,
        question=Question(CAPTION, settings.caption_prompt),
        every_s=settings.caption_every,
    )
    min_mass = settings.model.min_mass
    return [
        caption,
        *(
            _standing(key, one, min_mass=min_mass, sample_fps=settings.sample_fps)
            for key, one in settings.questions.items()
        ),
    ]


def _standing(
    question_id: str, one: QuestionSettings, *, min_mass: float, sample_fps: float
) -> StandingQuestion:
    return StandingQuestion(
        id=question_id,
        question=Question(one.kind, one.ask, one.options),
        every_s=one.every,
        cameras=frozenset(one.cameras) or None,
        doubt=Doubt(one.unknown, min_mass),
        rule=_rule(one, sample_fps=sample_fps),
    )


def _rule(one: QuestionSettings, *, sample_fps: float) -> EventRule | None:
    target = kind_of(one.kind).target(one.event_on, one.options) if one.events else None
    if target is None:
        return None
    return EventRule(
        target=target,
        enter=one.enter,
        exit=one.exit,
        confirm_n=one.confirm[0],
        confirm_m=one.confirm[1],
        min_duration_s=one.min_duration,
        cooldown_s=one.cooldown,
        # one more than are looked at, since an answer may be late; half as many frames under load
        evidence_s=(one.confirm[1] + 1) * max(one.every, 2.0 / sample_fps),
    )
