import pytest
import torch
from torch import Tensor

from model.engine.vision_cache import Span, VisionCache, patch_bytes
from model.videollama3.config import VisionConfig

CONFIG = VisionConfig(hidden_size=8, intermediate_size=8, num_layers=2, num_heads=2)


def new_cache() -> VisionCache:
    return VisionCache(CONFIG, dtype=torch.float32, device="cpu")


def fill(cache: VisionCache, span: Span, value: float) -> None:
    rows = torch.arange(span.start, span.start + span.length)
    for layer in range(CONFIG.num_layers):
        keys = torch.full((span.length, 2, 4), value + layer)
        cache.write(layer, rows, keys, -keys)


def held(cache: VisionCache, span: Span) -> Tensor:
    """(layers, 2, length, heads, head_dim)."""
    rows = torch.arange(span.start, span.start + span.length)
    return torch.stack(cache.read(rows))


@pytest.mark.parametrize("leaves", [0, 1, 2, 3])
def test_streams_keep_their_rows_when_another_leaves(leaves: int) -> None:
    cache = new_cache()
    spans = cache.add([3, 9, 2, 4])
    for index, span in enumerate(spans):
        fill(cache, span, 10.0 * index)
    before = [held(cache, span) for span in spans]
    cache.remove(spans[leaves])
    (added,) = cache.add([5])
    fill(cache, added, 99.0)
    for index, span in enumerate(spans):
        if index != leaves:
            assert torch.equal(held(cache, span), before[index])
    assert cache.num_bytes == cache.num_rows * patch_bytes(CONFIG, torch.float32)
    assert cache.num_bytes == (18 - spans[leaves].length + 5) * 2 * 2 * 8 * 4


def test_rows_are_put_back() -> None:
    cache = new_cache()
    (span,) = cache.add([4])
    fill(cache, span, 1.0)
    before, rows = held(cache, span), torch.tensor([1, 3])
    saved = cache.read(rows)
    fill(cache, span, 2.0)
    cache.restore(rows, saved)
    assert torch.equal(held(cache, span)[:, :, [1, 3]], before[:, :, [1, 3]])
    assert not torch.equal(held(cache, span)[:, :, [0, 2]], before[:, :, [0, 2]])


def test_without_memory_for_another_nothing_changes() -> None:
    cache = new_cache()
    (span,) = cache.add([4])
    fill(cache, span, 1.0)
    before, num_bytes = held(cache, span), cache.num_bytes
    with pytest.raises(RuntimeError):
        cache.add([10**14])
    assert cache.spans == (span,)
    assert cache.num_bytes == num_bytes
    assert torch.equal(held(cache, span), before)


def test_a_stream_that_is_not_due_is_a_segment_without_queries() -> None:
    cache = new_cache()
    spans = cache.add([4, 8, 12])
    segments = cache.segments({spans[2]: 5, spans[0]: 4})
    assert segments.query_lengths == (4, 0, 5)
    assert segments.key_lengths == (4, 8, 12)
