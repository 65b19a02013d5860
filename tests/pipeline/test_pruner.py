import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.patch_diff import paper_mask, token_distance_levels
from model.types import PatchGrid, PrunedFrame
from pipeline.errors import FrameError
from pipeline.pruner import Pruner, PrunerMode
from pipeline.types import Frame
from tests.fakes import SMALL, frame_at, picture


def with_patch(base: int, row: int, col: int, level: int) -> np.ndarray:
    """A flat picture with one token of another level."""
    pixels = picture(base)
    pixels[row * 28 : row * 28 + 28, col * 28 : col * 28 + 28] = level
    return pixels


def test_the_first_frame_is_a_refresh() -> None:
    pruned = Pruner().prune(frame_at(0.0))
    assert pruned.is_refresh
    assert pruned.num_kept == SMALL.num_tokens


def test_an_unchanged_frame_keeps_nothing() -> None:
    pruner = Pruner()
    pruner.sent(pruner.prune(frame_at(0.0)))
    assert pruner.prune(frame_at(1.0)).num_kept == 0


def test_a_changed_token_alone_is_kept() -> None:
    pruner = Pruner()
    pruner.sent(pruner.prune(frame_at(0.0)))
    pruned = pruner.prune(frame_at(1.0, with_patch(100, 1, 2, 140)))
    assert np.argwhere(pruned.keep_mask).tolist() == [[1, 2]]
    assert not pruned.is_refresh


@pytest.mark.parametrize("mode", ["adaptive", "last_seen", "paper"])
@pytest.mark.parametrize("token_px", [16, 28, 32])
def test_the_grid_says_how_large_a_token_is(mode: PrunerMode, token_px: int) -> None:
    grid, pruner = PatchGrid(3, 4, token_px=token_px), Pruner(mode=mode)
    pixels = np.full((grid.height_px, grid.width_px, 3), 100, np.uint8)
    changed = pixels.copy()
    changed[token_px : 2 * token_px, 3 * token_px :] = 140
    frames = [
        replace(frame_at(float(i)), pixels=p, grid=grid) for i, p in enumerate((pixels, changed))
    ]
    first = pruner.prune(frames[0])
    pruner.sent(first)
    assert first.grid == grid
    assert first.num_kept == grid.num_tokens
    assert np.argwhere(pruner.prune(frames[1]).keep_mask).tolist() == [[1, 3]]


def test_a_token_that_no_block_fits_is_refused() -> None:
    grid = PatchGrid(3, 4, token_px=30)
    pixels = np.zeros((grid.height_px, grid.width_px, 3), np.uint8)
    with pytest.raises(FrameError, match="blocks of 4 px divide, got 30 px"):
        Pruner().prune(replace(frame_at(0.0), pixels=pixels, grid=grid))


def test_a_frame_that_was_never_sent_leaves_no_trace() -> None:
    pruner = Pruner()
    pruner.sent(pruner.prune(frame_at(0.0)))
    pruner.prune(frame_at(1.0, with_patch(100, 1, 2, 140)))  # dropped on its way
    again = pruner.prune(frame_at(2.0, with_patch(100, 1, 2, 140)))
    assert np.argwhere(again.keep_mask).tolist() == [[1, 2]]


def test_slow_drift_is_sent_before_it_passes_the_threshold() -> None:
    pruner = Pruner(mode="last_seen", threshold_levels=6.0)
    pruner.sent(pruner.prune(frame_at(0.0, picture(100))))
    last_seen, sent = 100, 0
    for step in range(1, 60):
        pruned = pruner.prune(frame_at(float(step), picture(100 + step)))
        if pruned.num_kept:
            last_seen, sent = 100 + step, sent + 1
        pruner.sent(pruned)
        assert 100 + step - last_seen <= 6
    assert 5 <= sent <= 10


def test_a_global_change_is_one_refresh() -> None:
    pruner = Pruner()
    pruner.sent(pruner.prune(frame_at(0.0, picture(100))))
    dark = pruner.prune(frame_at(1.0, picture(30)))
    pruner.sent(dark)
    assert dark.is_refresh
    assert pruner.prune(frame_at(2.0, picture(30))).num_kept == 0


def test_reset_and_another_size_are_refreshes() -> None:
    pruner = Pruner()
    pruner.sent(pruner.prune(frame_at(0.0)))
    pruner.reset()
    assert pruner.prune(frame_at(1.0)).is_refresh
    pruner.sent(pruner.prune(frame_at(1.0)))
    other = type(SMALL)(rows=4, cols=4)
    assert pruner.prune(frame_at(2.0, picture(grid=other), grid=other)).is_refresh


