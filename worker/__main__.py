"""The `vigil` command. Exit status: 0 done, 1 failed, 2 refused (settings, model folder, usage)."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from model.errors import CheckpointError, DataError, InputError
from pipeline.errors import ConfigError, OutboxError

REFUSED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the process's exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.command(arguments)
    except (ConfigError, CheckpointError, DataError, InputError, OutboxError) as error:
        print(f"vigil: {error}", file=sys.stderr)  # noqa: T201 (the one line that says why)
        return REFUSED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vigil",
        description="Watch cameras with VideoLLaMA3: captions and standing answers on Redis. "
        "Settings come from VIGIL_ environment variables.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, summary: str, run: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(command=run)
        return command

    add("run", "watch the configured cameras until told to stop", _run)
    check = add(
        "check", "print the effective settings, redacted, and say whether they work", _check
    )
    check.add_argument("--model", action="store_true", help="load the model too")
    check.add_argument("--example", action="store_true", help="print every setting's default")
    demo = add("demo", "show the whole way of a frame on this machine, nothing configured", _demo)
    demo.add_argument("--seconds", type=float, default=None, help="stop after so long")
    demo.add_argument("--video", default=None, help="play this file instead of the bundled scene")
    add("healthcheck", "ask a running worker whether it is alive (for containers)", _healthcheck)
    bench = add("bench", "measure", _bench)
    bench.add_argument(
        "what",
        choices=["cameras", "context", "decode", "encode", "ingest", "prune", "questions"],
        help="what to measure",
    )
    bench.add_argument("--json", action="store_true", help="print one JSON document")
    bench.add_argument("--plot", default=None, metavar="PATH", help="prune: draw a picture too")
    bench.add_argument(
        "--subject", choices=["bundled", "2b", "7b"], default=None, help="cameras: this model alone"
    )
    bench.add_argument(
        "--cameras", type=int, default=None, help="cameras: try this number, search none"
    )
    bench.add_argument("--seconds", type=float, default=None, help="cameras: measured of a trial")
    inspect = add("inspect", "show what the pruner sends of a video, as a video", _inspect)
    inspect.add_argument("video", metavar="VIDEO", help="the file to look at")
    inspect.add_argument("--out", required=True, metavar="FILE", help="the .mp4 to write")
    inspect.add_argument(
        "--mode", choices=["adaptive", "last_seen", "paper"], default=None, help="of the pruner"
    )
    inspect.add_argument("--fps", type=float, default=1.0, help="frames sampled per second")
    _add_eval(add("eval", "measure how true a model's answers are, on held-out scenes", _eval))
    _add_train(add("train", "train a stage of the recipe, on rendered scenes or files", _train))
    return parser


def _add_eval(evaluate: argparse.ArgumentParser) -> None:
    evaluate.add_argument("folder", metavar="DIR", help="the model; nano is the bundled one")
    evaluate.add_argument("--json", action="store_true", help="print one JSON document")
    evaluate.add_argument("--clips", type=int, default=500, help="shown to the engine")
    evaluate.add_argument(
        "--first-seed", type=int, default=10_000_000, help="of the scenes; held out from there on"
    )
    evaluate.add_argument(
        "--through", choices=["model", "worker", "all"], default="all", help="what is measured"
    )
    evaluate.add_argument("--minutes", type=float, default=30.0, help="played to the worker")


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument(
        "--stage", type=int, required=True, help="1 to 4; 0 makes what nano starts from"
    )
    train.add_argument(
        "--out", type=Path, required=True, help="folder; a run cut off there goes on"
    )
    train.add_argument("--from", type=Path, dest="start", help="the model folder to start from")
    train.add_argument(
        "--data", type=Path, action="append", default=[], help="a conversation file; again for more"
    )
    train.add_argument("--skip-bad", action="store_true", help="pass over samples that do not fit")
    train.add_argument("--table", choices=["nano", "paper"], default="nano", help="rates and mix")
    train.add_argument("--steps", type=int, default=1000, help="steps in all")
    train.add_argument(
        "--rate", type=float, default=1.0, help="multiplies the rates of stages 1 to 4"
    )
    train.add_argument("--batch", type=int, default=8, help="samples of a step")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--scenes", type=int, default=4000, help="rendered clips there are")
    train.add_argument(
        "--memo", type=Path, default=None, help="where they are kept; by default in --out"
    )
    train.add_argument("--device", default="cpu", help="cpu or cuda")
    train.add_argument("--bfloat16", action="store_true", help="take products in bfloat16")
    train.add_argument("--workers", type=int, default=1, help="processes that make samples")
    train.add_argument("--threads", type=int, default=1, help="of the training itself on a CPU")
    train.add_argument("--max-tokens-per-frame", type=int, default=144, help="of files' pictures")


# Each command is imported when it is asked for: torch takes seconds, a health check must not.


def _run(_arguments: argparse.Namespace) -> int:
    from worker.commands.run import run

    return run()


def _check(arguments: argparse.Namespace) -> int:
    from worker.commands.check import check

    return check(with_model=arguments.model, as_example=arguments.example)


def _demo(arguments: argparse.Namespace) -> int:
    from worker.demo.show import demo

    return demo(seconds=arguments.seconds, video=arguments.video)


def _healthcheck(_arguments: argparse.Namespace) -> int:
    from worker.commands.healthcheck import healthcheck

    return healthcheck()


def _bench(arguments: argparse.Namespace) -> int:
    from worker.report import bench

    return bench(
        arguments.what,
        as_json=arguments.json,
        plot=arguments.plot,
        options={name: getattr(arguments, name) for name in ("subject", "cameras", "seconds")},
    )


def _eval(arguments: argparse.Namespace) -> int:
    from worker.evaluation.measure import evaluate

    return evaluate(
        arguments.folder,
        as_json=arguments.json,
        num_clips=arguments.clips,
        first_seed=arguments.first_seed,
        through=arguments.through,
        minutes=arguments.minutes,
    )


def _train(arguments: argparse.Namespace) -> int:
    from worker.commands.train import Order, train

    return train(
        Order(
            stage=arguments.stage,
            out=arguments.out,
            start=arguments.start,
            data=tuple(arguments.data),
            table=arguments.table,
            num_steps=arguments.steps,
            rate=arguments.rate,
            batch_size=arguments.batch,
            seed=arguments.seed,
            num_scenes=arguments.scenes,
            memo=arguments.memo or arguments.out / "clips",
            device=arguments.device,
            is_bfloat16=arguments.bfloat16,
            num_workers=arguments.workers,
            num_threads=arguments.threads,
            max_tokens_per_frame=arguments.max_tokens_per_frame,
            skip_bad=arguments.skip_bad,
        )
    )


def _inspect(arguments: argparse.Namespace) -> int:
    from worker.commands.inspect import inspect

    return inspect(arguments.video, arguments.out, mode=arguments.mode, fps=arguments.fps)


if __name__ == "__main__":
    raise SystemExit(main())
