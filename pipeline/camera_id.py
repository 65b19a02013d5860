"""Camera ids: one definition for the settings and for every source."""

import re

CAMERA_ID = r"[a-z0-9][a-z0-9_-]{0,63}"

_CAMERA_ID = re.compile(CAMERA_ID)


def is_camera_id(text: str) -> bool:
    """Whether `text` is a lower-case slug of 1 to 64 characters that begins with none of `-_`."""
    return _CAMERA_ID.fullmatch(text) is not None
