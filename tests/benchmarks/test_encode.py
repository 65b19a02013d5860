import pytest
import torch

from model.training.rendered import FIRST_HELD_OUT_SEED
from model.types import PatchGrid
from model.videollama3.config import PRESETS, ModelConfig, TextConfig, VisionConfig
from tests.benchmarks import encode, vision_drift
from tests.benchmarks.encode import Cost, cost_rows, encode_costs, token_flop
from tests.benchmarks.vision_drift import Tally, tally_rows

TINY = ModelConfig(
    vision=VisionConfig(hidden_size=32, intermediate_size=32, num_layers=2, num_heads=2),
    text=TextConfig(
        hidden_size=16,
        intermediate_size=16,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        vocab_size=8,
    ),
    image_token_id=1,
    video_token_id=2,
    eos_token_ids=(3,),
)


def test_every_kind_of_encode_is_timed() -> None:
    network = encode._network(TINY, device="cpu", dtype=torch.float32)
    costs = encode_costs(network, grid=PatchGrid(4, 5), rounds=1)
    assert set(costs) == {"full"} | {
        f"{what}_{percent}" for what in ("partial", "packed", "apart") for percent in (5, 10)
    }
    assert all(cost.wall_ms > 0 for cost in costs.values())


def test_targets_are_for_the_faster_dtype() -> None:
    costs = {"full": Cost(100.0, 50.0)}
    for percent, cpu_ms in ((10, 15.0), (5, 13.0)):
        for what in ("partial", "packed", "apart"):
            costs[f"{what}_{percent}"] = Cost(cpu_ms, cpu_ms / 2)
    rows = cost_rows(costs, dtype="float32", is_faster=True)
    assert [(row.value, row.target, row.holds) for row in rows if row.target] == [
        (0.15, 0.20, True),
        (0.13, 0.12, False),
    ]
    assert rows[0].terms["full_cpu_ms"] == 100.0
    assert not any(row.target for row in cost_rows(costs, dtype="float32", is_faster=False))


def test_a_patch_of_the_2b_encoder_costs_894_mflop() -> None:
    flop = token_flop(PRESETS["2b"].vision, PatchGrid(9, 16)) / 4
    assert flop == pytest.approx(822.1e6 + 71.7e6, rel=1e-3)


def test_what_needs_a_gpu_is_marked_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # with one it would measure
    rows = encode._gpu_rows(lambda _words: None)
    assert all(row.value is None and "no CUDA device" in row.unit for row in rows)


def test_drift_is_summed_up_by_token_and_laid_out_by_age_and_share() -> None:
    tally = Tally(
        cosines=[torch.tensor([1.0, 0.9]), torch.tensor([0.8])],
        ages_s=[1.0, 40.0],
        shares=[0.04, 0.5],
        num_questions=100,
        num_agreed=99,
        differences=[0.0, 0.5],
    )
    rows = {row.name: row for row in tally_rows(tally)}
    assert rows["delta_cosine_of_sent_tokens"].value == pytest.approx(0.9)
    assert rows["delta_cosine_of_sent_tokens"].holds is False
    assert rows["delta_yes_no_answers_that_agree"].holds is True
    assert rows["delta_cosine_0_to_10_s_old"].value == pytest.approx(0.95)
    assert rows["delta_cosine_30_to_90_s_old"].value == pytest.approx(0.8)
    assert rows["delta_cosine_0.15_to_1_sent"].terms == {"tokens": 1}
    assert [row.value for row in tally_rows(Tally())] == [None]


def test_a_scene_is_looked_at_both_ways() -> None:
    tally = Tally()
    vision_drift.compare(FIRST_HELD_OUT_SEED, tally, duration_s=11)
    assert tally.num_questions > 0
    assert len(tally.cosines) == len(tally.ages_s) == len(tally.shares)
