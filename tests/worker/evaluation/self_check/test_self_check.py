"""The self-check from the command line: a model that answers, one that does not, and refusals."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import VideoLlama3Config

from model import Question
from model.bundled import NANO
from model.engine.config import EngineConfig
from model.engine.engine import Engine
from model.videollama3.prompt import VIDEOLLAMA3
from pipeline.pruner import Pruner
from pipeline.recorded import sampled
from pipeline.sources.scaler import GridOf
from tests.model.nano_model import nano_family
from tests.model.tiny import oracle, oracle_tensors, save_oracle
from tests.pipeline.sources.clips import GRID, grid_of, yard
from worker.__main__ import main
from worker.evaluation.self_check import first_logits
from worker.evaluation.self_check.first_logits import NAME, first_frames, logits_row

QUESTIONS = {
    "VIGIL_QUESTIONS__PERSON__ASK": "Is a person in view?",
    "VIGIL_QUESTIONS__PEOPLE__ASK": "How many people are there?",
    "VIGIL_QUESTIONS__PEOPLE__KIND": "count",
    "VIGIL_QUESTIONS__WHO__ASK": "Who or what is in view?",
    "VIGIL_QUESTIONS__WHO__KIND": "text",
}


pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in os.environ:
        if name.upper().startswith("VIGIL_"):
            monkeypatch.delenv(name)
    variables = {"MODEL__PATH": "nano", "MODEL__DEVICE": "cpu", "MODEL__THREADS": "1"}
    for name, value in (variables | {"MODEL__MAX_TOKENS_PER_FRAME": "32"}).items():
        monkeypatch.setenv(f"VIGIL_{name}", value)
    return monkeypatch


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return yard(tmp_path_factory.mktemp("clips") / "yard.avi", seconds=12.0)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the bundled model's shape, with its tokenizer and VideoLLaMA3's prompts."""
    folder = tmp_path_factory.mktemp("models") / "untrained"
    save_oracle(oracle(config=VideoLlama3Config.from_pretrained(NANO)), folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        shutil.copy(NANO / name, folder)
    return folder


def document(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], dict[str, Any], str]:
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    return found, {row["name"]: row for row in found["rows"]}, captured.err


