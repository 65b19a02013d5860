from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.engine.kv_cache import KVSequence
from model.layers.attention import Attend, Segments, attention
from model.layers.rope import text_rotation
from model.patch_diff import paper_mask
from model.videollama3.network import VideoLlama3
from model.videollama3.patches import patchify
from tests.model.growing import extend, logits_of, new_pool
from tests.model.tiny import IMAGE_TOKEN_ID, VIDEO_TOKEN_ID, VOCAB_SIZE, clip, oracle, ours


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def reference(request: pytest.FixtureRequest) -> Any:
    return oracle(is_tied=request.param)


@pytest.fixture(scope="module")
def network(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> VideoLlama3:
    folder: Path = tmp_path_factory.mktemp("model")
    return ours(reference, folder)


def words(num_words: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, IMAGE_TOKEN_ID, (num_words,), generator=generator)


@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (3, 7), (5, 2)])
def test_logits_of_a_pruned_video_prompt_equal_the_oracles(
    reference: Any, network: VideoLlama3, rows: int, cols: int
) -> None:
    frames = clip(4, rows, cols, seed=rows)
    keep = torch.from_numpy(
        np.stack([paper_mask(frames[t], frames[t - 1] if t else None) for t in range(len(frames))])
    )
    assert rows * cols < keep.sum() < keep.numel()
    head, tail = words(9, seed=1), words(6, seed=2)
    stamps = [words(3, seed=10 + t) for t in range(len(frames))]

    ids = [head]
    for stamp, mask in zip(stamps, keep, strict=True):
        ids += [stamp, torch.full((int(mask.sum()),), VIDEO_TOKEN_ID)]
    expected = reference(
        input_ids=torch.cat([*ids, tail])[None],
        pixel_values_videos=patchify(frames),
        video_grid_thw=torch.tensor([(len(frames), 2 * rows, 2 * cols)]),
        video_merge_sizes=torch.tensor([2]),
        video_compression_mask=keep.flatten(),
    ).logits[0]

    grown = [head]
    for frame, stamp, mask in zip(frames, stamps, keep, strict=True):
        tokens = network.encode(patchify(frame), [(2 * rows, 2 * cols)])
        grown += [stamp, tokens[mask.flatten()]]
    got = logits_of(network, *grown, tail)
    assert got.shape == (*expected.shape[:-1], VOCAB_SIZE)
    assert (got - expected).abs().max() <= 1e-3
    assert torch.equal(got.argmax(dim=-1), expected.argmax(dim=-1))

    in_one_pass = torch.cat(
        [part if part.is_floating_point() else network.language.embed(part) for part in grown]
    )
    assert (logits_of(network, in_one_pass, tail) - expected).abs().max() <= 1e-3


@pytest.mark.parametrize("merge_size", [1, 2])
def test_logits_of_an_image_prompt_equal_the_oracles(
    reference: Any, network: VideoLlama3, merge_size: int
) -> None:
    (image,) = clip(1, 3, 4)
    rows = patchify(image, merge_size=merge_size)
    tokens = network.encode(rows, [(6, 8)], merge_size=merge_size)
    head, tail = words(5, seed=3), words(7, seed=4)
    placeholders = torch.full((len(tokens),), IMAGE_TOKEN_ID)
    expected = reference(
        input_ids=torch.cat([head, placeholders, tail])[None],
        pixel_values=rows,
        image_grid_thw=torch.tensor([(1, 6, 8)]),
        image_merge_sizes=torch.tensor([merge_size]),
    ).logits[0]
    assert (logits_of(network, head, tokens, tail) - expected).abs().max() <= 1e-3


def test_decoding_one_by_one_equals_one_pass(network: VideoLlama3) -> None:
    ids = words(40, seed=5)
    whole = logits_of(network, ids)
    assert whole.dtype == torch.float32
    for size in (1, 7, 25):
        parts = torch.split(ids, size)
        torch.testing.assert_close(logits_of(network, *parts), whole, atol=1e-4, rtol=1e-4)


def test_a_truncated_sequence_goes_on_as_if_the_tail_had_never_been(network: VideoLlama3) -> None:
    prefix, wrong, right = words(12, seed=6), words(9, seed=7), words(4, seed=8)
    embed, pool = network.language.embed, new_pool(network)
    sequence = KVSequence(pool)
    extend(network, pool, sequence, embed(prefix))
    extend(network, pool, sequence, embed(wrong))
    sequence.truncate(len(prefix))
    hidden = extend(network, pool, sequence, embed(right))
    expected = logits_of(network, torch.cat([prefix, right]))[len(prefix) :]
    torch.testing.assert_close(network.language.logits(hidden), expected, atol=1e-4, rtol=1e-4)


def test_angles_are_exact_far_into_a_stream() -> None:
    cos, sin = text_rotation(torch.tensor([10_000_019]), 128, theta=1e6)
    exact = 10_000_019 * 1e6 ** (-np.arange(64) / 64)
    np.testing.assert_allclose(cos[0, :64], np.cos(exact), atol=1e-6)
    np.testing.assert_allclose(sin[0, 64:], np.sin(exact), atol=1e-6)


def test_rows_that_are_not_wanted_leave_keys_and_values_alone(network: VideoLlama3) -> None:
    ids = words(11, seed=9)
    embeds, language = network.language.embed(ids), network.language
    positions = torch.arange(len(ids))
    stored: list[dict[int, tuple[Tensor, Tensor]]] = [{}, {}]

    def causal(found: dict[int, tuple[Tensor, Tensor]]) -> Attend:
        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            found[layer] = (k, v)
            asking = positions if len(q) == len(k) else wanted
            seen = [int(row) + 1 for row in asking]
            return attention(
                q,
                torch.cat([k[:number] for number in seen]),
                torch.cat([v[:number] for number in seen]),
                segments=Segments.of([1] * len(q), seen, device=embeds.device),
                backend=language.backend,
            )

        return attend

    wanted = torch.tensor([10, 3])
    whole = language.forward(embeds, positions, attend=causal(stored[0]))
    some = language.forward(embeds, positions, attend=causal({}), wanted=wanted)
    torch.testing.assert_close(some, whole[wanted])

    def store(layer: int, keys: Tensor, values: Tensor) -> None:
        assert layer not in stored[1]
        stored[1][layer] = (keys, values)

    language.fill(embeds, positions, attend=causal(stored[1]), store=store)
    assert stored[0].keys() == stored[1].keys()
    for layer, kept in stored[0].items():
        torch.testing.assert_close(stored[1][layer], kept)
