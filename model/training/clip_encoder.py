"""Kept tokens of many clips through the encoder at once, with gradients.

In service the encoder reads a frame's changed patches and finds the rest in a cache of keys and
values. Within a layer that needs no recurrence over time: what a patch's key is at some frame was
computed from the row of it that was last sent. So all frames of all clips go through each layer
together, every row attending to the latest rows of its frame's patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.engine.config import VisionMode
from model.errors import InputError
from model.layers.attention import Attend
from model.layers.rope import patch_positions
from model.layers.to_device import to_device
from model.types import PrunedFrame
from model.videollama3.config import PATCH_PX
from model.videollama3.network import VideoLlama3

CPU_GROUP_FRAMES = 24


class _Rows(NamedTuple):
    """One frame's rows among all: which it asks with, and which it looks at."""

    queries: NDArray[np.int64]
    keys: NDArray[np.int64]


class _Group(NamedTuple):
    """Frames attended to in one call, queries padded to the longest."""

    queries: Tensor  # (F, n) int64 rows
    keys: Tensor  # (F, N) int64 rows
    real: Tensor | None  # int64, which of the F * n queries are not padding; None for all


@dataclass(frozen=True, slots=True)
class LaidClips:
    """Clips as the encoder takes them, without the pixels that it does not read.

    Attributes:
        pixels: (N, 588) uint8, the rows of all frames that are encoded.
        positions: (N, 2) int64, each row's patch (row, column) in its frame.
        groups: frames that attend in one call.
        back: (N,) int64, where each row stands in the groups' order.
        kept: (n,) int64, the rows that are given; None for all.
    """

    pixels: Tensor
    positions: Tensor
    groups: tuple[_Group, ...]
    back: Tensor
    kept: Tensor | None

    def to(self, device: torch.device) -> Self:
        """Move everything to a device."""

        def moved(x: Tensor | None) -> Any:
            return None if x is None else to_device(x, device)

        return replace(
            self,
            pixels=moved(self.pixels),
            positions=moved(self.positions),
            groups=tuple(_Group(*(moved(x) for x in group)) for group in self.groups),
            back=moved(self.back),
            kept=moved(self.kept),
        )


def lay_out(
    clips: Sequence[Sequence[PrunedFrame]],
    *,
    mode: VisionMode = "delta",
    merge_size: int = 2,
    group_frames: int = CPU_GROUP_FRAMES,
) -> LaidClips:
    """Lay out the patches of what was kept of every frame of every clip.

    Args:
        clips: frames in time order. Unless `mode` is `full` the first of each clip is whole, and
            so is a frame of another grid than the one before it.
        mode: `delta`: kept rows attend to the latest rows of all patches. `isolated`: to the rows
            kept of their own frame alone (Run-Length Tokenization, arXiv 2411.05222). `full`:
            every frame is encoded whole and what was not kept is dropped behind the projector.
        merge_size: patches per token side.
        group_frames: at most so many frames attend in one call: few on a CPU, so that a call fits
            its cache; many where launching a call costs more than what it computes.

    Raises:
        InputError: a clip does not begin with a whole frame.
    """
    pieces, positions, frames, kept = [], [], [], []
    num_rows = 0
    for clip in clips:
        latest: NDArray[np.int64] | None = None
        for frame in clip:
            num_patches = 4 * frame.grid.num_tokens
            mask = frame.keep_mask.reshape(-1)
            if latest is None or len(latest) != num_patches:
                if mode != "full" and not mask.all():
                    raise InputError("clip: expected its first frame whole, got a part of it")
                latest = np.full(num_patches, -1, dtype=np.int64)
            rows = np.ones_like(mask) if mode == "full" else mask
            patches = _patches_of(rows, frame.keep_mask.shape, merge_size=merge_size)
            pieces.append(_rows_of(frame.pixels, frame.keep_mask.shape, patches, merge_size))
            positions.append(_positions(frame.keep_mask.shape, merge_size)[patches])
            own = np.arange(num_rows, num_rows + len(patches))
            latest[patches] = own
            frames.append(_Rows(own, own if mode == "isolated" else latest.copy()))
            if mode == "full":
                chosen = _patches_of(mask, frame.keep_mask.shape, merge_size=merge_size)
                kept.append(own[chosen])
            num_rows += len(patches)
    groups = _groups(frames, group_frames=group_frames)
    asked = [
        group.queries.flatten() if group.real is None else group.queries.flatten()[group.real]
        for group in groups
    ]
    return LaidClips(
        pixels=torch.from_numpy(np.concatenate(pieces)),
        positions=torch.from_numpy(np.concatenate(positions)),
        groups=groups,
        back=torch.argsort(torch.cat(asked)),
        kept=torch.from_numpy(np.concatenate(kept)) if mode == "full" else None,
    )


