"""What is made and kept of events' pictures and clips, by the settings."""

from collections.abc import Callable, Iterable
from functools import partial
from threading import Event

from pipeline.clips import AROUND_S, KEY_WITHIN_S, Clips
from pipeline.clock import Clock
from pipeline.evidence import Evidence
from pipeline.observer import Observer
from pipeline.publishers.redis import Keeping
from pipeline.publishers.redis_clips import RedisClips
from pipeline.publishers.redis_evidence import Shelf
from pipeline.publishers.redis_keys import evidence_key
from pipeline.questions import StandingQuestion
from worker.settings import Settings


def evidence_of(
    settings: Settings, observer: Observer, clips: Clips | None = None
) -> Evidence | None:
    """Return what holds the frames of events; None where none are to be kept."""
    if not settings.evidence.keep:
        return None
    return Evidence(partial(evidence_key, settings.redis.prefix), observer=observer, clips=clips)


def clips_of(
    settings: Settings,
    questions: Iterable[StandingQuestion],
    *,
    clock: Clock,
    observer: Observer,
) -> Clips | None:
    """Return what clips are cut from; None where there are to be none, and nothing is kept.

    Args:
        settings: say whether.
        questions: as long as their events may be undecided, what they began with is kept.
        clock: for what comes late.
        observer: told of what is lost.
    """
    if settings.evidence.clips == "off" or not settings.evidence.keep:
        return None
    rules = [one.rule for one in questions if one.rule is not None]
    undecided_s = max((rule.evidence_s for rule in rules), default=0.0)
    return Clips(
        partial(evidence_key, settings.redis.prefix),
        clock=clock,
        kept_s=KEY_WITHIN_S + 2 * AROUND_S + undecided_s,
        observer=observer,
    )


def cutting(
    settings: Settings, clips: Clips, *, clock: Clock, observer: Observer
) -> Callable[[Event], None]:
    """Return what cuts clips and puts them onto Redis until told to stop."""
    return RedisClips(
        settings.redis.address,
        prefix=settings.redis.prefix,
        clock=clock,
        clips=clips,
        shelf=keeping(settings, observer).shelf,
    ).run


def keeping(settings: Settings, observer: Observer) -> Keeping:
    """Return what Redis is to keep."""
    about = settings.evidence
    shelf = Shelf(about.keep, about.max_bytes, observer)
    return Keeping(settings.redis.stream_max_len, shelf=shelf)
