from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.errors import InputError
from model.layers.attention import Segments, attention
from model.layers.rope import patch_positions
from model.videollama3.checkpoint import load_model
from model.videollama3.network import VideoLlama3
from model.videollama3.patches import patchify
from model.videollama3.vision import merge
from tests.model.tiny import clip, oracle, ours, save_oracle

# Token grids of frames packed into one pass.
GRIDS = [
    pytest.param([(4, 4)], id="one frame"),
    pytest.param([(3, 5), (3, 5), (3, 5)], id="one camera"),
    pytest.param([(4, 4), (2, 9), (2, 9), (7, 3)], id="cameras of different shape"),
]


@pytest.fixture(scope="module")
def reference() -> Any:
    return oracle()


@pytest.fixture(scope="module")
def network(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> VideoLlama3:
    folder: Path = tmp_path_factory.mktemp("model")
    return ours(reference, folder)


def packed_rows(grids: list[tuple[int, int]], *, merge_size: int = 2) -> Tensor:
    return torch.cat(
        [
            patchify(clip(1, *grid, seed=seed)[0], merge_size=merge_size)
            for seed, grid in enumerate(grids)
        ]
    )


def patch_grids(grids: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(2 * rows, 2 * cols) for rows, cols in grids]


@pytest.mark.parametrize("grids", GRIDS)
@pytest.mark.parametrize("merge_size", [1, 2])
def test_encoder_equals_the_vision_tower(
    reference: Any, network: VideoLlama3, grids: list[tuple[int, int]], merge_size: int
) -> None:
    rows = packed_rows(grids, merge_size=merge_size)
    thw = torch.tensor([(1, h, w) for h, w in patch_grids(grids)])
    merge_sizes = torch.full((len(grids),), merge_size)
    tower = reference.model.vision_model(
        pixel_values=rows, grid_thw=thw, merge_sizes=merge_sizes
    ).last_hidden_state
    features = network.vision(rows, patch_grids(grids), merge_size=merge_size)
    assert (merge(features, merge_size) - tower).abs().max() <= 1e-4

    images = reference.get_image_features(rows, thw, image_merge_sizes=merge_sizes)
    tokens = network.encode(rows, patch_grids(grids), merge_size=merge_size)
    assert (tokens - torch.cat(images.pooler_output)).abs().max() <= 1e-4


def test_a_video_equals_its_frames(reference: Any, network: VideoLlama3) -> None:
    frames = clip(4, 3, 5)
    rows = patchify(frames)
    video = reference.get_video_features(
        rows, torch.tensor([(4, 6, 10)]), video_merge_sizes=torch.tensor([2])
    )
    tokens = network.encode(rows, [(6, 10)] * 4)
    assert tokens.shape == (4 * 15, 64)
    assert (tokens - torch.cat(video.pooler_output)).abs().max() <= 1e-4
    alone = torch.cat([network.encode(patchify(frame), [(6, 10)]) for frame in frames])
    torch.testing.assert_close(tokens, alone, atol=1e-5, rtol=1e-5)


def test_attention_of_the_tiny_oracle_is_far_from_uniform(network: VideoLlama3) -> None:
    peaks: list[float] = []
    segments = Segments.of([64], device=torch.device("cpu"))

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        del layer
        weights = (torch.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5).softmax(dim=-1)
        peaks.append(float(weights.amax(dim=-1).mean()))
        return attention(q, k, v, segments=segments, backend=network.vision.backend)

    positions = patch_positions((8, 8), merge_size=2, device=torch.device("cpu"))
    network.vision.run(packed_rows([(4, 4)]), positions, attend=attend)
    assert all(peak > 10 / 64 for peak in peaks)


def test_rows_run_in_any_order_give_the_same_features(network: VideoLlama3) -> None:
    rows = packed_rows([(3, 4)])
    expected = network.vision(rows, [(6, 8)])
    shuffled = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    segments = Segments.of([48], device=torch.device("cpu"))

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        del layer
        return attention(q, k, v, segments=segments, backend=network.vision.backend)

    positions = patch_positions((6, 8), merge_size=2, device=torch.device("cpu"))
    got = network.vision.run(rows[shuffled], positions[shuffled], attend=attend)
    torch.testing.assert_close(got, expected[shuffled], atol=1e-5, rtol=1e-5)


def test_bfloat16_features_are_close_to_float32(
    reference: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = save_oracle(reference, tmp_path)
    rows = packed_rows([(3, 4), (2, 2)])
    # oneDNN takes AMX for bfloat16 wherever the CPU names it; some virtual machines then trap it.
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    one, other = (
        load_model(folder, device="cpu", dtype=dtype).encode(rows, [(6, 8), (4, 4)])
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert other.dtype == torch.bfloat16
    assert torch.cosine_similarity(one, other.float(), dim=-1).min() > 0.98


@pytest.mark.parametrize("grids", [[(6, 6)], [(6, 8), (2, 2)], [(16, 3)]])
def test_rows_that_do_not_fill_their_grids_are_refused(
    network: VideoLlama3, grids: list[tuple[int, int]]
) -> None:
    with pytest.raises(InputError, match=r"expected .* got 48"):
        network.encode(packed_rows([(3, 4)]), grids)
