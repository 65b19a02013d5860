"""`vigil curate` makes training data of pictures with captions, as VL3-Syn7M was made."""

import argparse
import json
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import InputError
from pipeline.clock import SystemClock
from worker.benchmarks.report import say

if TYPE_CHECKING:
    from model.curation.plan import Limits

SUMMARY = "make training data of pictures with captions (model/curation/README.md)"
SHARDS = "WebDataset .tar files, .parquet files with a column for the picture, or folders of them"
DEMO = "paint this many pictures with known faults, curate those, and say what was found"
LIMIT = "a threshold, as NAME=VALUE; may be given several times; --table shows them"
ADDRESS = "a Ray cluster's address, such as auto (default: Ray on this machine)"
ENGINE = "re-caption with vLLM through ray.data.llm; JSON settings of its vLLMEngineProcessorConfig"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--shards", type=Path, nargs="+", default=[], help=SHARDS)
    add("--out", type=Path, help="folder for the result; an unfinished run goes on")
    add("--demo", type=int, metavar="PICTURES", help=DEMO)
    add("--table", action="store_true", help="show the steps and their thresholds, and end")
    add("--limit", action="append", default=[], metavar="NAME=VALUE", help=LIMIT)
    add(
        "--clip",
        default="openai/clip-vit-large-patch14",
        help="folder or name (default %(default)s)",
    )
    add("--aesthetic", type=Path, help="safetensors file of the aesthetic score's layers")
    add("--captioner", default="Salesforce/blip2-opt-2.7b", help="BLIP-2 (default %(default)s)")
    add("--recaptioner", default="OpenGVLab/InternVL3-8B-hf", help="(default %(default)s)")
    add("--device", default="cpu", help="cpu or cuda (default cpu)")
    add("--workers", type=int, default=1, help="processes at a time (default 1)")
    add("--gpus-per-worker", type=float, default=1.0, help="with --device cuda (default 1)")
    add("--batch", type=int, default=32, help="pictures a captioner has at a time (default 32)")
    add("--cluster", metavar="ADDRESS", help=ADDRESS)
    add("--vllm", type=json.loads, metavar="JSON", help=ENGINE)


def run(arguments: argparse.Namespace) -> int:
    """Curate; a line of each step goes to standard error, and so does what stops it."""
    if util.find_spec("ray") is None:
        raise InputError("expected the extra `curation`: pip install 'vigil[curation]'")
    from model.curation.plan import Limits, table

    limits = Limits.given(arguments.limit)
    if arguments.table:
        for line in table(limits):
            say(line)
        return 0
    if arguments.out is None:
        raise InputError("--out: expected the folder for the result, got none")
    for name in ("workers", "batch", "demo"):
        got = getattr(arguments, name)
        if got is not None and got < 1:
            raise InputError(f"--{name}: expected 1 or more, got {got}")
    from model.curation.curate import StepError

    try:
        return _curate(arguments, limits) if arguments.demo is None else _show(arguments)
    except (StepError, OSError) as error:
        say(str(error))
        return 1


def _show(arguments: argparse.Namespace) -> int:
    from model.curation.demo.shown import show

    is_good = show(
        arguments.out.absolute(),
        arguments.demo,
        num_workers=arguments.workers,
        say=say,
        now_s=SystemClock().monotonic_s,
    )
    return 0 if is_good else 1


def _curate(arguments: argparse.Namespace, limits: "Limits") -> int:
    from model.curation import on_ray
    from model.curation.curate import Crew, curate, look_at
    from model.curation.plan import Networks, Plan
    from model.curation.shards import shards_in

    if not arguments.shards:
        raise InputError("--shards: expected files or folders, got none")
    if arguments.aesthetic is None:
        raise InputError("--aesthetic: expected the file of the aesthetic score, got none")
    networks = Networks(
        clip=arguments.clip,
        aesthetic=arguments.aesthetic.absolute(),
        captioner=arguments.captioner,
        recaptioner=arguments.recaptioner,
        device=arguments.device,
        batch_size=arguments.batch,
    )
    out = arguments.out.absolute()
    shards = shards_in([path.absolute() for path in arguments.shards], out=out)
    look_at(networks)
    gpus = arguments.gpus_per_worker if arguments.device.startswith("cuda") else 0
    plan = Plan(tuple(shards), out, limits, networks)
    plan.settle()
    crew = Crew(arguments.workers, gpus, arguments.vllm)
    with on_ray.session(arguments.workers, address=arguments.cluster):
        curate(plan, crew, say=say, now_s=SystemClock().monotonic_s)
    return 0
