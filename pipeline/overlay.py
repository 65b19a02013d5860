"""Draws what the pruner sends of a video: sent tokens outlined, a strip of figures below."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.types import TOKEN_PX, PrunedFrame
from pipeline.errors import ConfigError
from pipeline.pen import Colour, Pen
from pipeline.pruner import Pruner
from pipeline.sources.encoder import encode_clip
from pipeline.types import Frame

PLAYED_FPS = 4
BITS_PER_S = 4_000_000
CONTAINERS = (".mp4", ".mkv", ".mov")
MAX_FPS = 30.0
ZOOM = 2
STRIP_PX = 136
STRIP_MARGINS_PX = (52, 30, 52, 20)  # left, top, right, bottom
SAMPLE_PX = 4  # width of a frame in the strip
FRAME_PX, OUTLINE_PX = 5, 2
DIM = 0.45  # brightness of what is not sent
KEPT: Colour = (72, 214, 138)
REFRESH: Colour = (255, 158, 44)
THRESHOLD: Colour = (116, 178, 255)
SHEET: Colour = (24, 27, 32)
WORDS: Colour = (226, 230, 235)
FAINT: Colour = (66, 72, 80)
FULL_SCALE_LEVELS = 12.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What the strip shows of one frame.

    Attributes:
        kept_ratio: tokens sent per token.
        threshold_levels: what a token had to differ by; None where there is no such figure.
        is_refresh: the frame was sent whole.
    """

    kept_ratio: float
    threshold_levels: float | None
    is_refresh: bool


class Overlay:
    """Draws frame after frame as a pruner has decided, and remembers what the strip shows.

    Attributes:
        num_frames: drawn so far.
    """

    def __init__(self, *, title: str) -> None:
        """Start with nothing seen; `title` stands in the strip."""
        self._title = title
        self._samples: deque[Sample] = deque()
        self._num_kept = 0
        self._num_tokens = 0
        self.num_frames = 0

    @property
    def kept_ratio(self) -> float:
        """Tokens sent per token so far."""
        return self._num_kept / max(1, self._num_tokens)

    def drawn(
        self, pruned: PrunedFrame, *, threshold_levels: float | None = None
    ) -> NDArray[np.uint8]:
        """Return a frame with what is sent of it.

        Args:
            pruned: the frame.
            threshold_levels: what it was decided by; None where there is no such figure.

        Returns:
            (2 * height + 136, 2 * width, 3) uint8 RGB.
        """
        self.num_frames += 1
        self._num_kept += pruned.num_kept
        self._num_tokens += pruned.grid.num_tokens
        ratio = pruned.num_kept / pruned.grid.num_tokens
        self._samples.append(Sample(ratio, threshold_levels, pruned.is_refresh))
        picture = _outlined(pruned)
        return np.vstack([picture, self._strip(pruned, width_px=picture.shape[1])])

    def _strip(self, pruned: PrunedFrame, *, width_px: int) -> NDArray[np.uint8]:
        left, top, right, bottom = STRIP_MARGINS_PX
        while len(self._samples) > (width_px - left - right) // SAMPLE_PX:
            self._samples.popleft()
        pen = Pen(width_px, STRIP_PX)
        pen.box((0, 0), (width_px, STRIP_PX), SHEET)
        base = STRIP_PX - bottom
        scale = _Scale(left, base, base - top)
        self._axes(pen, scale, right_px=width_px - right)
        for index, one in enumerate(self._samples):
            x, colour = left + index * SAMPLE_PX, REFRESH if one.is_refresh else KEPT
            y = scale.of_ratio(one.kept_ratio)
            pen.box((x, y), (SAMPLE_PX - 1, base - y), colour)
        levels = [one.threshold_levels for one in self._samples]
        points = [
            (left + (index + 0.5) * SAMPLE_PX, scale.of_levels(level))
            for index, level in enumerate(levels)
            if level is not None
        ]
        if len(points) > 1:
            pen.line(points, THRESHOLD, width_px=2.2)
        self._words(pen, pruned, right_px=width_px - right)
        return pen.pixels()

    def _axes(self, pen: Pen, scale: "_Scale", *, right_px: int) -> None:
        for ratio in (0.0, 0.5, 1.0):
            y = scale.of_ratio(ratio)
            pen.line([(scale.left_px, y), (right_px, y)], FAINT)
            pen.text((scale.left_px - 8, y), f"{ratio:.0%}", size_px=11, colour=KEPT, anchor="rm")
            if self._samples[-1].threshold_levels is not None:
                words = f"{ratio * FULL_SCALE_LEVELS:g}"
                pen.text((right_px + 8, y), words, size_px=11, colour=THRESHOLD, anchor="lm")

    def _words(self, pen: Pen, pruned: PrunedFrame, *, right_px: int) -> None:
        latest = self._samples[-1]
        x = 8.0
        x += 22 + pen.text((x, 15), self._title, size_px=13, colour=WORDS, anchor="lm")
        said = f"{pruned.pts_s:.1f} s"
        x += 22 + pen.text((x, 15), said, size_px=13, colour=WORDS, anchor="lm")
        said = f"sent {pruned.num_kept} of {pruned.grid.num_tokens}, {self.kept_ratio:.1%} so far"
        x += 22 + pen.text((x, 15), said, size_px=13, colour=KEPT, anchor="lm")
        if latest.threshold_levels is not None:
            said = f"threshold {latest.threshold_levels:.1f} levels"
            x += 22 + pen.text((x, 15), said, size_px=13, colour=THRESHOLD, anchor="lm")
        if latest.is_refresh:
            pen.text((right_px, 15), "REFRESH", size_px=13, colour=REFRESH, anchor="rm")


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where the strip's figures stand in it.

    Attributes:
        left_px: where it begins.
        base_px: where 0 stands.
        height_px: of the whole scale.
    """

    left_px: float
    base_px: float
    height_px: float

    def of_ratio(self, ratio: float) -> float:
        """Return the height of a kept ratio."""
        return self.base_px - ratio * self.height_px

    def of_levels(self, levels: float) -> float:
        """Return the height of a threshold; one off the scale stands at its top."""
        return self.of_ratio(min(1.0, levels / FULL_SCALE_LEVELS))


def _outlined(pruned: PrunedFrame) -> NDArray[np.uint8]:
    """Enlarge a frame, dim what is not sent of it, and draw a line around what is."""
    height, width = (side * ZOOM for side in pruned.pixels.shape[:2])
    enlarged = Image.fromarray(pruned.pixels).resize((width, height), Image.Resampling.BICUBIC)
    side = TOKEN_PX * ZOOM
    kept = pruned.keep_mask.repeat(side, axis=0).repeat(side, axis=1)
    picture = np.asarray(enlarged, dtype=np.uint8)
    dark = (picture * np.float32(DIM)).astype(np.uint8)
    drawn = np.where(kept[..., None], picture, dark)
    if pruned.is_refresh:
        drawn[_rim(np.ones_like(kept), width_px=FRAME_PX)] = REFRESH
    else:
        drawn[_rim(kept, width_px=OUTLINE_PX)] = KEPT
    return drawn


def _rim(area: NDArray[np.bool_], *, width_px: int) -> NDArray[np.bool_]:
    """Return what of an area lies within `width_px` of where it ends, the picture's edge too."""
    inner = np.pad(area, width_px)
    for axis in (0, 1):
        inner = np.logical_and.reduce(
            [np.roll(inner, by, axis) for by in range(-width_px, width_px + 1)]
        )
    return area & ~inner[width_px:-width_px, width_px:-width_px]


