from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.curation.duplicates import BY_ID, _copies, losers, masks, place
from tests.model.curation.curations import painted_plan, run

BITS = st.integers(0, 63)


def found(prints: list[int], ranks: list[int], max_bits: int) -> set[int]:
    keys = np.array(prints, np.uint64), np.array(ranks, np.uint64), np.arange(len(prints))
    rounds = [_copies(*keys, mask=mask, max_bits=max_bits) for mask in masks(max_bits)[1:]]
    return set(np.concatenate(rounds).tolist())


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.sets(BITS, max_size=7)), max_size=9),
    st.integers(0, 6),
)
def test_all_copies_are_found_and_nothing_else(
    pictures: list[tuple[int, set[int]]], max_bits: int
) -> None:
    prints = [p for p, _ in pictures] + [p ^ sum(1 << b for b in bits) for p, bits in pictures]
    ranks = list(range(len(prints)))[::-1]
    expected = {
        one
        for one in range(len(prints))
        for other in range(len(prints))
        if (prints[one] ^ prints[other]).bit_count() <= max_bits and ranks[other] < ranks[one]
    }
    assert found(prints, ranks, max_bits) == expected


@pytest.mark.parametrize("max_bits", range(9))
def test_bands_cover_every_bit(max_bits: int) -> None:
    covered = 0
    for mask in masks(max_bits)[1:]:
        covered |= mask
    assert covered == 2**64 - 1
    assert masks(max_bits)[0] == BY_ID


def test_shares_of_the_keys_find_together_what_one_search_finds(tmp_path: Path) -> None:
    plan = painted_plan(tmp_path, 150)
    run(plan, "read")
    folder, parts = plan.folder("read"), range(3)
    for mask in masks(4):
        whole = losers(folder, parts, mask, share=(0, 1), max_bits=4)
        split = [losers(folder, parts, mask, share=(s, 3), max_bits=4) for s in range(3)]
        assert np.array_equal(np.sort(np.concatenate(split)), whole)


def test_an_earlier_shard_comes_first() -> None:
    rows = np.array([0, 2**31 - 1], np.int32)
    assert (place(1, rows) > place(0, rows).max()).all()
