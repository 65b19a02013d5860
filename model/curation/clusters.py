"""Clusters of CLIP features: fitted on a sample, in one process, and how many each may give.

The sample is the pictures of lowest rank, in the order of their ids. So it is the same whatever
order parts are done in, and whatever number of workers there is.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from model.curation.parts import Floats, StepFolder, column, features_of

Ranks = NDArray[np.uint64]

ROUNDS = 20
SEED = 11
_ROWS_AT_ONCE = 65_536


def sample(folder: StepFolder, parts: Sequence[int], count: int) -> Floats:
    """Return features of the `count` pictures of lowest rank, in the order of their ids."""
    lowest = np.empty(0, dtype=np.uint64)
    for part in parts:
        lowest = np.concatenate([lowest, column(folder.part(part), "rank")])
        if len(lowest) > count:
            lowest = np.partition(lowest, count - 1)[:count]
    if not len(lowest):
        return np.empty((0, 1), dtype=np.float32)
    limit = pa.scalar(int(lowest.max()), pa.uint64())
    chosen = []
    for part in parts:
        rows = pq.read_table(folder.part(part), columns=["id", "rank", "features"])
        chosen.append(rows.filter(pc.less_equal(rows.column("rank"), limit)))
    return features_of(pa.concat_tables(chosen).sort_by([("id", "ascending")]))


def fit(features: Floats, num_clusters: int, *, device: str = "cpu") -> Floats:
    """Fit spherical k-means.

    The first centres are drawn as k-means++ draws them, from a fixed seed: each with a chance that
    grows with its distance from those before it, so that rare pictures get centres too.

    Args:
        features: (N, D), of length 1.
        num_clusters: K; N where that is less.
        device: where products are computed.

    Returns:
        (K, D) centres of length 1.
    """
    own = torch.from_numpy(features)
    points = own.to(device)
    rng = np.random.default_rng(SEED)
    num = min(num_clusters, len(points))
    if num == 0:
        return features[:0]
    first = [int(rng.integers(len(points)))]
    far = (1 - points @ points[first[0]]).clamp_min(0)
    while len(first) < num:
        sums = far.double().cpu().cumsum(0)  # on a GPU, sums come out as its threads happen to add
        drawn = torch.searchsorted(sums, float(rng.random()) * float(sums[-1]))
        first.append(min(int(drawn), len(points) - 1))
        far = torch.minimum(far, (1 - points @ points[first[-1]]).clamp_min(0))
    centres = points[first].clone()
    for _ in range(ROUNDS):
        near, closeness = _nearest(points, centres)
        sums_of = torch.zeros_like(own[:num]).index_add_(0, near.cpu(), own).to(device)
        sizes = torch.bincount(near, minlength=num)
        empty = torch.flatten(torch.nonzero(sizes == 0))
        if len(empty):  # an empty cluster takes the points that are worst off
            sums_of[empty] = points[torch.topk(closeness, len(empty), largest=False).indices]
        moved = torch.nn.functional.normalize(sums_of, dim=1)
        if torch.equal(moved, centres):
            break
        centres = moved
    found: Floats = centres.cpu().numpy()
    return found


def nearest(features: Floats, centres: Floats) -> NDArray[np.int32]:
    """Give the cluster of each of (N, D) features."""
    near, _ = _nearest(torch.from_numpy(features), torch.from_numpy(centres))
    return near.numpy().astype(np.int32)


def highest_ranks(
    folder: StepFolder, parts: Sequence[int], *, num_clusters: int, num_per_cluster: int
) -> Ranks:
    """Give for each cluster the rank of the last picture that is taken of it.

    Memory is bounded by what is taken, not by what there is.
    """
    clusters = np.empty(0, dtype=np.int32)
    ranks = np.empty(0, dtype=np.uint64)
    room = max(4 * num_clusters * num_per_cluster, 1 << 16)
    for part in parts:
        clusters = np.concatenate([clusters, column(folder.part(part), "cluster")])
        ranks = np.concatenate([ranks, column(folder.part(part), "rank")])
        if len(ranks) > room:
            clusters, ranks = _lowest(clusters, ranks, num_per_cluster)
    clusters, ranks = _lowest(clusters, ranks, num_per_cluster)
    last = np.zeros(num_clusters, dtype=np.uint64)
    np.maximum.at(last, clusters, ranks)
    return last


def _lowest(
    clusters: NDArray[np.int32], ranks: Ranks, count: int
) -> tuple[NDArray[np.int32], Ranks]:
    order = np.lexsort((ranks, clusters))
    clusters, ranks = clusters[order], ranks[order]
    begins = np.searchsorted(clusters, clusters)
    is_low = np.arange(len(clusters)) - begins < count
    return clusters[is_low], ranks[is_low]


def _nearest(points: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    near, closeness = [], []
    for begin in range(0, len(points), _ROWS_AT_ONCE):
        some = points[begin : begin + _ROWS_AT_ONCE]
        best = (some @ centres.T).max(1)
        near.append(best.indices)
        closeness.append(best.values)
    if not near:
        return torch.empty(0, dtype=torch.int64), torch.empty(0)
    return torch.cat(near), torch.cat(closeness)
