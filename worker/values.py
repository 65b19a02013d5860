"""How the values of settings are written: durations, sizes, lists, shares, regions, addresses.

Capitals are understood wherever case carries nothing.
"""

import re
import socket
from argparse import ArgumentTypeError
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, TypeAdapter, ValidationError

from model.kinds import standing_kinds
from pipeline.camera_id import is_camera_id
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

_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_DURATION = re.compile(rf"{_NUMBER}\s*(ms|s|m|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

_SIZE = re.compile(rf"{_NUMBER}\s*([kmgt]i?b?|b|)")
_UNIT_BYTES = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
    # as Docker reads `mem_limit: 20g`
    **{letter: 1024**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}i": 1024**power for power, letter in enumerate("kmgt", start=1)},
}
MAX_SIZE_BYTES = 1024**5
MAX_DURATION_S = 7 * 24 * 3600
MAX_KEEP_S = 10 * 366 * 24 * 3600

_SHARE = re.compile(rf"{_NUMBER}\s*(%?)")
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")


@dataclass(frozen=True, slots=True)
class DeviceShare:
    """A share (0 to 1) of all the memory that a device has."""

    ratio: float


def _size_bytes(value: object) -> object:
    """Read `20GiB`, `512MiB`, `2GB` and a plain number of bytes; `20G` is 20 GiB."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip().lower())
        if match is None:
            raise ValueError("expected a size such as 20GiB or 512MiB")
        return int(float(match[1]) * _UNIT_BYTES[match[2]])
    return value


def _budget(value: object) -> object:
    """Read a size, or `80%` as a share of the device's memory."""
    if not isinstance(value, str):
        return value
    share = _SHARE.fullmatch(value.strip())
    try:
        if share and share[2]:
            budget: object = DeviceShare(float(share[1]) / 100)
            is_within = 0 < float(share[1]) <= 100
        else:
            budget = _size_bytes(value)
            is_within = isinstance(budget, int) and budget <= MAX_SIZE_BYTES
    except ValueError:
        is_within, budget = False, None
    if not is_within:
        raise ValueError(
            "expected a size such as 20GiB, or a share of the device's memory such as 80%"
        )
    return budget


def _share(value: object) -> object:
    """Read `0.7` and `70%` as 0.7."""
    return _ratio(value) if isinstance(value, str) else value


def _ratio(text: str) -> float:
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise ValueError("expected a number from 0 to 1 such as 0.7, or a percentage: 70%")
    return float(match[1]) / (100 if match[2] else 1)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _duration_s(value: object) -> object:
    """Read `30s`, `250ms`, `5m`, `1h` as seconds; `0` needs no unit."""
    if isinstance(value, str):
        if value.strip() == "0":
            return 0.0
        match = _DURATION.fullmatch(value.strip().lower())
        if match is None:
            raise ValueError("expected a duration such as 30s, 250ms, 5m or 1h")
        return float(match[1]) * _UNIT_S[match[2]]
    return value


_WORD = re.compile(r"""\s*("[^"]*"|'[^']*'|[^,]*)\s*(?:,|$)""")


def _words(value: object) -> object:
    """Read `a, b` and `"a","b"` as ("a", "b"); a comma within quotes separates nothing."""
    if isinstance(value, str):
        words = (_unquoted(found[1].strip()) for found in _WORD.finditer(value))
        return tuple(word for word in words if word)
    return value


def _unquoted(word: str) -> str:
    is_quoted = len(word) >= 2 and word[0] == word[-1] and word[0] in "\"'"
    return word[1:-1].strip() if is_quoted else word


def _ids(value: object) -> object:
    """Read `GATE, yard` as ("gate", "yard")."""
    return _words(_lower(value))


def _n_of_m(value: object) -> object:
    """Read `2/3` as (2, 3)."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+)\s*/\s*(\d+)", value.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= 100:
            raise ValueError("expected N/M with 1 <= N <= M <= 100, such as 2/3")
        return int(match[1]), int(match[2])
    return value


def _band(value: object) -> object:
    """Read `0.4-0.6` and `40%-60%` as (0.4, 0.6)."""
    if isinstance(value, str):
        try:
            low, high = (_ratio(edge) for edge in value.split("-"))
        except ValueError:
            low, high = 1.0, 0.0
        if not low <= high <= 1:
            raise ValueError("expected LOW-HIGH within 0 and 1, such as 0.4-0.6 or 40%-60%")
        return low, high
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
    value = value.lower()
    if value not in standing_kinds():
        raise ValueError(f"expected one of {', '.join(standing_kinds())}")
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
            Region(*(_ratio(edge) for edge in part.split(",")))
            for part in value.split(";")
            if part.strip()
        )
    except (TypeError, ValueError, ConfigError):
        raise ValueError(
            "expected LEFT,TOP,RIGHT,BOTTOM with edges from 0 to 1, several separated by ;"
        ) from None


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", value):
        raise ValueError("expected auto, cpu, cuda, or cuda:N with the number of a GPU")
    return value


def _slug(value: str) -> str:
    if not is_camera_id(value):
        raise ValueError(
            "expected small letters, digits, - and _, the first a letter or digit, 64 at most"
        )
    return value


def _outbox_path(value: str) -> str:
    return value.lower() if value.lower() == "memory" else value


def _base_path(value: str) -> str:
    """Take `/vigil`, `vigil/` and `/` as the path before all others, without a / at its end."""
    path = "/" + value.strip("/") if value.strip("/") else ""
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", path) or {".", ".."} & set(path.split("/")):
        raise ValueError("expected a path such as /vigil")
    return path


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


Duration = Annotated[float, BeforeValidator(_duration_s), Field(gt=0, le=MAX_DURATION_S)]
DurationOrZero = Annotated[float, BeforeValidator(_duration_s), Field(ge=0, le=MAX_DURATION_S)]
KeepTime = Annotated[float, BeforeValidator(_duration_s), Field(ge=60, le=MAX_KEEP_S)]
Size = Annotated[int, BeforeValidator(_size_bytes), Field(ge=0, le=MAX_SIZE_BYTES)]
MemoryBudget = Annotated[int | DeviceShare, BeforeValidator(_budget)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Ids = Annotated[tuple[str, ...], BeforeValidator(_ids)]
NOfM = Annotated[tuple[int, int], BeforeValidator(_n_of_m)]
Band = Annotated[tuple[float, float], BeforeValidator(_band)]
Share = Annotated[float, BeforeValidator(_share)]
Probability = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]
Regions = Annotated[tuple[Region, ...], BeforeValidator(_regions)]
QuestionKind = Annotated[str, AfterValidator(_kind)]
CameraAddress = Annotated[SecretStr, AfterValidator(_camera_address)]
Aspect = Annotated[Fraction, BeforeValidator(_aspect), Field(ge=Fraction(1, 8), le=8)]
Rotation = Annotated[int, AfterValidator(_rotation)]
OutboxPath = Annotated[str, AfterValidator(_outbox_path)]
BasePath = Annotated[str, AfterValidator(_base_path)]
Device = Annotated[str, BeforeValidator(_lower), AfterValidator(_device)]
Slug = Annotated[str, AfterValidator(_slug)]
Id = Annotated[str, BeforeValidator(_lower), AfterValidator(_slug)]


def seconds_of(text: str) -> float:
    """Read a command's option that is a time, such as 10m.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        return TypeAdapter(Duration).validate_python(text)
    except ValidationError:
        raise ArgumentTypeError(f"expected a time such as 10m, got {text}") from None
