import numpy as np
import pytest
import torch

from model.engine.memory import Budget, bytes_per_stream, token_bytes
from model.errors import AdmissionError
from model.types import PatchGrid
from model.videollama3.config import PRESETS


def test_a_camera_of_the_2b_model_by_hand() -> None:
    config, grid = PRESETS["2b"], PatchGrid(9, 16)
    assert token_bytes(config.text, torch.bfloat16) == 28 * 1024
    vision_bytes = 576 * 27 * 2 * 1152 * 2
    for has_vision_cache in (True, False):
        needed = bytes_per_stream(
            config,
            grid,
            patches_per_token=4,
            max_context_tokens=16_384 - 255,  # 64 pages of 256
            dtype=torch.bfloat16,
            has_vision_cache=has_vision_cache,
        )
        assert needed == 2 * 16_384 * 28 * 1024 + has_vision_cache * vision_bytes


def test_a_budget_grants_what_it_has_and_no_more() -> None:
    budget = Budget(1000, fixed_bytes=100)
    budget.admit("gate", 500)
    with pytest.raises(
        AdmissionError, match=r"stream yard: .* 400 bytes.* may need 401"
    ) as refused:
        budget.admit("yard", 401)
    assert (refused.value.needed_bytes, refused.value.left_bytes) == (401, 400)
    budget.admit("yard", 400)
    assert budget.left_bytes == 0
    with pytest.raises(AdmissionError):
        budget.admit("gate", 501)
    assert budget.granted_bytes == 900
    budget.admit("gate", 300)  # on another grid
    assert budget.left_bytes == 200
    budget.release("yard")
    budget.release("yard")
    assert budget.left_bytes == 600


def test_a_budget_smaller_than_the_weights_grants_nothing() -> None:
    budget = Budget(1000, fixed_bytes=2000)
    assert budget.left_bytes == 0
    with pytest.raises(AdmissionError, match="at most 0 bytes"):
        budget.admit("gate", 1)


def test_without_a_limit_everything_fits() -> None:
    budget = Budget(None)
    budget.admit("gate", int(np.iinfo(np.int64).max))
    assert budget.left_bytes is None
