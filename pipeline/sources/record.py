"""What a broker's record says of its frame: which camera took it, and when."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from pipeline.camera_id import CAMERA_ID, is_camera_id
from pipeline.errors import FrameError
from pipeline.types import StatusReason

CAPTURED_AT_HEADER = "captured-at"
UNCHANGED_HEADER = "unchanged"  # with an empty value: the camera's last picture again
CAMERA_STATE_HEADER = "camera-state"

CameraStated = Literal["online", "frozen", "damaged", "damaged_shown", "lagging"]
"""How a camera is, as whoever takes its pictures says; then nobody else need judge it."""

STATED: Mapping[CameraStated, StatusReason] = {
    "frozen": "identical_frames",
    "damaged": "damaged",
    "damaged_shown": "damaged_shown",
    "lagging": "lagging",
}
"""What a camera's status has as its reason where its records say this."""

RefusalReason = Literal[
    "no_key",
    "bad_key",
    "not_by_kafka",
    "unknown_camera",
    "too_many_cameras",
    "bad_captured_at",
    "bad_camera_state",
    "too_large",
    "bad_image",
    "killed_the_worker",
]

_EPOCH_MS = re.compile(r"\d{1,18}", re.ASCII)
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # seconds given for milliseconds lie before it


class RecordError(FrameError):
    """A record is no frame.

    Attributes:
        reason: one of a few words, for counting.
    """

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: RefusalReason = reason


def camera_of(key: bytes | None) -> str:
    """Return the camera id that a record's key is.

    Raises:
        RecordError: no key, or no lower-case slug.
    """
    if key is None:
        raise RecordError("no_key", "expected the camera id as key, got none")
    camera_id = key.decode("ascii", errors="replace")
    if not is_camera_id(camera_id):
        raise RecordError("bad_key", f"expected a key of {CAMERA_ID}, got {key[:64]!r}")
    return camera_id


def captured_at(headers: Iterable[tuple[str, bytes | None]], *, timestamp_ms: int) -> datetime:
    """Return when a frame was captured, aware UTC.

    Args:
        headers: the record's; the last `captured-at` counts, RFC 3339 or milliseconds since 1970.
        timestamp_ms: the record's own time, for want of the header.

    Raises:
        RecordError: a header that is neither, or a time before 2000.
    """
    stated = [value for name, value in headers if name == CAPTURED_AT_HEADER]
    value = stated[-1] if stated else str(timestamp_ms).encode()
    text = (value or b"").decode("ascii", errors="replace")
    try:
        if _EPOCH_MS.fullmatch(text):
            moment = _EPOCH + timedelta(milliseconds=int(text))
        elif _RFC_3339.fullmatch(text):
            moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
        else:
            moment = _EPOCH
    except (ValueError, OverflowError):
        moment = _EPOCH
    if moment < _EARLIEST:
        what = f"{CAPTURED_AT_HEADER} header" if stated else "record time"
        raise RecordError(
            "bad_captured_at",
            f"{what}: expected RFC 3339 or milliseconds since 1970, in 2000 or later, "
            f"got {(value or b'')[:40]!r}",
        )
    return moment


def is_unchanged(headers: Iterable[tuple[str, bytes | None]], value: bytes) -> bool:
    """Say whether a record stands for the picture that its camera's last one holds."""
    return not value and any(name == UNCHANGED_HEADER for name, _ in headers)


def camera_state(headers: Iterable[tuple[str, bytes | None]]) -> CameraStated | None:
    """Return how a camera is, as its record says; None where it does not.

    Raises:
        RecordError: a word that is none of `CameraStated`.
    """
    stated = [value for name, value in headers if name == CAMERA_STATE_HEADER]
    if not stated:
        return None
    word = (stated[-1] or b"").decode("ascii", errors="replace")
    for known in get_args(CameraStated):
        if word == known:
            state: CameraStated = known
            return state
    raise RecordError(
        "bad_camera_state",
        f"{CAMERA_STATE_HEADER} header: expected one of {', '.join(get_args(CameraStated))}, "
        f"got {(stated[-1] or b'')[:40]!r}",
    )
