from copy import deepcopy
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from model.layers.fused import FusedLinear, is_fused
from model.videollama3.language import _Layer
from model.videollama3.network import VideoLlama3
from tests.model.growing import logits_of
from tests.model.nano_model import nano

IDS = torch.arange(40, 61)
ROWS = torch.randn(80, 588, generator=torch.Generator().manual_seed(0))
GRIDS = [(8, 10)]


def logits(network: VideoLlama3) -> torch.Tensor:
    tokens = network.encode(ROWS, GRIDS)
    return logits_of(network, IDS, tokens, IDS)


def are_fused(network: VideoLlama3) -> list[bool]:
    found = [module.fused for module in network.modules() if hasattr(module, "fused")]
    with torch.inference_mode():
        return [is_fused(cast("FusedLinear | None", fused)) for fused in found]


def test_a_joined_model_says_what_its_layers_say() -> None:
    apart = deepcopy(nano())
    together = deepcopy(nano()).fuse()
    assert not any(are_fused(apart))
    assert all(are_fused(together))
    with torch.inference_mode():
        torch.testing.assert_close(logits(together), logits(apart), atol=1e-4, rtol=1e-4)


def test_weights_stay_where_their_names_are(tmp_path: Path) -> None:
    network = deepcopy(nano())
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    parameters = list(network.parameters())
    network.fuse()
    assert all(one is other for one, other in zip(network.parameters(), parameters, strict=True))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    after = load_file(tmp_path / "model.safetensors")
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_it_follows_its_weights() -> None:
    network = deepcopy(nano()).fuse().requires_grad_(requires_grad=True)
    with torch.no_grad():
        before = logits(network)
    torch.autograd.backward(logits(network).square().mean())
    with torch.no_grad():
        for weight in network.parameters():
            assert weight.grad is not None
            weight.sub_(0.1 * weight.grad.sign())
        changed = logits(network)
        assert not torch.allclose(before, changed, atol=1e-2)
        assert all(are_fused(network))
        apart = deepcopy(network)
        torch.testing.assert_close(changed, logits(apart), atol=1e-3, rtol=1e-3)


def test_a_model_with_weights_elsewhere_is_run_layer_by_layer() -> None:
    network = deepcopy(nano()).fuse()
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    moved = deepcopy(network)
    moved.load_state_dict(weights, assign=True)
    for other in (moved, deepcopy(network), deepcopy(network).double()):
        assert not any(are_fused(other))
        with torch.inference_mode():
            assert torch.isfinite(logits(other)).all()


def test_a_bias_elsewhere_is_no_longer_the_fused_one() -> None:
    network = deepcopy(nano()).fuse()
    attention = cast("_Layer", network.language.layers[0]).self_attn
    assert attention.fused
    attention.v_proj.bias = nn.Parameter(attention.v_proj.bias.detach() + 1)
    with torch.inference_mode():
        assert not is_fused(attention.fused)


def test_nothing_are_fused_under_autocast() -> None:
    network = deepcopy(nano()).fuse()
    with torch.autocast("cpu", torch.bfloat16):
        assert not any(are_fused(network))


def test_rows_that_are_put_in_stay_as_they_were() -> None:
    network = deepcopy(nano()).fuse()
    with torch.inference_mode():
        rows = network.language.embed(IDS)
        before = rows.clone()
        logits_of(network, rows)
        assert torch.equal(rows, before)
