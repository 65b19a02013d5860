"""The worst moments, and what the model was shown at them, its camera's masks applied."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.training.labels import UNKNOWN
from pipeline.clock import Clock
from pipeline.errors import SourceError
from pipeline.regions import blacked_out
from pipeline.sinks.outlet import encoder
from worker.evaluation.labelled.footage import Clip, settings_for
from worker.evaluation.labelled.judging import Judged, Moment
from worker.evaluation.labelled.truth import holds
from worker.feeds import camera_feeds
from worker.settings import Settings

NUM_WORST = 8
APART_S = 10.0  # two moments closer together are the same mistake
QUALITY = 82
_SLACK_S = 0.01

At = tuple[str, float]
"""A clip's name and a time in it, in seconds."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A moment at which the answer was wrong.

    Attributes:
        moment: the answer and what would have been right.
        error: how far the probability was from the truth, 0.5 to 1.
    """

    moment: Moment
    error: float


def worst(judged: Judged, *, number: int = NUM_WORST) -> list[Mistake]:
    """Return the moments at which a question's answers were most wrong, the worst first."""
    mistakes = [Mistake(one, error) for one in judged.known if (error := _error(one, judged)) > 0.5]
    chosen: list[Mistake] = []
    for one in sorted(mistakes, key=lambda mistake: -mistake.error):
        is_new = all(
            one.moment.clip != other.moment.clip
            or abs(one.moment.t_s - other.moment.t_s) >= APART_S
            for other in chosen
        )
        if is_new and len(chosen) < number:
            chosen.append(one)
    return chosen


def _error(moment: Moment, judged: Judged) -> float:
    target = judged.asked.target
    if target is None or moment.p is None:
        return 1.0 if moment.said not in (moment.value, UNKNOWN) else 0.0
    return abs(moment.p - bool(holds(moment.value, target)))


def pictures(
    settings: Settings, clips: Sequence[Clip], wanted: Sequence[At], *, clock: Clock
) -> Mapping[At, str]:
    """Return pictures as data URIs, read from the clips as the worker reads them.

    Those of a clip that cannot be read again are left out.
    """
    found: dict[At, str] = {}
    for clip in clips:
        times_s = sorted({t_s for name, t_s in wanted if name == clip.name})
        if times_s:
            found |= _of_clip(settings, clip, times_s, clock=clock)
    return found


def _of_clip(
    settings: Settings, clip: Clip, times_s: Sequence[float], *, clock: Clock
) -> dict[At, str]:
    playing = settings_for(settings, clip, questions={})
    private = playing.cameras[clip.camera].private
    (feed,) = camera_feeds(playing, clock=clock)
    left = list(times_s)

    def is_wanted(_camera_id: str, pts_s: float) -> bool:
        return bool(left) and pts_s >= left[0] - _SLACK_S

    source = feed.build(is_wanted, lambda _camera_id, _reason, _detail: None)
    encode, found = encoder("jpeg", quality=QUALITY), {}
    try:
        for frame in source.frames():
            jpeg = encode(blacked_out(frame.pixels, private))
            found[clip.name, left.pop(0)] = f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"
            if not left:
                break
    except SourceError:
        pass  # at its end, or damaged since
    finally:
        source.close()
    return found
