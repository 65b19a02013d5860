"""What the compose files promise an operator."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.compose import DEMO, GPU, MAIN, ROOT, MissingVariableError, environment, read
from worker.environment import load

SITE = """\
VIGIL_MODEL__PATH=nano
VIGIL_CAMERAS__GATE__URL=rtsp://10.0.0.5/stream
VIGIL_QUESTIONS__DOOR__ASK='Is door #3 open?'
"""
BUNDLED = "redis://redis:6379/0"
EXACT_TAG = re.compile(r".+:\d+\.\d+\.\d+(-[a-z-]+)?")


def by_reading(settings: Path) -> dict[str, str]:
    worker = read(MAIN.read_text(), {"VIGIL_ENV": str(settings)})["services"]["worker"]
    return environment(worker, ROOT)


def by_compose(settings: Path) -> dict[str, str]:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not installed")
    shown = subprocess.run(
        [program, "-f", MAIN, "config"],
        env={**os.environ, "VIGIL_ENV": str(settings)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = yaml.safe_load(shown.stdout)["services"]["worker"]["environment"]
    return found


@pytest.mark.parametrize("seen", [by_reading, by_compose])
@pytest.mark.parametrize(
    ("line", "url"),
    [
        ("", BUNDLED),
        ("VIGIL_REDIS__URL=redis://10.0.0.9:6379/3", "redis://10.0.0.9:6379/3"),
        ("VIGIL_REDIS__URL_FILE={secret}", "redis://:pw@10.0.0.9:6379/4"),
    ],
    ids=["bundled", "settings file", "secret"],
)
def test_the_settings_file_says_where_alerts_go(
    tmp_path: Path, seen: Any, line: str, url: str
) -> None:
    """docker/compose#1741, docker/docs#7236, MonitoRSS#361: they went to the bundled Redis."""
    secret, settings = tmp_path / "redis_url", tmp_path / "site.env"
    secret.write_text("redis://:pw@10.0.0.9:6379/4\n")
    settings.write_text(SITE + line.format(secret=secret) + "\n")
    effective = load(seen(settings))
    assert effective.redis.url.get_secret_value() == url
    assert effective.questions["door"].ask == "Is door #3 open?", (
        "compose#9327: quoted, it is whole"
    )


def test_without_a_settings_file_nothing_starts_and_a_line_says_what_to_do() -> None:
    """Nobody's cameras are swapped for the demo's by a shell that lacks VIGIL_ENV."""
    with pytest.raises(MissingVariableError, match=r"VIGIL_ENV: .*cp deploy/worker.env.example"):
        read(MAIN.read_text(), {})
    assert "demo.env" not in MAIN.read_text()


