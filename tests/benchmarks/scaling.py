"""How many partitions, workers and GPUs so many cameras need: `python -m tests.benchmarks scaling`.

Arithmetic and a simulation: no cluster, a few seconds. Keys go to partitions as Kafka's clients
send them (murmur2), partitions to workers evenly by number, in any order, as a sticky assignor has
them after a while.
`deploy/SCALING.md` is written from it; every assumption is a constant here.
"""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from random import Random
from statistics import mean, median

import av
from kafka.partitioner.default import murmur2
from PIL import Image

from pipeline.rebuilding import REACH
from worker.benchmarks.report import Progress, Row
from worker.demo.show import SCENE

SITES = (100, 1_000, 100_000)
PARTITIONS_PER_WORKER = (1, 2, 4, 8, 16)
CAMERAS_PER_GPU = 160  # the 2B at five questions every 5 s and a caption every 10 s; 200 at best
PER_WORKER = 8  # partitions: what SCALING.md advises
CELL = 10_000  # cameras on one topic, group and Redis

SIZE = (448, 252)
QUALITY = 90  # the default of VIGIL_INGEST__QUALITY
STREET_BYTES = 33_000  # a real street (OpenCV's vtest.avi) at SIZE and QUALITY, mean of 60 pictures
UNCHANGED_BYTES = 200  # a record with key, headers and no value
WHOLE_EVERY_S = 15.0  # a whole picture at least so often, however still the camera is
COPIES = 3  # Kafka's replication factor
KEPT_S = 3600.0

WINDOW_S = 180.0
DECODE_S = 0.002  # of a core, a picture's JPEG
APPEND_S = 0.0015  # of the GPU, a picture: 23 % of the time at 150 cameras (RESULTS.md)
BUSY_SHARE = 0.97  # of the thread that infers, at CAMERAS_PER_GPU
DRAWS = 9  # sites with ids of their own, of which the median is told

MESSAGES_PER_S = 1.1  # a camera: five answers every 5 s, a caption every 10 s
REDIS_S = 50e-6  # of Redis' one core, a message with an append-only file, by its INFO
MESSAGE_BYTES = 900  # of Redis' memory
STREAM_LENGTH = 1_000  # VIGIL_REDIS__STREAM_MAX_LEN


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group that a site's cameras are spread over.

    Attributes:
        loads: cameras of each partition.
    """

    loads: Sequence[int]

    def heaviest(self, num_workers: int) -> int:
        """Return the cameras of the worker that has most, partitions dealt out evenly."""
        return max(sum(self.loads[worker::num_workers]) for worker in range(num_workers))

    def workers_needed(self, *, most: int) -> int:
        """Return how many workers there must be for none to have more; at most one a partition."""
        for num_workers in range(ceil(sum(self.loads) / most), len(self.loads)):
            if self.heaviest(num_workers) <= most:
                return num_workers
        return len(self.loads)


def spread(num_cameras: int, num_partitions: int, *, site: int = 0) -> Group:
    """Hash the ids of a site's cameras as Kafka's clients do, and shuffle the partitions."""
    loads = Counter(
        (murmur2(f"site{site}-cam-{number}".encode()) & 0x7FFFFFFF) % num_partitions
        for number in range(num_cameras)
    )
    partitions = [loads[partition] for partition in range(num_partitions)]
    Random(site).shuffle(partitions)  # noqa: S311 (a draw that is the same each time)
    return Group(partitions)


def partitions_for(num_cameras: int) -> int:
    """Return how many partitions to create: eight a worker, for one more than an even share asks.

    A topic has as many as its largest site will need: more later would move every camera.
    """
    num_workers = ceil(num_cameras / CAMERAS_PER_GPU)
    return PER_WORKER * (num_workers + 1 + num_workers // 4)


def measure(progress: Progress) -> list[Row]:
    """Work it out for each size of a site."""
    progress("encoding the demo's clip")
    rendered_bytes = mean(picture_bytes())
    rows = [
        Row("picture_rendered", rendered_bytes, "bytes"),
        Row("picture_street", STREET_BYTES, "bytes"),
    ]
    for num_cameras in SITES:
        progress(f"{num_cameras} cameras")
        rows += site_rows(num_cameras, rendered_bytes=rendered_bytes)
    return rows


def site_rows(num_cameras: int, *, rendered_bytes: float = STREET_BYTES) -> list[Row]:
    """Return a site's figures; one that is larger than a cell is made of cells."""
    name = f"cameras_{num_cameras}"
    num_cells = ceil(num_cameras / CELL)
    in_cell = ceil(num_cameras / num_cells)
    num_partitions = partitions_for(in_cell)
    cells = [spread(in_cell, num_partitions, site=site) for site in range(DRAWS)]
    even = ceil(in_cell / CAMERAS_PER_GPU)
    needed = round(median(cell.workers_needed(most=CAMERAS_PER_GPU) for cell in cells))
    moved = in_cell / (needed + 1) / needed  # to each that stays; the spare one works as well
    street_bytes = num_cameras * STREET_BYTES
    still_bytes = num_cameras * (rendered_bytes / WHOLE_EVERY_S + UNCHANGED_BYTES)
    messages = in_cell * MESSAGES_PER_S
    return [
        Row(f"{name}_cells", num_cells, "topics, groups, Redis"),
        Row(f"{name}_partitions", num_partitions, "a cell"),
        Row(
            f"{name}_gpus",
            (needed + 1) * num_cells,
            "GPUs",
            terms={"evenly": even * num_cells, "hashed": needed * num_cells, "spare": num_cells},
        ),
        *skew_rows(name, in_cell, even),
        Row(f"{name}_kafka_in", street_bytes / 1e6, "MB/s", terms={"still": still_bytes / 1e6}),
        Row(f"{name}_kafka_disk", street_bytes * COPIES * KEPT_S / 1e12, "TB"),
        Row(
            f"{name}_rebuild_windows",
            rebuild_s(moved, of=in_cell / needed),
            "s",
            terms={"cameras_to_each": moved},
        ),
        Row(f"{name}_redis_messages", messages, "1/s a cell"),
        Row(f"{name}_redis_core", messages * REDIS_S, "cores a cell"),
        Row(f"{name}_redis_memory", in_cell * redis_bytes() / 1e9, "GB a cell"),
    ]


