"""What `delta` vision changes: its tokens and answers beside those of whole frames.

The bundled model looks at rendered scenes that it was not trained on, a frame a second, through the
pruner as it is by default. Tokens of frames that are encoded whole are exact and count nowhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from model.bundled import NANO
from model.engine.config import EngineConfig, VisionMode
from model.engine.engine import Engine
from model.engine.stream_encoder import StreamEncoder
from model.scenes import Scene, downscaled
from model.scenes.quiz import quizzes
from model.training.rendered import FIRST_HELD_OUT_SEED
from model.types import PatchGrid, PrunedFrame, Question
from model.videollama3.checkpoint import load_model
from pipeline.pruner import Pruner
from pipeline.types import Frame
from worker.benchmarks.report import Progress, Row, at_least

NUM_SCENES = 24
DURATION_S = 90
GRID = PatchGrid(rows=6, cols=11)  # 308x168, what the scenes are drawn on
ASK_EVERY_S = 5
QUESTIONS_AT_ONCE = 4
MIN_COSINE = 0.995
MIN_AGREEMENT = 0.99
AGES_S = (0, 10, 30, 90)
SHARES = (0.0, 0.05, 0.15, 1.0)
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Tally:
    """What was found, token by token and question by question."""

    cosines: list[Tensor] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)  # of each frame, since its last whole one
    shares: list[float] = field(default_factory=list)  # of each frame's tokens that were sent
    num_questions: int = 0
    num_agreed: int = 0
    differences: list[float] = field(default_factory=list)  # of the probability of yes


def drift_rows(progress: Progress) -> list[Row]:
    """Compare `delta` with `full` on the bundled model, over held-out scenes."""
    tally = Tally()
    for index in range(NUM_SCENES):
        progress(f"drift: scene {index + 1} of {NUM_SCENES}")
        compare(FIRST_HELD_OUT_SEED + index, tally)
    return tally_rows(tally)


def compare(seed: int, tally: Tally, *, duration_s: int = DURATION_S) -> None:
    """Look at one scene both ways."""
    engines = [_engine("full"), _engine("delta")]
    network = load_model(NANO, device="cpu", dtype=torch.float32)
    full, delta = StreamEncoder(network, mode="full"), StreamEncoder(network)
    whole_s = 0.0
    for frame, questions in scene_frames(seed, duration_s=duration_s):
        (exact,), (sent,) = (encoder.encode([frame], [False]) for encoder in (full, delta))
        if sent.is_whole:
            whole_s = frame.pts_s
        elif len(sent.tokens):
            cosines = torch.cosine_similarity(sent.features.float(), exact.features.float(), dim=-1)
            tally.cosines.append(cosines)
            tally.ages_s.append(frame.pts_s - whole_s)
            tally.shares.append(len(sent.tokens) / frame.grid.num_tokens)
        answers = []
        for engine in engines:
            engine.append([frame])
            answers.append(engine.ask([(frame.stream_id, question) for question in questions]))
        for one, other in zip(*answers, strict=True):
            tally.num_questions += 1
            tally.num_agreed += one.value == other.value
            if one.p is not None and other.p is not None:
                tally.differences.append(abs(one.p - other.p))


def scene_frames(seed: int, *, duration_s: int) -> Iterator[tuple[PrunedFrame, list[Question]]]:
    """Render a scene, prune it, and say what is to be asked after each frame."""
    scene = Scene.from_seed(seed, duration_s=float(duration_s))
    rng = np.random.default_rng(seed)
    pruner = Pruner()
    for t_s in range(duration_s):
        pixels = downscaled(scene.frame(float(t_s)), factor=2)
        captured_at = START + timedelta(seconds=t_s)
        pruned = pruner.prune(Frame(f"scene-{seed}", pixels, GRID, float(t_s), captured_at))
        pruner.sent(pruned)
        asked = []
        if t_s and t_s % ASK_EVERY_S == 0:
            found = quizzes(
                scene,
                float(t_s),
                start_s=0.0,
                rng=rng,
                num=QUESTIONS_AT_ONCE,
                tasks=("yes_no",),
            )
            asked = [Question("yes_no", quiz.question) for quiz in found]
        yield pruned, asked


def tally_rows(tally: Tally) -> list[Row]:
    """Sum up, and lay the cosines out by age of the cache and by share sent."""
    if not tally.cosines or not tally.num_questions:
        return [Row("delta_cosine_of_sent_tokens", None, "nothing was sent in part", MIN_COSINE)]
    cosines = torch.cat(tally.cosines)
    rows = [
        at_least(
            "delta_cosine_of_sent_tokens",
            float(cosines.mean()),
            MIN_COSINE,
            terms={
                "tokens": len(cosines),
                "worst_token": float(cosines.min()),
                "worst_percent_of_tokens": float(cosines.quantile(0.01)),
            },
        ),
        at_least(
            "delta_yes_no_answers_that_agree",
            tally.num_agreed / tally.num_questions,
            MIN_AGREEMENT,
            terms={
                "agreed": tally.num_agreed,
                "questions": tally.num_questions,
                "mean_difference_of_p": float(np.mean(tally.differences)),
            },
        ),
    ]
    for unit, edges, values in (("s_old", AGES_S, tally.ages_s), ("sent", SHARES, tally.shares)):
        rows += _table(tally, unit, edges, values)
    return rows


def _table(tally: Tally, unit: str, edges: tuple[float, ...], values: list[float]) -> Iterator[Row]:
    for low, high in pairwise(edges):
        found = [
            cosines
            for cosines, value in zip(tally.cosines, values, strict=True)
            if low <= value < high
        ]
        if found:
            cosines = torch.cat(found)
            name = f"delta_cosine_{low:g}_to_{high:g}_{unit}"
            yield Row(name, float(cosines.mean()), "cosine", terms={"tokens": len(cosines)})


def _engine(vision: VisionMode) -> Engine:
    return Engine.load(
        "nano",
        device="cpu",
        config=EngineConfig(
            window_s=2.0 * DURATION_S,
            max_context_tokens=4096,
            max_caption_tokens=8,
            max_answer_tokens=8,
            vision=vision,
            audit_share=0.0,
        ),
    )
