"""Contexts kept in FP8: half the memory, and answers as near as the rounding allows."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.engine.config import EngineConfig
from model.engine.engine import Engine
from model.engine.kv_cache import PagePool
from model.errors import InputError
from model.layers import pages
from model.layers.attention import SDPA
from model.layers.fp8 import FP8, quantised
from model.layers.paged import PLAIN
from model.layers.pages import kept_in_fp8
from model.types import Question
from model.videollama3.config import PRESETS
from tests.model.nano_model import nano, nano_family, picture, pruned

FIRE = Question("yes_no", "Is there fire?")
CAPTION = Question("caption", "")


def shown(**ways: bool) -> Engine:
    """An engine that has seen two frames of a camera."""
    family = nano_family()
    if ways.get("fp8_products"):
        family = replace(family, network=deepcopy(family.network))
    config = EngineConfig(audit_share=0.0, max_caption_tokens=24, **ways)  # type: ignore[arg-type]  # fields that are bools
    engine = Engine(family, model_name="nano", config=config)
    for second in range(2):
        engine.append([pruned(picture(second), pts_s=float(second), is_refresh=not second)])
    return engine


def test_pages_hold_what_was_written_as_rounded() -> None:
    config = nano().config.text
    exact, rounded = (
        PagePool(config, dtype=torch.float32, device="cpu", page_tokens=4, is_fp8=is_fp8)
        for is_fp8 in (False, True)
    )
    shape = (6, config.num_kv_heads, config.head_dim)
    keys, values = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    slots = torch.tensor([9, 1, 4, 11, 0, 7])
    for pool in (exact, rounded):
        pool.take(2)
        pool.take(1)  # the pages move once
        for layer in range(pool.num_layers):
            pool.write(layer, slots, (layer + 1) * keys, 100 * values)
        pool.give_back([2])
    assert rounded.slabs(0).keys.dtype == FP8
    for layer in range(rounded.num_layers):
        pairs = zip(rounded.read(layer, slots), exact.read(layer, slots), strict=True)
        for got, expected in pairs:
            assert got.dtype == torch.float32
            torch.testing.assert_close(got, expected, atol=0.02 * 100, rtol=1 / 16)
            assert not torch.equal(got, expected)
    assert exact.num_bytes == 3 * exact.page_bytes
    assert rounded.num_bytes == 3 * rounded.page_bytes
    rounded.trim()
    assert rounded.num_bytes == 2 * rounded.page_bytes


def test_keys_and_values_are_rounded_together_by_what_was_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes: list[torch.Size] = []

    def noted(rows: Tensor) -> tuple[Tensor, Tensor]:
        shapes.append(rows.shape)
        return quantised(rows)

    fused = torch.randn(6, 4, 16, generator=torch.Generator().manual_seed(0))
    keys, values = fused[:, :2], fused[:, 2:]  # as products come
    monkeypatch.setattr(pages, "choose_quantise", lambda _device, _dtype: noted)
    got = kept_in_fp8(keys, values)
    assert shapes == [(2 * 6 * 2, 16)]
    one, other = quantised(keys), quantised(values)
    for kept, expected in zip(got, (one[0], other[0], one[1], other[1]), strict=True):
        assert torch.equal(kept.float(), expected.float())


def test_a_token_of_the_2b_model_costs_little_more_than_half() -> None:
    sizes = [
        PagePool(PRESETS["2b"].text, dtype=torch.bfloat16, device="meta", is_fp8=is_fp8).page_bytes
        for is_fp8 in (False, True)
    ]
    assert sizes[1] == sizes[0] * (128 + 4) // 256


@pytest.mark.parametrize(
    "ways", [{"fp8_keys": True}, {"fp8_products": True}, {"fp8_keys": True, "fp8_products": True}]
)
def test_answers_are_near_the_exact_ones(ways: dict[str, bool]) -> None:
    [exact] = shown().ask([("gate", FIRE)])
    engine = shown(**ways)
    [answer] = engine.ask([("gate", FIRE)])
    assert exact.p is not None
    assert answer.p == pytest.approx(exact.p, abs=0.2)
    assert answer.p != exact.p
    has_less = engine.stats.weight_bytes < 0.7 * shown().stats.weight_bytes
    assert has_less == ways.get("fp8_products", False)


def test_what_is_read_in_pages_is_what_copies_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    asks = [("gate", FIRE), ("gate", CAPTION)]
    over_copies = shown(fp8_keys=True).ask(asks)
    monkeypatch.setattr(nano().language, "backend", replace(SDPA, paged=PLAIN))
    over_pages = shown(fp8_keys=True).ask(asks)
    assert [one.value for one in over_pages] == [one.value for one in over_copies]
    assert over_pages[0].p == pytest.approx(over_copies[0].p, abs=1e-4)


def test_a_gpu_without_fp8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 0))
    with pytest.raises(InputError, match=r"^fp8_keys: expected a GPU"):
        PagePool(nano().config.text, dtype=torch.bfloat16, device="cuda", is_fp8=True)
