"""What `vigil eval --video --labels` does: measure, print, write the page."""

import argparse
import os
from pathlib import Path

from pipeline.errors import ConfigError
from worker.benchmarks.report import Progress
from worker.evaluation.labelled.measure import Wanted, measure
from worker.evaluation.labelled.page import DOCTYPE, page


def evaluate(arguments: argparse.Namespace, *, progress: Progress) -> int:
    """Do what the options say; return the process's exit status.

    Raises:
        ConfigError: an option or a setting is wrong, or the page cannot be written, or would be
            over a file that is no page.
        DataError: a file of labels cannot be read.
        CheckpointError: the model's folder is not usable.
    """
    target = arguments.html
    if target is not None:
        _check_page(target)
    found = measure(
        Wanted(
            arguments.folder,
            arguments.video,
            arguments.labels,
            camera=arguments.camera.lower(),
            began=arguments.began,
            asks=arguments.ask,
            compare=arguments.compare,
        ),
        progress=progress,
    )
    command = arguments.command_line
    print(found.report.text(command=command, as_json=arguments.json))  # noqa: T201 (the output)
    if target is not None:
        progress(f"writing {target}")
        text = page(found.report, found.settings, command=command)
        try:
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"eval: --html: cannot write {target}: {error.strerror}") from error
    return 0


def _check_page(target: Path) -> None:
    """Refuse, before hours of playing, what cannot be written or is somebody's video or labels."""
    try:
        with target.open("r+b") as older:
            is_other = older.read(len(DOCTYPE)) not in (b"", DOCTYPE.encode())
    except FileNotFoundError:
        is_other = False
        if not os.access(target.absolute().parent, os.W_OK):
            raise ConfigError(
                "eval: --html: expected a file in a folder that is there and can be written to, "
                f"got {target}"
            ) from None
    except OSError as error:
        raise ConfigError(f"eval: --html: cannot write {target}: {error.strerror}") from error
    if is_other:
        raise ConfigError(f"eval: --html: expected a new file, or an older page, got {target}")
