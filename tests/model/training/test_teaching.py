from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.bundled import NANO
from model.training.held_out import measured
from model.training.loss import answer_rows, loss_of
from model.training.memo import ClipMemo
from model.training.packing import pack
from model.training.recipe import HEADS_FILE
from model.training.rendered import FIRST_HELD_OUT_SEED, Rendered
from model.training.sample import Exchange, Sample
from model.training.samples import Asked, asked_of
from model.training.teaching import Pupil
from model.types import PrunedFrame
from pipeline.pruner import prune_clip
from tests.model.training.clips import network, sample, small, tokenizer


@pytest.fixture
def rendered(tmp_path: Path) -> Rendered:
    return Rendered(
        mix={"video": 1.0}, seed=0, prune=prune_clip, memo=ClipMemo(tmp_path), num_scenes=2
    )


def test_what_is_not_rendered_is_taught_by_its_answers_alone() -> None:
    model = small()
    batch = pack([sample(3)], tokenizer(), max_tokens=4096)
    parts = Pupil(model).loss(batch)
    assert set(parts) == {"answers"}
    torch.testing.assert_close(parts["answers"], loss_of(model, *answer_rows(model, batch)))


def test_a_few_steps_teach_every_lesson(rendered: Rendered) -> None:
    pupil = Pupil(small())
    batch = pack([rendered.sample(index) for index in range(2)], tokenizer(), max_tokens=8192)
    optimizer = torch.optim.AdamW(pupil.parameters(), lr=2e-3)
    first = {name: float(part.detach()) for name, part in pupil.loss(batch).items()}
    seeing = {"names", "pictures", "drift"}
    assert set(first) == {"answers", "options", "recents", "pasts"} | seeing
    for _ in range(6):
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(pupil.loss(batch).values())).sum())
        optimizer.step()
    last = {name: float(part.detach()) for name, part in pupil.loss(batch).items()}
    for name in ("answers", "options", "names", "pictures", "recents", "pasts"):
        assert last[name] < 0.9 * first[name], name
    pupil.model.vision.requires_grad_(requires_grad=False)
    assert set(pupil.loss(batch)) == set(first) - seeing  # what is frozen is taught nothing


def test_a_few_steps_teach_to_speak_of_a_bright_frame() -> None:
    whole = np.ones((1, 2), dtype=np.bool_)
    worth = (None, True, False, True, False)
    frames = tuple(
        PrunedFrame(
            "a",
            np.full((28, 56, 3), 235 if is_worth else 20, np.uint8),
            whole,
            at,
            is_refresh=False,
        )
        for at, is_worth in enumerate(worth)
    )
    one = Sample("video", frames, (Exchange(5, (("a", "b"),)),), worth=worth)
    batch = pack([one], tokenizer(), max_tokens=4096)
    pupil = Pupil(small())
    optimizer = torch.optim.AdamW(pupil.parameters(), lr=5e-3)
    first = {name: float(part.detach()) for name, part in pupil.loss(batch).items()}
    assert set(first) == {"answers", "speaking"}
    for _ in range(12):
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(pupil.loss(batch).values())).sum())
        optimizer.step()
    with torch.no_grad():
        assert float(pupil.loss(batch)["speaking"]) < 0.2 * first["speaking"]
    found = measured(pupil.model, [batch])
    assert (found["spoken"], found["silent"]) == (1.0, 1.0)


def test_drift_is_nothing_where_all_is_sent_anew_and_something_where_it_is_not(
    rendered: Rendered,
) -> None:
    trained = deepcopy(network()).requires_grad_(requires_grad=True)
    pupil = Pupil(trained)  # an untrained one's tokens are all alike
    one = next(
        sample for sample in map(rendered.sample, range(8)) if not sample.frames[-1].keep_mask.all()
    )
    last = one.frames[-1]
    anew = replace(last, keep_mask=np.ones_like(last.keep_mask))
    all_sent = asked_of(
        rendered.clip(0)[0],
        (*one.frames[:-1], anew),
        asked=Asked(1, 1),
        rng=np.random.default_rng(0),
    )
    with torch.no_grad():
        drifts = [
            float(pupil.loss(pack([each], tokenizer(), max_tokens=8192))["drift"])
            for each in (all_sent, one)
        ]
    assert abs(drifts[0]) < 1e-5 < drifts[1]


def test_the_bundled_model_goes_on_with_the_heads_that_it_was_taught_by(
    rendered: Rendered,
) -> None:
    unseen = replace(rendered, first_scene=FIRST_HELD_OUT_SEED)
    batch = pack([unseen.sample(index) for index in range(2)], tokenizer(), max_tokens=8192)
    pupil = Pupil(deepcopy(network()).requires_grad_(requires_grad=True))
    with torch.no_grad():
        new = pupil.loss(batch)
        pupil.heads.load_state_dict(load_file(NANO / HEADS_FILE))
        known = pupil.loss(batch)
    assert known["answers"] == new["answers"]
    for name in ("names", "pictures", "options", "recents", "pasts"):
        assert known[name] < 0.3 * new[name], name


def test_heads_are_no_part_of_the_network() -> None:
    model = small()
    pupil = Pupil(model)
    own = {id(parameter) for parameter in model.parameters()}
    assert not own & {id(parameter) for parameter in pupil.heads.parameters()}
    assert len(list(pupil.parameters())) == len(own) + 12
