"""How the values of settings are written: durations, sizes, lists, shares, regions, addresses.

Capitals are understood wherever case carries nothing.
"""

import re
import socket
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from model.kinds import standing_kinds
from pipeline.camera_id import is_camera_id
from pipeline.errors import ConfigError
from pipeline.redact import encode_credentials
from pipeline.regions import Region

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


def scheme(url: SecretStr) -> str:
    """Return an address's scheme in lower case; "" for a path."""
    scheme, found, _ = url.get_secret_value().partition("://")
    return scheme.lower() if found else ""


def require_host(url: SecretStr, *, form: str) -> None:
    """Refuse an address without a host, or with a port that is none.

    Raises:
        ValueError: it says what was expected: `form`.
    """
    try:
        parts = urlsplit(encode_credentials(url.get_secret_value()))
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ValueError(f"expected {form}; in a password, / is written %2F and % is written %25")


def is_like_an_address(path: str) -> bool:
    """Whether what should be a file's path was meant as an address on the network."""
    first = path.split("/", maxsplit=1)[0]
    if ":" in first or "@" in first or _IPV4.fullmatch(first) or path.startswith("//"):
        return True
    is_plainly_a_path = path.startswith(("/", ".", "~")) or "." in path.rsplit("/", maxsplit=1)[-1]
    return not is_plainly_a_path


def _redis_address(url: SecretStr) -> SecretStr:
    """Refuse a database that is no number; the driver takes /1/2 for number 12."""
    if scheme(url) in ("redis", "rediss"):
        form = "redis://HOST:PORT/NUMBER of a database, such as redis://redis:6379/0"
        require_host(url, form=form)
        path = urlsplit(encode_credentials(url.get_secret_value())).path
        if not re.fullmatch(r"/?|/\d{1,9}/?", path):
            raise ValueError(f"expected {form}")
    return url


Duration = Annotated[float, BeforeValidator(_duration_s), Field(gt=0, le=MAX_DURATION_S)]
DurationOrZero = Annotated[float, BeforeValidator(_duration_s), Field(ge=0, le=MAX_DURATION_S)]
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
OutboxPath = Annotated[str, AfterValidator(_outbox_path)]
RedisAddress = Annotated[SecretStr, AfterValidator(_redis_address)]
Device = Annotated[str, BeforeValidator(_lower), AfterValidator(_device)]
Slug = Annotated[str, AfterValidator(_slug)]
Id = Annotated[str, BeforeValidator(_lower), AfterValidator(_slug)]
