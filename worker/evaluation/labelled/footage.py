"""One's own clips: which files, of which camera, when they began; a worker's settings for each."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from pipeline.camera_id import is_camera_id
from pipeline.errors import ConfigError, SourceError
from pipeline.recorded import sampled
from pipeline.sources.scaler import GridOf
from worker.connection_settings import (
    EvidenceSettings,
    KafkaSettings,
    OutboxSettings,
    RedisSettings,
)
from worker.settings import HealthSettings, Settings
from worker.site_settings import CameraSettings, QuestionSettings

SUFFIXES = frozenset(
    f".{one}" for one in ("mp4", "m4v", "mkv", "mov", "avi", "webm", "ts", "mpg", "flv", "wmv")
)
CAPTION_EVERY_S = 7 * 24 * 3600.0  # as rarely as a worker can be told to: nobody judges captions
_TIMED = re.compile(r"(.+?)[-_.](\d{8}t\d{6})z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Clip:
    """A video of a camera.

    Attributes:
        name: the file's name without its ending, as a slug; labels may call it by either.
        path: the file.
        camera: the camera's id; settings of that name hold for it.
        began: the time of day at its start; None where nobody knows.
    """

    name: str
    path: Path
    camera: str
    began: datetime | None = None

    def is_called(self, name: str) -> bool:
        """Say whether this is its file's name without the ending, as a slug or not."""
        return name.lower() in (self.name, self.path.stem.lower())


def find_clips(
    video: Path, *, camera: str, began: datetime | None, labelled: Collection[str]
) -> list[Clip]:
    """Find the clips: a file, or all videos of a folder; of those below it where it has none.

    A file `gate_20260501T080000Z.mp4` is of the camera `gate` and began at that time. Otherwise a
    clip's camera has its file's name, unless it is told, or one clip's labels name one camera.

    Args:
        video: the file or the folder.
        camera: what all clips are of; empty where it is not told.
        began: when the only clip began; None where it is not told.
        labelled: the cameras that labels name.

    Raises:
        ConfigError: there is no video, or two have the same name.
    """
    if video.is_dir():
        here, below = (
            sorted(one for one in found if one.suffix.lower() in SUFFIXES)
            for found in (video.iterdir(), video.glob("*/**/*"))
        )
        paths = here or below
    else:
        paths = [video] if video.is_file() else []
    if not paths:
        raise ConfigError(f"eval: --video: expected a video file or a folder of them, got {video}")
    if began is not None and len(paths) > 1:
        raise ConfigError(
            f"--began: expected one clip, got {len(paths)}; name files like "
            "gate_20260501T080000Z.mp4 instead"
        )
    if not camera and len(paths) == 1 and len(labelled) == 1 and is_camera_id(*labelled):
        camera = next(iter(labelled))
    clips = [_clip(path, camera=camera, began=began) for path in paths]
    names = [clip.name for clip in clips]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"eval: --video: expected files of different names, got {twice} twice")
    return clips


def began_at(text: str) -> datetime | None:
    """Read the option of that name; None for an empty one.

    Raises:
        ConfigError: it is no time, or one without a zone.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigError(
            f"--began: expected a time with a zone, such as 2026-05-01T08:00:00Z, got {text}"
        )
    return moment


def refuse_unreadable(clips: Iterable[Clip], *, grid_of: GridOf) -> None:
    """Refuse clips of which not even the first picture can be had, before a model is loaded.

    Raises:
        ConfigError: a line for each.
    """
    refused = []
    for clip in clips:
        try:
            if next(sampled(clip.path, grid_of=grid_of), None) is None:
                refused.append(f"eval: {clip.path}: expected a video, got no picture")
        except SourceError as error:
            refused.append(f"eval: {clip.path}: expected a video, got {error}")
    if refused:
        raise ConfigError("\n".join(refused))


def _clip(path: Path, *, camera: str, began: datetime | None) -> Clip:
    name = slug(path.stem)
    timed = _TIMED.fullmatch(path.stem)
    told = timed and _moment(timed[2])
    if timed is None or told is None:
        return Clip(name, path, camera or name, began)
    return Clip(name, path, camera or slug(timed[1]), began or told)


def _moment(digits: str) -> datetime | None:
    """Return the time that a name tells, or None where it is no time, such as month 13."""
    try:
        return datetime.strptime(digits.upper(), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def slug(text: str) -> str:
    """Return what a clip is called: lower-case letters, digits, hyphens, underscores."""
    slug = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:64]
    return slug if is_camera_id(slug) else "clip"


def questions_of(settings: Settings, clip: Clip) -> dict[str, QuestionSettings]:
    """Return the standing questions that are asked of a clip's camera."""
    return {
        key: one
        for key, one in settings.questions.items()
        if not one.cameras or clip.camera in one.cameras
    }


def settings_for(
    settings: Settings,
    clip: Clip,
    *,
    questions: Mapping[str, QuestionSettings],
) -> Settings:
    """Return the settings of a worker that plays a clip as fast as it can.

    Its camera's masks, shape and areas hold; of where messages go and come from nothing does.
    """
    camera = settings.cameras.get(clip.camera, CameraSettings())
    playing = {"url": SecretStr(str(clip.path.absolute())), "live": False, "loop": False}
    return settings.model_copy(
        update={
            "cameras": {clip.camera: camera.model_copy(update=playing)},
            "questions": {
                key: one.model_copy(update={"cameras": ()}) for key, one in questions.items()
            },
            "caption_every": CAPTION_EVERY_S,
            "worker_id": "eval",
            "redis": RedisSettings(),
            "kafka": KafkaSettings(),
            "outbox": OutboxSettings.model_validate({"path": "memory"}),
            "evidence": EvidenceSettings(keep=0.0),
            "health": HealthSettings(port=0),
        }
    )
