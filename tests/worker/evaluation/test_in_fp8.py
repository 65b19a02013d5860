from collections.abc import Iterator
from dataclasses import replace

import pytest

from model import Engine, EngineConfig
from worker.evaluation import in_fp8
from worker.evaluation.clips import Clip, clips


def first_moment(first_seed: int, number: int) -> Iterator[Clip]:
    """Clips up to the first time that something is asked."""
    for clip in clips(first_seed, number):
        moment = clip.moments[0]
        frames = tuple(frame for frame in clip.frames if frame.pts_s <= moment.t_s)
        yield replace(clip, frames=frames, moments=(moment,))


def test_answers_in_fp8_are_set_beside_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_fp8, "clips", first_moment)
    config = EngineConfig(window_s=60.0, audit_share=0.0, max_caption_tokens=24)
    engine = Engine.load("nano", device="cpu", dtype="float32", config=config)
    weight_bytes = engine.stats.weight_bytes
    rows = in_fp8.measure(
        engine, config, first_seed=10_000_000, num_clips=1, progress=lambda _words: None
    )
    assert [row.name for row in rows] == ["fp8_keys_equal", "fp8_products_equal", "fp8_both_equal"]
    for row in rows:
        assert row.value is not None
        assert 0.5 < row.value <= 1.0
        assert {"questions", "yes_no", "yes_no_exact", "yes_no_equal"} <= row.terms.keys()
    assert (
        Engine(engine.family, model_name="nano", config=config).stats.weight_bytes == weight_bytes
    )
