"""What a run is, written beside its state: only the same run goes on there, and only once."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from model.errors import InputError
from model.training.loop import LOSSES_FILE, STATE_FILE, read_lines
from model.videollama3.files import WEIGHTS

RUN_FILE = "run.json"
Standing = Literal["new", "unfinished", "finished"]


def standing(out: Path, options: Mapping[str, object], *, is_resumed: bool) -> Standing:
    """Say how far a run is; nothing is written.

    Args:
        out: the run's folder, which may be missing.
        options: all that makes its weights what they are, by the names that they are given by;
            JSON's own kinds of value.
        is_resumed: an unfinished run may go on.

    Raises:
        InputError: the folder holds another run, an unfinished one that was not to go on, or a
            model that no run made.
    """
    file = out / RUN_FILE
    has_state = (out / STATE_FILE).exists()
    if not file.is_file():
        if has_state or (out / WEIGHTS).exists():
            raise InputError(
                f"--out: expected a new folder or that of an unfinished run, got {out}, which "
                "holds something else"
            )
        return "new"
    before = _read(file)
    is_finished = before["is_finished"]
    if not (is_finished or has_state or read_lines(out / LOSSES_FILE)):
        return "new"  # it ended before its first step
    others = [
        f"{name} {_shown(before['options'].get(name))} there and {_shown(options.get(name))} here"
        for name in sorted(before["options"].keys() | options.keys())
        if before["options"].get(name) != options.get(name)
    ]
    if others:
        raise InputError(f"--out: {out} holds another run: {', '.join(others)}")
    if is_finished:
        return "finished"
    if not has_state:  # it ended before its first state was saved
        return "new"
    if not is_resumed:
        raise InputError(f"--out: {out} holds a run that has not ended; --resume goes on with it")
    return "unfinished"


def write_down(out: Path, options: Mapping[str, object]) -> None:
    """Note what the run in a folder is, before it begins; the folder is made when missing."""
    out.mkdir(parents=True, exist_ok=True)
    _write(out / RUN_FILE, options, is_finished=False)


def finish(out: Path) -> None:
    """Note that the run in a folder is done, its model written."""
    file = out / RUN_FILE
    _write(file, _read(file)["options"], is_finished=True)


def _read(file: Path) -> dict[str, Any]:
    try:
        run: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(run["options"], dict) and isinstance(run["is_finished"], bool):
            return run
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise InputError(f"{file}: expected a run as vigil train writes it, got: {exc}") from exc
    raise InputError(f"{file}: expected a run as vigil train writes it, got something else")


def _write(file: Path, options: Mapping[str, object], *, is_finished: bool) -> None:
    part = file.with_suffix(".part")
    text = json.dumps({"options": dict(options), "is_finished": is_finished}, indent=2)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(file)


def _shown(value: object) -> str:
    return "none" if value is None else json.dumps(value)
