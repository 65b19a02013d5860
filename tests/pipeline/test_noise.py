import numpy as np
import pytest

from pipeline.noise import MOST_SHARE, StrayLevel, TokenNoise, Wander, median

SHAPE = (9, 16)


def strays(rng: np.random.Generator, median: float, *, moving: float = 0.0) -> np.ndarray:
    """Strays of quiet tokens, as noise gives them, and of a share that moves."""
    found = median * rng.lognormal(0, 0.25, SHAPE)
    return np.where(rng.random(SHAPE) < moving, rng.uniform(10, 90, SHAPE), found)


def stray_level() -> StrayLevel:
    return StrayLevel(least_levels=1.2, unlearned_levels=5.0)


@pytest.mark.parametrize("moving", [0.0, 0.25, 0.4])
@pytest.mark.parametrize("median", [1.5, 2.5, 5.0])
def test_the_level_is_learned_within_ten_frames_whatever_moves(
    median: float, moving: float
) -> None:
    rng = np.random.default_rng(1)
    level = stray_level()
    for _ in range(10):
        level.learn(strays(rng, median, moving=moving).astype(np.float32))
    assert median * 0.9 < level.levels < median * 1.2


def test_noise_that_rises_fivefold_over_a_minute_is_followed() -> None:
    rng = np.random.default_rng(2)
    level = stray_level()
    for second in range(60):
        median = 1.5 * (1 + 4 * second / 59)
        level.learn(strays(rng, median, moving=0.1).astype(np.float32))
        assert median * 0.9 < level.levels < median * 1.3


def test_noise_that_comes_with_every_other_frame_is_remembered_in_between() -> None:
    rng = np.random.default_rng(3)
    level = stray_level()
    for second in range(30):
        level.learn(strays(rng, 4.0 if second % 2 else 0.1).astype(np.float32))
        assert second == 0 or 3.5 < level.levels < 4.6


def test_noise_that_falls_is_followed_when_its_frames_are_forgotten() -> None:
    rng = np.random.default_rng(4)
    level = stray_level()
    for second in range(60):
        level.learn(strays(rng, 5.0 if second < 30 else 1.5).astype(np.float32))
    assert level.levels < 1.8


def test_a_picture_that_changes_everywhere_is_not_believed_to_be_noise() -> None:
    level = stray_level()
    level.learn(np.full(SHAPE, 60, np.float32))
    assert level.levels <= 5.0


def test_a_textured_token_is_found_noisier_and_within_bounds() -> None:
    rng = np.random.default_rng(5)
    noise = TokenNoise(np.zeros((3, 36, 64), np.float32), per_token=4)
    for _ in range(20):
        means = rng.normal(0, 1, (3, 36, 64)).astype(np.float32)
        means[:, :4, :8] *= 1.3
        means[:, 8:12] *= 5
        step = noise.step(means)
        noise.learn(step, unchanged=np.ones(SHAPE, np.bool_))
    assert 1.1 < noise.share[0, :2].mean() < 1.4
    assert (noise.share[2] == np.float32(MOST_SHARE)).all()
    assert np.median(noise.share) == pytest.approx(1, abs=0.01)


def test_a_small_change_that_stays_is_not_noise() -> None:
    rng = np.random.default_rng(6)
    noise = TokenNoise(np.zeros((3, 36, 64), np.float32), per_token=4)
    for _ in range(20):
        means = rng.normal(0, 1, (3, 36, 64)).astype(np.float32)
        means[:, :4, :4] += 4
        noise.learn(noise.step(means), unchanged=np.ones(SHAPE, np.bool_))
    assert noise.share[0, 0] < 1.2


def test_a_picture_without_noise_has_equal_tokens() -> None:
    noise = TokenNoise(np.zeros((3, 36, 64), np.float32), per_token=4)
    for _ in range(20):
        noise.learn(
            noise.step(np.zeros((3, 36, 64), np.float32)), unchanged=np.ones(SHAPE, np.bool_)
        )
    assert np.allclose(noise.share, 1)


def test_a_quiet_picture_with_a_heavy_tail_wanders_and_plain_noise_does_not() -> None:
    rng = np.random.default_rng(7)
    plain, heavy = Wander(), Wander()
    for _ in range(60):
        found = rng.lognormal(0, 0.25, 144).astype(np.float32)
        plain.learn(found)
        heavy.learn(np.where(rng.random(144) < 0.2, 2.3, found).astype(np.float32))
    assert plain.ratio == 0
    assert 0.3 < heavy.ratio <= 0.8


@pytest.mark.parametrize("number", [1, 2, 143, 144])
def test_the_median_is_numpys_to_the_bit(number: int) -> None:
    values = np.random.default_rng(3).normal(0, 9, (3, number)).astype(np.float32)
    assert median(values).dtype == np.float32
    assert median(values).tolist() == np.median(values, axis=1).tolist()
