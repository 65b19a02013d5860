"""All commands: one table, thin files, and nothing slow before it is needed."""

import re
import subprocess
import sys
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

import pytest

from worker import commands
from worker.__main__ import COMMANDS, main

FOLDER = Path(commands.__file__).parent
MAX_LINES = 115
SLOW = {"torch", "transformers", "av", "cv2", "PIL", "kafka", "redis"}


def test_every_command_is_in_the_table() -> None:
    files = {f"worker.commands.{path.stem}" for path in FOLDER.glob("*.py")}
    assert set(COMMANDS.values()) == files - {"worker.commands.__init__"}


def test_a_command_is_a_thin_file() -> None:
    sizes = {path.name: len(path.read_text().splitlines()) for path in FOLDER.glob("*.py")}
    assert {name: lines for name, lines in sizes.items() if lines > MAX_LINES} == {}


def test_options_and_a_health_check_load_nothing_slow() -> None:
    code = "import sys, worker.__main__ as vigil; vigil.parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not SLOW & set(done.stdout.split())


def test_sending_cameras_to_kafka_loads_no_model() -> None:
    parts = "worker.commands.ingest, worker.ingest, worker.supervisor"
    code = f"import sys, {parts}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "kafka" in loaded
    assert not {"torch", "transformers", "redis"} & loaded


def test_the_console_loads_no_model_and_no_broker() -> None:
    code = "import sys, worker.commands.console, worker.console.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "redis" in loaded
    assert not {"torch", "transformers", "kafka", "av", "PIL"} & loaded


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_explained(name: str) -> None:
    parser = ArgumentParser()
    module = import_module(COMMANDS[name])
    module.add_arguments(parser)
    assert module.SUMMARY
    assert all(action.help for action in parser._actions if action.dest != "what")


def test_the_version_is_told_with_the_commit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert re.fullmatch(r"vigil (\d+\.\d+\.\d+|unknown), commit \S+\n", capsys.readouterr().out)
