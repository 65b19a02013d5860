"""How figures are told, and that the ingest measurement measures."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.sources.encoder import encode_clip
from worker.benchmarks import ingest
from worker.benchmarks.report import Row, as_document, as_table, commit, print_rows

ROOT = Path(__file__).resolve().parents[3]
ROWS = [
    Row("cost", 1.25, "s"),
    Row("share", 0.5, "ratio", 0.25, holds=False, terms={"ours_s": 1.0, "theirs_s": 2.0}),
]


def test_a_document_says_where_its_figures_come_from() -> None:
    document = json.loads(as_document(ROWS, what="ingest", command="vigil bench ingest --json"))
    assert set(document) == {"bench", "commit", "command", "machine", "rows"}
    assert document["bench"] == "ingest"
    assert document["command"] == "vigil bench ingest --json"
    assert document["rows"][0]["target"] is None
    assert document["rows"][1] == {
        "name": "share",
        "value": 0.5,
        "unit": "ratio",
        "target": 0.25,
        "holds": False,
        "terms": {"ours_s": 1.0, "theirs_s": 2.0},
    }


def test_a_table_shows_a_missed_target() -> None:
    line = as_table(ROWS).splitlines()[-1]
    assert line.split()[:5] == ["share", "0.5", "ratio", "0.25", "NO"]


def test_a_figure_that_could_not_be_had_is_left_open() -> None:
    rows = [Row("share", None, "clip not found")]
    document = json.loads(as_document(rows, what="prune", command="x"))
    assert document["rows"][0]["value"] is None
    assert as_table(rows).splitlines()[-1].split() == ["share", "clip", "not", "found"]


@pytest.mark.parametrize(("rows", "status"), [(ROWS, 1), (ROWS[:1], 0)])
def test_a_missed_target_is_an_exit_status(
    rows: list[Row], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_rows(rows, what="ingest", command="x", as_json=False) == status
    assert "cost" in capsys.readouterr().out


def test_sampling_key_frames_costs_less_than_decoding_every_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = (rng.integers(0, 256, (240, 320, 3), dtype=np.uint8) for _ in range(100))
    path = encode_clip(tmp_path / "a.mp4", pictures, fps=25, gop_s=1, bits_per_s=2_000_000)
    ours_s = ingest.cpu_per_stream_s(path, sample_period_s=1.0)
    every_s = ingest.cpu_per_stream_s(path, sample_period_s=0.0)
    assert 0 < ours_s < every_s
    assert 0.01 < ingest.key_frames_byte_ratio(path) < 0.5


def test_memory_is_measured_while_cameras_play(tmp_path: Path) -> None:
    pictures = (np.full((240, 320, 3), level, dtype=np.uint8) for level in range(100))
    path = encode_clip(tmp_path / "a.mp4", pictures, fps=25, gop_s=1, bits_per_s=500_000)
    assert ingest.resident_mib(path, 2) > 10


def test_a_checkout_names_its_commit() -> None:
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert head.startswith(commit().rstrip("+"))


def test_without_the_gpus_decoder_its_row_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "tried", lambda _codec: "no driver")
    (row,) = ingest._gpu_rows(Path("clip.mp4"), lambda _words: None)
    assert row.value is None
    assert row.unit == "unmeasured: needs NVDEC, no driver"