def encode_rows(model: VideoLlama3, laid: LaidClips) -> Tensor:
    """Encode clips: (4 * num_kept, hidden_size) in the encoder's row order."""
    laid = laid.to(model.device)
    x = laid.pixels.float().sub_(127.5).div_(127.5)
    features = model.vision.run(x, laid.positions, attend=_attend_by(laid))
    return features if laid.kept is None else features.index_select(0, laid.kept)


def _attend_by(laid: LaidClips) -> Attend:
    """Make the encoder's attention over these groups of frames."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ARG001
        q = q * q.shape[-1] ** -0.5
        outputs = []
        for group in laid.groups:
            keys, values = _take(k, group.keys), _take(v, group.keys)
            scores = _take(q, group.queries) @ keys.transpose(-1, -2)
            out = scores.softmax(-1).to(v.dtype) @ values  # (F, heads, n, head_dim)
            flat = out.transpose(1, 2).flatten(0, 1)
            outputs.append(flat if group.real is None else flat.index_select(0, group.real))
        return torch.cat(outputs).index_select(0, laid.back)

    return attend


def _take(x: Tensor, index: Tensor) -> Tensor:
    """Gather rows of x (N, heads, head_dim) by (F, n): (F, heads, n, head_dim)."""
    return x.index_select(0, index.flatten()).reshape(*index.shape, *x.shape[1:]).transpose(1, 2)


def _groups(frames: Sequence[_Rows], *, group_frames: int) -> tuple[_Group, ...]:
    """Put frames of like length together, so that little of a call is padding."""
    order = sorted(
        (index for index, rows in enumerate(frames) if len(rows.queries)),
        key=lambda index: (len(frames[index].keys), len(frames[index].queries)),
    )
    groups: list[list[_Rows]] = []
    for index in order:
        rows = frames[index]
        first = groups[-1][0] if groups else None
        if (
            first is None
            or len(first.keys) != len(rows.keys)
            or len(rows.queries) > 1.5 * len(first.queries) + 8
            or len(groups[-1]) == group_frames
        ):
            groups.append([])
        groups[-1].append(rows)
    return tuple(_group(group) for group in groups)


def _group(frames: Sequence[_Rows]) -> _Group:
    longest = max(len(rows.queries) for rows in frames)
    queries = np.zeros((len(frames), longest), dtype=np.int64)
    is_real = np.zeros((len(frames), longest), dtype=bool)
    for row, rows in enumerate(frames):
        queries[row, : len(rows.queries)] = rows.queries
        is_real[row, : len(rows.queries)] = True
    keys = np.stack([rows.keys for rows in frames])
    real = None if is_real.all() else torch.from_numpy(np.flatnonzero(is_real))
    return _Group(torch.from_numpy(queries), torch.from_numpy(keys), real)


def _positions(shape: tuple[int, ...], merge_size: int) -> NDArray[np.int64]:
    rows, cols = shape
    place = patch_positions((2 * rows, 2 * cols), merge_size=merge_size, device=torch.device("cpu"))
    return place.numpy()


def _patches_of(
    mask: NDArray[np.bool_], shape: tuple[int, ...], *, merge_size: int
) -> NDArray[np.int64]:
    """Give the rows of the kept tokens' patches, in the encoder's row order, ascending."""
    if merge_size == 2:
        return (4 * np.flatnonzero(mask)[:, None] + np.arange(4)).reshape(-1)
    return np.flatnonzero(mask.reshape(shape).repeat(2, axis=0).repeat(2, axis=1))


def _rows_of(
    pixels: NDArray[np.uint8],
    shape: tuple[int, ...],
    patches: NDArray[np.int64],
    merge_size: int,
) -> NDArray[np.uint8]:
    """Cut these patches out of a picture: (num_patches, 588) uint8, (channel, 14, 14) each."""
    rows, cols = shape
    m, p = merge_size, PATCH_PX
    h, w = 2 * rows // m, 2 * cols // m
    blocks = pixels.reshape(h, m, p, w, m, p, 3).transpose(0, 3, 1, 4, 6, 2, 5)
    token, part = np.divmod(patches, m * m)
    chosen: NDArray[np.uint8] = blocks[token // w, token % w, part // m, part % m]
    return chosen.reshape(len(patches), 3 * p * p)
