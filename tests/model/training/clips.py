"""Samples of noise for tests that need no scene."""

import numpy as np
import torch

from model.training.nano import fresh
from model.training.sample import Exchange, Sample
from model.types import PrunedFrame
from model.videollama3.network import VideoLlama3
from model.videollama3.tokenizer import Tokenizer
from tests.model.nano_model import nano, nano_tokenizer

ROWS, COLS = 2, 3
ASK = "Is a person in view?\nAnswer yes or no."


def network() -> VideoLlama3:
    """The bundled model, once for all tests."""
    return nano()


def small(*, seed: int = 0) -> VideoLlama3:
    """A model of the bundled one's shape that a test may train."""
    torch.set_num_threads(1)
    return fresh(nano().config, seed=seed)


def tokenizer() -> Tokenizer:
    return nano_tokenizer()


def clip(
    num_frames: int, *, seed: int = 0, rows: int = ROWS, cols: int = COLS, share: float = 0.4
) -> tuple[PrunedFrame, ...]:
    """Frames of noise, the first whole, the others with about `share` of their tokens kept."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(num_frames):
        mask = rng.random((rows, cols)) < share if index else np.ones((rows, cols), dtype=np.bool_)
        pixels = rng.integers(0, 256, (rows * 28, cols * 28, 3), dtype=np.uint8)
        frames.append(PrunedFrame("a", pixels, mask, 3.0 + index, is_refresh=False))
    return tuple(frames)


def sample(num_frames: int, *, seed: int = 0, moments: tuple[int, ...] = (1, 2)) -> Sample:
    exchanges = [Exchange(moment, ((ASK, "yes" if moment % 2 else "no"),)) for moment in moments]
    return Sample("video", clip(num_frames, seed=seed), tuple(exchanges))
