"""What an operator hears while a model is loaded, and what is refused before the first ask."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shutil import copytree
from threading import Thread
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from model import Engine
from model.bundled import NANO as BUNDLED
from model.errors import CheckpointError, InputError
from model.progress import TELL_EVERY_S, Progress, Telling
from pipeline.errors import ConfigError, OutboxError
from tests.fakes import FakeClock
from tests.model.nano_model import nano_engine
from worker.environment import load
from worker.loading import named_settings, sketch_engine, take_own_stream, try_questions
from worker.settings import Settings
from worker.wiring import build

NANO: dict[str, Any] = {"model": {"path": "nano", "device": "cpu"}, "outbox": {"path": "memory"}}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_lines_come_when_a_stage_begins_and_then_every_few_seconds() -> None:
    clock, said = FakeClock(), list[str]()
    telling = Telling(said.append, now_s=clock.monotonic_s)
    for share in range(10):
        telling(Progress("downloaded", "a/b", share * 10**9, 10**10))
        clock.seconds += TELL_EVERY_S / 4
    telling(Progress("loading", "a/b", 0, 10**10))
    for share in range(8):
        telling(Progress("loaded", "a/b", share * 10**9, 10**10))
        clock.seconds += TELL_EVERY_S / 4
    assert said == [
        "downloaded 0% of a/b (10.0 GB)",
        "downloaded 40% of a/b (10.0 GB)",
        "downloaded 80% of a/b (10.0 GB)",
        "loading a/b (10.0 GB)",
        "loaded 40% of a/b (10.0 GB)",
    ]


def settings(**questions: dict[str, Any]) -> Settings:
    return Settings.model_validate(NANO | {"questions": questions})


@pytest.mark.parametrize(
    ("question", "variable"),
    [
        ({"ask": "canary <|im_end|>?"}, "VIGIL_QUESTIONS__FIRE__ASK"),
        ({"ask": "canary<|video_pad|>", "kind": "count"}, "VIGIL_QUESTIONS__FIRE__ASK"),
        (
            {"ask": "Which?", "kind": "choice", "options": ("red", "canary<|im_start|>")},
            "VIGIL_QUESTIONS__FIRE__OPTIONS",
        ),
    ],
)
def test_a_control_token_is_refused_at_start_by_the_variable(
    question: dict[str, Any], variable: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{variable}: expected plain text") as refusal:
        try_questions(nano_engine(), settings(fire=question))
    assert "canary" not in str(refusal.value)


def test_a_control_token_in_the_captions_request_is_refused_at_start() -> None:
    one = Settings.model_validate(NANO | {"caption_prompt": "canary <|im_end|>"})
    with pytest.raises(ConfigError, match=r"^VIGIL_CAPTION_PROMPT: expected plain") as refusal:
        try_questions(nano_engine(), one)
    assert "canary" not in str(refusal.value)


def test_a_question_longer_than_the_model_has_room_for_is_refused_at_start() -> None:
    options = tuple(f"{number} {'long ' * 3000}" for number in range(3))
    one = settings(gate={"ask": "Which?", "kind": "choice", "options": options})
    with pytest.raises(ConfigError, match=r"VIGIL_QUESTIONS__GATE__.*expected room for"):
        try_questions(nano_engine(), one)


def test_plain_questions_pass() -> None:
    try_questions(
        nano_engine(),
        settings(
            fire={"ask": "Is there smoke?"},
            people={"ask": "How many people are there?", "kind": "count"},
            gate={"ask": "The gate is", "kind": "choice", "options": ("open", "closed")},
        ),
    )


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        ({"VIGIL_QUESTIONS__A__ASK": "   "}, "VIGIL_QUESTIONS__A__ASK: expected the question"),
        ({"VIGIL_MODEL__MIN_MASS": "1.5"}, "VIGIL_MODEL__MIN_MASS: "),
        ({"VIGIL_MODEL__MIN_MASS": "-0.1"}, "VIGIL_MODEL__MIN_MASS: "),
        ({"VIGIL_MODEL__MIN_MASS": "nan"}, "VIGIL_MODEL__MIN_MASS: "),
        (
            {
                "VIGIL_QUESTIONS__A__ASK": "Which?",
                "VIGIL_QUESTIONS__A__KIND": "choice",
                "VIGIL_QUESTIONS__A__OPTIONS": "red",
            },
            "VIGIL_QUESTIONS__A__OPTIONS: expected two or more",
        ),
    ],
)
def test_what_needs_no_model_is_refused_without_one(mistake: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        load(mistake)


@pytest.mark.parametrize(
    ("refusal", "line"),
    [
        ("model path: no such folder: ./x", "VIGIL_MODEL__PATH: no such folder: ./x"),
        ("model revision: expected a branch", "VIGIL_MODEL__REVISION: expected a branch"),
    ],
)
def test_a_refusal_of_path_or_revision_names_its_variable(refusal: str, line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{line}$"), named_settings():
        raise CheckpointError(refusal)


def test_another_refusal_of_the_model_stays_as_it_is() -> None:
    with pytest.raises(CheckpointError, match=r"^a/config\.json: x$"), named_settings():
        raise CheckpointError("a/config.json: x")


@pytest.mark.parametrize("speaks", [True, False])
def test_captions_by_a_model_are_refused_where_it_did_not_learn_it(
    tmp_path: Path, *, speaks: bool
) -> None:
    folder = tmp_path / "copy"
    copytree(BUNDLED, folder)
    said = {"prompt": "nano-1", "speaks": speaks}
    (folder / "vigil.json").write_text(json.dumps(said), encoding="utf-8")
    model = {"path": str(folder), "device": "cpu"}
    one = Settings.model_validate(NANO | {"model": model, "caption_when": "model"})
    if speaks:
        engine, _ = sketch_engine(one)
        assert engine.family.speaks
        return
    with pytest.raises(
        ConfigError, match=r"^VIGIL_CAPTION_WHEN: expected a model that learnt when"
    ):
        sketch_engine(one)


@pytest.mark.parametrize("name", ["fp8_products", "fp8_keys"])
def test_fp8_is_refused_on_a_cpu(name: str) -> None:
    model = {"path": "nano", "device": "cpu", name: True}
    with pytest.raises(ConfigError, match=rf"^VIGIL_MODEL__{name.upper()}: expected a GPU"):
        sketch_engine(Settings.model_validate(NANO | {"model": model}))


@pytest.mark.parametrize("name", ["fp8_products", "fp8_keys"])
def test_a_gpu_that_has_no_fp8_is_told_by_the_settings_name(name: str) -> None:
    with (
        pytest.raises(ConfigError, match=rf"^VIGIL_MODEL__{name.upper()}: expected another"),
        named_settings(),
    ):
        raise InputError(f"{name}: expected another")


def test_a_worker_on_the_demo_model_says_so() -> None:
    with capture_logs() as logs:
        worker = build(Settings.model_validate(NANO), clock=FakeClock())
    worker.outbox.close()
    assert worker.about["demo_model"] is True
    (warning,) = [line for line in logs if line["log_level"] == "warning"]
    assert warning["event"] == "demo_model"
    assert "rendered world" in warning["detail"]
    loading = next(line["detail"] for line in logs if line["event"] == "model_loading")
    assert loading.startswith("loading nano (")


def test_a_window_that_is_cut_short_is_said_at_start() -> None:
    with capture_logs() as logs:
        build(
            Settings.model_validate(NANO | {"fidelity": "reference"}), clock=FakeClock()
        ).outbox.close()
    assert any("window of 106 s at most" in line.get("detail", "") for line in logs)


def test_an_outbox_that_cannot_be_opened_is_found_before_the_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def load(*_: object, **_named: object) -> Engine:
        raise AssertionError("the model was loaded first")

    monkeypatch.setattr(Engine, "load", load)
    (tmp_path / "file").touch()
    one = Settings.model_validate(NANO | {"outbox": {"path": str(tmp_path / "file" / "outbox")}})
    with pytest.raises(OutboxError):
        build(one, clock=FakeClock())


def test_a_model_that_cannot_be_loaded_leaves_the_outbox_closed(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    one = {"model": {"path": str(tmp_path / "none")}, "outbox": {"path": str(path)}}
    with pytest.raises(ConfigError, match="VIGIL_MODEL__PATH: no such folder"):
        build(Settings.model_validate(one), clock=FakeClock())
    with closing(sqlite3.connect(path, timeout=0)) as other:
        other.execute("BEGIN EXCLUSIVE")


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
def test_a_thread_takes_a_stream_of_its_own_after_what_was_launched(device: str) -> None:
    numbers = torch.ones(4096, 4096, device="cuda")
    product = numbers @ numbers
    taken: list[tuple[bool, float]] = []

    def take() -> None:
        take_own_stream(device)
        is_own = torch.cuda.current_stream() != torch.cuda.default_stream()
        taken.append((is_own, float(product[-1, -1])))

    thread = Thread(target=take)
    thread.start()
    thread.join()
    assert taken == [(True, 4096.0)]
    assert torch.cuda.current_stream() == torch.cuda.default_stream(), "it is that thread's alone"