def drawn_by(
    pruner: Pruner, frames: Iterable[Frame], overlay: Overlay
) -> Iterator[NDArray[np.uint8]]:
    """Yield frames drawn as a pruner decides on them, one after the other."""
    for frame in frames:
        pruned = pruner.prune(frame)
        threshold_levels = pruner.threshold_levels  # what this frame was decided by
        pruner.sent(pruned)
        yield overlay.drawn(pruned, threshold_levels=threshold_levels)


def check_files(source: Path, target: Path, *, fps: float) -> None:
    """Refuse a video that is not there, and a place that none can be written to.

    Raises:
        ConfigError: what was expected, and what came.
    """
    if not source.is_file():
        raise ConfigError(f"inspect: expected a video file at {source}, found none")
    check_target(target, source=source, command="inspect")
    if not 0 < fps <= MAX_FPS:
        raise ConfigError(
            f"inspect: --fps: expected more than 0 and at most {MAX_FPS:g}, got {fps:g}"
        )


def check_target(target: Path, *, source: Path | None, command: str) -> None:
    """Refuse a place that no video can be written to, as given to a command.

    Args:
        target: the file to write.
        source: the video that is read; None where it is no file.
        command: whose `--out` it is.

    Raises:
        ConfigError: what was expected, and what came.
    """
    if target.suffix.lower() not in CONTAINERS:
        raise ConfigError(
            f"{command}: --out: expected a file name ending in {', '.join(CONTAINERS)}, got "
            f"{target}"
        )
    if not target.parent.is_dir():
        raise ConfigError(f"{command}: --out: expected a folder at {target.parent}, found none")
    if target.is_dir() or not os.access(target.parent, os.W_OK):
        raise ConfigError(f"{command}: --out: expected a file that can be written, got {target}")
    for written in (target, _unfinished(target)):
        if source and source.exists() and written.exists() and written.samefile(source):
            raise ConfigError(
                f"{command}: --out: expected another file than the video itself, got {written}"
            )


def _unfinished(target: Path) -> Path:
    """Return what a video is called until it is whole."""
    return target.with_name(f"{target.stem}.part{target.suffix}")


def write_overlay(
    path: Path,
    drawn: Iterable[NDArray[np.uint8]],
    overlay: Overlay,
    *,
    progress: Callable[[str], None],
) -> None:
    """Write frames that are drawn, as a video of 4 pictures a second.

    Args:
        path: the file to write; it is there when it is whole, or not at all.
        drawn: a camera's, in order.
        overlay: draws them.
        progress: told how many are drawn.

    Raises:
        ConfigError: the file cannot be written.
        SourceError: the frames' source failed.
    """

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for picture in drawn:
            yield picture
            if overlay.num_frames % 10 == 0:
                progress(said())

    def said() -> str:
        return f"{overlay.num_frames} frames, {overlay.kept_ratio:.1%} of the tokens sent"

    unfinished = _unfinished(path)
    try:
        encode_clip(unfinished, pictures(), fps=PLAYED_FPS, gop_s=2, bits_per_s=BITS_PER_S)
        unfinished.rename(path)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    progress(f"{path}: {said()}")
