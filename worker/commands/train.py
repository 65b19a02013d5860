"""`vigil train` runs one training stage, on rendered scenes or on conversation files.

It imports no driver but what it needs, so that it also runs on a bare machine with a GPU.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import InputError
from pipeline.clock import SystemClock
from pipeline.pruner import prune_clip
from worker.benchmarks.report import say

if TYPE_CHECKING:
    from model.training.recorded import Recorded
    from model.training.rendered import Rendered
    from model.training.stages import Stage

SUMMARY = "run one training stage, on rendered scenes or conversations (model/training/README.md)"
DATA = "file of conversations to train on, instead of rendered scenes; may be given several times"
TABLE = "learning rates and data mix to use: nano's (default), or those of the VideoLLaMA3 paper"
LARGEST = "most tokens (28x28 pixels) per picture of --data; larger is scaled down (default 144)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--stage", type=int, required=True, help="1 to 4; 0 trains the first model, from nothing")
    add("--out", type=Path, required=True, help="folder for the result; an unfinished run goes on")
    add("--from", type=Path, dest="start", help="model folder or Hugging Face name to start from")
    add("--data", type=Path, action="append", default=[], help=DATA)
    add("--skip-bad", action="store_true", help="skip bad samples of --data and list them")
    add("--table", choices=["nano", "paper"], default="nano", help=TABLE)
    add("--steps", type=int, default=1000, help="number of training steps (default 1000)")
    add("--rate", type=float, default=1.0, help="multiplies the rates of stages 1 to 4 (default 1)")
    add("--batch", type=int, default=8, help="samples per step (default 8)")
    add("--seed", type=int, default=0, help="seed of everything random (default 0)")
    add("--scenes", type=int, default=4000, help="number of rendered scenes (default 4000)")
    add("--memo", type=Path, help="folder to keep rendered clips in (default: clips/ in --out)")
    add("--device", default="cpu", help="cpu or cuda (default cpu)")
    add("--bfloat16", action="store_true", help="compute matrix products in bfloat16 (less exact)")
    add("--workers", type=int, default=1, help="how many processes prepare samples (default 1)")
    add("--threads", type=int, default=1, help="CPU threads of the training (default 1)")
    add("--max-tokens-per-frame", type=int, default=144, help=LARGEST)


def run(arguments: argparse.Namespace) -> int:
    """Train the stage; progress goes to standard error."""
    import torch

    from model.training.begin import BEGINNING, begin
    from model.training.narration import narrated
    from model.training.recipe import Plan, train_folder
    from model.training.stages import stage_of

    torch.set_num_threads(arguments.threads)
    plan = Plan(
        num_steps=arguments.steps,
        batch_size=arguments.batch,
        num_workers=arguments.workers,
        compute_dtype=torch.bfloat16 if arguments.bfloat16 else None,
    )
    if arguments.stage == BEGINNING.number:
        if arguments.rate != 1:
            raise InputError(f"--rate: expected none with --stage 0, got {arguments.rate:g}")
        stage = BEGINNING
        rendered = _rendered(arguments, stage)
        steps = begin(rendered, plan=plan, seed=arguments.seed, out=arguments.out)
    else:
        stage = stage_of(arguments.stage, table=arguments.table, rate=arguments.rate)
        if arguments.start is None:
            raise InputError(f"--from: expected the folder that stage {stage.number} starts from")
        data = _recorded(arguments, stage) if arguments.data else _rendered(arguments, stage)
        steps = train_folder(
            arguments.start,
            stage,
            sample=data.sample,
            plan=plan,
            out=arguments.out,
            device=arguments.device,
            data=", ".join(path.name for path in arguments.data) or "rendered scenes",
            seed=arguments.seed,
        )
    what = f"stage {stage.number}, {stage.name}"
    for line in narrated(steps, what=what, now_s=SystemClock().monotonic_s):
        say(line)
    return 0


def _recorded(arguments: argparse.Namespace, stage: "Stage") -> "Recorded":
    from model.training.recorded import Recorded, read_files
    from model.videollama3.grid import pin_grid
    from pipeline.recorded import Media

    media = Media(partial(pin_grid, max_tokens=arguments.max_tokens_per_frame))
    read = read_files(arguments.data, media=media, skip_bad=arguments.skip_bad, progress=say)
    return Recorded(read, stage, seed=arguments.seed, media=media, prune=prune_clip)


def _rendered(arguments: argparse.Namespace, stage: "Stage") -> "Rendered":
    from model.training.memo import ClipMemo
    from model.training.recipe import prompt_at
    from model.training.rendered import Rendered

    return Rendered(
        mix=stage.mix,
        seed=arguments.seed + stage.number,
        prune=prune_clip,
        memo=ClipMemo(arguments.memo or arguments.out / "clips"),
        num_scenes=arguments.scenes,
        image_merge=stage.image_merge,
        forms=prompt_at(arguments.start).forms,
    )
