"""Sensor: what a camera makes of the light: exposure, noise, and the marks of a codec."""

from dataclasses import dataclass
from functools import cache
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from model.scenes.canvas import Plane

_SPARE_PX: Final = 96  # the noise tile is larger than a picture by this much
_BAND_PX: Final = 56
_NO_GAIN: Final = 1e-4
_NO_SHOT_LEVELS: Final = 0.3
_LUMA: Final = np.asarray((0.299, 0.587, 0.114), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Sensor:
    """One camera's weaknesses, the same for the whole scene."""

    seed: int
    sigma_levels: float  # read noise, of every pixel of the rendered picture
    shot: float  # extra noise of bright pixels, in levels at level 255
    wander: float  # how far the exposure drifts, as a share of the gain
    period_s: float
    step_levels: float  # quantisation of the codec's 8 x 8 blocks, 0 for none

    @classmethod
    def drawn(cls, seed: int) -> Self:
        """The camera of one scene."""
        rng = np.random.default_rng([seed, 3])
        return cls(
            seed=seed,
            sigma_levels=float(rng.uniform(0.0, 3.0) if rng.random() < 0.85 else 4.0),
            shot=float(rng.uniform(0.0, 2.0)),
            wander=float(rng.uniform(0.002, 0.015)) if rng.random() < 0.4 else 0.0,
            period_s=float(rng.uniform(20.0, 60.0)),
            step_levels=float(rng.uniform(3.0, 8.0)) if rng.random() < 0.35 else 0.0,
        )

    def frame(self, light: Plane, t_s: float, *, exposure: float) -> npt.NDArray[np.uint8]:
        """The picture as read out: uint8 (H, W, 3) of ``light`` (H, W, 3) levels.

        Args:
            light: what falls on the sensor; it is changed in place.
            t_s: the moment; the noise is that of (seed, milliseconds).
            exposure: the gain the automatic exposure has settled on.
        """
        rng = np.random.default_rng([self.seed, 4, round(max(0.0, t_s) * 1000)])
        gain = exposure * (1.0 + self.wander * np.sin(2 * np.pi * t_s / self.period_s))
        noise = _crop(light.shape[0], light.shape[1], rng)
        pixels = np.empty(light.shape, dtype=np.uint8)
        for top in range(0, light.shape[0], _BAND_PX):  # a band at a time stays in the cache
            rows = slice(top, top + _BAND_PX)
            pixels[rows] = self._read(light[rows], noise[rows], gain=gain, exposure=exposure)
        return pixels

    def _read(self, light: Plane, noise: Plane, *, gain: float, exposure: float) -> Plane:
        if abs(gain - 1.0) > _NO_GAIN:
            light *= np.float32(gain)
        sigma = np.float32(self.sigma_levels * exposure)  # gain lifts the noise with the light
        if self.shot > _NO_SHOT_LEVELS:
            light += noise * (light * np.float32(self.shot / 255.0) + sigma)
        else:
            light += noise * sigma
        if self.step_levels:
            _quantised(light, np.float32(self.step_levels))
        light += np.float32(0.5)
        return np.clip(light, 0.0, 255.0, out=light)


@cache
def _tile(height: int, width: int) -> Plane:
    rng = np.random.default_rng(7)
    shape = (height + _SPARE_PX, width + _SPARE_PX, 3)
    return rng.standard_normal(shape, dtype=np.float32)


def _crop(height: int, width: int, rng: np.random.Generator) -> Plane:
    """Noise at a random place of one tile, turned at random: cheap, and never seen twice."""
    top, left = (int(value) for value in rng.integers(_SPARE_PX, size=2))
    crop = _tile(height, width)[top : top + height, left : left + width]
    if rng.random() < 0.5:
        crop = crop[::-1]
    return crop[:, ::-1] if rng.random() < 0.5 else crop


@cache
def _cosines() -> Plane:
    k, n = np.arange(8)[:, None], np.arange(8)[None, :]
    basis = np.cos(np.pi * (n + 0.5) * k / 8) * np.sqrt(2 / 8)
    basis[0] /= np.sqrt(2)
    cosines: Plane = basis.astype(np.float32)
    return cosines


@cache
def _steps() -> Plane:
    """The finer the detail, the coarser it is kept."""
    k = np.arange(8)
    return (1.0 + 0.5 * (k[:, None] + k[None, :])).astype(np.float32)


def _quantised(light: Plane, step: np.float32) -> None:
    """Quantise the brightness of ``light`` by 8 x 8 blocks of cosines, in place."""
    height, width = light.shape[0] // 8 * 8, light.shape[1] // 8 * 8
    part = light[:height, :width]
    luma = (part.reshape(-1, 3) @ _LUMA).reshape(height, width)
    cosines = _cosines()
    spectrum = _blockwise(luma, cosines)
    steps = np.tile(_steps() * step, (1, width // 8))
    rows = spectrum.reshape(height // 8, 8, width)
    rows /= steps
    np.round(rows, out=rows)
    rows *= steps
    part += (_blockwise(spectrum, cosines.T) - luma)[:, :, None]


def _blockwise(plane: Plane, basis: Plane) -> Plane:
    """``basis @ block @ basis.T`` for every 8 x 8 block."""
    height, width = plane.shape
    down = np.matmul(basis, plane.reshape(height // 8, 8, width))
    across: Plane = np.matmul(down.reshape(-1, 8), basis.T)
    return across.reshape(height, width)


def exposure_after(step_s: float, *, before: float, after: float) -> float:
    """The gain ``step_s`` seconds after the light changed: settles within about three seconds."""
    return after + (before - after) * float(np.exp(-max(0.0, step_s) / 1.2))
