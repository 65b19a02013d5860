"""What a camera costs before the model: processor time and memory of 1080p H.264.

A file takes the camera's place, since it is decoded by the same code, and is played as fast as it
goes: the processor time of a second of stream does not depend on how long that second takes.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, count, islice
from pathlib import Path
from threading import Barrier, Thread

import torch

from model.types import PatchGrid
from pipeline.cadence import Cadence
from pipeline.clock import SystemClock
from pipeline.sources.container import open_video
from pipeline.sources.decoding_device import DecodingDevice
from pipeline.sources.file import FileSource
from pipeline.sources.nvdec import Nvdec, tried
from pipeline.types import Frame
from worker.benchmarks.camera_video import FPS, clip
from worker.benchmarks.report import Progress, Row

GRID = PatchGrid(rows=9, cols=16)  # 448x252
SAMPLE_PERIOD_S = 1.0
GOPS_S = (1, 10)
NUM_CAMERAS = (1, 8, 16)
MAX_KEY_FRAME_RATIO = 0.25
WARM_UP_FRAMES = 5  # the policy has made up its mind, swscale is set up
MEASURED_FRAMES = 35
ROUNDS = 3
NUM_ON_GPU = 16  # decoders at once
_NUMBERS = count()


def measure(progress: Progress) -> list[Row]:
    """Measure processor time per second of stream, and memory per camera; on NVDEC, if there is."""
    clips = {gop_s: clip(gop_s, progress) for gop_s in GOPS_S}
    rows = []
    for gop_s, path in clips.items():
        progress(f"decoding 1080p{FPS} H.264, key frames every {gop_s} s")
        rows += _cpu_rows(gop_s, path)
    rows += _gpu_rows(clips[10], progress)
    return rows + _memory_rows(clips[1], progress)


def _cpu_rows(gop_s: int, path: Path) -> list[Row]:
    # Taken in turns, so that a machine that is busy for a while is unfair to neither.
    ours, every = [], []
    for _ in range(ROUNDS):
        ours.append(cpu_per_stream_s(path, sample_period_s=SAMPLE_PERIOD_S))
        every.append(cpu_per_stream_s(path, sample_period_s=0.0))
    ours_s, every_s = min(ours), min(every)
    ratio = ours_s / every_s
    target = MAX_KEY_FRAME_RATIO if gop_s <= SAMPLE_PERIOD_S else None
    unit = "CPU s per stream s"
    terms = {"ours_cpu_s": ours_s, "every_frame_cpu_s": every_s}
    per_core = Row(f"cameras_per_core_gop{gop_s}s", 1 / ours_s, "cameras")
    return [
        Row(f"key_frames_share_of_bytes_gop{gop_s}s", key_frames_byte_ratio(path), "ratio"),
        Row(f"ingest_1080p25_gop{gop_s}s", ours_s, unit),
        per_core,
        Row(f"every_frame_decoded_1080p25_gop{gop_s}s", every_s, unit),
        Row(
            f"ingest_to_every_frame_gop{gop_s}s",
            ratio,
            "ratio",
            target,
            None if target is None else ratio <= target,
            terms,
        ),
    ]


def _gpu_rows(path: Path, progress: Progress) -> list[Row]:
    """Measure the same where every frame is decoded, on NVDEC.

    Of a camera of which key frames are enough the processor decodes these, GPU or not. A round of
    the clip begins with a new decoder, which a camera's does not.
    """
    name = "ingest_1080p25_gop10s_on_gpu"
    if trouble := tried("h264"):
        return [Row(name, None, f"unmeasured: needs NVDEC, {trouble}")]
    progress("decoding 1080p25 H.264, key frames every 10 s, on NVDEC")
    device = Nvdec(most=NUM_ON_GPU)
    spent_s = min(
        cpu_per_stream_s(path, sample_period_s=SAMPLE_PERIOD_S, device=device)
        for _ in range(ROUNDS)
    )
    free_bytes, _ = torch.cuda.mem_get_info()
    sources = [_source(path, sample_period_s=0.0, device=device) for _ in range(NUM_ON_GPU)]
    players = [source.frames() for source in sources]
    for _ in chain.from_iterable(islice(frames, WARM_UP_FRAMES) for frames in players):
        pass
    held_mib = (free_bytes - torch.cuda.mem_get_info()[0]) / NUM_ON_GPU / 2**20
    clock = SystemClock()
    begun_s = clock.monotonic_s()
    with ThreadPoolExecutor(NUM_ON_GPU) as threads:
        played_s = sum(threads.map(_played_s, players))
    at_once = played_s / (clock.monotonic_s() - begun_s)
    terms = {"failed": float(device.num_failed), "decoders": float(NUM_ON_GPU)}
    return [
        Row(name, spent_s, "CPU s per stream s", terms=terms),
        Row("cameras_per_core_gop10s_on_gpu", 1 / spent_s, "cameras"),
        Row("cameras_at_once_gop10s_on_gpu", at_once, "cameras, with all cores", terms=terms),
        Row("gpu_memory_per_camera_1080p25", held_mib, "MiB"),
    ]


def _played_s(frames: Iterator[Frame]) -> float:
    """Play on for a while; return how much of the stream that was, in seconds."""
    times_s = [frame.pts_s for frame in islice(frames, MEASURED_FRAMES)]
    return times_s[-1] - times_s[0]


def cpu_per_stream_s(
    path: Path, *, sample_period_s: float, device: DecodingDevice | None = None
) -> float:
    """Return the processor seconds that a second of stream costs, sampled once a second.

    Args:
        path: the clip.
        sample_period_s: what the key-frame policy is told: 0 makes it decode every frame.
        device: decodes in the processor's place.
    """
    source = _source(path, sample_period_s=sample_period_s, device=device)
    frames = source.frames()
    start_s = [frame.pts_s for frame in islice(frames, WARM_UP_FRAMES)][-1]
    started_s = time.process_time()
    end_s = [frame.pts_s for frame in islice(frames, MEASURED_FRAMES)][-1]
    spent_s = time.process_time() - started_s
    source.close()
    return spent_s / (end_s - start_s)


def key_frames_byte_ratio(path: Path) -> float:
    """Return which share of the clip's bytes its key frames take."""
    with open_video(
        str(path), options={}, open_timeout_s=30.0, read_timeout_s=30.0, clock=SystemClock()
    ) as video:
        sizes = [(a.packet.size, a.packet.is_keyframe) for a in video.packets()]
    return sum(size for size, is_key in sizes if is_key) / sum(size for size, _ in sizes)


