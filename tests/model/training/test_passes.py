"""A step in several passes is the step in one."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import DataError
from model.training import passes
from model.training.memo import ClipMemo
from model.training.packing import LengthError, Packed, pack
from model.training.passes import Pass, check_length, in_passes
from model.training.rendered import Rendered
from model.training.sample import Exchange, Sample
from model.training.teaching import Pupil
from model.types import PrunedFrame
from pipeline.pruner import prune_clip
from tests.model.training.clips import ASK, sample, small, tokenizer


def packed(samples: Sequence[Sample], *, max_tokens: int = 65_536) -> Packed:
    return pack(samples, tokenizer(), max_tokens=max_tokens)


def speaking(worth: tuple[bool | None, ...]) -> Sample:
    """A video that is also taught when to speak, asked once."""
    whole = np.ones((1, 2), dtype=np.bool_)
    pixels = np.full((28, 56, 3), 90, dtype=np.uint8)
    frames = tuple(
        PrunedFrame("a", pixels, whole, float(second), is_refresh=False)
        for second in range(len(worth))
    )
    return Sample("video", frames, (Exchange(1, ((ASK, "no"),)),), worth=worth)


def step(rows: Sequence[Pass]) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Give the parts of a step's loss, and the gradients that it leaves."""
    pupil, told = Pupil(small()), dict[str, float]()
    for one in rows:
        parts = one.counted(pupil.loss(one.packed))
        torch.autograd.backward(torch.stack(list(parts.values())).sum())
        for name, part in parts.items():
            told[name] = told.get(name, 0.0) + float(part.detach())
    return told, {
        name: weight.grad for name, weight in pupil.named_parameters() if weight.grad is not None
    }


def test_several_passes_cost_and_teach_what_one_does() -> None:
    words = Sample("text", (), (Exchange(0, (("What is two and two?", "four"),)),))
    samples = [
        sample(4),
        speaking((None, True, False)),
        words,
        sample(2, seed=1),
        speaking((None, False)),
    ]
    [whole] = in_passes(samples, packed=packed)
    assert set(whole.shares.values()) <= {0.0, 1.0}  # to the bit what it always was
    parted = in_passes(samples, packed=partial(packed, max_tokens=len(whole.packed.ids) // 2))
    assert len(parted) > 2
    assert torch.equal(torch.cat([one.packed.ids for one in parted]), whole.packed.ids)
    (expected, gradients), (found, ours) = step([whole]), step(parted)
    assert set(expected) == {"answers", "speaking"}
    assert found == pytest.approx(expected, rel=1e-5)
    assert ours.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


@torch.no_grad()
def test_lessons_of_rendered_scenes_count_by_what_they_are_of(tmp_path: Path) -> None:
    rendered = Rendered(
        mix={"video": 1.0}, seed=0, prune=prune_clip, memo=ClipMemo(tmp_path), num_scenes=2
    )
    samples = [rendered.sample(index) for index in range(2)]
    pupil = Pupil(small())
    [whole] = in_passes(samples, packed=packed)
    parted = in_passes(samples, packed=partial(packed, max_tokens=len(whole.packed.ids) - 1))
    expected = pupil.loss(whole.packed)
    each = [one.counted(pupil.loss(one.packed)) for one in parted]
    for name, part in expected.items():
        near = 2e-2 if name in ("names", "options") else 1e-4
        total = torch.stack([one[name] for one in each if name in one]).sum()
        torch.testing.assert_close(total, part, rtol=near, atol=1e-4, msg=name)


def test_one_that_is_too_long_by_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LengthError, match="expected 1 to 20 tokens, got "):
        in_passes([sample(2), sample(3)], packed=partial(packed, max_tokens=20))
    check_length(sample(2), tokenizer())
    monkeypatch.setattr(passes, "MAX_TOKENS", 20)
    with pytest.raises(DataError, match=r"expected up to 20 tokens, got .*: shorten it"):
        check_length(sample(2), tokenizer())