def test_reference_agrees_with_itself_and_with_transformers(
    settings: pytest.MonkeyPatch, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (QUESTIONS | {"VIGIL_FIDELITY": "reference"}).items():
        settings.setenv(name, value)
    assert main(["check", "--model", "--clip", str(clip), "--json"]) == 0
    found, rows, told = document(capsys)
    assert set(found) == {"bench", "commit", "command", "machine", "rows", "notes", "verdict"}
    assert rows["agreement_with_reference"]["terms"] == {"agree": 4, "answers": 4, "unanswered": 0}
    assert rows["largest_p_difference"]["value"] == 0
    assert rows["who_agreement"]["value"] == 1
    assert rows["who_agreement"]["terms"]["answers"] == 2
    kept = rows["tokens_kept_in_effect"]
    assert kept["value"] == rows["tokens_kept_by_reference"]["value"] > 0.3
    assert rows["clip_mass_median"]["value"] > 0.9
    assert rows[NAME]["value"] < 1e-3
    assert rows[NAME]["terms"]["same_token"] == 1
    assert rows[NAME]["terms"]["frames"] == 8
    assert found["verdict"].startswith("OK: ")
    assert any("not counted" in note for note in found["notes"])
    assert any("a demo model" in note for note in found["notes"])
    assert "clip: 10 s, moment 2 of 2" in told
    assert "plain pictures: 9 of 9" in told


def test_a_table_comes_below_the_settings_and_built_in_questions_are_named(
    settings: pytest.MonkeyPatch, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.setenv("VIGIL_FIDELITY", "reference")
    assert main(["check", "--model", "--clip", str(clip)]) == 0
    out = capsys.readouterr().out
    assert out.index("VIGIL_FIDELITY=reference") < out.index("# model nano, a demo model")
    assert out.index("# model nano") < out.index("agreement_with_reference")
    assert "built-in-daylight_agreement" in out
    assert "built-in ones were asked" in out


def test_random_weights_do_not_answer(
    settings: pytest.MonkeyPatch, clip: Path, untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.setenv("VIGIL_MODEL__PATH", str(untrained))
    assert main(["check", "--model", "--clip", str(clip), "--json"]) == 1
    found, rows, _ = document(capsys)
    assert rows["plain_mass_median"]["holds"] is False
    assert rows["agreement_with_reference"]["unit"] == "neither way answers"
    assert found["verdict"].startswith("FAILED: the model does not answer")
    assert rows[NAME]["value"] < 1e-2
    assert rows[NAME]["terms"]["same_token"] == 1


def test_settings_that_change_the_answers_fail_with_what_to_change(
    settings: pytest.MonkeyPatch, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in QUESTIONS.items():
        settings.setenv(name, value)
    settings.setenv("VIGIL_PRUNER__MODE", "last_seen")
    settings.setenv("VIGIL_PRUNER__THRESHOLD_LEVELS", "255")  # nothing is sent after the first
    assert main(["check", "--model", "--clip", str(clip), "--json"]) == 1
    found, rows, _ = document(capsys)
    assert rows["tokens_kept_in_effect"]["value"] < 0.1
    assert found["verdict"].startswith("FAILED: the settings change what the model answers")
    assert "unset VIGIL_PRUNER__MODE and run this again" in found["verdict"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--clip", "yard.avi"], "expected --model and --clip VIDEO together"),
        (["--json"], "expected --model and --clip VIDEO together"),
        (["--model", "--json"], "expected --model and --clip VIDEO together"),
        (["--model", "--clip", "/none/yard.avi"], "expected a video file at /none/yard.avi"),
        (["--model", "--clip", __file__], f"check: --clip: {__file__}: "),
    ],
)
def test_a_mistake_is_refused_in_one_line_before_the_model_is_loaded(
    settings: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    def load(*_: object, **_named: object) -> Engine:
        raise AssertionError("the model was loaded first")

    settings.setattr(Engine, "load", load)
    assert main(["check", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_clip_with_one_moment_is_refused(
    settings: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert settings
    short = yard(tmp_path / "short.avi", seconds=7.0)
    assert main(["check", "--model", "--clip", str(short), "--json"]) == 2
    assert "expected a video with 2 moments at least" in capsys.readouterr().err


def row_of(folder: Path, clip: Path, *, engine: Engine | None = None, period_s: float = 1.0) -> Any:
    pinned: GridOf = grid_of
    frames = list(sampled(clip, grid_of=pinned))
    engine = engine or Engine(
        nano_family(), model_name="nano", config=EngineConfig(window_s=60, vision="full")
    )
    shown = first_frames(frames, window_periods=60, max_context_tokens=16_384)
    question = Question("yes_no", "Is a person in view?")
    pruner = Pruner(mode="paper")
    return logits_row(engine, pruner, shown, question, period_s=period_s, folder=folder)


@pytest.mark.parametrize("period_s", [0.3, 1.0, 2.0])
def test_the_released_prompts_give_transformers_logits_at_any_rate(
    clip: Path, untrained: Path, period_s: float
) -> None:
    family = replace(nano_family(), prompt=VIDEOLLAMA3)
    config = EngineConfig(window_s=60, vision="full", sample_period_s=period_s)
    engine = Engine(family, model_name="nano", config=config)
    folder = untrained.parent / f"nano-{period_s}"
    shutil.copytree(NANO, folder)
    (folder / "vigil.json").unlink()
    row = row_of(folder, clip, engine=engine, period_s=period_s)
    assert row.value < 1e-3
    assert row.terms["same_token"] == 1
    assert engine.stats.num_streams == 0


def test_weights_that_differ_are_seen_in_the_logits(clip: Path, untrained: Path) -> None:
    assert row_of(untrained, clip).value > 1


def test_a_part_that_transformers_would_make_up_is_no_comparison(
    clip: Path, tmp_path: Path
) -> None:
    model = oracle(config=VideoLlama3Config.from_pretrained(NANO))
    shutil.copytree(NANO, tmp_path / "part")
    tensors = oracle_tensors(model)
    del tensors["model.projector.readout.0.weight"]
    save_file(tensors, tmp_path / "part" / "model.safetensors")
    row = row_of(tmp_path / "part", clip)
    assert row.value is None
    assert "transformers finds no model.projector.readout.0.weight" in row.unit


def test_the_remote_code_layout_has_no_class_to_compare_with(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "videollama3_qwen2"}')
    row = row_of(tmp_path, clip)
    assert (row.value, row.holds) == (None, None)
    assert row.unit == "transformers has no class for videollama3_qwen2, only for video_llama_3"


def test_no_second_model_is_loaded_where_memory_is_short(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_logits, "available_bytes", lambda _device: 1_000_000)
    row = row_of(NANO, clip)
    assert row.value is None
    assert "and cpu has 0.0 GB left" in row.unit


def test_memory_is_what_both_machine_and_container_leave(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4000 kB\n")
    monkeypatch.setattr(first_logits, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(first_logits, "_CGROUP", tmp_path)
    cpu = torch.device("cpu")
    assert first_logits.available_bytes(cpu) == 4_096_000
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 500000\n")
    assert first_logits.available_bytes(cpu) == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert first_logits.available_bytes(cpu) == 4_096_000


def test_a_prompt_of_large_frames_holds_fewer(clip: Path) -> None:
    frames = list(sampled(clip, grid_of=grid_of))
    taken = first_frames(frames, window_periods=3, max_context_tokens=16_384)
    assert taken == frames[:3]
    room = 2 * 2 * GRID.num_tokens
    assert first_frames(frames, window_periods=60, max_context_tokens=room) == frames[:2]
    assert len(first_frames(frames, window_periods=60, max_context_tokens=1)) == 1
