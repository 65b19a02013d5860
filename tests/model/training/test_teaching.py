from pathlib import Path

import pytest
import torch

from model.training.loss import answer_loss
from model.training.memo import ClipMemo
from model.training.packing import pack
from model.training.rendered import Rendered
from model.training.teaching import Pupil
from tests.model.training.clips import sample, small, tokenizer
from worker.commands.train import prune


@pytest.fixture
def rendered(tmp_path: Path) -> Rendered:
    return Rendered(mix={"video": 1.0}, seed=0, prune=prune, memo=ClipMemo(tmp_path), num_scenes=2)


def test_what_is_not_rendered_is_taught_by_its_answers_alone() -> None:
    model = small()
    batch = pack([sample(3)], tokenizer(), max_tokens=4096)
    parts = Pupil(model).loss(batch)
    assert set(parts) == {"answers"}
    torch.testing.assert_close(parts["answers"], answer_loss(model, batch))


def test_a_few_steps_teach_every_lesson(rendered: Rendered) -> None:
    pupil = Pupil(small())
    batch = pack([rendered.sample(index) for index in range(2)], tokenizer(), max_tokens=8192)
    optimizer = torch.optim.AdamW(pupil.parameters(), lr=2e-3)
    first = {name: float(part.detach()) for name, part in pupil.loss(batch).items()}
    assert set(first) == {"answers", "names", "pictures", "pasts", "drift"}
    for _ in range(6):
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(pupil.loss(batch).values())).sum())
        optimizer.step()
    last = {name: float(part.detach()) for name, part in pupil.loss(batch).items()}
    for name in ("answers", "names", "pictures", "pasts"):
        assert last[name] < 0.9 * first[name], name


def test_drift_is_nothing_where_all_is_sent_anew_and_something_where_it_is_not() -> None:
    model = small()
    for parameter in model.vision.parameters():  # far from the start, where all tokens are alike
        parameter.data.mul_(1.5)
    pupil = Pupil(model)
    batch = pack([sample(3)], tokenizer(), max_tokens=4096)
    assert "drift" not in pupil.loss(batch)


def test_heads_are_no_part_of_the_network() -> None:
    model = small()
    pupil = Pupil(model)
    own = {id(parameter) for parameter in model.parameters()}
    assert not own & {id(parameter) for parameter in pupil.heads.parameters()}
    assert len(list(pupil.parameters())) == len(own) + 6
