import pytest
import torch

from model.config import PRESETS, TextConfig
from model.errors import InputError
from model.kv_cache import KVCache

CONFIG = TextConfig(
    hidden_size=8,
    intermediate_size=8,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    vocab_size=8,
)


def small_cache(*, capacity: int = 2, max_tokens: int = 20) -> KVCache:
    return KVCache(
        CONFIG, dtype=torch.float32, device="cpu", capacity=capacity, max_tokens=max_tokens
    )


def extend(cache: KVCache, num_tokens: int, *, value: float) -> None:
    for layer in range(CONFIG.num_layers):
        rows = torch.full((num_tokens, 1, 4), value + layer)
        cache.append(layer, rows, -rows)
    cache.advance(num_tokens)


def test_it_returns_every_row_appended_at_any_growth() -> None:
    cache = small_cache()
    for step in range(1, 6):
        extend(cache, step, value=10.0 * step)
    assert cache.length == 15
    expected = torch.repeat_interleave(torch.arange(10.0, 60.0, 10.0), torch.arange(1, 6))
    for layer in range(CONFIG.num_layers):
        keys, values = cache.view(layer)
        assert torch.equal(keys[:, 0, 0], expected + layer)
        assert torch.equal(values, -keys)


def test_it_counts_its_bytes_exactly() -> None:
    cache = small_cache(capacity=4)
    bytes_per_token = 2 * 2 * 1 * 4 * 4
    assert cache.num_bytes == 4 * bytes_per_token
    extend(cache, 5, value=1.0)
    assert cache.num_bytes == 8 * bytes_per_token
    extend(cache, 6, value=1.0)
    assert cache.num_bytes == 16 * bytes_per_token
    extend(cache, 7, value=1.0)
    assert cache.num_bytes == 20 * bytes_per_token, "doubling stops at max_tokens"


def test_a_token_of_the_2b_model_costs_28_kib() -> None:
    cache = KVCache(PRESETS["2b"].text, dtype=torch.bfloat16, device="meta", capacity=100)
    assert cache.num_bytes == 100 * 28 * 1024


def test_truncate_forgets_the_tail_and_nothing_else() -> None:
    cache = small_cache()
    extend(cache, 3, value=1.0)
    num_bytes = cache.num_bytes
    extend(cache, 1, value=5.0)
    cache.truncate(3)
    assert cache.length == 3
    assert cache.num_bytes == num_bytes
    extend(cache, 1, value=7.0)
    assert cache.view(0)[0][:, 0, 0].tolist() == [1.0, 1.0, 1.0, 7.0]


@pytest.mark.parametrize("length", [-1, 4])
def test_truncate_to_what_is_not_held_is_refused(length: int) -> None:
    cache = small_cache()
    extend(cache, 3, value=1.0)
    with pytest.raises(InputError, match=f"expected 0 to 3 tokens, got {length}"):
        cache.truncate(length)


def test_a_sequence_beyond_the_limit_is_refused_and_the_cache_is_as_before() -> None:
    cache = small_cache(max_tokens=4)
    extend(cache, 3, value=1.0)
    with pytest.raises(InputError, match="expected at most 4 tokens, got 5"):
        extend(cache, 2, value=9.0)
    assert cache.length == 3
    assert cache.view(1)[0][:, 0, 0].tolist() == [2.0, 2.0, 2.0]