@given(st.integers(0, 2**32 - 1), st.lists(st.booleans(), min_size=1, max_size=12))
def test_what_the_model_last_saw_is_never_further_off_than_the_threshold(
    seed: int, taken: list[bool]
) -> None:
    """Whatever frames are dropped, every token of the last frame taken is within the threshold of
    what was sent of it last."""
    rng = np.random.default_rng(seed)
    pruner = Pruner(mode="last_seen", threshold_levels=6.0)
    frame = rng.integers(0, 256, picture().shape, dtype=np.uint8)
    model_saw = np.zeros_like(frame)
    for index, is_taken in enumerate([True, *taken]):
        moved = rng.integers(-12, 13, frame.shape)
        where = rng.random(frame.shape[:2]) < 0.1
        frame = np.clip(frame + moved * where[..., None], 0, 255).astype(np.uint8)
        pruned = pruner.prune(frame_at(float(index), frame))
        if not is_taken:
            continue
        pruner.sent(pruned)
        kept = pruned.keep_mask.repeat(28, axis=0).repeat(28, axis=1)
        model_saw[kept] = frame[kept]
        assert token_distance_levels(frame, model_saw).max() <= 6.0


def test_paper_mode_is_the_paper_over_a_clip() -> None:
    rng = np.random.default_rng(7)
    pruner = Pruner(mode="paper")
    previous = None
    for index in range(6):
        frame = np.where(rng.random(picture().shape) < 0.04, 101, picture()).astype(np.uint8)
        pruned = pruner.prune(frame_at(float(index), frame))
        assert np.array_equal(pruned.keep_mask, paper_mask(frame, previous))
        pruner.sent(pruned)
        previous = frame


@pytest.mark.parametrize("mode", ["adaptive", "last_seen", "paper"])
def test_sent_pixels_are_not_changed_afterwards(mode: str) -> None:
    pruner = Pruner(mode=mode)  # type: ignore[arg-type]  # parametrised
    first = pruner.prune(frame_at(0.0))
    pruner.sent(first)
    before = first.pixels.copy()
    pruner.sent(pruner.prune(frame_at(1.0, with_patch(100, 0, 0, 200))))
    assert np.array_equal(first.pixels, before)


# ---------------------------------------------------------------- adaptive, on noisy pictures

YARD = PatchGrid(rows=9, cols=16)


