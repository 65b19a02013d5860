import pytest
import torch

from model.training.nano import fresh, nano_config
from model.training.stages import NANO, PAPER, PARTS, Stage, parameter_groups
from model.videollama3.network import VideoLlama3


@pytest.fixture(scope="module")
def model() -> VideoLlama3:
    config = nano_config(vocab_size=32, image_token_id=30, video_token_id=31, eos_token_ids=(3,))
    return fresh(config, seed=0)


@pytest.mark.parametrize("table", [PAPER, NANO])
def test_tables_have_the_papers_shape(table: tuple[Stage, ...]) -> None:
    assert [stage.number for stage in table] == [1, 2, 3, 4]
    assert [stage.name for stage in table] == [
        "vision encoder adaptation",
        "vision-language alignment",
        "multi-task fine-tuning",
        "video-centric fine-tuning",
    ]
    assert [stage.trained for stage in table] == [("vision", "projector"), PARTS, PARTS, PARTS]
    assert [stage.has_token_compression for stage in table] == [False, False, True, True]
    assert table[-1].image_merge == 2
    assert [stage.video_merge for stage in table] == [2, 2, 2, 2]
    assert [set(stage.mix) for stage in table] == [set(stage.mix) for stage in PAPER]
    for stage in table:
        assert sum(stage.shares.values()) == pytest.approx(1)


def test_rates_and_merges_of_the_paper() -> None:
    assert [stage.image_merge for stage in PAPER] == [1, 1, 1, 2]
    assert PAPER[0].rates == {"vision": 1e-5, "projector": 1e-3}
    for stage in PAPER[1:]:
        assert stage.rates == {"vision": 2e-6, "projector": 1e-5, "language": 1e-5}


@pytest.mark.parametrize("stage", PAPER, ids=lambda stage: str(stage.number))
def test_groups_hold_what_is_trained_once(model: VideoLlama3, stage: Stage) -> None:
    model.requires_grad_(requires_grad=False)  # as a checkpoint is loaded
    groups = parameter_groups(model, stage, weight_decay=0.1)
    trained = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(trained) == len(set(trained))
    assert set(trained) == {
        id(parameter)
        for name, parameter in model.named_parameters()
        if name.split(".")[0] in stage.trained
    }
    for parameter in model.parameters():
        assert parameter.requires_grad == (id(parameter) in trained)
    for group in groups:
        part, shape = group["name"].split(".")
        assert group["lr"] == stage.rates[part]
        assert group["weight_decay"] == (0.0 if shape == "vectors" else 0.1)
        assert all((p.dim() < 2) == (shape == "vectors") for p in group["params"])


@pytest.mark.parametrize(("stage", "rule"), [(PAPER[3], "adamw"), (NANO[3], "muon")])
def test_the_rule_of_a_stage_steps_the_matrices_of_layers_alone(
    model: VideoLlama3, stage: Stage, rule: str
) -> None:
    rules = {group["name"]: group["rule"] for group in parameter_groups(model, stage)}
    for name, found in rules.items():
        assert found == (rule if name.endswith(".layers") else "adamw"), name
    embedding = model.language.embed_tokens.weight
    [home] = [
        group["name"]
        for group in parameter_groups(model, stage)
        if any(parameter is embedding for parameter in group["params"])
    ]
    assert home == "language.matrices"


def test_frozen_weights_stay(model: VideoLlama3) -> None:
    optimizer = torch.optim.AdamW(parameter_groups(model, PAPER[0]))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    rows = torch.randn(4, 588, generator=torch.Generator().manual_seed(0))
    tokens = model.encode(rows, [(2, 2)])
    loss = (tokens @ model.language.embed_tokens.weight.T).square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    moved = {
        name.split(".")[0]
        for name, weight in model.named_parameters()
        if not torch.equal(weight, before[name])
    }
    assert moved == {"vision", "projector"}
