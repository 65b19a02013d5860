"""`vigil bench`: what an operator can measure, and how a document names its command."""

import json
from collections.abc import Callable

import pytest

from worker.__main__ import REFUSED, main
from worker.benchmarks import cameras, ingest
from worker.benchmarks.camera_trial import MEASURED_S
from worker.benchmarks.report import Row

ROWS = [Row("cost", 1.25, "s")]


def test_a_document_names_the_command_that_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, object] = {}

    def measure(progress: Callable[[str], None], **options: object) -> list[Row]:
        progress("measuring")
        asked.update(options)
        return ROWS

    monkeypatch.setattr(cameras, "measure", measure)
    words = "cameras --subject 2b --cameras 150 --decode 10 --json"
    assert main(["bench", *words.split()]) == 0
    asked_for = {"subject": "2b", "cameras": 150, "seconds": MEASURED_S, "decode": 10}
    assert asked == asked_for | {"in_fp8": False}
    document = json.loads(capsys.readouterr().out)
    assert document["bench"] == "cameras"
    assert document["command"] == f"vigil bench {words}"
    assert main(["bench", *words.split(), "--fp8"]) == 0
    assert asked == asked_for | {"in_fp8": True}


def test_without_json_people_read_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ingest, "measure", lambda _progress: ROWS)
    assert main(["bench", "ingest"]) == 0
    assert "cost  1.25" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["weather"], "invalid choice"),
        (["prune"], "invalid choice"),
        (["ingest", "--seconds", "5"], "unrecognized arguments"),
        (["cameras", "--subject", "3b"], "invalid choice"),
        (["cameras", "--decode", "2"], "invalid choice"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == REFUSED
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--cameras", "0"], ["--seconds", "0"]])
def test_a_number_that_measures_nothing_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "cameras", *arguments]) == REFUSED
    assert f"{arguments[0]}: expected" in capsys.readouterr().err
