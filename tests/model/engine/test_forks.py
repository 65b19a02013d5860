"""Branches with children: single tokens that share all that stands before them."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine.decoding import Decoding
from model.engine.forks import Forks
from model.engine.kv_cache import KVSequence
from model.errors import InputError
from model.kinds.base import Branch
from tests.model.growing import extend, new_pool
from tests.model.nano_model import nano

POOL = new_pool(nano())
TOLERANCE = 1e-4


def sequence(num_tokens: int, *, seed: int) -> KVSequence:
    """A context of random rows."""
    one = KVSequence(POOL)
    if num_tokens:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(num_tokens, nano().config.text.hidden_size, generator=generator)
        extend(nano(), POOL, one, rows)
    return one


CONTEXTS = [sequence(length, seed=length) for length in (3, 17, 40)]
tokens = st.integers(5, 400)
branches = st.builds(
    lambda ids, scored, children: Branch(
        tuple(ids), num_scored=min(scored, len(ids)), children=tuple(children)
    ),
    st.lists(tokens, min_size=1, max_size=7),
    st.integers(1, 3),
    st.lists(tokens, max_size=4),
)


def each_alone(context: KVSequence, branch: Branch) -> torch.Tensor:
    """Score the branch's last tokens, and what follows each child as a branch of its own."""
    own = Branch(branch.ids, num_scored=branch.num_scored)
    rows = Forks(nano(), POOL, [(context, own)]).prefill()
    for child in branch.children:
        rows += Forks(nano(), POOL, [(context, Branch((*branch.ids, child)))]).prefill()
    return torch.cat(rows)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CONTEXTS), branches), min_size=1, max_size=6))
def test_children_equal_branches_of_their_own(asks: Sequence[tuple[KVSequence, Branch]]) -> None:
    together = Forks(nano(), POOL, asks).prefill()
    for (context, branch), logits in zip(asks, together, strict=True):
        assert logits.shape[0] == branch.num_readings
        torch.testing.assert_close(
            logits, each_alone(context, branch), atol=TOLERANCE, rtol=TOLERANCE
        )


def test_a_branch_beside_one_with_children_is_decoded_as_alone() -> None:
    parent = Branch((7, 8, 9), children=(11, 12))
    told = Branch((7, 11, 13), max_new_tokens=3)
    forks = Forks(nano(), POOL, [(CONTEXTS[1], parent), (CONTEXTS[0], told), (CONTEXTS[1], told)])
    forks.prefill()
    decoding = Decoding(nano(), POOL, num_rows=2)
    rows = decoding.join([(forks.beginning(n), 20) for n in (1, 2)])
    for said in ((20,), (20, 21)):
        decoding.put(rows[0], said[-1])
        decoding.put(rows[1], said[-1])
        decoding.launch(1)
        for context, logits in zip((CONTEXTS[0], CONTEXTS[1]), decoding.logits(rows), strict=True):
            words = Branch((*told.ids, *said))
            [alone] = Forks(nano(), POOL, [(context, words)]).prefill()
            torch.testing.assert_close(logits, alone[0], atol=TOLERANCE, rtol=TOLERANCE)


def test_children_need_a_position_too() -> None:
    class Full(KVSequence):
        length = POOL.max_positions - 1

    full = Full(POOL)
    with pytest.raises(InputError, match="expected at most"):
        Forks(nano(), POOL, [(full, Branch((7,), children=(8,)))])
