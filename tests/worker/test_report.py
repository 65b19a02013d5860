"""What `vigil bench` prints, and that the ingest measurement measures."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.sources.encoder import encode_clip
from worker.benchmarks import ingest
from worker.report import Row, as_document, as_table, bench

ROWS = [
    Row("cost", 1.25, "s"),
    Row("share", 0.5, "ratio", 0.25, holds=False, terms={"ours_s": 1.0, "theirs_s": 2.0}),
]


def test_a_document_says_where_its_figures_come_from() -> None:
    document = json.loads(as_document("ingest", ROWS))
    assert set(document) == {"bench", "commit", "command", "machine", "rows"}
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


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected one of .*ingest.*got 'weather'"):
        bench("weather", as_json=True)


@pytest.mark.parametrize(
    ("what", "plot", "said"),
    [
        ("ingest", "a.png", "expected one of prune, got 'ingest'"),
        ("prune", "a.doc", "ending in .png"),
    ],
)
def test_what_cannot_be_drawn_is_refused(what: str, plot: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        bench(what, as_json=True, plot=plot)


def test_a_figure_that_could_not_be_had_is_left_open() -> None:
    rows = [Row("share", None, "clip not found")]
    assert json.loads(as_document("prune", rows))["rows"][0]["value"] is None
    assert as_table(rows).splitlines()[-1].split() == ["share", "clip", "not", "found"]


def test_an_option_is_refused_where_it_means_nothing() -> None:
    with pytest.raises(ConfigError, match="bench ingest: expected no --seconds"):
        bench("ingest", as_json=True, options={"subject": None, "seconds": 5.0})


def test_a_document_says_with_which_options_it_was_made() -> None:
    document = json.loads(as_document("cameras", ROWS, {"subject": "2b", "cameras": 150}))
    assert document["command"] == "vigil bench cameras --subject 2b --cameras 150 --json"


def test_a_missed_target_is_an_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ingest, "measure", lambda _progress: ROWS)
    assert bench("ingest", as_json=False) == 1
    assert "share" in capsys.readouterr().out


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
