"""The bundled model, ours and transformers', and small scenes to show to it."""

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import VideoLlama3ForConditionalGeneration, VideoLlama3Processor

from model.bundled import NANO
from model.engine.config import EngineConfig, VisionMode
from model.engine.engine import Engine
from model.family import Family
from model.types import PatchGrid, PrunedFrame
from model.videollama3.checkpoint import load_model
from model.videollama3.family import family_of
from model.videollama3.network import VideoLlama3
from model.videollama3.prompt import NANO_2
from model.videollama3.tokenizer import Tokenizer

# The model is too small to share out: more threads only wait for each other.
torch.set_num_threads(1)

GRID = PatchGrid(rows=4, cols=5)


@cache
def nano() -> VideoLlama3:
    """The bundled model in float32."""
    return load_model(NANO, device="cpu", dtype=torch.float32)


@cache
def nano_tokenizer() -> Tokenizer:
    return Tokenizer.load(NANO)


@cache
def nano_family() -> Family:
    return family_of(nano(), nano_tokenizer(), prompt=NANO_2)


@cache
def reference_nano() -> Any:
    """The same folder in transformers, whose types are looser than its calls."""
    return VideoLlama3ForConditionalGeneration.from_pretrained(NANO, dtype=torch.float32)


@cache
def reference_processor() -> Any:
    return VideoLlama3Processor.from_pretrained(NANO)


def nano_engine(
    *,
    window_s: float = 180.0,
    max_context_tokens: int = 16384,
    vision: VisionMode = "delta",
    memory_budget_bytes: int | None = None,
) -> Engine:
    return Engine(
        nano_family(),
        model_name="nano",
        config=EngineConfig(
            window_s=window_s,
            max_context_tokens=max_context_tokens,
            max_caption_tokens=24,
            max_answer_tokens=16,
            vision=vision,
            audit_share=0.0,
            memory_budget_bytes=memory_budget_bytes,
        ),
    )


def picture(seed: int, *, grid: PatchGrid = GRID) -> NDArray[np.uint8]:
    """Smooth noise: every token different, nothing at the grid's own scale."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (grid.rows, grid.cols, 3), dtype=np.uint8)
    fine = np.kron(coarse, np.ones((28, 28, 1), dtype=np.uint8))
    noise = rng.integers(-20, 21, fine.shape)
    pixels: NDArray[np.uint8] = np.clip(fine + noise, 0, 255).astype(np.uint8)
    return pixels


def pruned(
    pixels: NDArray[np.uint8],
    *,
    pts_s: float,
    keep: NDArray[np.bool_] | None = None,
    stream_id: str = "gate",
    is_refresh: bool = False,
) -> PrunedFrame:
    """A frame that keeps every token unless told otherwise."""
    rows, cols = pixels.shape[0] // 28, pixels.shape[1] // 28
    mask = np.ones((rows, cols), dtype=np.bool_) if keep is None else keep
    return PrunedFrame(stream_id, pixels, mask, pts_s, is_refresh)


def some_tokens(seed: int, *, share: float = 0.3, grid: PatchGrid = GRID) -> NDArray[np.bool_]:
    """A mask that keeps a random share, one token at least."""
    rng = np.random.default_rng(seed)
    mask = rng.random((grid.rows, grid.cols)) < share
    mask[rng.integers(grid.rows), rng.integers(grid.cols)] = True
    return mask
