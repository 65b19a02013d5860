"""Which pictures are copies of others, by fingerprints, whatever shard they are in.

A picture is a copy where one of lower rank differs from it in at most so many bits. Two that
differ in D bits agree in at least two of D + 2 bands of bits, so only those that agree in a pair of
bands are compared, pair after pair of bands: 15 of about 21 bits for D = 4. Fingerprints that
agree in a pair are sorted and each is compared with the `WINDOW` after it.
"""

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.curation.parts import StepFolder

Keys = NDArray[np.uint64]
Places = NDArray[np.int64]

WINDOW = 4096
"""How many of those that agree in a pair of bands each is compared with: a bound on time where
very many pictures are nearly the same, such as drawings on white."""

BY_ID = 0
"""The mask that stands for comparing ids, by their rank, and not fingerprints."""


def masks(max_differing_bits: int) -> list[int]:
    """Give the bits that one round of comparison agrees in; `BY_ID` is the first round."""
    bounds = np.linspace(0, 64, max_differing_bits + 3).round().astype(int).tolist()
    bands = [(1 << end) - (1 << begin) for begin, end in pairwise(bounds)]
    return [BY_ID, *(one | other for one, other in combinations(bands, 2))]


def losers(
    folder: StepFolder, parts: range, mask: int, *, share: tuple[int, int], max_bits: int
) -> Places:
    """Find copies among the pictures that agree in the bits of `mask`.

    Args:
        folder: of the step before, for the columns `fingerprint` and `rank`.
        parts: all of its parts.
        mask: bits, or `BY_ID`.
        share: (which, of how many): only keys that leave this rest, to bound memory.
        max_bits: that copies differ in at most.

    Returns:
        Places of the copies, as `place` gives them, sorted.
    """
    which, of = share
    held: list[tuple[Keys, Keys, Places]] = []
    for part in parts:
        read = pq.read_table(folder.part(part), columns=["rank", "fingerprint", "row"])
        ranks, prints, rows = (column.to_numpy() for column in read.columns)
        prints = ranks if mask == BY_ID else prints
        chosen = np.flatnonzero(_spread(_key(prints, mask)) % np.uint64(of) == which)
        held.append((prints[chosen], ranks[chosen], place(part, rows[chosen])))
    prints = np.concatenate([some for some, _, _ in held])
    ranks = np.concatenate([some for _, some, _ in held])
    places = np.concatenate([some for _, _, some in held])
    return np.sort(_copies(prints, ranks, places, mask=mask, max_bits=max_bits))


def place(part: int, rows: NDArray[np.int32]) -> Places:
    """Give rows of a part one number each, by which the earlier comes first."""
    found: Places = rows.astype(np.int64) + (part << 32)
    return found


def _copies(prints: Keys, ranks: Keys, places: Places, *, mask: int, max_bits: int) -> Places:
    order = np.lexsort((places, ranks, prints, _key(prints, mask)))
    prints, ranks = prints[order], ranks[order]
    places = places[order]
    is_again = np.zeros(len(prints), dtype=np.bool_)
    is_again[1:] = prints[1:] == prints[:-1]
    found = [places[is_again]]  # the first of a fingerprint has the lowest rank
    if mask != BY_ID:
        prints, ranks = prints[~is_again], ranks[~is_again]
        places = places[~is_again]
        for one, other in _near(prints, _key(prints, mask), max_bits):
            found.append(places[np.where(ranks[one] < ranks[other], other, one)])
    return np.unique(np.concatenate(found))


def _near(prints: Keys, keys: Keys, max_bits: int) -> Iterator[tuple[Places, Places]]:
    """Yield index pairs of one key whose fingerprints differ in few bits."""
    start = np.arange(len(prints))
    for offset in range(1, WINDOW + 1):
        start = start[start + offset < len(prints)]
        start = start[keys[start] == keys[start + offset]]
        if not len(start):
            return
        differing = np.bitwise_count(prints[start] ^ prints[start + offset])
        near = start[differing <= max_bits]
        yield near, near + offset


def _key(prints: Keys, mask: int) -> Keys:
    return prints if mask == BY_ID else prints & np.uint64(mask)


def _spread(keys: Keys) -> Keys:
    """Mix bits, so that a rest of a division shares keys out evenly."""
    mixed = (keys ^ (keys >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    found: Keys = mixed >> np.uint64(40)
    return found
