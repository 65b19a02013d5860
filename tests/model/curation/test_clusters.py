from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.curation.clusters import fit, highest_ranks, nearest, sample
from model.curation.parts import Floats, StepFolder
from model.curation.work import rank_of


def blobs(sizes: list[int]) -> Floats:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(len(sizes), 16))
    points = np.repeat(centres, sizes, axis=0) + rng.normal(0, 0.1, (sum(sizes), 16))
    found: Floats = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    return found


def stored(folder: Path, points: Floats, parts: int) -> StepFolder:
    ids = [f"id-{number}" for number in range(len(points))]
    for part in range(parts):
        some = list(range(part, len(points), parts))
        flat = pa.array(points[some].astype(np.float16).reshape(-1))
        columns = {
            "id": [ids[n] for n in some],
            "rank": pa.array([rank_of(ids[n]) for n in some], pa.uint64()),
            "features": pa.FixedSizeListArray.from_arrays(flat, points.shape[1]),
        }
        pq.write_table(pa.table(columns), folder / f"part-{part:05d}.parquet")
    return StepFolder(folder)


def test_rare_pictures_get_a_cluster_of_their_own() -> None:
    sizes = [900, 60, 20, 10]
    points = blobs(sizes)
    clusters = nearest(points, fit(points, 4))
    truth = np.repeat(np.arange(4), sizes)
    assert len({(a, b) for a, b in zip(clusters, truth, strict=True)}) == 4


@pytest.mark.gpu
def test_a_gpu_fits_the_same_centres_each_time() -> None:
    points = blobs([2_000, 600, 200, 10] * 20)
    once, again = (fit(points, 60, device="cuda") for _ in range(2))
    assert np.array_equal(once, again)


def test_a_sample_does_not_depend_on_how_pictures_lie_in_parts(tmp_path: Path) -> None:
    points = blobs([40, 20])
    samples = []
    for parts in (1, 7):
        (tmp_path / str(parts)).mkdir()
        folder = stored(tmp_path / str(parts), points, parts)
        samples.append(sample(folder, range(parts), 25))
    assert len(samples[0]) == 25
    assert np.array_equal(samples[0], samples[1])


def test_there_are_no_more_clusters_than_pictures() -> None:
    points = blobs([2, 1])
    assert len(fit(points, 10)) == 3
    assert len(fit(points[:0], 10)) == 0


def test_each_cluster_gives_its_lowest_ranks(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    clusters = rng.integers(0, 6, 500).astype(np.int32)
    ranks = rng.permutation(np.arange(1, 501)).astype(np.uint64)
    for part, some in enumerate(np.array_split(np.arange(500), 4)):
        columns = {"cluster": clusters[some], "rank": ranks[some]}
        pq.write_table(pa.table(columns), tmp_path / f"part-{part:05d}.parquet")
    last = highest_ranks(StepFolder(tmp_path), range(4), num_clusters=8, num_per_cluster=20)
    for cluster in range(6):
        lowest = np.sort(ranks[clusters == cluster])[:20]
        assert last[cluster] == lowest[-1]
    assert last[6:].tolist() == [0, 0]
