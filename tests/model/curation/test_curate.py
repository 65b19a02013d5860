"""The whole run, on Ray, with workers that die, and again without Ray."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray.data
import torch

from model.curation import curate as curation
from model.curation import on_ray, recaption
from model.curation.curate import Crew, StepError, curate
from model.curation.demo import shards
from model.curation.demo.shown import networks
from model.curation.demo.small_models import SHORT
from model.curation.models import Captioner
from model.curation.parts import Pictures, counts
from model.curation.pictures import opened
from model.curation.plan import STEPS, Limits, Plan
from model.curation.work import PartWorker
from model.errors import InputError
from model.training.conversation import read
from tests.model.curation.curations import FullDisk, Mortal, each, painted_plan
from tests.model.curation.curations import run as run_steps

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own making

ALL = Limits(
    min_side_px=40,
    min_aesthetic=-1e9,
    min_text_similarity=-0.5,
    min_caption_similarity=-2,
    num_clusters=6,
    num_sampled=60,
    num_per_cluster=5,
)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As Ray's workers have: sums come out the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(plan: Plan, num_workers: int = 1) -> list[str]:
    said: list[str] = []
    ticks = count()
    curate(plan, Crew(num_workers), say=said.append, now_s=lambda: float(next(ticks)))
    return said


@pytest.mark.timeout(400)  # with Ray's start and the networks' training, on a busy machine
@pytest.mark.usefixtures("ray_here", "one_thread")
def test_two_workers_one_of_which_is_killed_make_what_one_process_makes(
    small_networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = shards.write(tmp_path / "shards", 120, seed=6, per_shard=40)
    plan = Plan(tuple(painted), tmp_path / "ray", ALL, networks(small_networks))
    monkeypatch.setattr(curation, "PartWorker", Mortal)
    said = run(plan, num_workers=2)
    assert "shape: part 1 was done again: 1 workers died of it" in said

    alone = Plan(plan.shards, tmp_path / "alone", ALL, plan.networks)
    monkeypatch.setattr(curation, "PartWorker", PartWorker)
    monkeypatch.setattr(on_ray, "each", each)
    run(alone)
    made = [path.relative_to(plan.out) for path in sorted(plan.out.rglob("*")) if path.is_file()]
    assert len(made) > 60
    for path in made:
        if path.name != "rates.jsonl":
            assert (plan.out / path).read_bytes() == (alone.out / path).read_bytes(), path

    num_in = 120
    for step in STEPS:
        kept, reasons = counts(plan.folder(step.name), range(3))
        assert kept + sum(reasons.values()) == num_in
        num_in = kept
    assert 6 <= num_in <= 30
    for style in ("short", "detailed"):
        conversations = read(plan.out / "conversations" / f"{style}.jsonl").conversations
        assert len(conversations) == num_in
        opened(conversations[0].images[0].read_bytes())
    rates = [json.loads(line) for line in (plan.out / "rates.jsonl").read_text().splitlines()]
    assert [rate["step"] for rate in rates] == [step.name for step in STEPS]

    before = {path: path.stat().st_mtime_ns for path in plan.out.rglob("part-*.parquet")}
    plan.folder("recaption").part(2).unlink()
    run(plan)
    changed = {path for path, at in before.items() if path.stat().st_mtime_ns != at}
    assert {path.name for path in changed} == {"part-00002.parquet"}
    assert {path.parent.name for path in changed} <= {"8-recaption", "dropped"}

    other = replace(plan, networks=replace(plan.networks, short_prompt=SHORT + " "))
    with pytest.raises(InputError, match=r"short_prompt: expected .* delete it"):
        run(other)
    shutil.rmtree(plan.folder("recaption").path)
    run(other)
    for one in read(plan.out / "conversations" / "short.jsonl").conversations:
        assert one.turns[0].question.endswith(SHORT + " ")


@pytest.mark.usefixtures("one_thread")
def test_parts_that_fail_are_named_and_a_later_run_goes_on(
    tmp_path: Path, small_networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = shards.write(tmp_path / "shards", 60, seed=6, per_shard=20)
    plan = Plan(tuple(painted), tmp_path / "run", ALL, networks(small_networks))
    monkeypatch.setattr(on_ray, "each", each)
    monkeypatch.setattr(curation, "PartWorker", FullDisk)
    said: list[str] = []
    with pytest.raises(StepError, match=r"expected 3 parts, got 2; .*No space left on device"):
        curate(plan, Crew(), say=said.append, now_s=lambda: 0.0)
    assert [plan.folder("read").is_done(part) for part in range(3)] == [True, False, True]
    assert len(said) == 1
    monkeypatch.setattr(curation, "PartWorker", PartWorker)
    said = run(plan)
    assert said[0] == "read: 1 parts were begun and not ended by an earlier run"
    assert said[1].startswith("1 read: 60 kept; 20 pictures/s")


@pytest.mark.usefixtures("ray_here")
def test_captions_of_an_engine_that_streams_are_put_back_into_their_parts(
    small_networks: Path, tmp_path: Path
) -> None:
    painted = shards.write(tmp_path / "shards", 24, seed=6, per_shard=8)
    plan = Plan(tuple(painted), tmp_path / "run", ALL, networks(small_networks))
    plan.settle()
    for part in range(3):
        assert PartWorker(plan, "read").do(part).failed == ""
        rows = pq.read_table(plan.folder("read").part(part)).drop_columns("image")
        plan.before("recaption").path.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, plan.before("recaption").part(part))

    class Engine:
        """In vLLM's place: answers what it is asked, in an order of its own, but for one error."""

        def __init__(self) -> None:
            name = plan.networks.recaptioner
            self._captioner = Captioner(name, max_new_tokens=plan.networks.max_new_tokens)

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            asked = recaption.asked(row, plan.networks)
            image, text = asked["messages"][0]["content"]
            assert image["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
            if (row["part"], row["row"]) == (1, 3):
                return recaption.answered(row | {"__inference_error__": "out of pages"})
            said = self._captioner.write([opened(row["image"])], prompt=text["text"])
            return recaption.answered(row | {"generated_text": said[0]})

    def processor(rows: ray.data.Dataset) -> ray.data.Dataset:
        asking: Any = Engine
        return rows.map(asking, compute=ray.data.ActorPoolStrategy(size=1))

    outcomes = list(recaption.with_processor(plan, [2, 1, 0], processor))
    assert {one.part: one.num_in for one in outcomes} == {0: 8, 1: 8, 2: 8}
    kept, reasons = counts(plan.folder("recaption"), range(3))
    assert (kept, reasons) == (23, {"recaption_failed": 1})
    known = Captioner(plan.networks.recaptioner, max_new_tokens=plan.networks.max_new_tokens)
    stored = Pictures(plan.folder("read").part(2))
    for row in pq.read_table(plan.folder("recaption").part(2)).to_pylist():
        picture = opened(stored.take([row["row"]])[0])
        assert row["short"] == known.write([picture], prompt=plan.networks.short_prompt)[0]
        assert row["detailed"] == known.write([picture], prompt=plan.networks.detailed_prompt)[0]


def says(row: dict[str, Any]) -> dict[str, Any]:
    return recaption.answered(row | {"generated_text": "a disc"})


def dies(row: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("out of pages" if row["part"] else "out of memory")


def loses(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [row] if (row["part"], row["row"]) != (1, 3) else []


@pytest.mark.usefixtures("ray_here")
def test_an_engine_that_loses_captions_or_dies_fails_those_parts_and_a_later_run_does_them(
    tmp_path: Path,
) -> None:
    plan = painted_plan(tmp_path, 24, per_shard=8)
    run_steps(plan, "read")
    for part in range(3):
        rows = pq.read_table(plan.folder("read").part(part)).drop_columns("image")
        plan.before("recaption").path.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, plan.before("recaption").part(part))
    ways: list[Any] = [
        lambda rows: rows.map(dies),
        lambda rows: rows.map(says).flat_map(loses),
        lambda rows: rows.map(says),
    ]
    told = []
    for way in ways:
        todo = [part for part in range(3) if not plan.folder("recaption").is_done(part)]
        told.append({one.part: one.failed for one in recaption.with_processor(plan, todo, way)})
    assert all("expected 16 captions, got 0: " in told[0][part] for part in range(3))
    assert told[1] == {0: "", 1: "expected 16 captions, got 14: the engine ended", 2: ""}
    assert told[2] == {1: ""}


def test_rays_own_processor_is_given_settings_that_it_knows() -> None:
    from ray.data.llm import vLLMEngineProcessorConfig

    settings = recaption.settings_of("a/model", {"concurrency": 2, "batch_size": 8})
    config = vLLMEngineProcessorConfig(**settings)
    assert (config.model_source, config.concurrency, config.batch_size) == ("a/model", 2, 8)
    assert config.should_continue_on_error