class Camera:
    """A textured yard of 448x252 px with sensor noise; every picture goes to the pruner."""

    def __init__(self, pruner: Pruner, *, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        coarse = self.rng.uniform(60, 180, (YARD.rows * 2, YARD.cols * 2, 3))
        self.scene = coarse.repeat(14, axis=0).repeat(14, axis=1)
        self.pruner = pruner
        self.num_frames = 0

    def frame(self, scene: np.ndarray, *, sigma: float) -> Frame:
        noisy = scene + self.rng.normal(0, sigma, scene.shape)
        pixels = noisy.round().clip(0, 255).astype(np.uint8)
        self.num_frames += 1
        return frame_at(float(self.num_frames), pixels, grid=YARD)

    def show(self, scene: np.ndarray | None = None, *, sigma: float = 4.0) -> PrunedFrame:
        frame = self.frame(self.scene if scene is None else scene, sigma=sigma)
        pruned = self.pruner.prune(frame)
        self.pruner.sent(pruned)
        return pruned

    def with_square(self, x: int, y: int, *, side: int = 14, level: float = 40) -> np.ndarray:
        scene = self.scene.copy()
        scene[y : y + side, x : x + side] += level
        return scene


def kept_ratio(frames: list[PrunedFrame]) -> float:
    return float(np.mean([pruned.keep_mask for pruned in frames]))


@pytest.mark.parametrize("sigma", [0.0, 2.0, 5.0, 12.0])
def test_a_static_scene_is_quiet_after_the_tenth_frame(sigma: float) -> None:
    camera = Camera(Pruner())
    shown = [camera.show(sigma=sigma) for _ in range(40)]
    assert kept_ratio(shown[10:]) <= 0.003


def test_noise_is_learned_though_a_quarter_of_the_picture_moves_from_the_start() -> None:
    camera = Camera(Pruner())
    shown = []
    for _ in range(30):
        scene = camera.scene.copy()
        scene[:, :112] = camera.rng.uniform(0, 255, (18, 8, 3)).repeat(14, 0).repeat(14, 1)
        shown.append(camera.show(scene))
    kept = np.mean([pruned.keep_mask for pruned in shown[10:]], axis=0)
    assert (kept[:, :4] == 1).all()
    assert kept[:, 5:].mean() <= 0.005


def test_noise_that_rises_fivefold_over_a_minute_sends_next_to_nothing() -> None:
    camera = Camera(Pruner())
    for _ in range(10):
        camera.show(sigma=2.0)
    shown = [camera.show(sigma=2.0 + 8.0 * second / 60) for second in range(60)]
    assert kept_ratio(shown) <= 0.005
    assert not any(pruned.is_refresh for pruned in shown)


@pytest.mark.parametrize("gop_frames", [2, 10])
def test_key_frames_that_pulse_send_next_to_nothing(gop_frames: int) -> None:
    camera = Camera(Pruner())
    shown, coded = [], camera.scene
    for second in range(60):
        if second % gop_frames == 0:  # a codec repeats its picture until it codes it anew
            coded = camera.scene + camera.rng.normal(0, 5, camera.scene.shape)
        shown.append(camera.show(coded, sigma=0.5))
    assert kept_ratio(shown[20:]) <= 0.003


def test_a_small_object_that_moves_by_half_a_token_is_sent() -> None:
    camera = Camera(Pruner())
    for _ in range(10):
        camera.show(camera.with_square(140, 112), sigma=4.0)
    moved = camera.show(camera.with_square(154, 112), sigma=4.0)  # a quarter of a token
    assert moved.keep_mask[4, 5]
    assert moved.num_kept <= 4


def test_the_true_picture_never_strays_from_what_the_model_saw_however_slow_it_drifts() -> None:
    camera = Camera(Pruner())
    for _ in range(10):
        camera.show()
    saw = camera.scene.copy()
    sent = 0
    for second in range(200):
        true = camera.scene * (1 + second / 500)  # a fifth of a level a second
        pruned = camera.show(true)
        kept = pruned.keep_mask.repeat(28, axis=0).repeat(28, axis=1)
        saw[kept] = true[kept]
        sent += pruned.num_kept
        # a block's own noise, of this frame and of the one the model saw, comes on top
        limit = (camera.pruner.threshold_levels or 0) + 4 * 4.0 * 2**0.5 / 7
        blocks = np.abs((true - saw).reshape(36, 7, 64, 7, 3).mean(axis=(1, 3)))
        assert blocks.max() < limit
    assert sent > 2 * YARD.num_tokens


@pytest.mark.parametrize("change", ["lights", "infra-red", "moved", "exposure", "little exposure"])
def test_a_change_of_the_whole_picture_is_one_refresh_and_then_quiet(change: str) -> None:
    camera = Camera(Pruner())
    for _ in range(12):
        camera.show()
    grey = camera.scene.mean(axis=2, keepdims=True).repeat(3, axis=2)
    camera.scene = {
        "lights": camera.scene * 0.4,
        "infra-red": 255 - grey,
        "moved": np.roll(camera.scene, (9, 31), axis=(0, 1)),
        "exposure": camera.scene * 1.1 + 12,
        "little exposure": camera.scene * 1.05,  # shows in half of the tokens
    }[change]
    assert camera.show().is_refresh
    assert kept_ratio([camera.show() for _ in range(30)]) <= 0.005


def test_a_reconnect_is_one_refresh_and_then_quiet() -> None:
    camera = Camera(Pruner())
    for _ in range(12):
        camera.show()
    camera.pruner.reset()
    assert camera.show().is_refresh
    assert kept_ratio([camera.show() for _ in range(30)]) <= 0.005


def test_frames_that_are_dropped_teach_the_noise_and_leave_the_reference() -> None:
    camera = Camera(Pruner())
    camera.show()
    for _ in range(10):
        camera.pruner.prune(camera.frame(camera.with_square(140, 112), sigma=4.0))
    assert camera.show(camera.with_square(140, 112)).keep_mask[4, 5]
    assert camera.show(camera.with_square(140, 112)).num_kept <= 1


def test_an_adaptive_pruner_is_small_and_repeats_itself() -> None:
    one, other = Camera(Pruner()), Camera(Pruner())
    for _ in range(5):
        assert np.array_equal(one.show().keep_mask, other.show().keep_mask)
    assert len(pickle.dumps(one.pruner)) < 2_000_000


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(picture().astype(np.float32), id="float"),
        pytest.param(picture()[..., 0], id="grey"),
        pytest.param(picture()[:28], id="another size"),
        pytest.param(np.asfortranarray(picture()), id="not contiguous"),
        pytest.param(picture()[..., ::-1], id="a view"),
    ],
)
@pytest.mark.parametrize("mode", ["adaptive", "last_seen", "paper"])
def test_pixels_that_are_no_frame_are_refused(mode: str, pixels: np.ndarray) -> None:
    pruner = Pruner(mode=mode)  # type: ignore[arg-type]  # parametrised
    with pytest.raises(FrameError, match=r"camera yard: expected .* got "):
        pruner.prune(frame_at(0.0, pixels))