def _source(
    path: Path, *, sample_period_s: float, device: DecodingDevice | None = None
) -> FileSource:
    cadence = Cadence(SAMPLE_PERIOD_S)
    return FileSource(
        f"bench-{next(_NUMBERS)}",
        path,
        wanted=lambda _camera_id, pts_s: cadence.due(pts_s),
        grid_of=lambda _height_px, _width_px: GRID,
        clock=SystemClock(),
        live=False,
        loop=True,
        sample_period_s=sample_period_s,
        device=device,
    )


def _memory_rows(path: Path, progress: Progress) -> list[Row]:
    none_mib = _resident_in_child(path, 0)
    rows = []
    for num_cameras in NUM_CAMERAS:
        progress(f"memory of {num_cameras} cameras")
        resident_mib = _resident_in_child(path, num_cameras)
        rows.append(
            Row(
                f"memory_per_camera_1080p25_of_{num_cameras}",
                (resident_mib - none_mib) / num_cameras,
                "MiB",
                terms={"resident_mib": resident_mib, "without_cameras_mib": none_mib},
            )
        )
    return rows


def _resident_in_child(path: Path, num_cameras: int) -> float:
    """Measure in a fresh process: an allocator does not give back what an earlier round took."""
    command = [sys.executable, "-m", __name__, str(path), str(num_cameras)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return float(done.stdout)


def resident_mib(path: Path, num_cameras: int) -> float:
    """Return this process's resident memory while so many cameras are open and playing."""
    playing, measured = Barrier(num_cameras + 1), Barrier(num_cameras + 1)

    def play() -> None:
        frames = _source(path, sample_period_s=SAMPLE_PERIOD_S).frames()
        for _ in islice(frames, WARM_UP_FRAMES):
            pass
        playing.wait()
        measured.wait()

    threads = [Thread(target=play) for _ in range(num_cameras)]
    for thread in threads:
        thread.start()
    playing.wait()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    measured.wait()
    for thread in threads:
        thread.join()
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    print(resident_mib(Path(sys.argv[1]), int(sys.argv[2])))  # noqa: T201 (read by the parent)
