"""`vigil train`: one stage of the recipe, on rendered scenes or on conversation files.

Imports no driver but what it needs, so that it also runs on a bare machine with a GPU.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import InputError
from pipeline.clock import SystemClock
from pipeline.pruner import prune_clip
from worker.report import say

if TYPE_CHECKING:
    from model.training.recorded import Recorded
    from model.training.rendered import Rendered
    from model.training.stages import Stage

SUMMARY = "train one stage of the recipe, on rendered scenes or on conversation files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--stage", type=int, required=True, help="1 to 4; 0 makes the model that nano starts from")
    add("--out", type=Path, required=True, help="folder to make; an unfinished run there goes on")
    add("--from", type=Path, dest="start", help="model folder or Hugging Face name to start from")
    add("--data", type=Path, action="append", default=[], help="conversation file; may be repeated")
    add("--skip-bad", action="store_true", help="skip and list samples of --data that do not fit")
    add("--table", choices=["nano", "paper"], default="nano", help="learning rates and data mix")
    add("--steps", type=int, default=1000, help="number of training steps (default 1000)")
    add("--rate", type=float, default=1.0, help="factor on the learning rates of stages 1 to 4")
    add("--batch", type=int, default=8, help="samples per step (default 8)")
    add("--seed", type=int, default=0, help="seed of everything random (default 0)")
    add("--scenes", type=int, default=4000, help="number of rendered scenes (default 4000)")
    add("--memo", type=Path, help="folder that keeps rendered clips (default clips/ in --out)")
    add("--device", default="cpu", help="cpu or cuda (default cpu)")
    add("--bfloat16", action="store_true", help="multiply matrices in bfloat16")
    add("--workers", type=int, default=1, help="processes that prepare samples (default 1)")
    add("--threads", type=int, default=1, help="CPU threads of the training (default 1)")
    add("--max-tokens-per-frame", type=int, default=144, help="upper limit for pictures of --data")


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
    from model.videollama3.patches import pin_grid
    from pipeline.recorded import Media

    media = Media(partial(pin_grid, max_tokens=arguments.max_tokens_per_frame))
    read = read_files(arguments.data, media=media, skip_bad=arguments.skip_bad, progress=say)
    return Recorded(read, stage, seed=arguments.seed, media=media, prune=prune_clip)


def _rendered(arguments: argparse.Namespace, stage: "Stage") -> "Rendered":
    from model.training.memo import ClipMemo
    from model.training.rendered import Rendered
    from model.videollama3.checkpoint import locate
    from model.videollama3.prompt import NANO_1, prompt_of

    start = arguments.start
    prompt = NANO_1 if start is None else prompt_of(locate(str(start)))
    return Rendered(
        mix=stage.mix,
        seed=arguments.seed + stage.number,
        prune=prune_clip,
        memo=ClipMemo(arguments.memo or arguments.out / "clips"),
        num_scenes=arguments.scenes,
        image_merge=stage.image_merge,
        forms=prompt.forms,
    )
