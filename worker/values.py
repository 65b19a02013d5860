"""How the values of settings are written: durations, sizes, lists, shares, regions."""

import re
import socket
from fractions import Fraction
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from model.kinds import standing_kinds
from pipeline.camera_id import CAMERA_ID
from pipeline.errors import ConfigError
from pipeline.redact import split_credentials
from pipeline.regions import Region

# host, [IPv6] or either with a port, before a path, a query or the end
_HOST_AND_PORT = re.compile(
    r"(?:\[[0-9a-fA-F:.]+(?:%\w+)?\]|[^\s\[\]:/?#@]+)"
    r"(?::(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5]))?(?=[/?#]|$)"
)
_VIDEO_ENDING = re.compile(
    r"\.(?:mp4|m4v|mkv|mov|avi|m?2?ts|mpe?g|webm|flv|3gp|og[gv]|wmv|asf|mjpe?g|[hx]?26[45]|avc|hevc"
    r"|ivf|y4m|gif)"
)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]i?B|B|)")
_UNIT_BYTES = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", start=1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", start=1)},
}


def _size_bytes(value: object) -> object:
    """Read `20GiB`, `512MiB`, `2GB` and a plain number of bytes."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError("expected a size such as 20GiB or 512MiB")
        return int(float(match[1]) * _UNIT_BYTES[match[2]])
    return value


def _duration_s(value: object) -> object:
    """Read `30s`, `250ms`, `5m`, `1h` as seconds; `0` needs no unit."""
    if isinstance(value, str):
        if value.strip() == "0":
            return 0.0
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("expected a duration such as 30s, 250ms, 5m or 1h")
        return float(match[1]) * _UNIT_S[match[2]]
    return value


def _words(value: object) -> object:
    """Read `a, b` as ("a", "b")."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _n_of_m(value: object) -> object:
    """Read `2/3` as (2, 3)."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+)/(\d+)", value.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= 100:
            raise ValueError("expected N/M with 1 <= N <= M <= 100, such as 2/3")
        return int(match[1]), int(match[2])
    return value


def _band(value: object) -> object:
    """Read `0.4-0.6` as (0.4, 0.6)."""
    if isinstance(value, str):
        match = re.fullmatch(r"(0?\.\d+|[01])-(0?\.\d+|[01])", value.strip())
        if match is None or float(match[1]) > float(match[2]):
            raise ValueError("expected LOW-HIGH within 0 and 1, such as 0.4-0.6")
        return float(match[1]), float(match[2])
    return value


def _aspect(value: object) -> object:
    """Read `16:9` or `1.85` as width over height."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{1,4}(?:\.\d{1,4})?)(?:[:/](\d{1,4}))?", value.strip())
        if match is None or int(match[2] or 1) == 0:
            raise ValueError("expected WIDTH:HEIGHT, such as 16:9")
        return Fraction(match[1]) / int(match[2] or 1)
    return value


def _rotation(value: int) -> int:
    """Take quarter turns."""
    if value not in (0, 90, 180, 270):
        raise ValueError("expected 0, 90, 180 or 270")
    return value


def _kind(value: str) -> str:
    """Take the name of a kind that a standing question may have."""
    if value not in standing_kinds():
        raise ValueError(f"expected one of {', '.join(standing_kinds())}")
    return value


def _words_or_nothing(value: str) -> str:
    """Take words, or nothing; not blanks alone."""
    if value and not value.strip():
        raise ValueError("expected words, or nothing at all")
    return value


def host_name() -> str:
    """Return this host's name as a slug."""
    return re.sub(r"[^a-z0-9_-]+", "-", socket.gethostname().lower()).strip("-_")[:64] or "worker"


def _regions(value: object) -> object:
    """Read `0,0,0.3,0.1; 0.9,0,1,1` as two regions: left, top, right, bottom."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(
            Region(*(float(edge) for edge in part.split(",")))
            for part in value.split(";")
            if part.strip()
        )
    except (TypeError, ValueError, ConfigError):
        raise ValueError(
            "expected LEFT,TOP,RIGHT,BOTTOM with edges from 0 to 1, several separated by ;"
        ) from None


def scheme(url: SecretStr) -> str:
    """Return an address's scheme in lower case; "" for a path."""
    scheme, found, _ = url.get_secret_value().partition("://")
    return scheme.lower() if found else ""


def file_path(address: str) -> Path:
    """Return the path that a camera's address names, as `PATH` or `file:///PATH`."""
    name, found, rest = address.partition("://")
    return Path(unquote(rest) if found and name.lower() == "file" else address).expanduser()


def _camera_address(address: SecretStr) -> SecretStr:
    """Take the address of a camera or the path of a file, and write its scheme in small letters."""
    text = address.get_secret_value()
    name, found, rest = text.partition("://")
    if not found:
        if not _is_path(text):
            raise ValueError(
                "expected rtsp:// or rtsps:// and a host, or a file's path, which begins with /, . "
                "or ~, or ends as a video file does, such as gate.mp4"
            )
        return address
    if name.lower() == "file" and not rest.startswith("/"):
        raise ValueError("expected file:/// and an absolute path")
    bare, _ = split_credentials(text)
    if name.lower().startswith("rtsp") and not _HOST_AND_PORT.match(bare.partition("://")[2]):
        raise ValueError(
            f"expected {name.lower()}://HOST:PORT/PATH, with a port from 1 to 65535 or none, an "
            "IPv6 address in brackets, and characters such as / in a password percent-encoded"
        )
    return SecretStr(f"{name.lower()}://{rest}")


def _is_path(text: str) -> bool:
    """Tell a path from an address that lacks its scheme, whose password would be shown as one."""
    if Path(text).expanduser().is_file():
        return True
    if text.startswith("//") or re.search(r":[^/]*@", text):
        return False
    return text.startswith(("/", ".", "~")) or bool(
        ":" not in text and "@" not in text and _VIDEO_ENDING.fullmatch(Path(text.lower()).suffix)
    )


Duration = Annotated[float, BeforeValidator(_duration_s), Field(gt=0, le=7 * 24 * 3600)]
DurationOrZero = Annotated[float, BeforeValidator(_duration_s), Field(ge=0, le=7 * 24 * 3600)]
Size = Annotated[int, BeforeValidator(_size_bytes), Field(ge=0, le=1024**5)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
WordsOrNothing = Annotated[str, AfterValidator(_words_or_nothing)]
NOfM = Annotated[tuple[int, int], BeforeValidator(_n_of_m)]
Band = Annotated[tuple[float, float], BeforeValidator(_band)]
Probability = Annotated[float, Field(ge=0, le=1)]
Regions = Annotated[tuple[Region, ...], BeforeValidator(_regions)]
QuestionKind = Annotated[str, AfterValidator(_kind)]
CameraAddress = Annotated[SecretStr, AfterValidator(_camera_address)]
Aspect = Annotated[Fraction, BeforeValidator(_aspect), Field(ge=Fraction(1, 8), le=8)]
Rotation = Annotated[int, AfterValidator(_rotation)]
Slug = Annotated[str, Field(pattern=rf"^{CAMERA_ID}$")]