@pytest.mark.parametrize("files", [[MAIN], [MAIN, GPU]], ids=["cpu", "gpu"])
def test_compose_itself_refuses_in_that_line(files: list[Path]) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not installed")
    command = [program, *(word for path in files for word in ("-f", path)), "up", "-d"]
    refused = subprocess.run(
        command, env={**os.environ, "VIGIL_ENV": ""}, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    told = [line for line in refused.stderr.splitlines() if "no settings file" in line]
    assert len(told) == 1
    assert "cp deploy/worker.env.example deploy/worker.env" in told[0]


def test_the_demo_needs_no_settings_and_shares_nothing_with_a_deployment() -> None:
    demo = read(DEMO.read_text(), {})
    settings = load(environment(demo["services"]["worker"], DEMO.parent))
    (camera,) = settings.cameras.values()
    assert camera.url is not None
    assert camera.url.get_secret_value() == "rtsp://camera:8554/yard"
    assert settings.redis.url.get_secret_value() == BUNDLED
    assert {"worker", "camera", "redis", "watch"} == set(demo["services"])
    shown = load(environment(demo["services"]["watch"], DEMO.parent))
    assert shown.redis.url == settings.redis.url
    assert DEMO.parent != MAIN.parent, "its folder names its project, and so its volumes"


def test_the_gpu_takes_the_place_of_the_cpu_worker() -> None:
    """Two workers on one outbox: the second refuses, and so they must be one service."""
    main, gpu = read(MAIN.read_text(), {"VIGIL_ENV": "x"}), read(GPU.read_text(), {})
    assert set(gpu["services"]) == {"worker"}
    workers = [name for name, one in main["services"].items() if "build" in one]
    assert workers == ["worker"]
    assert gpu["services"]["worker"]["build"]["args"]["TORCH_INDEX_URL"] == ""


def test_workers_can_be_scaled_as_it_stands() -> None:
    """`--scale worker=3`: no port, outbox or id is the same, and each one has partitions."""
    services = read(MAIN.read_text(), {"VIGIL_ENV": "x"})["services"]
    worker = services["worker"]
    assert "container_name" not in worker
    assert "hostname" not in worker
    (port,) = worker["ports"]
    first, last = re.fullmatch(r"127\.0\.0\.1:(\d+)-(\d+):9200", port).groups()  # type: ignore[union-attr] # else it fails, as it should
    assert int(last) - int(first) >= 15
    (path,) = re.findall(r"VIGIL_OUTBOX__PATH=(\S+)", (ROOT / "deploy" / "Dockerfile").read_text())
    assert path.endswith("/"), "a folder, in which each takes a file"
    assert path.startswith(worker["volumes"][0].split(":")[1]), "on a volume that outlives them"
    kafka = services["kafka"]["environment"]
    assert kafka["KAFKA_NUM_PARTITIONS"] >= 12, "of one partition, two of three would be idle"
    kept = kafka["KAFKA_NUM_PARTITIONS"] * kafka["KAFKA_LOG_RETENTION_BYTES"]
    assert kept < 10e9, "a week of pictures, which is Kafka's default, fills any disk"
    (gpu,) = read(GPU.read_text(), {})["services"]["worker"]["deploy"]["resources"]["reservations"][
        "devices"
    ]
    assert gpu["count"] == "all", "or each would be given the first one"


def every_service() -> list[Any]:
    return [
        pytest.param(path, name, service, id=f"{path.name}-{name}")
        for path in (MAIN, DEMO)
        for name, service in read(path.read_text(), {"VIGIL_ENV": "x"})["services"].items()
    ]


@pytest.mark.parametrize(("path", "name", "service"), every_service())
def test_every_container_has_no_more_than_it_needs(
    path: Path, name: str, service: dict[str, Any]
) -> None:
    assert service["read_only"] is True
    assert service["tmpfs"][0].endswith("tmp")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    added = {"SETUID", "SETGID"} if name == "redis" else set()
    assert set(service.get("cap_add", [])) == added
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    if path == MAIN:
        assert service["restart"] == "unless-stopped"
    else:
        assert "restart" not in service


@pytest.mark.parametrize(("path", "name", "service"), every_service())
def test_every_image_of_others_is_named_exactly(
    path: Path, name: str, service: dict[str, Any]
) -> None:
    assert path.exists()
    image = service["build"]["args"]["PYTHON_IMAGE"] if "build" in service else service["image"]
    assert image == "vigil" or EXACT_TAG.fullmatch(image), name
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    if "build" in service:
        assert f"ARG PYTHON_IMAGE={image}\n" in dockerfile


def test_redis_refuses_rather_than_evicts_and_cannot_take_the_machines_memory() -> None:
    """OpenCTI/docker#78, getsentry/self-hosted#3907: full streams at defaults, and no bound."""
    redis = read(MAIN.read_text(), {"VIGIL_ENV": "x"})["services"]["redis"]
    assert "--maxmemory 1gb --maxmemory-policy noeviction" in redis["command"]
    megabytes = int(redis["mem_limit"].removesuffix("m"))
    assert megabytes >= 2.5 * 1024, "a rewrite of its file may copy what changes meanwhile"


def test_the_example_of_secrets_works_once_its_marks_are_taken_away() -> None:
    shown = MAIN.read_text()
    marked = re.compile(r"^( *)# (secrets:|  - \w+_url|  \w+_url:|    file: .*)$", re.MULTILINE)
    unmarked = read(marked.sub(r"\1\2", shown), {"VIGIL_ENV": "x"})
    assert unmarked["services"]["worker"]["secrets"] == ["redis_url", "gate_url"]
    for name in ("redis_url", "gate_url"):
        assert unmarked["secrets"][name] == {"file": f"deploy/secrets/{name}"}
        assert f"_FILE=/run/secrets/{name}" in shown
    assert "secrets" not in read(shown, {"VIGIL_ENV": "x"})


PRIVATE = (
    *("deploy/worker.env", ".env", ".env.local", "site.env", "deploy/worker.env.bak"),
    *("deploy/secrets/gate_url", "docker-compose.override.yml"),
)
TAKEN = ("deploy/worker.env.example", "deploy/bundled.env", "worker/demo/demo.env")


def test_git_offers_no_file_with_a_sites_passwords() -> None:
    """`cp deploy/worker.env.example deploy/worker.env`, and git offered it for commit."""
    command = ["git", "check-ignore", "--no-index", *PRIVATE, *TAKEN]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode == 128:
        pytest.skip("not a git checkout")
    assert told.stdout.splitlines() == list(PRIVATE)


@pytest.mark.parametrize("name", [*PRIVATE, "worker/site.env", "worker/demo/demo.env"])
def test_no_image_carries_a_sites_settings(name: str) -> None:
    is_left_out = False
    for line in (ROOT / ".dockerignore").read_text().split():
        pattern = line.removeprefix("!")
        inside = name.split("/")
        parents = ["/".join(inside[: end + 1]) for end in range(len(inside))]
        matched = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(matched, one) for one in parents):
            is_left_out = not line.startswith("!")
    assert is_left_out == (name not in TAKEN)


def test_what_the_run_book_shows_to_copy_is_valid() -> None:
    page = (ROOT / "deploy" / "README.md").read_text()
    first = re.findall(r"```sh\n(VIGIL_.*?)```", page, re.DOTALL)[0]
    given = dict(line.split("=", 1) for line in first.splitlines())
    assert load(given).questions["open"].ask == "Is the gate open?"
    services = set(read(MAIN.read_text(), {"VIGIL_ENV": "x"})["services"])
    overlays = [
        yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    ]
    assert overlays
    for overlay in overlays:
        assert set(overlay["services"]) <= services
        for service in overlay["services"].values():
            assert set(service["secrets"]) == set(overlay["secrets"])
