"""`vigil eval` on a few clips, whatever the model is worth."""

import json
from typing import Any

import pytest

from worker.__main__ import main
from worker.evaluation import clips
from worker.evaluation.clips import rows_of

TARGETS = {
    "yes_no_balanced_accuracy": 0.97,
    "choice_accuracy": 0.92,
    "count_accuracy": 0.92,
    "caption_f1": 0.90,
    "grounding_mean_iou": 0.65,
}
WAYS = ("full_paper", "full_adaptive", "delta_adaptive", "isolated_adaptive")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "stretch", lambda _rng: (0.0, 4))
    monkeypatch.setattr(clips, "NUM_COMPARED", 1)


@pytest.mark.usefixtures("short")
def test_two_clips_make_a_whole_document(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["eval", "nano", "--json", "--clips", "2", "--through", "model"])
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert set(document) == {"bench", "commit", "command", "machine", "rows"}
    assert document["bench"] == "eval"
    rows: dict[str, dict[str, Any]] = {row["name"]: row for row in document["rows"]}
    assert {name: rows[name]["target"] for name in TARGETS} == TARGETS
    for name in TARGETS:
        value, holds = rows[name]["value"], rows[name]["holds"]
        assert holds is (None if value is None else value >= TARGETS[name])
    asked = rows["yes_no_balanced_accuracy"]["terms"]["questions"]
    topics = [name for name in rows if name.startswith("yes_no_") and name not in TARGETS]
    assert sum(rows[name]["terms"]["questions"] for name in topics) == asked > 12
    assert all(rows[f"{way}_yes_no"]["terms"]["clips"] == 1 for way in WAYS)
    assert len({rows[f"{way}_count"]["terms"]["questions"] for way in WAYS}) == 1
    assert rows["delta_adaptive_tokens"] == {
        **rows["full_adaptive_tokens"],
        "name": "delta_adaptive_tokens",
    }
    now, history = (rows[f"last4_yes_no_{kind}"]["terms"] for kind in ("now", "history"))
    in_one = rows["delta_adaptive_yes_no"]["terms"]["questions"]
    assert now["questions"] + history.get("questions", 0) == in_one
    # four frames are all that there is of a clip of four: nothing is lost but pruning
    assert rows["last4_count"]["value"] == rows["last4_count"]["terms"]["over_window"]
    assert rows["last4_time_over_window"]["value"] > 0
    assert rows["last4_time_over_window"]["terms"] == {"clips": 1}
    assert status == int(any(row["holds"] is False for row in document["rows"]))
    assert "2 of 2 clips" in captured.err


def test_what_was_not_asked_is_left_open() -> None:
    rows = {row.name: row for row in rows_of([])}
    assert rows.keys() == {*TARGETS, "text_exact"}
    assert all(row.value is None and row.holds is None for row in rows.values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nano", "--clips", "0"], "--clips: expected at least 1"),
        (["nano", "--minutes", "0"], "--minutes: expected more than 0"),
        (["nano", "--first-seed", "-1"], "--first-seed: expected 0 or more"),
        (["/nowhere/at/all", "--through", "model"], "/nowhere/at/all"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *arguments]) == 2
    assert said in capsys.readouterr().err
