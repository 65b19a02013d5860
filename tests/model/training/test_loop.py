import json
import math
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from model.errors import DataError, InputError
from model.training.loop import Loop, Measured, Progress, Schedule, Watch, read_lines


def data(step: int) -> Iterator[tuple[Tensor]]:
    while True:
        yield (torch.randn(8, 3, generator=torch.Generator().manual_seed(step)),)
        step += 1


class Clock:
    """A clock that every step moves by a second."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def loop(
    out: Path,
    *,
    num_steps: int = 20,
    rule: str = "adamw",
    save_every_s: float = 4.0,
    share: float = 1.0,
    **more: Any,
) -> tuple[Loop[Tensor], nn.Linear]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    clock = Clock()

    def loss(batch: Tensor) -> dict[str, Tensor]:
        clock.now_s += 1.0
        squares: Tensor = (model(batch)[:, 0] - batch.sum(1)) ** 2
        size = 1e-6 * model.weight.square().sum()
        return {"fit": share * squares.mean(), "size": share * size}

    groups = [
        {"params": [model.weight], "lr": 0.1, "rule": rule},
        {"params": [model.bias], "lr": 0.1},
    ]
    schedule = Schedule(num_steps)
    watch = Watch(clock, save_every_s=save_every_s, **more)
    return Loop(model, groups, loss=loss, schedule=schedule, watch=watch, out=out), model


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
    assert isinstance(first, Progress)
    assert set(first.parts) == {"fit", "size"}
    assert sum(first.parts.values()) == pytest.approx(first.loss)


def test_a_finished_run_stays_finished(tmp_path: Path) -> None:
    first, model = loop(tmp_path)
    list(first.run(data))
    again, same = loop(tmp_path)
    assert again.is_finished
    assert list(again.run(data)) == []
    torch.testing.assert_close(same.weight, model.weight)


def test_a_run_that_is_stopped_saves_its_last_step(tmp_path: Path) -> None:
    stopped: Loop[Tensor]
    stopped, _ = loop(tmp_path, save_every_s=1e9, is_stopped=lambda: stopped.step == 7)
    assert [event.step for event in stopped.run(data)] == list(range(1, 8))
    assert not stopped.is_finished
    assert loop(tmp_path)[0].step == 7


def test_what_is_measured_is_told_and_written_and_not_twice_after_a_kill(tmp_path: Path) -> None:
    found = iter(range(100))

    def measure() -> dict[str, float]:
        assert not torch.is_grad_enabled()
        return {"right": next(found) / 100}

    run, _ = loop(tmp_path, measure=measure, measure_every=8)
    told = []
    for event in run.run(data):
        if isinstance(event, Measured):
            told.append(event.step)
        if event.step == 17:  # the state is of step 16
            break
    again, _ = loop(tmp_path, measure=measure, measure_every=8)
    told += [event.step for event in again.run(data) if isinstance(event, Measured)]
    assert told == [0, 8, 16, 20]
    assert [row["step"] for row in read_lines(tmp_path / "measures.jsonl")] == told


def test_what_does_not_learn_is_not_in_the_state(tmp_path: Path) -> None:
    run, model = loop(tmp_path, num_steps=4)
    model.bias.requires_grad = False
    list(run.run(data))
    with safe_open(tmp_path / "state.safetensors", framework="pt") as state:
        assert "model.weight" in state.keys()  # noqa: SIM118 (no mapping)
        assert "model.bias" not in state.keys()  # noqa: SIM118


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    run, _ = loop(tmp_path)
    events = run.run(data)
    while next(events).step < 5:
        pass
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))  # a disk that is full
    try:
        with pytest.raises(DataError, match="the state after step 8 cannot be written"):
            list(events)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert loop(tmp_path)[0].step == 4


def test_a_run_that_was_killed_before_its_first_state_leaves_no_numbers(tmp_path: Path) -> None:
    killed, _ = loop(tmp_path, measure=lambda: {"right": 0.25})
    for event in killed.run(data):
        if event.step == 3:
            break
    again, _ = loop(tmp_path, measure=lambda: {"right": 0.5})
    list(again.run(data))
    assert [row["step"] for row in read_lines(tmp_path / "losses.jsonl")] == list(range(1, 21))
    assert [row["right"] for row in read_lines(tmp_path / "measures.jsonl")] == [0.5, 0.5]


def test_a_state_that_was_cut_short_is_named(tmp_path: Path) -> None:
    list(loop(tmp_path)[0].run(data))
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-9])
    with pytest.raises(DataError, match=rf"{state}: expected the whole state of a run, got: "):
        loop(tmp_path)


def test_batches_of_a_step_change_the_weights_once(tmp_path: Path) -> None:
    def parted(step: int) -> Iterator[Sequence[Tensor]]:
        return (torch.split(batch, 4) for (batch,) in data(step))

    whole, expected = loop(tmp_path / "whole")
    list(whole.run(data))
    run, model = loop(tmp_path / "parted", share=0.5)
    list(run.run(parted))
    torch.testing.assert_close(model.weight, expected.weight)
    assert losses(tmp_path / "parted") == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)


def test_a_step_of_which_nothing_is_learnt_changes_nothing(tmp_path: Path) -> None:
    run, model = loop(tmp_path, num_steps=2)
    before = model.weight.clone()
    model.requires_grad_(requires_grad=False)
    assert [event.step for event in run.run(data)] == [1, 2]
    torch.testing.assert_close(model.weight, before, rtol=0, atol=0)


@pytest.mark.parametrize("is_last", [False, True])
def test_a_run_that_diverges_stops_and_keeps_its_last_state(
    tmp_path: Path, *, is_last: bool
) -> None:
    run, model = loop(tmp_path, num_steps=10)
    events = run.run(data)
    while next(events).step < (10 if is_last else 6):
        pass
    with torch.no_grad():
        model.weight.fill_(torch.nan)
    with pytest.raises(InputError, match=f"step {10 if is_last else 7} of 10: .* has diverged"):
        list(events)
    assert loop(tmp_path, num_steps=10)[0].step == (8 if is_last else 4)
    assert all(math.isfinite(loss) for loss in losses(tmp_path))


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
