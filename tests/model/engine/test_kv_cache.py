import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.engine.kv_cache import KVSequence, PagePool
from model.errors import InputError
from model.layers.pages import PAGE_TOKENS
from model.videollama3.config import PRESETS, TextConfig
from tests.model.growing import used_bytes

CONFIG = TextConfig(
    hidden_size=8,
    intermediate_size=8,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    vocab_size=8,
    max_positions=40,
)
BYTES_PER_TOKEN = 2 * 2 * 1 * 4 * 4


def small_pool(*, page_tokens: int = 4) -> PagePool:
    return PagePool(CONFIG, dtype=torch.float32, device="cpu", page_tokens=page_tokens)


def extend(pool: PagePool, sequence: KVSequence, num_tokens: int, *, value: float) -> None:
    sequence.reserve(num_tokens)
    slots = sequence.slots(sequence.length, sequence.length + num_tokens)
    for layer in range(CONFIG.num_layers):
        rows = torch.full((num_tokens, 1, 4), value + layer)
        pool.write(layer, slots, rows, -rows)
    sequence.advance(num_tokens)


def held(pool: PagePool, sequence: KVSequence, *, layer: int = 0) -> Tensor:
    keys, values = pool.read(layer, sequence.slots(0, sequence.length))
    assert torch.equal(values, -keys)
    return keys[:, 0, 0]


@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), max_size=15),
    page_tokens=st.integers(1, 5),
)
def test_sequences_that_share_a_pool_keep_to_themselves(
    steps: list[tuple[int, int]], page_tokens: int
) -> None:
    pool = small_pool(page_tokens=page_tokens)
    sequences = [KVSequence(pool) for _ in range(3)]
    expected: list[list[float]] = [[], [], []]
    for value, (index, count) in enumerate(steps):
        if len(expected[index]) + count > CONFIG.max_positions:
            sequences[index].truncate(0)
            expected[index].clear()
        extend(pool, sequences[index], count, value=float(value))
        expected[index] += [float(value)] * count
    for sequence, rows in zip(sequences, expected, strict=True):
        for layer in range(CONFIG.num_layers):
            assert held(pool, sequence, layer=layer).tolist() == [row + layer for row in rows]
    used = sum(-(-len(rows) // page_tokens) * page_tokens for rows in expected)
    assert used_bytes(pool) == used * BYTES_PER_TOKEN
    assert used_bytes(pool) == sum(sequence.num_bytes for sequence in sequences)
    assert pool.num_bytes >= used_bytes(pool)


def test_what_one_gives_back_the_next_one_uses() -> None:
    pool = small_pool()
    first, second = KVSequence(pool), KVSequence(pool)
    extend(pool, first, 10, value=1.0)
    num_bytes = pool.num_bytes
    assert num_bytes == used_bytes(pool) == 12 * BYTES_PER_TOKEN
    first.truncate(0)
    assert (pool.num_bytes, used_bytes(pool)) == (num_bytes, 0)
    extend(pool, second, 12, value=2.0)
    assert pool.num_bytes == num_bytes


def test_a_token_of_the_2b_model_costs_28_kib() -> None:
    pool = PagePool(PRESETS["2b"].text, dtype=torch.bfloat16, device="meta")
    pool.take(3)
    assert pool.num_bytes == 3 * PAGE_TOKENS * 28 * 1024


def test_truncate_forgets_the_tail_and_nothing_else() -> None:
    pool = small_pool()
    sequence = KVSequence(pool)
    extend(pool, sequence, 3, value=1.0)
    extend(pool, sequence, 4, value=5.0)
    sequence.truncate(3)
    assert sequence.length == 3
    assert used_bytes(pool) == 4 * BYTES_PER_TOKEN
    extend(pool, sequence, 1, value=7.0)
    assert held(pool, sequence).tolist() == [1.0, 1.0, 1.0, 7.0]


@pytest.mark.parametrize("length", [-1, 4])
def test_truncate_to_what_is_not_held_is_refused(length: int) -> None:
    pool = small_pool()
    sequence = KVSequence(pool)
    extend(pool, sequence, 3, value=1.0)
    with pytest.raises(InputError, match=f"expected 0 to 3 tokens, got {length}"):
        sequence.truncate(length)


def test_a_sequence_beyond_the_models_positions_is_refused_and_is_as_before() -> None:
    pool = small_pool()
    sequence = KVSequence(pool)
    extend(pool, sequence, 39, value=1.0)
    with pytest.raises(InputError, match="expected at most 40 tokens, got 41"):
        sequence.reserve(2)
    assert sequence.length == 39


def test_a_pass_that_fails_half_way_gives_its_pages_back() -> None:
    pool = small_pool()
    sequence = KVSequence(pool)
    extend(pool, sequence, 3, value=1.0)
    sequence.reserve(9)
    sequence.truncate(sequence.length)
    assert used_bytes(pool) == 4 * BYTES_PER_TOKEN
