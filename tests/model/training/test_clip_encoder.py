import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.engine.config import VisionMode
from model.errors import InputError
from model.layers.rope import patch_positions
from model.training.clip_encoder import encode_rows, lay_out
from model.types import PrunedFrame
from model.videollama3.patches import patchify
from model.videollama3.vision import merge
from tests.model.training.clips import clip, network


def encoded(
    frames: tuple[PrunedFrame, ...], *, mode: VisionMode = "delta", merge_size: int = 2
) -> Tensor:
    """What the decoder gets of a clip's kept tokens."""
    rows = encode_rows(network(), lay_out([frames], mode=mode, merge_size=merge_size))
    tokens: Tensor = network().projector(merge(rows, merge_size))
    return tokens


def one_by_one(frames: tuple[PrunedFrame, ...]) -> Tensor:
    """Delta encoding as it is done in service: frame after frame, over a cache that is written."""
    model = network().vision
    rows, cols = frames[0].keep_mask.shape
    place = patch_positions((2 * rows, 2 * cols), merge_size=2, device=torch.device("cpu"))
    cache: dict[int, tuple[Tensor, Tensor]] = {}
    outputs = []
    for frame in frames:
        kept = torch.from_numpy(np.flatnonzero(frame.keep_mask.repeat(4)))

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, kept: Tensor = kept) -> Tensor:
            keys, values = cache.setdefault(layer, (k.clone(), v.clone()))
            keys[kept], values[kept] = k, v
            out = []
            for query in q:
                scores = torch.einsum("hd,thd->ht", query, keys) * query.shape[-1] ** -0.5
                out.append(torch.einsum("ht,thd->hd", scores.softmax(-1), values))
            return torch.stack(out)

        if len(kept):
            outputs.append(model.run(patchify(frame.pixels)[kept], place[kept], attend=attend))
    return torch.cat(outputs)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    group_frames=st.integers(1, 9),
)
@torch.no_grad()
def test_all_frames_at_once_equal_one_after_another(
    seed: int, lengths: list[int], group_frames: int
) -> None:
    clips = [clip(length, seed=seed + i, cols=2 + i) for i, length in enumerate(lengths)]
    got = encode_rows(network(), lay_out(clips, mode="delta", group_frames=group_frames))
    expected = torch.cat([one_by_one(frames) for frames in clips])
    torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-3)


@torch.no_grad()
def test_full_gives_the_kept_tokens_of_whole_frames() -> None:
    frames = clip(4)
    got = encoded(frames, mode="full")
    whole = [network().encode(patchify(f.pixels), [(4, 6)]) for f in frames]
    masks = [torch.from_numpy(f.keep_mask.reshape(-1)) for f in frames]
    expected = torch.cat([rows[mask] for rows, mask in zip(whole, masks, strict=True)])
    torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-3)


@torch.no_grad()
def test_where_everything_changed_delta_is_full() -> None:
    frames = clip(3, share=1.0)
    delta = encoded(frames, mode="delta")
    torch.testing.assert_close(delta, encoded(frames, mode="full"))


@torch.no_grad()
def test_isolated_rows_see_their_own_frame_alone() -> None:
    frames = clip(3)
    alone = encoded(frames, mode="isolated")
    other = (clip(1, seed=9)[0], *frames[1:])
    changed = encoded(other, mode="isolated")
    first = frames[0].grid.num_tokens
    torch.testing.assert_close(alone[first:], changed[first:])
    assert not torch.allclose(alone[:first], changed[:first])


@torch.no_grad()
def test_single_images_at_merge_size_one_are_the_encoders_own() -> None:
    frames = clip(1)
    got = encoded(frames, merge_size=1)
    rows = patchify(frames[0].pixels, merge_size=1)
    expected = network().encode(rows, [(4, 6)], merge_size=1)
    torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-3)


def test_a_gradient_reaches_what_a_later_frame_looks_at() -> None:
    first, second = clip(2)
    model = network()
    model.vision.requires_grad_(requires_grad=True)
    out = encode_rows(model, lay_out([(first, second)]))
    weight = model.vision.embeddings.patch_embedding.weight
    (gradient,) = torch.autograd.grad(out[4 * first.num_kept :].sum(), weight)
    assert float(gradient.abs().sum()) > 0
    model.vision.requires_grad_(requires_grad=False)


def test_a_clip_that_begins_in_part_is_refused() -> None:
    with pytest.raises(InputError, match="first frame whole"):
        lay_out([clip(2)[1:]])
