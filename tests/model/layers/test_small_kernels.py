import sys

import pytest
import torch

from model.layers import small_kernels
from model.layers.small_kernels import choose_small_kernels, largest_difference, plain
from tests.model.in_a_process import interpreted

CUDA = torch.device("cuda")

# Triton looks at the variable when a kernel is declared, so it takes a process of its own.
INTERPRET = """
import torch
from dataclasses import replace
from model.layers import triton_kernels
from model.layers.small_kernels import largest_difference, plain

kernels = replace(
    plain("in a test"), rotate_=triton_kernels.rotate_, silu_times=triton_kernels.silu_times
)
for dtype in (torch.float32, torch.bfloat16):
    print(largest_difference(kernels, device=torch.device("cpu"), dtype=dtype))
empty = torch.empty(0, 8)
assert triton_kernels.silu_times(empty).shape == (0, 4)
assert triton_kernels.rotate_(empty.view(0, 2, 4), (empty[:, :4], empty[:, :4])).shape == (0, 2, 4)
"""


def test_tritons_kernels_equal_pytorchs_own() -> None:
    in_float32, in_bfloat16 = map(float, interpreted(INTERPRET).split())
    assert in_float32 < 1e-5
    assert in_bfloat16 < 3e-2


def choose() -> small_kernels.SmallKernels:
    return choose_small_kernels.__wrapped__(CUDA, torch.bfloat16)


def test_without_triton_pytorchs_own_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model.layers.triton_kernels", None)
    assert (choose().name, choose().reason) == ("torch", "Triton is not installed")


def test_kernels_that_do_not_run_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> float:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(small_kernels, "largest_difference", fails)
    assert (choose().name, choose().reason) == (
        "torch",
        "Triton's do not run here: RuntimeError",
    )


@pytest.mark.parametrize("difference", [0.2, float("nan")])
def test_kernels_that_are_wrong_are_not_used(
    monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    monkeypatch.setattr(small_kernels, "largest_difference", lambda *_, **__: difference)
    assert choose().name == "torch"
    assert f"differ by {difference:.3g}" in choose().reason


def test_kernels_that_are_right_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_kernels, "largest_difference", lambda *_, **__: 0.004)
    assert choose().name == "triton"


def test_a_cpu_has_pytorchs_own() -> None:
    cpu = torch.device("cpu")
    chosen = choose_small_kernels(cpu, torch.float32)
    assert chosen.name == "torch"
    assert largest_difference(plain("in a test"), device=cpu, dtype=torch.float32) == 0.0


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_has_tritons(dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert choose_small_kernels(CUDA, dtype).name == "triton"
