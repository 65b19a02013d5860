"""What is exported can be read again by what evaluates."""

import pytest

from worker.console.exports import labels_csv


@pytest.mark.parametrize(
    ("kind", "said", "truth", "label"),
    [
        ("yes_no", "yes", "the gate was shut", "no"),
        ("yes_no", "no", "Yes, it was open", "yes"),
        ("yes_no", "yes", "no", "no"),
        ("count", "3", "2", "2"),
    ],
)
def test_what_is_wrong_with_yes_or_no_is_the_other(
    kind: str, said: str, truth: str, label: str
) -> None:
    marked = {
        "camera": "gate",
        "question_id": "it",
        "question_kind": kind,
        "said": said,
        "verdict": "wrong",
        "truth": truth,
        "is_test": False,
        "started_ms": 0,
        "ended_ms": 1000,
    }
    _, row, _ = labels_csv([marked]).splitlines()
    assert row.rpartition(",")[2] == label
