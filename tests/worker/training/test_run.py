"""`vigil train` as it is typed: runs that end, stop, go on, and are refused."""

import json
import os
import signal
import time
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import VideoLlama3ForConditionalGeneration, VideoLlama3Processor

from model.bundled import NANO
from model.training import passes, recipe
from model.training.loop import LOSSES_FILE, read_lines
from model.videollama3.checkpoint import load_model
from model.videollama3.prompt import is_demo
from tests.model.training.towers import qwen, siglip
from worker.__main__ import main

ROOT = Path(__file__).resolve().parents[3]
CLIP = ROOT / "worker" / "demo" / "yard.mp4"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A picture, a video, a stream and words, and what is said of them."""
    pixels = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")

    def said(question: str, answer: str) -> list[dict[str, str]]:
        return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]

    rows: list[dict[str, Any]] = [
        {"image": ["a.png"], "conversations": said("<image>\nIs it noise?", "yes")},
        {"video": [str(CLIP)], "end_time": 3, "conversations": said("Is it day?", "no")},
        {
            "stream": True,
            "video": [str(CLIP)],
            "start_time": 0,
            "end_time": 3,
            "conversation": [
                {"role": "user", "content": "Is a person in view?", "time": 2},
                {"role": "assistant", "content": "no", "time": 2},
            ],
        },
        {"conversations": said("What is two and two?", "four")},
    ]
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def command(out: Path, data: Path, *more: str, steps: int = 3) -> list[str]:
    """Words of a run. By the paper's table, whose optimizer needs a tenth of nano's time here."""
    given = f"train --stage 4 --from {NANO} --out {out} --data {data} --steps {steps} --batch 1"
    usual = ["--table", "paper", "--workers", "0", "--max-tokens-per-frame", "16"]
    return [*given.split(), *usual, *more]


def test_a_finished_run_is_left_as_it_is(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    held_out = ("--held-out", str(data), "--eval-every", "2")
    assert main(command(out, data, *held_out)) == 0
    said = capsys.readouterr().err
    assert "preparing the first 1 samples" in said
    steps = read_lines(out / "losses.jsonl")
    for row in (steps[0], steps[-1]):
        assert f"step {row['step']} of 3, loss {row['loss']}" in said
    assert [row["step"] for row in read_lines(out / "measures.jsonl")] == [0, 2, 3]
    assert "held out, before the first step: right " in said
    card = (out / "README.md").read_text()
    assert "3 steps" in card
    assert "were right word for word after step 0 and" in card
    with Image.open(out / "curve.png") as curve:
        assert curve.size == (960, 360)
        assert len(curve.getcolors(1 << 24) or []) > 10  # something is drawn
    assert is_demo(out)  # as the model it began with

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    for more in ((), ("--resume",)):
        assert main(command(out, data, *held_out, *more)) == 0
        assert "is finished, all 3 steps; nothing was trained" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    (out / "state.safetensors").unlink()
    assert main(command(out, data, *held_out)) == 0
    assert "is finished, all 3 steps; nothing was trained" in capsys.readouterr().err
    assert main(command(out, data, *held_out, "--seed", "7")) == 2
    assert "holds another run: seed 0 there and 7 here" in capsys.readouterr().err


def interrupt_after(num_steps: int, *, losses: Path) -> Thread:
    """Send this process what Ctrl-C does, once a run has done more than so many steps."""
    thread = Thread(target=_interrupt_after, args=(num_steps, losses))
    thread.start()
    return thread


def _interrupt_after(num_steps: int, losses: Path) -> None:
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        if len(read_lines(losses)) > num_steps:
            os.kill(os.getpid(), signal.SIGINT)
            return
        time.sleep(0.01)


def test_a_run_that_is_interrupted_saves_and_goes_on_with_resume(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, before = tmp_path / "run", signal.getsignal(signal.SIGINT)
    out.mkdir()
    (out / "heads.safetensors").write_bytes(b"of an earlier run")
    words = command(out, data, "--save-every", "1e6", steps=400)
    presser = interrupt_after(0, losses=out / "losses.jsonl")
    assert main(words) == 1
    presser.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert "stopped, its state is saved" in capsys.readouterr().err
    num_done = len(read_lines(out / "losses.jsonl"))
    assert 1 <= num_done < 400
    assert not (out / "model.safetensors").exists()
    assert main(words) == 2
    assert "has not ended; --resume goes on with it" in capsys.readouterr().err

    presser = interrupt_after(num_done, losses=out / "losses.jsonl")
    assert main([*words, "--resume"]) == 1
    presser.join()
    steps = [row["step"] for row in read_lines(out / "losses.jsonl")]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > num_done


def test_cuda_where_there_is_none_is_refused_in_words(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert main(command(tmp_path / "run", data, "--device", "cuda")) == 2
    assert "expected one this machine has, got cuda" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_with_something_else_in_it_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"dear")
    assert main(command(tmp_path, data)) == 2
    assert "expected a new folder" in capsys.readouterr().err
    assert (tmp_path / "model.safetensors").read_bytes() == b"dear"


def test_a_step_that_is_too_long_is_taken_in_passes_with_the_same_loss(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--batch", "4", "--lora", "4")
    assert main(command(tmp_path / "whole", data, *words, steps=1)) == 0
    monkeypatch.setattr(recipe, "MAX_TOKENS", 120)
    assert main(command(tmp_path / "parted", data, *words, steps=1)) == 0
    [whole], [parted] = (read_lines(tmp_path / one / LOSSES_FILE) for one in ("whole", "parted"))
    assert parted == pytest.approx(whole, rel=1e-4)


def test_a_conversation_that_no_pass_has_room_for_is_named_or_skipped(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with data.open("a", encoding="utf-8") as file:
        said = [{"from": "human", "value": "Go on."}, {"from": "gpt", "value": "word " * 500}]
        file.write(json.dumps({"conversations": said}) + "\n")
    monkeypatch.setattr(passes, "MAX_TOKENS", 200)
    assert main(command(tmp_path / "run", data)) == 2
    assert "data.jsonl:5: expected up to 200 tokens, got " in capsys.readouterr().err
    assert main(command(tmp_path / "run", data, "--skip-bad", "--lora", "4", steps=1)) == 0
    assert "4 of 5 conversations" in capsys.readouterr().err


def test_from_two_towers_through_the_four_stages(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    towers = f"--vision {siglip(tmp_path / 'siglip')} --language {qwen(tmp_path / 'qwen')}"
    assert main(f"train --stage 0 --out {tmp_path / '0'} {towers}".split()) == 0
    how = {1: "", 2: "--bfloat16 --checkpointing", 3: "--lora 4 --bfloat16", 4: "--lora 4"}
    for stage, more in how.items():
        given = (
            f"train --stage {stage} --table paper --from {tmp_path / str(stage - 1)} "
            f"--out {tmp_path / str(stage)} --data {data}=2 --data {data}=1 --steps 3 --batch 2 "
            f"--workers 0 --max-tokens-per-frame 16 --held-out {data} {more}"
        )
        assert main(given.split()) == 0, stage
        before, after = (
            load_model(tmp_path / str(one), device="cpu", dtype=torch.float32)
            for one in (stage - 1, stage)
        )
        was = dict(before.named_parameters())
        moved = {
            name.split(".")[0]
            for name, weight in after.named_parameters()
            if not torch.equal(weight, was[name].bfloat16().float())
        }
        assert moved == {"vision", "projector"} | ({"language"} if stage > 1 else set())
        learnt = load_file(tmp_path / str(stage) / "state.safetensors")
        for name, weight in was.items():
            if name.startswith("projector"):  # in full precision, or its steps would be lost
                assert (learnt[f"model.model.{name}"] != weight).float().mean() > 0.8, name
    assert "2 of 8 conversations have no picture" in capsys.readouterr().err  # of stage 1
    theirs: Any = VideoLlama3ForConditionalGeneration
    model, report = theirs.from_pretrained(tmp_path / "4", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    processor: Any = VideoLlama3Processor.from_pretrained(tmp_path / "4")
    assert processor.image_processor.merge_size == 2
    weights = dict(load_model(tmp_path / "4", device="cpu", dtype=torch.float32).named_parameters())
    assert torch.equal(
        model.model.projector.readout[0].weight.float(), weights["projector.readout.0.weight"]
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("--stage 0 --vision a", "expected both, and --stage 0"),
        ("--stage 1 --vision a --language b", "expected both, and --stage 0"),
        ("--stage 0 --lora 4", "--lora: expected none with --stage 0, got 4"),
        ("--stage 1", "--from: expected the folder that stage 1 starts from"),
        (f"--stage 4 --from {NANO} --threads 0", "--threads: expected 1 or more, got 0"),
        (f"--stage 4 --from {NANO} --scenes 0", "--scenes: expected 1 or more, got 0"),
        (f"--stage 4 --from {NANO} --scenes -5", "--scenes: expected 1 or more, got -5"),
        (f"--stage 4 --from {NANO} --seed -1", "--seed: expected 0 or more, got -1"),
        (f"--stage 4 --from {NANO} --device xla", "--device: expected one this machine has, got"),
        (f"--stage 1 --from {NANO} --data WORDS", "--data: expected pictures where the decoder"),
        (f"--stage 4 --from {NANO} --lora 900", "--lora: expected a rank from 1 to 192, got 900"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, words: str
) -> None:
    talk = [{"from": "human", "value": "Two and two?"}, {"from": "gpt", "value": "four"}]
    (tmp_path / "words.json").write_text(json.dumps([{"conversations": talk}]))
    more = more.replace("WORDS", str(tmp_path / "words.json"))
    assert main(["train", "--out", str(tmp_path / "a"), *more.split()]) == 2
    assert words in capsys.readouterr().err
