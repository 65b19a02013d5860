"""A day of ticks, and cameras that come and go, on a model small enough for it."""

import gc
import random
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from model.engine.config import EngineConfig
from model.engine.engine import Engine
from model.engine.rolling_context import Context
from model.errors import AdmissionError
from model.types import PatchGrid, PrunedFrame, Question
from model.videollama3.config import ModelConfig, TextConfig, VisionConfig
from model.videollama3.family import family_of
from model.videollama3.network import VideoLlama3
from tests.model.growing import used_bytes
from tests.model.nano_model import nano_tokenizer

FIRE = Question("yes_no", "Fire?")
TICK_S = 120.0
TICKS = 720  # 24 hours
WINDOW_S = 2_400.0
ONE = PatchGrid(rows=1, cols=2)

CONFIG = ModelConfig(
    vision=VisionConfig(hidden_size=8, intermediate_size=8, num_layers=1, num_heads=1),
    text=TextConfig(
        hidden_size=8,
        intermediate_size=8,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=4,
        vocab_size=4_096,
        has_tied_head=True,
    ),
    image_token_id=1,
    video_token_id=2,
    eos_token_ids=(3,),
)


@cache
def mite() -> VideoLlama3:
    torch.manual_seed(0)
    return VideoLlama3(CONFIG).eval().requires_grad_(requires_grad=False)


def mite_engine(**limits: Any) -> Engine:
    return Engine(
        family_of(mite(), nano_tokenizer()),
        model_name="mite",
        config=EngineConfig(
            window_s=WINDOW_S,
            max_caption_tokens=4,
            max_answer_tokens=4,
            audit_share=0.1,
            **{"max_context_tokens": 1_024} | limits,
        ),
    )


def frame(stream_id: str, tick: int, *, seed: int) -> PrunedFrame:
    rng = np.random.default_rng((tick, seed))
    pixels = rng.integers(0, 256, (ONE.height_px, ONE.width_px, 3), dtype=np.uint8)
    keep = rng.random((ONE.rows, ONE.cols)) < 0.6
    return PrunedFrame(stream_id, pixels, keep, TICK_S * tick, is_refresh=rng.random() < 0.01)


def held(engine: Engine) -> tuple[int, int, int]:
    """Bytes on the device and contexts alive."""
    gc.collect()
    stats = engine.stats
    alive = sum(
        type(one) is Context and one.sequence._pool is engine._pool for one in gc.get_objects()
    )
    return stats.context_bytes, stats.vision_cache_bytes, alive


def test_a_day_of_ticks_needs_no_more_memory_than_its_first_window() -> None:
    engine = mite_engine()
    after: list[tuple[int, int, int]] = []
    used = []
    for tick in range(TICKS):
        engine.append([frame("gate", tick, seed=0), frame("yard", tick, seed=1)])
        if tick % 24 == 0:
            engine.ask([("gate", FIRE), ("yard", Question("text", "What?"))])
        used.append(used_bytes(engine._pool))
        if tick in (80, TICKS // 2, TICKS - 1):
            after.append(held(engine))
    assert max(alive for _, _, alive in after) <= 4, "an active and a standby of each camera"
    assert after[0][:2] == after[1][:2] == after[2][:2]
    assert max(used[80:]) <= engine.stats.context_bytes
    assert used_bytes(engine._pool) == sum(engine._streams[s].num_bytes for s in ("gate", "yard"))
    window = engine.window("gate")
    assert window is not None
    assert WINDOW_S / 2 - 3 * TICK_S <= window.end_pts_s - window.start_pts_s < WINDOW_S


WIDE = PatchGrid(rows=1, cols=20)
OFTEN_S = 40.0


def test_a_day_of_busy_cameras_stays_within_its_budget_to_the_byte() -> None:
    """They send two to five times what was expected, and one goes and comes back if it fits."""
    limits = {"max_context_tokens": 4_096, "sample_period_s": OFTEN_S}
    usual, weights = mite_engine(**limits).bytes_usual(WIDE), mite_engine().stats.weight_bytes
    engine = mite_engine(**limits, memory_budget_bytes=weights + 3 * usual + usual // 2)
    rng, mask = np.random.default_rng(0), np.zeros((1, 20), dtype=np.bool_)
    pixels = rng.integers(0, 256, (WIDE.height_px, WIDE.width_px, 3), dtype=np.uint8)
    mask[:, ::2] = True  # half of it
    after = []
    for one in ("gate", "yard"):
        engine.admit(one, WIDE)
    for tick in range(2_160):
        if tick % 300 == 0:
            engine.remove("door")
            with suppress(AdmissionError):
                engine.admit("door", WIDE)
        names = [one for one in ("gate", "yard", "door") if one in engine._admission.grids]
        kept = np.ones_like(mask) if tick // 100 % 3 == 0 else mask
        frames = [PrunedFrame(one, pixels, kept, OFTEN_S * tick, is_refresh=False) for one in names]
        engine.append(frames)
        stats = engine.stats
        assert stats.budget_bytes is not None
        total_bytes = stats.weight_bytes + stats.vision_cache_bytes + stats.context_bytes
        assert total_bytes <= stats.budget_bytes
        windows = [engine.window(one) for one in names]
        assert all(window and window.end_pts_s == OFTEN_S * tick for window in windows)
        if tick in (540, 1_080, 2_159):
            after.append(held(engine))
    assert max(alive for _, _, alive in after) <= 6
    assert len({sizes[:2] for sizes in after}) == 1, "as much at the end as after a quarter"
    assert engine.stats.num_cut_short > 0 == engine.stats.num_out_of_memory == engine.stats.num_shed


def play(engine: Engine, names: Sequence[str], tick: int, *, present: set[str]) -> None:
    due = [name for name in names if name in present]
    engine.append([frame(name, tick, seed=names.index(name)) for name in due])


@pytest.mark.parametrize("seed", range(3))
def test_cameras_that_come_and_go_disturb_no_other(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311, nothing secret
    names = ["gate", "yard", "door", "roof"]
    engine, alone, present = mite_engine(), mite_engine(), {"gate"}
    for tick in range(120):
        name = rng.choice(names[1:])
        match rng.randrange(4):
            case 0:
                engine.remove(name)
                present.discard(name)
            case 1:
                engine.reset(name)
            case _:
                present.add(name)
        play(engine, names, tick, present=present)
        play(alone, names, tick, present={"gate"})
        if tick % 10 == 9:
            asks = [(n, FIRE) for n in sorted(present) if engine.window(n)]
            got = engine.ask(asks)[[n for n, _ in asks].index("gate")]
            [expected] = alone.ask([("gate", FIRE)])
            assert got.p == pytest.approx(expected.p, abs=1e-4)
    assert engine.window("gate") == alone.window("gate")
    for name in names:
        engine.remove(name)
    assert used_bytes(engine._pool) == engine.stats.vision_cache_bytes == 0
    assert engine.stats.num_streams == 0
