"""Operating points: how closely the model is shown what it was trained on."""

from collections.abc import Mapping
from typing import Literal

Fidelity = Literal["reference", "balanced", "fast"]

POINTS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "reference": {"pruner": {"mode": "paper"}, "model": {"vision": "full"}},
    "balanced": {
        "pruner": {"mode": "adaptive", "refresh_every": "30s"},
        "model": {"vision": "full"},
    },
    "fast": {},
}
"""A fidelity -> the defaults that it changes, by group and setting."""

STAMP_TOKENS = 10
"""A frame's `,Time 179.0s:` in VideoLLaMA3's vocabulary, a token a digit."""


def at_fidelity(given: Mapping[str, object]) -> Mapping[str, object]:
    """Return settings by group with those of their fidelity where they say nothing themselves."""
    merged = dict(given)
    for group, defaults in POINTS.get(str(given.get("fidelity", "fast")), {}).items():
        own = given.get(group, {})
        if isinstance(own, Mapping):
            merged[group] = {**defaults, **own}
    return merged


def held_window_s(*, max_context_tokens: int, max_tokens_per_frame: int, sample_fps: float) -> int:
    """Return how many seconds of whole frames a context has room for."""
    num_frames = max_context_tokens // (max_tokens_per_frame + STAMP_TOKENS)
    return int(num_frames / sample_fps)
