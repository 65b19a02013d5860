from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from model.training.begin import BEGINNING, VOCAB_SIZE, begin
from model.training.loop import Progress, Watch
from model.training.memo import ClipMemo
from model.training.recipe import HEADS_FILE, Job, Plan, run_stage
from model.training.rendered import Rendered
from model.training.stages import NANO
from model.videollama3.checkpoint import load_model
from model.videollama3.prompt import NANO_2, prompt_of
from model.videollama3.tokenizer import Tokenizer
from pipeline.pruner import prune_clip


def test_a_beginning_is_a_folder_that_the_stages_go_on_from(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    memo = ClipMemo(tmp_path / "clips")
    rendered = Rendered(mix={"image": 1.0}, seed=0, prune=prune_clip, memo=memo, num_scenes=1)
    plan = Plan(num_steps=1, batch_size=1, num_workers=0)
    job = Job(BEGINNING, rendered.sample, plan, tmp_path / "0", Watch(lambda: 0.0))
    [first] = begin(job, num_read=60)
    assert isinstance(first, Progress)
    assert set(first.parts) == {"answers", "names", "pictures", "recents", "pasts", "drift"}
    assert prompt_of(tmp_path / "0") is NANO_2
    model = load_model(tmp_path / "0", device="cpu", dtype=torch.float32)
    tokenizer = Tokenizer.load(tmp_path / "0")
    assert model.config.text.vocab_size == VOCAB_SIZE
    assert len(tokenizer.encode(" person")) == 1
    before = load_file(tmp_path / "0" / HEADS_FILE)
    model.requires_grad_(requires_grad=True)
    after_it = replace(job, stage=NANO[0], out=tmp_path / "1")
    [_] = run_stage(model, tokenizer, after_it, start=tmp_path / "0")
    after = load_file(tmp_path / "1" / HEADS_FILE)
    # One step at the rate of the heads: they went on from where they were.
    assert before.keys() == after.keys()
    assert all((after[name] - before[name]).abs().max() < 0.01 for name in before)
    assert any(not torch.equal(after[name], before[name]) for name in before)