def test_the_rim_of_an_object_that_stands_still_does_not_flicker() -> None:
    camera = Camera(Pruner())
    for _ in range(12):
        camera.show()
    scene = camera.scene.copy()
    for margin, level in ((24, 4), (16, 8), (8, 16), (0, 32)):  # a soft-edged object
        scene[90 - margin : 160 + margin, 170 - margin : 230 + margin] = (
            camera.scene[90 - margin : 160 + margin, 170 - margin : 230 + margin] + level
        )
    shown = [camera.show(scene) for _ in range(30)]
    times_sent = np.sum([pruned.keep_mask for pruned in shown], axis=0)
    assert shown[0].keep_mask[4, 7]
    assert times_sent.max() <= 2
    assert kept_ratio(shown[2:]) <= 0.003


def test_objects_over_half_of_the_picture_are_no_exposure_step() -> None:
    camera = Camera(Pruner())
    for _ in range(12):
        camera.show()
    scene = camera.scene.copy()
    scene[:, :252] = camera.rng.uniform(60, 180, (18, 18, 3)).repeat(14, 0).repeat(14, 1)
    pruned = camera.show(scene)
    assert not pruned.is_refresh
    assert pruned.keep_mask[:, :9].all()
    assert not pruned.keep_mask[:, 10:].any()


@pytest.mark.parametrize("mode", ["adaptive", "last_seen", "paper"])
def test_a_whole_frame_is_sent_as_often_as_asked_by_the_streams_time(mode: PrunerMode) -> None:
    pruner, whole = Pruner(mode=mode, refresh_every_s=30.0), []
    for pts_s in np.arange(0.0, 100.0, 1.0):
        pruned = pruner.prune(frame_at(float(pts_s)))
        pruner.sent(pruned)
        if pruned.is_refresh:
            assert pruned.num_kept == SMALL.num_tokens
            whole.append(pts_s)
    assert whole == [0.0, 30.0, 60.0, 90.0]


def test_without_a_period_a_still_stream_is_never_sent_whole_again() -> None:
    pruner = Pruner()
    for pts_s in range(300):
        pruned = pruner.prune(frame_at(float(pts_s)))
        pruner.sent(pruned)
        assert pruned.is_refresh == (pts_s == 0)


def test_a_refresh_for_another_reason_puts_the_next_one_off() -> None:
    pruner = Pruner(refresh_every_s=30.0)
    whole = []
    for pts_s in range(60):
        pruned = pruner.prune(frame_at(float(pts_s), picture(100 if pts_s < 20 else 200)))
        pruner.sent(pruned)
        whole += [pts_s] * pruned.is_refresh
    assert whole == [0, 20, 50]


def test_a_whole_frame_that_was_dropped_is_still_owed() -> None:
    pruner = Pruner(refresh_every_s=30.0)
    pruner.sent(pruner.prune(frame_at(0.0)))
    assert pruner.prune(frame_at(30.0)).is_refresh
    assert pruner.prune(frame_at(31.0)).is_refresh


def test_time_that_goes_back_sends_a_whole_frame_once() -> None:
    pruner = Pruner(refresh_every_s=30.0)
    for pts_s, is_refresh in ((100.0, True), (40.0, True), (41.0, False), (70.0, True)):
        pruned = pruner.prune(frame_at(pts_s))
        pruner.sent(pruned)
        assert pruned.is_refresh == is_refresh


def test_a_whole_frame_in_its_turn_keeps_what_is_known_of_the_noise() -> None:
    """Only another picture lets the noise be learned anew: until it is, more is sent."""
    rng = np.random.default_rng(0)
    pictures = [
        np.clip(picture(100) + rng.normal(0, 4, picture(100).shape), 0, 255).astype(np.uint8)
        for _ in range(80)
    ]
    levels: dict[float, list[float | None]] = {}
    for every_s in (0.0, 40.0):
        pruner = Pruner(refresh_every_s=every_s)
        levels[every_s] = []
        for pts_s, pixels in enumerate(pictures):
            pruner.sent(pruner.prune(frame_at(float(pts_s), pixels)))
            levels[every_s].append(pruner.threshold_levels)
    known, refreshed = levels[0.0][41], levels[40.0][41]
    assert known is not None
    assert refreshed == pytest.approx(known, rel=0.1)
