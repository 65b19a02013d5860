"""Values as they are written in variables, and in words what a setting takes."""

from collections.abc import Callable, Mapping
from dataclasses import astuple
from typing import Literal, get_args, get_origin

from annotated_types import MaxLen
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.regions import Region
from worker.values import DeviceShare

_SIZES = ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))
_MIB = 1024**2
_KINDS: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


def written(value: object, field: FieldInfo) -> str:
    """Return a setting's value as it would be written in a variable; a secret in the clear."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is PydanticUndefined or value is None or value == ():
        return ""
    if _is(field, "_duration_s"):
        return _duration(value) if isinstance(value, float) else f"{value}s"
    if isinstance(value, DeviceShare):
        return f"{100 * value.ratio:g}%"
    is_size = _is(field, "_size_bytes", "_budget")
    if is_size and isinstance(value, int) and value and value % _MIB == 0:
        return f"{value // _MIB}MiB"
    if isinstance(value, tuple) and isinstance(value[0], Region):
        return "; ".join(",".join(f"{edge:g}" for edge in astuple(one)) for one in value)
    if isinstance(value, tuple):
        return {int: "/", float: "-"}.get(type(value[0]), ",").join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def expected(field: FieldInfo) -> str:
    """Say what a setting takes, after `expected`."""
    if options := choices(field):
        return f"expected one of {', '.join(options)}"
    what: str
    unit: Callable[[float], str]
    what, unit = "words", _plain
    if _is(field, "_duration_s"):
        what, unit = "a duration such as 30s, 250ms, 5m or 1h", _duration
    elif _is(field, "_size_bytes"):
        what, unit = "a size such as 20GiB or 512MiB", _size
    elif _is(field, "_share"):
        what = "a number such as 0.7, or a percentage such as 70%"
    elif field.annotation in _KINDS:
        what = _KINDS[field.annotation]
    return f"expected {what}{_bounds(field, unit)}"


def choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the words of which a setting is one; () where it takes others too."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def _bounds(field: FieldInfo, unit: Callable[[float], str]) -> str:
    bounds: dict[str, list[float]] = {"above": [], "at least": [], "at most": []}
    for one in field.metadata:
        for words, name in (("above", "gt"), ("at least", "ge"), ("at most", "le")):
            bound = getattr(one, name, None)
            if bound is not None:
                bounds[words].append(bound)
    told = [
        f"{words} {unit(min(numbers) if words == 'at most' else max(numbers))}"
        for words, numbers in bounds.items()
        if numbers
    ]
    told += [f"at most {one.max_length} long" for one in field.metadata if isinstance(one, MaxLen)]
    return f", {' and '.join(told)}" if told else ""


def _plain(number: float) -> str:
    return f"{number:g}"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:g}h" if seconds and seconds % 3600 == 0 else f"{seconds:g}s"


def _size(num_bytes: float) -> str:
    size, unit = next(
        ((size, unit) for size, unit in _SIZES if num_bytes and num_bytes % size == 0), (1, "")
    )
    return f"{num_bytes / size:g}{unit}"


def _is(field: FieldInfo, *readers: str) -> bool:
    """Whether a field is read by one of the functions of `worker.values` of these names."""
    return any(reader in repr(field.metadata) for reader in readers)
