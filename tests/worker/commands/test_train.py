import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.errors import InputError
from model.training.stages import stage_of
from model.videollama3.checkpoint import load_model
from model.videollama3.prompt import NANO_2, prompt_of
from worker.__main__ import main

NANO = Path(__file__).resolve().parents[3] / "model" / "nano"


def train(out: Path, *more: str, stage: int = 3, steps: int = 2) -> int:
    given = f"--batch 1 --scenes 1 --workers 0 --max-tokens-per-frame 16 --steps {steps}"
    folders = ["--from", str(NANO), "--out", str(out), "--memo", str(out.parent / "clips")]
    return main(["train", "--stage", str(stage), *folders, *given.split(), *more])


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "losses.jsonl").read_text().splitlines()]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two pictures and what is said of them; the second is cut short."""
    pixels = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    turns = [
        {"from": "human", "value": "<image>\nIs a person in view?"},
        {"from": "gpt", "value": "no"},
    ]
    lines = [{"image": [name], "conversations": turns} for name in ("whole.png", "cut.png")]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return data


def test_the_same_seed_gives_the_same_losses_and_a_folder(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    assert train(tmp_path / "a") == 0
    assert train(tmp_path / "b") == 0
    assert len(losses(tmp_path / "a")) == 2
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert prompt_of(tmp_path / "a") is NANO_2
    trained = load_model(tmp_path / "a", device="cpu", dtype=torch.float32)
    before = load_model(NANO, device="cpu", dtype=torch.float32)
    learnt, was = trained.projector.state_dict(), before.projector.state_dict()
    assert not torch.equal(learnt["readout.0.weight"], was["readout.0.weight"])


def test_stage_one_leaves_the_decoder_as_it_was(tmp_path: Path) -> None:
    assert train(tmp_path / "a", stage=1, steps=1) == 0
    trained = load_model(tmp_path / "a", device="cpu", dtype=torch.float32)
    before = load_model(NANO, device="cpu", dtype=torch.float32)
    for name, weight in trained.language.state_dict().items():
        assert torch.equal(weight, before.language.state_dict()[name]), name


def test_a_corrupt_picture_is_named_by_file_and_line(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "a", "--data", str(files), steps=1) == 2
    assert "data.jsonl:2: " in capsys.readouterr().err


def test_or_skipped_and_counted(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--data", str(files), "--skip-bad", "--table", "paper"]
    assert train(tmp_path / "a", *more, steps=1) == 0
    said = capsys.readouterr().err
    assert "skipped" in said
    assert "data.jsonl:2" in said
    assert "1 of 2 conversations" in said


def test_a_stage_that_is_none_is_refused(tmp_path: Path) -> None:
    assert train(tmp_path / "a", stage=5) == 2


def test_the_beginning_has_rates_of_its_own(tmp_path: Path) -> None:
    assert train(tmp_path / "a", "--rate", "0.5", stage=0) == 2
    assert not (tmp_path / "a").exists()


def test_rates_are_the_tables_times_what_is_asked() -> None:
    whole, half = (stage_of(4, table="nano", rate=rate) for rate in (1.0, 0.5))
    assert half.rates == {part: 0.5 * rate for part, rate in whole.rates.items()}
    with pytest.raises(InputError, match="expected more than 0, got -1"):
        stage_of(4, table="nano", rate=-1.0)


def test_a_part_that_is_frozen_has_no_rate() -> None:
    assert stage_of(4, table="nano", frozen=["vision"]).trained == ("projector", "language")
    with pytest.raises(InputError, match=r"--freeze: .* stage 1 left .* got all of vision, proj"):
        stage_of(1, table="nano", frozen=["projector", "vision"])
