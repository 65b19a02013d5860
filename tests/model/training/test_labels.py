"""The one format of labels: what is written is read back, and what is wrong is said by line."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from model.errors import DataError
from model.training.labels import Label, Problem, as_csv, as_json, read_labels, told

LABELS = [
    Label("gate", "person", 3.0, 7.25, "yes"),
    Label("gate", "cars", 0.0, 90.0, "2"),
    Label("", "sky", None, None, "unknown"),
    Label(
        "gate",
        "person",
        datetime(2026, 5, 1, 8, tzinfo=UTC),
        datetime(2026, 5, 1, 8, 1, 2, tzinfo=UTC),
        "no",
    ),
]


def written(folder: Path, text: str | bytes, name: str = "gate.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    for name, text in (("a.csv", as_csv(LABELS)), ("a.json", as_json(LABELS))):
        assert read_labels(written(tmp_path, text, name)) == (LABELS, [])
    assert as_csv(LABELS[:1]).splitlines() == [
        "camera,question,start,end,value",
        "gate,person,3,7.25,yes",
    ]


def test_a_folder_of_files_is_read_as_one(tmp_path: Path) -> None:
    written(tmp_path, as_csv(LABELS[:2]), "a.csv")
    written(tmp_path, "camera,question,start,end\ngate,person,9,2\n", "b.csv")
    written(tmp_path, as_json(LABELS[2:]), "c.json")
    written(tmp_path, "no labels", "notes.txt")
    labels, problems = read_labels(tmp_path)
    assert labels == LABELS
    assert [one.place for one in problems] == [f"{tmp_path / 'b.csv'}:2"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: expected \.csv, \.json, \.jsonl files in it"):
        read_labels(tmp_path / "empty")


def test_spreadsheets_may_have_written_it(tmp_path: Path) -> None:
    text = "Camera;Question;Start;End;Value\r\nGate;Person;3;7,25;yes\r\n;;;;\r\n"
    for raw in (b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16")):
        assert read_labels(written(tmp_path, raw)) == (LABELS[:1], [])
    tabs = text.replace(";", "\t")
    assert read_labels(written(tmp_path, tabs)) == (LABELS[:1], [])
    bom = "\ufeff" + as_json(LABELS)
    assert read_labels(written(tmp_path, bom, "a.json")) == (LABELS, [])


def test_camera_and_value_may_be_missing(tmp_path: Path) -> None:
    labels, problems = read_labels(written(tmp_path, "question,start,end\nperson,1,2\n"))
    assert labels == [Label("", "person", 1.0, 2.0, "yes")]
    assert problems == []


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("gate,person,9,3,yes", "expected an end after the start, got 9 to 3"),
        ("gate,person,3,3,yes", "expected an end after the start"),
        ("gate,person,-1,3,yes", "start: expected seconds from the file's beginning, got -1"),
        ("gate,person,nan,3,yes", "expected seconds"),
        ("gate,person,soon,3,yes", "start: expected seconds such as 12.5, or RFC 3339"),
        ("gate,person,2026-05-01T08:00:00,2026-05-01T08:01:00,yes", "with a zone"),
        ("gate,person,1,2026-05-01T08:01:00Z,yes", "both in seconds or both as RFC 3339"),
        ("gate,person,1,,yes", "got no end"),
        ("gate,,1,2,yes", "expected the id of a question"),
        ("gate,person,1,2,yes,yes", "expected 5 values, got 6"),
    ],
)
def test_a_bad_row_is_said_by_line_and_the_others_are_read(
    tmp_path: Path, row: str, words: str
) -> None:
    head = "camera,question,start,end,value\n"
    path = written(tmp_path, f"{head}gate,person,3,7.25,yes\n{row}\ngate,cars,0,90,2\n")
    labels, [problem] = read_labels(path)
    assert labels == LABELS[:2]
    assert problem.place == f"{path}:3"
    assert words in problem.words
    assert problem.words.endswith("this row is left out")


def test_a_column_that_nobody_knows_is_told_and_passed_over(tmp_path: Path) -> None:
    text = "camera,question,start,end,valu\ngate,person,1,2,no\n"
    labels, [problem] = read_labels(written(tmp_path, text))
    assert [one.value for one in labels] == ["yes"]
    assert "got 'valu' too: it is passed over; did you mean value?" in str(problem)


def test_json_rows_are_told_by_line(tmp_path: Path) -> None:
    text = '[\n{"question": "person", "start": 1, "end": 2, "value": true},\n7,\n{"note": 1}\n]'
    labels, problems = read_labels(written(tmp_path, text, "a.json"))
    assert labels == [Label("", "person", 1.0, 2.0, "yes")]
    assert [one.place.rpartition(":")[2] for one in problems] == ["3", "4", "4"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "camera,question,start\ngate,person,1\n", ":1: expected the columns"),
        ("a.csv", "", "got an empty file"),
        ("a.csv", "question,start,end,end\n", "each column once"),
        ("a.csv", b"question,start,end\nt\xfcr,1,2\n", ":2: expected UTF-8"),
        ("a.json", "{}", "expected a JSON list"),
        ("a.txt", "", "expected labels in a .csv, .json or .jsonl file"),
    ],
)
def test_a_file_that_says_nothing_is_refused(
    tmp_path: Path, name: str, text: str | bytes, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read_labels(written(tmp_path, text, name))
    with pytest.raises(DataError, match="got: No such file"):
        read_labels(tmp_path / "none.csv")


def test_what_is_wrong_with_many_rows_alike_is_said_once() -> None:
    rows = [Problem(f"gate.csv:{line}", "no such question") for line in (2, 4, 9)]
    assert told([rows[0], Problem("gate.csv:3", "no such value"), *rows[1:]]) == [
        "gate.csv:2 and 2 more, the last gate.csv:9: no such question",
        "gate.csv:3: no such value",
    ]
