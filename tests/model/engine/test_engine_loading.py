"""What an engine is loaded from, and what is refused."""

import shutil
from pathlib import Path

import pytest
import torch

from model.bundled import NANO
from model.engine.config import EngineConfig
from model.engine.engine import Engine
from model.errors import CheckpointError, InputError
from tests.model.engine.test_engine import FIRE, clip
from tests.model.nano_model import (
    nano_engine,
)


def load(path: str = "nano", *, device: str = "cpu", dtype: str = "float32") -> Engine:
    return Engine.load(
        path,
        device=device,
        dtype=dtype,
        config=EngineConfig(max_caption_tokens=8, max_answer_tokens=8),
    )


def assert_answers(engine: Engine) -> None:
    engine.append(clip(3))
    [answer] = engine.ask([("gate", FIRE)])
    assert answer.p is not None
    assert 0.0 <= answer.p <= 1.0


def test_loads_the_bundled_model() -> None:
    engine = load()
    assert_answers(engine)
    assert engine.model_name == "nano"
    assert engine.is_demo_model
    assert engine.stats.attention_backend.startswith("sdpa")


def test_answers_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    # oneDNN takes AMX for bfloat16 wherever the CPU names it; some virtual machines then trap it.
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert_answers(load(dtype="bfloat16"))


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [
        pytest.param("cpu", "int8", "dtype: expected auto or one of bfloat16", id="dtype"),
        pytest.param(
            "toaster", "float32", "device: expected auto, cpu or cuda, got toaster", id="device"
        ),
    ],
)
def test_what_cannot_be_had_is_refused(device: str, dtype: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(device=device, dtype=dtype)


def test_an_absent_cuda_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="CUDA is not there"):
        load(device="cuda")


def test_limits_beyond_the_models_positions_are_refused() -> None:
    with pytest.raises(InputError, match="32768 positions, got 40000"):
        nano_engine(max_context_tokens=40000)


def test_limits_of_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="expected positive window_s"):
        nano_engine(window_s=0.0)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    shutil.copy(NANO / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match="tokenizer"):
        load(str(tmp_path))
