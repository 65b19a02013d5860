"""`vigil train` runs one training stage, on rendered scenes or on conversation files.

It imports no driver but what it needs, so that it also runs on a bare machine with a GPU.
"""

import argparse
from pathlib import Path

from model.errors import InputError
from worker.benchmarks.report import say

SUMMARY = "run one training stage, on rendered scenes or conversations (model/training/README.md)"
STAGE = "1 to 4; 0 makes the model to start from: of --vision and --language, or nano from nothing"
OUT = "folder for the result, a new one; a finished run there is left as it is"
RESUME = "go on with the unfinished run in --out, given as the same command"
DATA = (
    "file of conversations to train on, instead of rendered scenes; may be given several times, "
    "each as FILE or FILE=WEIGHT, its share among the others (default: every conversation alike); "
    "beside weights, what --labels tell weighs 1"
)
TABLE = "learning rates and data mix to use: nano's (default), or those of the VideoLLaMA3 paper"
LARGEST = "most tokens (28x28 pixels) per picture of --data; larger is scaled down (default 144)"
LORA = "train adapters of this rank instead of the layers themselves; for one GPU (try 16)"
CHECKPOINTING = "keep less in memory for the gradients: a third more time, far longer samples"
PARTS = ("vision", "projector", "language")
VIDEO = "a recording of your camera, or a folder of them, to train on with --labels"
LABELS = "what is right in it: a file as vigil eval takes it or a folder; questions: the settings'"
CAMERA = "the camera of the videos (default: by name)"
BEGAN = "when the video began, such as 2026-05-01T08:00:00Z, for labels with times of day"
LONGEST = "how long contexts of rendered scenes grow (default 28); 60 for a window of a minute"
BUSY = "share of the rendered scenes that have five movers or more (default 0)"
FREEZE = "leave this part as it is: vision, projector or language; may be given several times"
HELD_OUT = "file of conversations to measure by before and after; never trained on"
EVAL_EVERY = "measure every so many steps too (without --data: by rendered scenes of other seeds)"
SAVE_EVERY = "seconds between two saved states, more where saving takes long (default 60)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--stage", type=int, required=True, help=STAGE)
    add("--out", type=Path, required=True, help=OUT)
    add("--resume", action="store_true", help=RESUME)
    add("--from", type=Path, help="model folder or Hugging Face name to start from")
    add("--vision", type=Path, metavar="FOLDER", help="stage 0: a SigLIP with patches of 14 pixels")
    add("--language", type=Path, metavar="FOLDER", help="stage 0: a Qwen2 or Qwen2.5 decoder")
    add("--data", action="append", default=[], metavar="FILE", help=DATA)
    add("--held-out", action="append", default=[], metavar="FILE", help=HELD_OUT)
    add("--eval-every", type=_positive, metavar="STEPS", help=EVAL_EVERY)
    add("--video", type=Path, metavar="PATH", help=VIDEO)
    add("--labels", type=Path, metavar="PATH", help=LABELS)
    add("--camera", metavar="ID", help=CAMERA)
    add("--began", metavar="TIME", help=BEGAN)
    add("--skip-bad", action="store_true", help="skip bad samples of --data and list them")
    add("--table", choices=["nano", "paper"], default="nano", help=TABLE)
    add("--steps", type=int, default=1000, help="number of training steps (default 1000)")
    add("--rate", type=float, default=1.0, help="multiplies the rates of stages 1 to 4 (default 1)")
    add("--freeze", action="append", default=[], choices=PARTS, help=FREEZE)
    add("--batch", type=int, default=8, help="samples per step (default 8)")
    add("--seed", type=int, default=0, help="seed of everything random (default 0)")
    add("--scenes", type=int, default=4000, help="number of rendered scenes (default 4000)")
    add("--longest", type=_positive, default=28, metavar="SECONDS", help=LONGEST)
    add("--busy", type=float, default=0.0, metavar="SHARE", help=BUSY)
    add("--memo", type=Path, help="folder to keep rendered clips in (default: clips/ in --out)")
    add("--device", default="cpu", help="auto, cpu or cuda (default cpu)")
    add("--bfloat16", action="store_true", help="compute matrix products in bfloat16 (less exact)")
    add("--lora", type=int, metavar="RANK", help=LORA)
    add("--checkpointing", action="store_true", help=CHECKPOINTING)
    add("--workers", type=int, default=1, help="how many processes prepare samples (default 1)")
    add("--threads", type=int, default=1, help="CPU threads of the training (default 1)")
    add("--save-every", type=float, default=60.0, metavar="SECONDS", help=SAVE_EVERY)
    add("--max-tokens-per-frame", type=int, default=144, help=LARGEST)


def run(arguments: argparse.Namespace) -> int:
    """Train the stage; progress goes to standard error."""
    towers = (arguments.vision, arguments.language)
    if any(towers):
        return _put_together(arguments)
    say("reading PyTorch")  # seconds, on a slow disk many
    from worker.training.run import train

    return train(arguments, say=say)


def _put_together(arguments: argparse.Namespace) -> int:
    """Make the model that stage 1 of the paper starts from; nothing is trained."""
    if arguments.stage != 0 or not (arguments.vision and arguments.language):
        raise InputError("--vision and --language: expected both, and --stage 0")
    from model.training.runs import standing
    from model.training.start import start_from

    standing(arguments.out, {}, is_resumed=False)
    say("putting the tower and the decoder together; nothing is trained")
    start_from(arguments.vision, arguments.language, arguments.out, seed=arguments.seed)
    say(f"done: --stage 1 --table paper --from {arguments.out} comes next")
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number
