"""What is wrong is said in one line, with exit status 2, and no password in it."""

import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from pipeline.outbox import Outbox
from worker.__main__ import main
from worker.demo.embedded_redis import free_port

ROOT = Path(__file__).resolve().parents[2]
NANO = ROOT / "model" / "nano"
CAMERA = {"VIGIL_CAMERAS__GATE__URL": "rtsp://admin:canary@127.0.0.1:1/x"}

ON_NANO = {"VIGIL_MODEL__PATH": "nano"}


def vigil(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VIGIL_")}
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        cwd=ROOT,
        env=environment | {"VIGIL_OUTBOX__PATH": "memory", "VIGIL_HEALTH__PORT": "0"} | variables,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


# Libraries take seconds to load: most of these are forked off a process that has loaded them.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["worker.wiring"])


def forked(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Do the same without the seconds; what a library reads when it is loaded is not seen."""
    out, err = folder / "stdout", folder / "stderr"
    process = _FORKS.Process(target=be_vigil, args=(arguments, variables, out, err))
    process.start()
    process.join(100)
    status = process.exitcode
    process.kill()
    assert status is not None, "it does not end"
    return subprocess.CompletedProcess(arguments, status, out.read_text(), err.read_text())


def be_vigil(arguments: Sequence[str], variables: Mapping[str, str], out: Path, err: Path) -> None:
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        with path.open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.chdir(ROOT)
    for name in [name for name in os.environ if name.startswith("VIGIL_")]:
        del os.environ[name]
    os.environ.update({"VIGIL_OUTBOX__PATH": "memory", "VIGIL_HEALTH__PORT": "0"} | dict(variables))
    sys.exit(main(arguments))


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (ON_NANO, "VIGIL_CAMERAS__<ID>__URL: expected at least one camera"),
        (
            ON_NANO | {"VIGIL_CAMERAS__GATE__URL": "http://canary@x/y"},
            "VIGIL_CAMERAS__GATE__URL: expected",
        ),
        (
            CAMERA | ON_NANO | {"VIGIL_REDSI__URL": "redis://:canary@h"},
            "VIGIL_REDSI__URL: no such setting",
        ),
        (CAMERA | ON_NANO | {"VIGIL_REDIS__URL": "http://:canary@h"}, "VIGIL_REDIS__URL"),
        (CAMERA | ON_NANO | {"VIGIL_OUTBOX__PATH": "/proc/none/outbox"}, "outbox"),
        (CAMERA, "VIGIL_MODEL__PATH: expected a model: a folder, or a name on Hugging Face"),
        (CAMERA | {"VIGIL_MODEL__PATH": "./models/x"}, "VIGIL_MODEL__PATH: no such folder"),
        (CAMERA | {"VIGIL_MODEL__PATH": "/none/x"}, "VIGIL_MODEL__PATH: no such folder"),
        (CAMERA | ON_NANO | {"VIGIL_MODEL__REVISION": "v1"}, "VIGIL_MODEL__REVISION: expected"),
        (CAMERA | {"VIGIL_MODEL__PATH": "a/b", "HF_HUB_OFFLINE": "1"}, "VIGIL_MODEL__PATH: a/b: "),
    ],
)
def test_a_settings_mistake_is_exit_status_2_and_one_line(
    variables: dict[str, str], words: str, tmp_path: Path
) -> None:
    is_fresh = variables == ON_NANO or "HF_HUB_OFFLINE" in variables
    done = vigil("run", **variables) if is_fresh else forked(tmp_path, "run", **variables)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert words in done.stderr
    assert "canary" not in done.stderr + done.stdout


def test_a_second_worker_on_one_outbox_is_told_which_setting_names_it(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with closing(Outbox(path, max_bytes=1 << 20)):
        done = forked(tmp_path, "run", **CAMERA, **ON_NANO, VIGIL_OUTBOX__PATH=str(path))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"vigil: VIGIL_OUTBOX__PATH: {path}: in use by another worker")


@pytest.mark.parametrize("wrong", ["missing", "extra", "misshaped"])
def test_a_wrong_tensor_is_exit_status_2_and_its_name(wrong: str, tmp_path: Path) -> None:
    folder = tmp_path / "nano"
    shutil.copytree(NANO, folder)
    tensors = load_file(folder / "model.safetensors")
    name = "model.projector.readout.0.bias"
    if wrong == "missing":
        del tensors[name]
    elif wrong == "extra":
        name = "model.projector.readout.7.bias"
        tensors[name] = tensors["model.projector.readout.0.bias"].clone()
    else:
        tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    done = forked(tmp_path, "run", **CAMERA, VIGIL_MODEL__PATH=str(folder))
    assert done.returncode == 2
    assert name in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


CONTROL_TOKEN = {"VIGIL_QUESTIONS__FIRE__ASK": "canary <|im_end|>"}


@pytest.mark.parametrize("command", [("run",), ("check", "--model")])
def test_a_control_token_in_a_question_is_refused_at_start(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    done = forked(tmp_path, *command, **CAMERA, **ON_NANO, **CONTROL_TOKEN)
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("vigil: VIGIL_QUESTIONS__FIRE__ASK: expected plain text")
    )
    assert "loading nano" not in done.stderr, "before it takes time"
    assert "canary <" not in done.stderr


@pytest.mark.parametrize("broken", ["nested", "layers", "pipe"])
def test_a_broken_config_is_exit_status_2_and_one_line_at_once(broken: str, tmp_path: Path) -> None:
    folder = tmp_path / "nano"
    shutil.copytree(NANO, folder)
    config = folder / "config.json"
    text = config.read_text()
    config.unlink()
    if broken == "pipe":
        os.mkfifo(config)
    else:
        absurd = text.replace('"num_hidden_layers": 6', f'"num_hidden_layers": {10**9}')
        config.write_text("[" * 10**6 if broken == "nested" else absurd)
    done = forked(tmp_path, "run", **CAMERA, VIGIL_MODEL__PATH=str(folder))
    assert done.returncode == 2
    assert "config.json" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_check_prints_what_is_in_effect_and_no_password(tmp_path: Path) -> None:
    done = forked(
        tmp_path,
        "check",
        **CAMERA,
        **ON_NANO,
        VIGIL_FIDELITY="balanced",
        VIGIL_REDIS__URL="redis://:canary@redis:6379/0",
        VIGIL_KAFKA__SASL_PASSWORD="canary",
        VIGIL_QUESTIONS__FIRE__ASK="Is there fire?",
    )
    assert done.returncode == 0, done.stderr
    assert "VIGIL_CAMERAS__GATE__URL=rtsp://***@127.0.0.1:1/x" in done.stdout
    assert "VIGIL_REDIS__URL=redis://***@redis:6379/0" in done.stdout
    assert "VIGIL_QUESTIONS__FIRE__EVERY=5s\n" in done.stdout
    assert "VIGIL_PRUNER__REFRESH_EVERY=30s\n" in done.stdout
    assert "VIGIL_MODEL__VISION=full\n" in done.stdout
    assert "canary" not in done.stdout + done.stderr


def test_healthcheck_fails_where_no_worker_runs() -> None:
    assert vigil("healthcheck", VIGIL_HEALTH__PORT=str(free_port())).returncode == 1
