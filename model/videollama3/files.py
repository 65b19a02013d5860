"""The files of a checkpoint's folder: which are read, and reading them without a surprise."""

import json
import stat
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from model.errors import CheckpointError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"

SMALL_FILES = ("*.json", "*.txt", "*.jinja")
"""All that is read of a folder but the weights: nothing that can be executed."""

_MAX_JSON_BYTES = 64 * 1024**2


def check_files(folder: Path) -> None:
    """Refuse a folder in which something else stands in the place of a file that may be read.

    Reading a pipe waits for whoever writes to it, which may be nobody.

    Raises:
        CheckpointError: it names the first such entry.
    """
    wanted = (*SMALL_FILES, "*.safetensors")
    for entry in sorted(folder.iterdir()):
        if any(fnmatch(entry.name, pattern) for pattern in wanted):
            _require_file(entry)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: the file is missing, no file, no JSON, or holds something else.
    """
    _require_file(file)
    try:
        if file.stat().st_size > _MAX_JSON_BYTES:
            raise CheckpointError(f"{file}: expected at most {_MAX_JSON_BYTES} bytes of JSON")
        content = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise CheckpointError(f"{file}: expected JSON, got one nested too deeply") from None
    except (OSError, ValueError) as exc:
        raise CheckpointError(f"{file}: expected JSON, got: {one_line(exc)}") from exc
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected a JSON object, got {type(content).__name__}")
    return content


def read_json_if_there(file: Path) -> dict[str, Any] | None:
    """Read a JSON object as `read_json` does; None where there is no such file."""
    return read_json(file) if file.exists() else None


def shards(index: Path) -> dict[str, str]:
    """Read which file holds which tensor, from model.safetensors.index.json.

    Raises:
        CheckpointError: the index cannot be read, or names what is no file of its folder.
    """
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, Mapping) or not listed:
        raise CheckpointError(f"{index}: expected a weight_map, got {type(listed).__name__}")
    for key, shard in listed.items():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise CheckpointError(f"{index}: {key}: expected a file name, got {shard!r}")
    return dict(listed)


def one_line(error: BaseException) -> str:
    """Give the first line of what an error says, or else what it is."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _require_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        missing = "a broken link" if path.is_symlink() else "expected this file, it is missing"
        raise CheckpointError(f"{path}: {missing}") from None
    except OSError as exc:
        raise CheckpointError(f"{path}: cannot be read: {exc.strerror}") from None
    if not stat.S_ISREG(mode):
        got = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise CheckpointError(f"{path}: expected a file, got {got}")
