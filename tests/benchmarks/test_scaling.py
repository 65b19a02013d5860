import re
from math import ceil

import pytest
from kafka.partitioner.default import murmur2

from tests.benchmarks import scaling
from tests.deploy.compose import ROOT
from worker.benchmarks.report import Row

PAGE = (ROOT / "deploy" / "SCALING.md").read_text()


def rows_of(num_cameras: int) -> dict[str, Row]:
    start = f"cameras_{num_cameras}_"
    return {row.name.removeprefix(start): row for row in scaling.site_rows(num_cameras)}


@pytest.mark.parametrize("num_cameras", scaling.SITES[:2])
def test_the_page_says_what_the_script_works_out(num_cameras: int) -> None:
    rows = rows_of(num_cameras)
    (line,) = [one for one in PAGE.splitlines() if one.startswith(f"| {num_cameras:,} | 1 |")]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert int(cells[2]) == rows["partitions"].value
    assert [int(one) for one in cells[3].split(",")] == [
        rows["gpus"].value,
        rows["gpus"].terms["spare"],
    ]
    assert float(cells[4].split(" ")[0]) == pytest.approx(rows["kafka_in"].value)
    assert float(cells[5].removesuffix(" TB")) == pytest.approx(rows["kafka_disk"].value, rel=0.1)
    assert float(cells[7].removesuffix(" s")) == pytest.approx(
        rows["rebuild_windows"].value, rel=0.05
    )


def test_the_advised_command_makes_the_advised_partitions() -> None:
    (advised,) = re.findall(r"--partitions (\d+)", PAGE)
    assert int(advised) == scaling.partitions_for(1_000)


@pytest.mark.parametrize("num_cameras", [100, 1_000, 3_000])
def test_the_advised_partitions_carry_the_cameras_with_a_worker_gone(num_cameras: int) -> None:
    for site in range(3):
        group = scaling.spread(num_cameras, scaling.partitions_for(num_cameras), site=site)
        assert sum(group.loads) == num_cameras
        needed = group.workers_needed(most=scaling.CAMERAS_PER_GPU)
        assert ceil(num_cameras / scaling.CAMERAS_PER_GPU) <= needed
        assert group.heaviest(needed) <= scaling.CAMERAS_PER_GPU
        assert 4 * (needed + 1) <= len(group.loads), "and there is room to grow"


def test_partitions_are_dealt_out_whole() -> None:
    group = scaling.Group([5, 1, 1, 1])
    assert [group.heaviest(workers) for workers in (1, 2, 4)] == [8, 6, 5]
    assert group.workers_needed(most=3) == 4, "one has more than that, and is not divided"


def test_keys_go_where_a_producer_sends_them() -> None:
    """Kafka's own figures for murmur2, as its tests have them."""
    assert murmur2(b"21") & 0xFFFFFFFF == -973932308 & 0xFFFFFFFF
    assert murmur2(b"foobar") & 0xFFFFFFFF == -790332482 & 0xFFFFFFFF


def test_a_picture_is_as_large_as_is_told() -> None:
    sizes = scaling.picture_bytes()
    assert len(sizes) > 10
    assert 14_000 < sum(sizes) / len(sizes) < 20_000