def skew_rows(name: str, num_cameras: int, num_workers: int) -> list[Row]:
    """Return the heaviest worker over an even share, by partitions a worker; also with one gone."""
    rows = []
    workers = max(2, num_workers)
    for count in PARTITIONS_PER_WORKER:
        groups = [spread(num_cameras, count * workers, site=site) for site in range(DRAWS)]
        all_there = median(group.heaviest(workers) for group in groups) / num_cameras
        one_gone = median(group.heaviest(workers - 1) for group in groups) / num_cameras
        rows.append(
            Row(
                f"{name}_heaviest_of_{workers}_at_{count}_each",
                all_there * workers,
                "ratio",
                terms={"one_gone": one_gone * (workers - 1)},
            )
        )
    return rows


def rebuild_s(num_cameras: float, *, of: float) -> float:
    """Return how long cameras' windows take, in the time that a worker has left.

    Args:
        num_cameras: whose pictures are seen again.
        of: so many cameras that it then has in all.
    """
    spare_share = max(0.03, 1 - BUSY_SHARE * of / CAMERAS_PER_GPU)
    return num_cameras * REACH * WINDOW_S * max(APPEND_S / spare_share, DECODE_S)


def redis_bytes() -> float:
    """Return a camera's memory in Redis with full streams: captions, answers, events, status."""
    return 4 * STREAM_LENGTH * MESSAGE_BYTES


def picture_bytes() -> list[int]:
    """Return the size of each second's picture of the demo's clip, as `vigil ingest` sends it."""
    sizes, due_s = [], 0.0
    with av.open(str(SCENE)) as container:
        for frame in container.decode(video=0):
            if frame.pts is not None and frame.time >= due_s:
                due_s += 1.0
                file = io.BytesIO()
                picture = frame.reformat(*SIZE, format="rgb24").to_ndarray()
                Image.fromarray(picture).save(file, "JPEG", quality=QUALITY)
                sizes.append(file.tell())
    return sizes
