"""Cameras that are not there: rendered streets, made beforehand and played in real time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from threading import Event

import cv2
import numpy as np
from numpy.typing import NDArray

from model.types import TOKEN_PX, PatchGrid
from pipeline.cadence import Cadence
from pipeline.clock import Clock
from pipeline.lane import Lanes
from pipeline.sources.decoding_device import DecodingDevice
from pipeline.sources.file import FileSource
from pipeline.ticks import Ticks
from pipeline.types import Frame, Overflow
from worker.benchmarks.report import Progress
from worker.benchmarks.street import Image, Street

NUM_STREETS, CLIP_S = 6, 40
NOISE_LEVELS = 2.0


@dataclass(frozen=True, slots=True)
class Clips:
    """Pictures of several streets, one a second: (streets, seconds, height, width, 3) uint8 RGB."""

    pictures: NDArray[np.uint8]

    @property
    def grid(self) -> PatchGrid:
        """What each picture is cut into."""
        height, width = self.pictures.shape[2:4]
        return PatchGrid(height // TOKEN_PX, width // TOKEN_PX)

    def at(self, camera: int, second: int) -> Image:
        """Return what a camera sees: no two of them the same street at the same moment."""
        picture: Image = self.pictures[self.place(camera, second)]
        return picture

    def place(self, camera: int, second: int) -> tuple[int, int]:
        """Return which street that is, and which second of it."""
        streets, seconds = self.pictures.shape[:2]
        offset = 7 * (camera // streets)
        return camera % streets, (second + offset) % seconds


def render(grid: PatchGrid, progress: Progress) -> Clips:
    """Draw the streets, scale them down, add sensor noise. No decoder has had part in it."""
    progress(f"rendering {NUM_STREETS} streets of {CLIP_S} s")
    rng = np.random.default_rng(0)
    shape = (NUM_STREETS, CLIP_S, grid.height_px, grid.width_px, 3)
    pictures = np.empty(shape, np.uint8)
    for street in range(NUM_STREETS):
        drawn = Street(seed=100 + street)
        for second in range(CLIP_S):
            small = cv2.resize(drawn.at(float(second)), shape[3:1:-1], interpolation=cv2.INTER_AREA)
            noisy = small + rng.normal(0.0, NOISE_LEVELS, small.shape)
            pictures[street, second] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return Clips(pictures)


@dataclass(frozen=True, slots=True)
class Played:
    """One camera: its id, its number, and how much stream time it had before it is played."""

    camera_id: str
    number: int
    history_s: int

    def frame(self, clips: Clips, second: int, *, captured_at: datetime) -> Frame:
        """Return its frame of a second of stream time."""
        pixels = clips.at(self.number, second)
        return Frame(self.camera_id, pixels, clips.grid, float(second), captured_at)


def play(
    camera: Played,
    clips: Clips,
    lanes: Lanes,
    *,
    ticks: Ticks,
    clock: Clock,
    stop: Event,
    pruned: Callable[[float], None] = lambda _late_s: None,
) -> None:
    """Offer a camera's frames, one a second by the clock, until told to stop.

    It connects at some moment of the first second, and is sampled from then on when `ticks` says,
    as live cameras are. Frames are pruned on this thread; `pruned` is told how many seconds after
    it was taken each of them was.
    """
    at_s = clock.monotonic_s() + _connects_after_s(camera)
    lane = lanes.lane(camera.camera_id, overflow=Overflow.LATEST)
    for second in count(camera.history_s):
        if clock.wait(at_s - clock.monotonic_s(), stop):
            return
        lane.offer(camera.frame(clips, second, captured_at=clock.now()))
        pruned(clock.monotonic_s() - at_s)
        is_first = second == camera.history_s
        at_s += ticks.first_gap_s(camera.camera_id, at_s) if is_first else ticks.period_s


def _connects_after_s(camera: Played) -> float:
    return float(np.random.default_rng(1 + camera.number).uniform(0.0, 1.0))


def play_decoded(  # noqa: PLR0913 - as `play`, and the video
    camera: Played,
    clips: Clips,
    lanes: Lanes,
    *,
    path: Path,
    device: DecodingDevice | None,
    ticks: Ticks,
    clock: Clock,
    stop: Event,
    pruned: Callable[[float], None] = lambda _late_s: None,
) -> None:
    """Do what `play` does for one camera, at the pace of a video that is read, decoded and scaled.

    What the video shows is left out: the model is shown the street, so that as much of it changes.
    It is played over and over, and `device` decodes it where it can.
    """
    if clock.wait(_connects_after_s(camera), stop):
        return
    cadence = Cadence(1.0, first_gap_s=ticks.first_gap_s(camera.camera_id, clock.monotonic_s()))
    source = FileSource(
        camera.camera_id,
        path,
        wanted=lambda _camera_id, pts_s: cadence.due(pts_s),
        grid_of=lambda _height_px, _width_px: clips.grid,
        clock=clock,
        live=True,
        loop=True,
        device=device,
    )
    lane = lanes.lane(camera.camera_id, overflow=Overflow.LATEST)
    for second, _frame in enumerate(source.frames(), camera.history_s):
        if stop.is_set():
            return
        taken_s = clock.monotonic_s()
        lane.offer(camera.frame(clips, second, captured_at=clock.now()))
        pruned(clock.monotonic_s() - taken_s)
