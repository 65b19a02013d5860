"""What is made and kept of events' pictures, by the settings."""

from functools import partial

from pipeline.evidence import Evidence
from pipeline.observer import Observer
from pipeline.publishers.redis import Keeping
from pipeline.publishers.redis_evidence import Shelf
from pipeline.publishers.redis_keys import evidence_key
from worker.settings import Settings


def evidence_of(settings: Settings, observer: Observer) -> Evidence | None:
    """Return what holds the frames of events; None where none are to be kept."""
    if not settings.evidence.keep:
        return None
    return Evidence(partial(evidence_key, settings.redis.prefix), observer=observer)


def keeping(settings: Settings, observer: Observer) -> Keeping:
    """Return what Redis is to keep."""
    about = settings.evidence
    shelf = Shelf(about.keep, about.max_bytes, observer)
    return Keeping(settings.redis.stream_max_len, shelf=shelf)
