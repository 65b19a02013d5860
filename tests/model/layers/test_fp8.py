from copy import deepcopy
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model.errors import InputError
from model.layers import fp8
from model.layers.fp8 import (
    FP8,
    Fp8Linear,
    check_device,
    choose_quantise,
    dequantised,
    is_same,
    keep_in_fp8,
    product,
    quantised,
)
from model.layers.fused import FusedLinear, add_product, is_fused
from model.layers.small_kernels import gelu_in_product, gelu_linear
from model.videollama3.language import _Layer
from tests.model.growing import logits_of
from tests.model.in_a_process import interpreted
from tests.model.nano_model import nano

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

# Triton looks at the variable when a kernel is declared, so it takes a process of its own. The
# interpreter's own rounding loses the carry of what is rounded up to a power of two.
INTERPRET = """
import torch
import triton.language as tl
from triton.runtime import interpreter

convert = interpreter._convert_float

def with_carry(numbers, source, target, mode):
    if target != tl.float8e4nv:
        return convert(numbers, source, target, mode)
    exact = torch.from_numpy(numbers.view("float32"))
    return exact.to(torch.float8_e4m3fn).view(torch.uint8).numpy()

interpreter._convert_float = with_carry

from model.layers import triton_fp8
from model.layers.fp8 import is_same

for dtype in (torch.float32, torch.bfloat16):
    assert is_same(triton_fp8.quantised, device=torch.device("cpu"), dtype=dtype)
assert [len(one) for one in triton_fp8.quantised(torch.empty(0, 8))] == [0, 0]
"""


def test_tritons_rounding_equals_pytorchs() -> None:
    interpreted(INTERPRET)


@given(st.integers(0, 99), st.floats(1e-6, 1e6))
def test_a_rounded_number_is_off_by_a_sixteenth_at_most(seed: int, size: float) -> None:
    rows = size * torch.randn(3, 2, 20, generator=torch.Generator().manual_seed(seed))
    rounded, scales = quantised(rows)
    assert (rounded.dtype, scales.shape) == (FP8, (3, 2, 1))
    off = (dequantised(rounded, scales, torch.float32) - rows).abs()
    assert bool((off <= rows.abs() / 16 + scales * 2**-10).all())


def test_rows_of_zeros_stay_zeros() -> None:
    assert not dequantised(*quantised(torch.zeros(2, 8)), torch.float32).any()


def test_a_product_is_that_of_rounded_numbers() -> None:
    layer = nn.Linear(32, 48)
    x = torch.randn(5, 32)
    kept = Fp8Linear(layer)
    exact = dequantised(*quantised(x), torch.float32)
    weight = dequantised(*quantised(layer.weight.detach()), torch.float32)
    expected = nn.functional.linear(exact, weight, layer.bias)
    with torch.inference_mode():
        torch.testing.assert_close(kept(x), expected)
        torch.testing.assert_close(kept(x), layer(x), atol=0.15, rtol=0.1)
        torch.testing.assert_close(gelu_in_product(kept, x), gelu_linear(kept, x))
        without = Fp8Linear(nn.Linear(32, 48, bias=False))
        for in_place in (False, True):
            rows = torch.ones(5, 48)
            torch.testing.assert_close(
                add_product(rows, x, without, in_place=in_place), 1 + without(x)
            )
    assert sum(one.nbytes for one in kept.parameters()) < 0.5 * layer.weight.nbytes


def test_fused_layers_say_what_each_says() -> None:
    parts = [Fp8Linear(nn.Linear(32, width)) for width in (48, 16, 16)]
    x = torch.randn(3, 32)
    with torch.inference_mode():
        expected = torch.cat([part(x) for part in parts], dim=-1)
    fused = FusedLinear(parts)
    with torch.inference_mode():
        assert fused.is_usable()
        torch.testing.assert_close(fused(x), expected)
        torch.testing.assert_close(fused(x, first=1), expected[:, 48:])
        torch.testing.assert_close(parts[1](x), expected[:, 48:64])


def test_a_network_is_kept_in_fp8_but_for_its_ends() -> None:
    network = deepcopy(nano())
    ids = torch.arange(40, 61)
    found = []
    for in_fp8 in (False, True, True):
        network.fuse(in_fp8=in_fp8)
        with torch.inference_mode():
            found.append(logits_of(network, ids).softmax(-1))
    with torch.inference_mode():
        assert is_fused(cast("_Layer", network.language.layers[0]).self_attn.fused)
        apart = logits_of(deepcopy(network), ids).softmax(-1)  # layer by layer
    exact, together, again = found
    assert torch.equal(together, again)
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)
    assert 1e-4 < float((together - exact).abs().max()) < 0.5
    dtypes = {name: weight.dtype for name, weight in network.named_parameters()}
    assert dtypes["language.layers.0.mlp.down_proj.weight"] == FP8
    assert dtypes["vision.layers.0.mlp.fc1.weight"] == FP8
    assert dtypes["language.embed_tokens.weight"] == torch.float32


def test_layers_of_odd_sizes_stay_as_they_are() -> None:
    rows = nn.Sequential(nn.Linear(32, 40), nn.Sequential(nn.Linear(32, 48)))
    keep_in_fp8(rows)
    assert [type(one).__name__ for one in rows.modules() if isinstance(one, nn.Linear)] == [
        "Linear",
        "Fp8Linear",
    ]


def test_a_gpu_without_fp8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_device("fp8_keys", CPU)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 9))
    check_device("fp8_keys", CUDA)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 0))
    with pytest.raises(InputError, match=r"fp8_keys: expected .* 8\.9 or later, got 8\.0"):
        check_device("fp8_keys", CUDA)


def test_rounding_that_is_off_or_does_not_run_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert choose_quantise(CPU, torch.float32) is quantised
    assert not is_same(lambda x: quantised(1.5 * x), device=CPU, dtype=torch.float32)
    towards = {}
    for found in (True, False):
        monkeypatch.setattr(fp8, "is_same", lambda *_, found=found, **__: found)
        towards[found] = choose_quantise.__wrapped__(CUDA, torch.bfloat16)
    assert towards[True] is not quantised
    assert towards[False] is quantised

    def fails(*_: object, **__: object) -> bool:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(fp8, "is_same", fails)
    assert choose_quantise.__wrapped__(CUDA, torch.bfloat16) is quantised
    assert "is off here" in caplog.text
    assert "does not run here" in caplog.text


@pytest.mark.gpu
def test_products_on_a_gpu_are_those_of_rounded_numbers() -> None:
    check_device("fp8_products", CUDA)
    assert choose_quantise(CUDA, torch.bfloat16) is not quantised
    layer = nn.Linear(1536, 8960, device=CUDA, dtype=torch.bfloat16)
    kept = Fp8Linear(layer)
    for num_rows in (0, 1, 17, 300):
        x = torch.randn(num_rows, 1536, device=CUDA, dtype=torch.bfloat16)
        with torch.inference_mode():
            got = product(x, kept.weight, kept.scales, kept.bias)
            exact = dequantised(*quantised(x), torch.float32)
            weight = dequantised(kept.weight, kept.scales, torch.float32)
            expected = nn.functional.linear(exact, weight, layer.bias.float())
        torch.testing.assert_close(got.float(), expected, atol=2e-2, rtol=2e-2)
