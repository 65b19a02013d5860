import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model.errors import InputError
from model.training.loop import Loop, Schedule


def data(step: int) -> Iterator[Tensor]:
    while True:
        yield torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        step += 1


def loop(out: Path, *, num_steps: int = 20, rule: str = "adamw") -> tuple[Loop[Tensor], nn.Linear]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(batch: Tensor) -> dict[str, Tensor]:
        squares: Tensor = (model(batch)[:, 0] - batch.sum(1)) ** 2
        return {"fit": squares.mean(), "size": 1e-6 * model.weight.square().sum()}

    groups = [
        {"params": [model.weight], "lr": 0.1, "rule": rule},
        {"params": [model.bias], "lr": 0.1},
    ]
    schedule = Schedule(num_steps, save_every=4)
    return Loop(model, groups, loss=loss, schedule=schedule, out=out), model


def losses(out: Path) -> list[float]:
    lines = (out / "losses.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.parametrize("rule", ["adamw", "muon"])
def test_a_run_that_was_cut_off_goes_on_to_the_same_end(tmp_path: Path, rule: str) -> None:
    whole, expected = loop(tmp_path / "whole", rule=rule)
    assert [progress.step for progress in whole.run(data)] == list(range(1, 21))
    cut, _ = loop(tmp_path / "cut", rule=rule)
    for progress in cut.run(data):
        if progress.step == 10:  # killed between two saved states
            break
    again, model = loop(tmp_path / "cut", rule=rule)
    assert again.step == 8
    assert next(iter(again.run(data))).step == 9
    again, model = loop(tmp_path / "cut", rule=rule)
    list(again.run(data))
    torch.testing.assert_close(model.weight, expected.weight, rtol=0, atol=0)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    share = 0.1 if rule == "adamw" else 0.5  # muon's step of a row is of one length
    assert losses(tmp_path / "whole")[-1] < share * losses(tmp_path / "whole")[0]


def test_the_parts_of_a_loss_are_told_and_sum_to_it(tmp_path: Path) -> None:
    first = next(iter(loop(tmp_path)[0].run(data)))
    assert set(first.parts) == {"fit", "size"}
    assert sum(first.parts.values()) == pytest.approx(first.loss)


def test_a_finished_run_stays_finished(tmp_path: Path) -> None:
    first, model = loop(tmp_path)
    list(first.run(data))
    again, same = loop(tmp_path)
    assert list(again.run(data)) == []
    torch.testing.assert_close(same.weight, model.weight)


def test_a_run_of_another_length_is_refused(tmp_path: Path) -> None:
    list(loop(tmp_path)[0].run(data))
    with pytest.raises(InputError, match="expected a run of 30 steps, got one of 20"):
        loop(tmp_path, num_steps=30)


def test_the_rate_rises_and_falls_as_a_cosine() -> None:
    schedule = Schedule(1000, warmup_share=0.03, floor=0.02)
    rates = [schedule.rate(step) for step in range(1000)]
    assert rates[29] == 1.0
    assert rates[:30] == sorted(rates[:30])
    assert rates[29:] == sorted(rates[29:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=1e-4)
