from pathlib import Path

import torch
from safetensors.torch import load_file

from model.training.begin import VOCAB_SIZE, begin
from model.training.memo import ClipMemo
from model.training.recipe import HEADS_FILE, Plan, run_stage
from model.training.rendered import Rendered
from model.training.stages import NANO
from model.videollama3.checkpoint import load_model
from model.videollama3.prompt import NANO_1, prompt_of
from model.videollama3.tokenizer import Tokenizer
from pipeline.pruner import prune_clip


def test_a_beginning_is_a_folder_that_the_stages_go_on_from(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    memo = ClipMemo(tmp_path / "clips")
    rendered = Rendered(mix={"image": 1.0}, seed=0, prune=prune_clip, memo=memo, num_scenes=1)
    plan = Plan(num_steps=1, batch_size=1, num_workers=0)
    [first] = begin(rendered, plan=plan, seed=0, out=tmp_path / "0", num_read=60)
    assert set(first.parts) == {"answers", "names", "pictures", "recents", "pasts", "drift"}
    assert prompt_of(tmp_path / "0") is NANO_1
    model = load_model(tmp_path / "0", device="cpu", dtype=torch.float32)
    tokenizer = Tokenizer.load(tmp_path / "0")
    assert model.config.text.vocab_size == VOCAB_SIZE
    assert len(tokenizer.encode(" person")) == 1
    before = load_file(tmp_path / "0" / HEADS_FILE)
    [_] = run_stage(
        model.requires_grad_(requires_grad=True),
        tokenizer,
        NANO[0],
        sample=rendered.sample,
        plan=plan,
        start=tmp_path / "0",
        out=tmp_path / "1",
    )
    after = load_file(tmp_path / "1" / HEADS_FILE)
    # One step at the rate of the heads: they went on from where they were.
    assert before.keys() == after.keys()
    assert all((after[name] - before[name]).abs().max() < 0.01 for name in before)
    assert any(not torch.equal(after[name], before[name]) for name in before)
