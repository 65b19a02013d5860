"""`python -m tests.benchmarks`: one table of measurements, and true commands in their documents."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from tests.benchmarks import questions
from tests.benchmarks.__main__ import MEASUREMENTS, main
from tests.benchmarks.pruning import measure, plot
from worker.benchmarks.report import Row

MISSED = [Row("share", 0.5, "ratio", 0.25, holds=False)]


def test_whatever_can_be_named_can_be_measured() -> None:
    for module, summary in MEASUREMENTS.values():
        assert callable(import_module(module).measure)
        assert summary


def test_a_document_names_the_command_that_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(questions, "measure", lambda _progress: MISSED)
    assert main(["questions", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["bench"] == "questions"
    assert document["command"] == "python -m tests.benchmarks questions --json"


def test_pruning_is_given_its_clips_and_its_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, object] = {}
    drawn: list[tuple[Path, object]] = []

    def measured(_progress: Callable[[str], None], **options: object) -> list[Row]:
        given.update(options)
        return []

    monkeypatch.setattr(measure, "measure", measured)
    monkeypatch.setattr(plot, "plot", lambda path, _progress, videos: drawn.append((path, videos)))
    picture = tmp_path / "a.png"
    asked = ["--videos", str(tmp_path), "--only", "vtest", "cost", "--plot", str(picture)]
    assert main(["prune", *asked]) == 0
    assert given == {"videos": tmp_path, "only": ["vtest", "cost"]}
    assert drawn == [(picture, tmp_path)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["weather"], "invalid choice"),
        (["encode", "--plot", "a.png"], "unrecognized arguments"),
        (["prune", "--plot", "a.doc"], "ending in .png"),
        (["prune", "--videos", "/no/such/folder"], "expected a folder"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
