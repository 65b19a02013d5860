import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.pruner import Pruner
from pipeline.regions import Region, blacked_out
from tests.fakes import frame_at, picture

CLOCK = Region(0.0, 0.0, 0.5, 0.2)


def test_a_region_is_black_to_the_pixel_and_the_rest_is_as_it_was() -> None:
    pixels = picture(100)  # 84x112
    masked = blacked_out(pixels, [Region(0.25, 0.0, 0.5, 0.1)])
    assert not masked[:9, 28:56].any()  # 8.4 px: a pixel touched in part is black too
    masked[:9, 28:56] = 100
    assert np.array_equal(masked, pixels)
    assert pixels.min() == 100
    assert masked.flags.c_contiguous


def test_no_region_costs_no_copy() -> None:
    pixels = picture(100)
    assert blacked_out(pixels, []) is pixels


def test_the_whole_picture_can_be_masked() -> None:
    assert not blacked_out(picture(100), [Region(0, 0, 1, 1)]).any()


@pytest.mark.parametrize(
    "edges", [(-0.1, 0, 1, 1), (0, 0, 1.1, 1), (0.5, 0, 0.5, 1), (0, 0.9, 1, 0.1), (0, 0, 1, 2)]
)
def test_edges_outside_the_picture_are_refused(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(ConfigError, match=r"expected left, top.* got "):
        Region(*edges)


@pytest.mark.parametrize("mode", ["adaptive", "last_seen"])
def test_changes_in_an_ignored_region_are_never_sent(mode: str) -> None:
    pruner = Pruner(mode=mode, ignore=[CLOCK])  # type: ignore[arg-type]  # parametrised
    pruner.sent(pruner.prune(frame_at(0.0)))
    for step in range(1, 8):
        pixels = picture(100)
        pixels[:15, :56] = 30 * step
        pruned = pruner.prune(frame_at(float(step), pixels))
        assert not pruned.num_kept
        assert pruned.pixels is pixels  # the model sees the clock whenever the token is sent
        pruner.sent(pruned)


def test_a_change_beside_an_ignored_region_is_sent() -> None:
    pruner = Pruner(ignore=[CLOCK])
    pruner.sent(pruner.prune(frame_at(0.0)))
    pixels = picture(100)
    pixels[18:26, 4:12] = 160
    assert np.argwhere(pruner.prune(frame_at(1.0, pixels)).keep_mask).tolist() == [[0, 0]]
