"""What `deploy/evaluate` runs: lmms-eval over a model, in one mode or several, and the table."""

import argparse
import re
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from model.errors import ModelError
from pipeline.errors import ConfigError, VigilError
from worker.benchmarks.report import say
from worker.evaluation.lmms.harness import TASKS, Run, run_lmms_eval
from worker.evaluation.lmms.rendered import NUM_SCENES, render
from worker.evaluation.lmms.responder import MODES, Mode
from worker.evaluation.lmms.table import Figures, as_json, table

LOCAL = "local_"
_OLDER_SHAPE = "output_type: multiple_choice"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the options say; return the process's exit status."""
    asked = _parser().parse_args(arguments)
    try:
        text = _evaluate(asked, command=" ".join(["deploy/evaluate", *sys.argv[1:]]))
    except (VigilError, ModelError) as error:
        say(str(error))
        return 2
    print(text)  # noqa: T201 (the output)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy/evaluate",
        description="Run public benchmarks with lmms-eval over a model as Vigil serves it, and "
        "print them beside the published figures of VideoLLaMA3. Figures of earlier runs stay in "
        "the table.",
    )
    parser.add_argument(
        "--tasks",
        default="",
        metavar="NAMES",
        help="lmms-eval's tasks, separated by commas; local_* are of rendered scenes and need no "
        "download; without any, the table alone is printed",
    )
    parser.add_argument("--model", default="nano", help="nano, a folder, or a name on the hub")
    parser.add_argument(
        "--mode",
        default="reference",
        metavar="MODES",
        help=f"some of {', '.join(MODES)}, separated by commas (default reference)",
    )
    parser.add_argument("--limit", type=int, help="documents of each task (default: all)")
    parser.add_argument("--scenes", type=int, default=NUM_SCENES, help="of the local tasks")
    parser.add_argument("--device", default="auto", help="where the model runs (default auto)")
    parser.add_argument(
        "--simple",
        action="store_true",
        help="the tasks are of lmms-eval's older shape, which alone weighs continuations",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(".venv-eval/work"),
        help="folder for scenes, results and logs (default .venv-eval/work)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _evaluate(asked: argparse.Namespace, *, command: str) -> str:
    work = asked.work.absolute()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", asked.model).strip("-.") or "model"
    model = str(Path(asked.model).absolute()) if Path(asked.model).is_dir() else asked.model
    figures = Figures(work / "figures" / name)
    modes = [_mode(one) for one in asked.mode.split(",")]
    tasks = _expanded([one.strip() for one in asked.tasks.split(",") if one.strip()])
    if any(task.startswith(LOCAL) for task in tasks):
        render(work, num_scenes=asked.scenes, progress=say)
    work.mkdir(parents=True, exist_ok=True)
    for mode in modes:
        for is_simple in (False, True):
            mine = tuple(one for one in tasks if (asked.simple or _is_older(one)) == is_simple)
            if not mine:
                continue
            say(f"{mode}: {', '.join(mine)}")
            run = Run(model, mode, mine, is_simple, asked.limit, asked.device)
            out = work / "runs" / name / mode / ("simple" if is_simple else "chat")
            for outcome in run_lmms_eval(run, work=work, out=out):
                figures.keep(mode, outcome, limit=asked.limit)
    if asked.json:
        return as_json(figures, model=asked.model, command=command)
    return table(figures, model=asked.model)


def _mode(text: str) -> Mode:
    for mode in MODES:
        if mode == text.strip():
            return mode
    raise ConfigError(f"evaluate: --mode: expected some of {', '.join(MODES)}, got {text!r}")


def _expanded(wanted: Sequence[str]) -> list[str]:
    """Replace patterns of local tasks by the tasks."""
    local = sorted(path.stem for path in TASKS.glob(f"{LOCAL}*.yaml"))
    tasks: list[str] = []
    for name in wanted:
        found = [one for one in local if fnmatchcase(one, name)]
        if name.startswith(LOCAL) and not found:
            raise ConfigError(f"evaluate: --tasks: expected some of {', '.join(local)}, got {name}")
        tasks += found or [name]
    return list(dict.fromkeys(tasks))


def _is_older(task: str) -> bool:
    path = TASKS / f"{task}.yaml"
    return path.exists() and _OLDER_SHAPE in path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
