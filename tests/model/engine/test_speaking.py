"""Whether something is worth saying, read off a frame's own last row as it is appended."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from model.engine.config import EngineConfig, VisionMode
from model.engine.engine import Engine
from model.errors import InputError
from model.family import Family
from model.training.loss import answer_rows, choices
from model.training.packing import pack
from model.training.sample import Exchange, Sample
from model.types import PrunedFrame, Question
from model.videollama3.family import family_of
from model.videollama3.prompt import NANO_2
from tests.model.nano_model import GRID, nano, nano_family, picture, pruned, some_tokens
from tests.model.training.clips import small, tokenizer

FIRE = Question("yes_no", "Is there fire?")


def engine_of(
    family: Family,
    *,
    says_when: bool = True,
    window_s: float = 180.0,
    vision: VisionMode = "delta",
) -> Engine:
    config = EngineConfig(window_s=window_s, audit_share=0.0, says_when=says_when, vision=vision)
    return Engine(replace(family, speaks=True), model_name="constructed", config=config)


def stream(num_frames: int, *, stream_id: str = "gate", seed: int = 0) -> list[PrunedFrame]:
    frames = [pruned(picture(seed), pts_s=0.0, stream_id=stream_id)]
    for index in range(1, num_frames):
        mask = some_tokens(seed + index)
        shown = picture(seed + index)
        frames.append(pruned(shown, pts_s=float(index), keep=mask, stream_id=stream_id))
    return frames


def worths(engine: Engine, frames: Sequence[PrunedFrame]) -> list[float | None]:
    found = []
    for frame in frames:
        engine.append([frame])
        found.append(engine.worth_saying(frame.stream_id))
    return found


@torch.no_grad()
def test_service_reads_what_training_teaches() -> None:
    """The p of every frame is that of its row in a packed sample, which is trained on."""
    frames = stream(6)
    asked = Exchange(len(frames), (("Is there fire?", "no"),))
    sample = Sample("video", tuple(frames), (asked,), worth=(None, *[True, False] * 2, True))
    batch = pack([sample], tokenizer(), max_tokens=4096)
    rows = answer_rows(nano(), batch).where(choices(batch))
    speak, watch = batch.choice_ids
    assert rows.labels.tolist() == [speak, watch, speak, watch, speak]
    logits = nano().language.logits(rows.hidden)
    expected = (logits[:, speak] - logits[:, watch]).sigmoid().tolist()
    found = worths(engine_of(nano_family()), frames)
    assert found[1:] == pytest.approx(expected, rel=1e-3)


def test_answers_are_the_same_with_it_and_several_cameras_do_not_mix() -> None:
    plain, asking = (engine_of(nano_family(), says_when=on) for on in (False, True))
    streams = [stream(4, stream_id=name, seed=seed) for seed, name in enumerate("ab")]
    alone = [worths(engine_of(nano_family()), frames)[-1] for frames in streams]
    for tick in zip(*streams, strict=True):
        for engine in (plain, asking):
            engine.append(tick)
    assert [asking.worth_saying(name) for name in "ab"] == pytest.approx(alone, rel=1e-3)
    assert plain.worth_saying("a") is None
    for name in "ab":
        [one], [other] = plain.ask([(name, FIRE)]), asking.ask([(name, FIRE)])
        assert other.p == pytest.approx(one.p, abs=1e-5)


def test_nothing_is_said_before_the_first_frame_and_a_still_frame_changes_nothing() -> None:
    engine = engine_of(nano_family())
    assert engine.worth_saying("gate") is None
    engine.append([pruned(picture(0), pts_s=0.0)])
    before = engine.worth_saying("gate")
    nothing = np.zeros((GRID.rows, GRID.cols), dtype=np.bool_)
    engine.append([pruned(picture(0), pts_s=1.0, keep=nothing)])
    assert engine.worth_saying("gate") == before is not None


def test_the_asked_context_is_the_one_that_speaks() -> None:
    """With a standby beside it the p is still that of the older one, which questions see."""
    frames = stream(5)
    alone = worths(engine_of(nano_family(), vision="full"), frames)
    rolling = engine_of(nano_family(), vision="full", window_s=6.0)  # a standby opens at 3 s
    assert worths(rolling, frames) == pytest.approx(alone, rel=1e-3)


@torch.no_grad()
def test_a_model_made_to_speak_of_a_bright_frame_speaks_of_that_alone() -> None:
    """Weights by hand: the head tells the rows of a bright frame from those of a dark one."""
    model = small()
    family = family_of(model, tokenizer(), prompt=NANO_2)
    shades = (20, 20, 235, 20, 235, 235)
    frames = [
        pruned(np.full((GRID.height_px, GRID.width_px, 3), shade, dtype=np.uint8), pts_s=float(at))
        for at, shade in enumerate(shades)
    ]
    asked = Exchange(len(frames), (("Is there fire?", "no"),))
    sample = Sample("video", tuple(frames), (asked,), worth=tuple(shade > 99 for shade in shades))
    batch = pack([sample], tokenizer(), max_tokens=4096)
    rows = answer_rows(model, batch).where(choices(batch)).hidden
    is_bright = torch.tensor(shades) > 99
    apart = torch.linalg.lstsq(
        torch.cat([rows, torch.ones(len(rows), 1)], dim=1), is_bright.float()[:, None] * 12 - 6
    ).solution[:-1, 0]
    middle = (rows @ apart)[is_bright].min() + (rows @ apart)[~is_bright].max()
    speak, watch = family.choice_ids
    head = nn.Linear(rows.shape[1], model.config.text.vocab_size, bias=False)
    head.weight.zero_()
    head.weight[speak] = apart
    model.language.lm_head = head
    del watch
    found = worths(engine_of(family), frames)
    offset = torch.tensor(found).logit() - middle / 2
    assert (offset > 2).tolist() == is_bright.tolist()
    assert (offset < -2).tolist() == (~is_bright).tolist()


def test_a_model_that_did_not_learn_it_is_refused() -> None:
    with pytest.raises(InputError, match="says_when: expected a model that learnt when to speak"):
        Engine(nano_family(), model_name="nano", config=EngineConfig(says_when=True))
