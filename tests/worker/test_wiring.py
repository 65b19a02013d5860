from collections.abc import Iterator, Mapping
from threading import Thread

import pytest
import torch

from model import EngineConfig
from model.engine.config import MAX_TOKENS_PER_FRAME
from tests.fakes import FakeClock
from worker.loading import engine_config, num_inference_threads
from worker.questions import standing_questions
from worker.settings import Settings
from worker.wiring import build


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_defaults_are_the_engines() -> None:
    assert engine_config(Settings()) == EngineConfig()
    assert Settings().model.max_tokens_per_frame == MAX_TOKENS_PER_FRAME


def test_beside_a_gpu_one_thread_computes() -> None:
    assert num_inference_threads(0, is_on_cpu=False) == 1
    assert num_inference_threads(6, is_on_cpu=False) == 6


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(0, 4, id="a core is left to the others"),
        pytest.param(3, 3, id="as set"),
    ],
)
def test_the_model_computes_on_the_thread_that_infers_alone(
    monkeypatch: pytest.MonkeyPatch, wanted: int, expected: int
) -> None:
    monkeypatch.setattr("worker.loading.TORCH_THREADS", 5)  # on few cores both would be one
    settings = Settings.model_validate(
        {
            "model": {"path": "nano", "device": "cpu", "threads": wanted},
            "outbox": {"path": "memory"},
        }
    )
    worker = build(settings, clock=FakeClock())
    assert torch.get_num_threads() == 1
    found: list[int] = []

    def infer() -> None:
        worker.new_runner()
        found.append(torch.get_num_threads())

    thread = Thread(target=infer)
    thread.start()
    thread.join()
    worker.outbox.close()
    assert found == [expected]
    assert torch.get_num_threads() == 1  # of this one still


def test_the_outbox_the_load_and_the_model_are_in_the_metrics() -> None:
    settings = Settings.model_validate(
        {"model": {"path": "nano", "device": "cpu"}, "outbox": {"path": "memory"}}
    )
    clock = FakeClock()
    worker = build(settings, clock=clock)
    worker.status.set("yard", "online")
    clock.seconds = 90.0
    told = worker.metrics.exposition().decode()
    worker.outbox.close()
    assert "vigil_outbox_depth 1.0" in told
    assert f"vigil_outbox_bytes {float(worker.outbox.size_bytes)}" in told
    assert "vigil_outbox_oldest_seconds 90.0" in told
    assert 'vigil_outbox_dropped{kind="event"} 0.0' in told
    assert 'vigil_outbox_set_aside_total{kind="event"} 0.0' in told
    assert "vigil_load_level 0.0" in told
    assert f'vigil_build_info{{attention="{worker.about["attention"]}",model="' in told


def questions(**questions: Mapping[str, object]) -> Settings:
    return Settings.model_validate({"questions": questions})


def test_evidence_is_as_old_as_the_evaluations_that_are_looked_at_and_one_more() -> None:
    settings = questions(
        fire={"ask": "Fire?", "every": "5s", "confirm": "3/5"}, fast={"ask": "Fast?", "every": "1s"}
    )
    rules = {one.id: one.rule for one in standing_questions(settings) if one.rule}
    assert {name: rule.evidence_s for name, rule in rules.items()} == {"fire": 30.0, "fast": 8.0}


def test_an_event_may_be_about_no() -> None:
    """frigate users: alert when there is NO helmet."""
    settings = questions(helmet={"ask": "A helmet?", "event_on": "no"}, fire={"ask": "Fire?"})
    targets = {one.id: one.rule.target for one in standing_questions(settings) if one.rule}
    assert targets == {"helmet": "no", "fire": "yes"}


def test_a_question_that_raises_no_event_though_it_might_says_so() -> None:
    lights = {"ask": "Which?", "kind": "choice", "options": "red,green"}
    settings = questions(
        cars={"ask": "How many?", "kind": "count"},
        people={"ask": "How many?", "kind": "count", "event_on": "2"},
        quiet={"ask": "How many?", "kind": "count", "events": "false"},
        light=lights,
        red={**lights, "event_on": "red"},
        words={"ask": "What?", "kind": "text"},
        fire={"ask": "Fire?"},
    )
    assert settings.notes() == [
        f"question {name}: a {kind} question without EVENT_ON raises no event; set "
        f"VIGIL_QUESTIONS__{name.upper()}__EVENT_ON, or its EVENTS to false"
        for name, kind in (("cars", "count"), ("light", "choice"))
    ]
