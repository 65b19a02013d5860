"""Palette: the kinds of object, the ten colours, and the levels each is painted with."""

from typing import Final

import numpy as np

KINDS: Final = ("person", "car", "bicycle", "dog", "parcel")
COLOURS: Final = (
    "red",
    "blue",
    "green",
    "yellow",
    "orange",
    "purple",
    "white",
    "black",
    "brown",
    "grey",
)

_LEVELS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (200, 34, 38),
    "blue": (36, 82, 205),
    "green": (38, 150, 62),
    "yellow": (240, 208, 40),
    "orange": (240, 126, 26),
    "purple": (134, 52, 170),
    "white": (240, 240, 238),
    "black": (28, 28, 32),
    "brown": (134, 86, 46),
    "grey": (138, 140, 144),
}

WORN: Final[dict[str, tuple[str, ...]]] = {
    "person": COLOURS[:8],
    "car": (*COLOURS[:8], "grey"),
    "bicycle": COLOURS[:8],
    "dog": ("brown", "black", "white", "grey"),
    "parcel": ("brown", "brown", "brown", "red", "blue", "green", "yellow", "white"),
}

Rgb = tuple[float, float, float]


def levels(colour: str, rng: np.random.Generator) -> Rgb:
    """One object's own shade of ``colour``: levels 0 to 255, jittered in light and in tint."""
    base = np.array(_LEVELS[colour], dtype=np.float64)
    tint = rng.uniform(-10.0, 10.0, size=3)
    red, green, blue = np.clip(base * rng.uniform(0.9, 1.08) + tint, 8.0, 250.0)
    return float(red), float(green), float(blue)


def mixed(one: Rgb, other: Rgb, share: float) -> Rgb:
    """``one`` with ``share`` of ``other`` in it."""
    return (
        one[0] + (other[0] - one[0]) * share,
        one[1] + (other[1] - one[1]) * share,
        one[2] + (other[2] - one[2]) * share,
    )


def lit(colour: Rgb, gain: float) -> Rgb:
    """``colour`` made lighter or darker by ``gain``."""
    return (
        min(255.0, colour[0] * gain),
        min(255.0, colour[1] * gain),
        min(255.0, colour[2] * gain),
    )
