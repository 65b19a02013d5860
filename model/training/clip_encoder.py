"""Kept tokens of many clips through the encoder at once, with gradients.

In service the encoder reads a frame's changed patches and finds the rest in a cache of keys and
values. Within a layer that needs no recurrence over time: what a patch's key is at some frame was
computed from the row of it that was last sent. So all frames of all clips go through each layer
together, every row attending to the latest rows of its frame's patches.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.attention import Attend
from model.delta import VisionMode
from model.errors import InputError
from model.network import VideoLlama3
from model.rope import patch_positions
from model.types import PATCH_PX, PrunedFrame
from model.vision import merge

MAX_GROUP_FRAMES = 24


class _Rows(NamedTuple):
    """One frame's rows among all: which it asks with, and which it looks at."""

    queries: NDArray[np.int64]
    keys: NDArray[np.int64]


class _Group(NamedTuple):
    """Frames attended to in one call, queries padded to the longest."""

    queries: Tensor  # (F, n) int64 rows
    keys: Tensor  # (F, N) int64 rows
    is_real: Tensor  # (F * n,) bool


def encode_clips(
    model: VideoLlama3,
    clips: Sequence[Sequence[PrunedFrame]],
    *,
    mode: VisionMode = "delta",
    merge_size: int = 2,
) -> Tensor:
    """Encode what was kept of every frame of every clip, and project it.

    Returns:
        (num_kept, text width), clips end to end, frames in order, tokens in raster order; with
        merge_size 1 four rows for each kept token, raster order of patches. Arguments and errors
        are those of `encode_rows`.
    """
    features = encode_rows(model, clips, mode=mode, merge_size=merge_size)
    out: Tensor = model.projector(merge(features, merge_size))
    return out


def encode_rows(
    model: VideoLlama3,
    clips: Sequence[Sequence[PrunedFrame]],
    *,
    mode: VisionMode = "delta",
    merge_size: int = 2,
) -> Tensor:
    """Encode the patches of what was kept of every frame of every clip.

    Args:
        model: encoder and projector.
        clips: frames in time order, the first of each clip whole; a frame of another grid than
            the one before it is whole too.
        mode: `delta`: kept rows attend to the latest rows of all patches. `isolated`: to the rows
            kept of their own frame alone (Run-Length Tokenization, arXiv 2411.05222). `full`:
            every frame is encoded whole and what was not kept is dropped behind the projector.
        merge_size: patches per token side.

    Returns:
        (4 * num_kept, hidden_size) in the encoder's row order.

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
                if not mask.all():
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
    device = model.device
    pixels = torch.from_numpy(np.concatenate(pieces)).to(device)
    x = pixels.float().sub_(127.5).div_(127.5)
    place = torch.from_numpy(np.concatenate(positions)).to(device)
    attend = _attend_by(_groups(frames, device=device), num_rows=num_rows, device=device)
    features = model.vision.run(x, place, attend=attend)
    if mode == "full":
        features = features[torch.from_numpy(np.concatenate(kept)).to(device)]
    return features


def _attend_by(groups: Sequence[_Group], *, num_rows: int, device: torch.device) -> Attend:
    """Make the encoder's attention over these groups of frames."""
    order = torch.cat([group.queries.flatten()[group.is_real] for group in groups])
    back = torch.empty(num_rows, dtype=torch.int64, device=device)
    back[order] = torch.arange(num_rows, device=device)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ARG001
        q = q * q.shape[-1] ** -0.5
        outputs = []
        for group in groups:
            keys, values = _take(k, group.keys), _take(v, group.keys)
            scores = _take(q, group.queries) @ keys.transpose(-1, -2)
            out = scores.softmax(-1).to(v.dtype) @ values  # (F, heads, n, head_dim)
            flat = out.transpose(1, 2).flatten(0, 1)
            outputs.append(flat if bool(group.is_real.all()) else flat[group.is_real])
        return torch.cat(outputs).index_select(0, back)

    return attend


def _take(x: Tensor, index: Tensor) -> Tensor:
    """Gather rows of x (N, heads, head_dim) by (F, n): (F, heads, n, head_dim)."""
    return x.index_select(0, index.flatten()).reshape(*index.shape, *x.shape[1:]).transpose(1, 2)


def _groups(frames: Sequence[_Rows], *, device: torch.device) -> list[_Group]:
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
            or len(groups[-1]) == MAX_GROUP_FRAMES
        ):
            groups.append([])
        groups[-1].append(rows)
    return [_group(group, device=device) for group in groups]


def _group(frames: Sequence[_Rows], *, device: torch.device) -> _Group:
    longest = max(len(rows.queries) for rows in frames)
    queries = np.zeros((len(frames), longest), dtype=np.int64)
    is_real = np.zeros((len(frames), longest), dtype=bool)
    for row, rows in enumerate(frames):
        queries[row, : len(rows.queries)] = rows.queries
        is_real[row, : len(rows.queries)] = True
    keys = np.stack([rows.keys for rows in frames])
    return _Group(
        torch.from_numpy(queries).to(device),
        torch.from_numpy(keys).to(device),
        torch.from_numpy(is_real.reshape(-1)).to(device),
    )


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
