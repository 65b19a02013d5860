from dataclasses import replace

import pytest
import torch

from model.layers.attention import SDPA
from model.layers.paged import PLAIN
from model.types import PatchGrid
from tests.benchmarks import in_pages
from tests.benchmarks.in_pages import equal_answers_row, equal_tokens_row, pass_rows
from tests.benchmarks.test_decode import SHAPE
from worker.benchmarks.random_weights import untrained

CPU = torch.device("cpu")
SMALL = PatchGrid(rows=6, cols=6)


def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    [row] = in_pages.measure(lambda _words: None)
    assert (row.value, row.target, row.holds) == (None, 38.0, None)


def test_passes_are_timed_and_what_they_find_is_compared() -> None:
    network = untrained(SHAPE, device=CPU, dtype=torch.float32)
    network.language.backend = replace(SDPA, paged=PLAIN)
    rows = pass_rows(network, "in_pages", number=2, past_s=3, grid=SMALL)
    assert [row.name for row in rows] == ["append_2_frames_in_pages", "ask_2_cameras_in_pages"]
    assert all(row.terms["wall_ms"] > 0 for row in rows)
    row = equal_tokens_row(network, lambda _words: None, number=2, past_s=3, grid=SMALL)
    assert (row.value, row.terms["all"], row.terms["equal_of_all"]) == (1.0, 6, 1.0)
    assert row.terms["largest_logit_difference"] < 1e-3


def test_answers_of_both_ways_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        in_pages, "ways", lambda backend: (("", replace(backend, paged=PLAIN)), ("", backend))
    )
    row = equal_answers_row("float32", lambda _words: None, device="cpu", num_clips=1)
    assert row.value == 1.0
    assert row.terms["asked"] == row.terms["equal"] > 5
