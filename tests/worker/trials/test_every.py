"""What `vigil check --connect` says of real cameras, a real Redis and a real broker."""

import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from model.errors import AdmissionError
from pipeline.clock import SystemClock
from pipeline.publishers.subscriber import Subscriber
from tests.servers.kafka import SASL_PASSWORD, SASL_USER, KafkaBroker, Sent, create_topic, produce
from tests.servers.redis import RedisServer, StartRedis
from tests.servers.rtsp import StartCamera
from tests.wire import validate
from worker import environment
from worker.__main__ import main
from worker.loading import sketch_engine
from worker.trials.every import try_all
from worker.trials.model import try_model

PASSWORD = "canary/word"
SMALL = {"width": 320, "height": 180, "fps": 10}
NANO = {"VIGIL_MODEL__PATH": "nano", "VIGIL_OUTBOX__PATH": "memory", "VIGIL_HEALTH__PORT": "0"}


def tried(**variables: str) -> tuple[bool, list[str]]:
    """Return whether all can be used, and the lines; no credential may be in them."""
    said: list[str] = []
    settings = environment.load(
        {"VIGIL_REDIS__URL": "redis://127.0.0.1:1/0", "VIGIL_MODEL__PATH": "nano"} | variables
    )
    is_ok = try_all(settings, model=None, clock=SystemClock(), say=said.append)
    assert not re.search(r"canary|s3cret", "\n".join(said))
    return is_ok, said


def line_of(said: list[str], subject: str) -> str:
    [line] = [line for line in said if line[5:].startswith(f"{subject}: ")]
    return line


def test_what_commands_have_changed_is_told_beside_what_the_environment_has(
    redis_url: str,
) -> None:
    order = {"at": "1-1", "do": "change", "settings": {}, "paused": False}
    held = {
        "camera:gate": order | {"paused": True},
        "question:cars": order | {"do": "put", "settings": {"ask": "Any cars?"}},
        "question:door": order | {"do": "remove"},
        "question:fire": order | {"settings": {"enter": "0.6"}},
        "question:gone": order | {"settings": {"enter": "0.6"}},
    }
    site = {
        "VIGIL_REDIS__URL": redis_url,
        "VIGIL_CONTROL": "on",
        "VIGIL_QUESTIONS__FIRE__ASK": "Fire?",
        "VIGIL_QUESTIONS__FIRE__ENTER": "0.8",
        "VIGIL_QUESTIONS__DOOR__ASK": "Open?",
    }
    _, said = tried(**site)
    assert line_of(said, "control") == "ok   control: all is as in the environment"
    with redis.Redis.from_url(redis_url) as client:
        texts: dict[Any, Any] = {name: json.dumps(one) for name, one in held.items()}
        client.hset("vigil:questions", mapping={"format": "1", **texts, "question:odd": "?"})
        _, said = tried(**site)
        assert line_of(said, "control")[14:].split("; ") == [
            "camera gate is paused, by command",
            "question cars is by command alone",
            "question cars: ask=Any cars? by command",
            "question door is not asked, by command",
            "question fire: enter=0.6 by command, not 0.8 as in the environment",
            "question gone is passed over: the environment has it no more",
            "question odd is passed over: expected what a command has changed",
        ]
        client.hset("vigil:questions", "format", "7")
    is_ok, said = tried(**site)
    assert not is_ok
    assert line_of(said, "control").startswith("FAIL control: other_version: vigil:questions")
    assert not any(line[5:].startswith("control") for line in tried(VIGIL_REDIS__URL=redis_url)[1])


# ---------------------------------------------------------------- cameras


def test_a_camera_is_told_with_what_is_expected_of_it(
    rtsp_camera: StartCamera, yard_video: Path
) -> None:
    often = rtsp_camera(yard_video, gop_s=1, user="admin", password=PASSWORD, **SMALL)
    seldom = rtsp_camera(yard_video, codec="h265", gop_s=2, **SMALL)
    _, said = tried(
        VIGIL_CAMERAS__OFTEN__URL=often.with_credentials("admin:canary%2Fword"),
        VIGIL_CAMERAS__SELDOM__URL=seldom.url,
        VIGIL_MODEL__MAX_TOKENS_PER_FRAME="72",
    )
    assert line_of(said, "camera often") == (
        "ok   camera often: h264 320x180, 10 fps, a key frame every 1.0 s; grid 11x6, 66 tokens in "
        "a whole picture; key frames alone are decoded"
    )
    assert line_of(said, "camera seldom") == (
        "ok   camera seldom: hevc 320x180, 10 fps, a key frame every 2.0 s; grid 11x6, 66 tokens "
        "in a whole picture; every frame is decoded, since key frames come more rarely than every "
        "1 s"
    )


def test_a_camera_that_cannot_be_used_is_told_with_its_reason_and_a_cure(
    rtsp_camera: StartCamera, yard_video: Path, refused_port: int, black_hole_port: int
) -> None:
    locked = rtsp_camera(yard_video, user="admin", password="another", **(SMALL | {"max_s": 2}))
    is_ok, said = tried(
        VIGIL_CAMERAS__LOCKED__URL=locked.with_credentials("admin:canary%2Fword"),
        VIGIL_CAMERAS__NOWHERE__URL=locked.with_credentials("admin:another") + "/nowhere",
        VIGIL_CAMERAS__OFF__URL=f"rtsp://admin:canary@127.0.0.1:{refused_port}/x",
        VIGIL_CAMERAS__DEAF__URL=f"rtsp://admin:canary@127.0.0.1:{black_hole_port}/x",
        VIGIL_CAMERAS__MISSPELT__URL="rtsp://admin:canary@camera.invalid/x",
        VIGIL_CAMERAS__GONE__URL="/none/yard.mp4",
        VIGIL_RTSP__OPEN_TIMEOUT="1s",
    )
    assert not is_ok
    for camera, words in {
        "locked": "auth_failed: .* Check user and password; in a password, / is written %2F",
        "nowhere": "not_found: .* Check what follows the host",
        "off": "unreachable: Connection refused, .* Check host and port",
        "misspelt": "unreachable: the name camera.invalid does not resolve: .* Check host and port",
        "deaf": "timeout: .* close other clients",
        "gone": "not_found: expected a video file, got /none/yard.mp4. Check ",
    }.items():
        assert re.match(rf"FAIL camera {camera}: {words}", line_of(said, f"camera {camera}"))


def test_a_file_is_tried_too(yard_video: Path) -> None:
    _, said = tried(VIGIL_CAMERAS__YARD__URL=str(yard_video))
    assert re.match(r"ok   camera yard: mpeg4 \d+x\d+, \d+ fps, ", line_of(said, "camera yard"))


# ---------------------------------------------------------------- Redis


def test_redis_is_written_to_as_a_worker_writes_and_left_as_it_was(
    start_redis: StartRedis,
) -> None:
    server = start_redis(password=PASSWORD)
    with server.client() as client, Subscriber(server.url) as subscriber:
        client.config_set("maxmemory", "64mb")
        _, said = tried(VIGIL_REDIS__URL=server.url)
        assert client.keys() == []
        channel, message = next(subscriber.receive(timeout_s=5.0))
    validate(message)
    assert channel == f"vigil:{message['data']['camera_id']}:status"
    assert message["data"]["state"] == "offline"
    assert message["data"]["camera_id"].startswith("check-")
    assert re.fullmatch(
        r"ok   redis: (Redis|Valkey) [\d.]+, a message was published and deleted, "
        r"maxmemory 67 MB, noeviction",
        line_of(said, "redis"),
    )


RIGHTS = ("~vigil:*", "&vigil:*", "+@read", "+@write", "+@pubsub", "+@scripting", "+@connection")


@pytest.fixture
def acl(start_redis: StartRedis) -> Iterator[Callable[..., str]]:
    """Make a user with some rights, and return the address to log in with."""
    server: RedisServer = start_redis()
    with server.client() as client:

        def user(*rights: str) -> str:
            client.execute_command(
                "ACL", "SETUSER", "worker", "reset", "on", ">canary", "resetchannels", *rights
            )
            return f"redis://worker:canary@127.0.0.1:{server.port}/0"

        yield user
        assert client.keys() == []


def test_the_rights_that_the_line_names_are_enough(acl: Callable[..., str]) -> None:
    is_ok, said = tried(VIGIL_REDIS__URL=acl(*RIGHTS))
    assert is_ok, said
    assert "version not told" in line_of(said, "redis")
    _, said = tried(VIGIL_REDIS__URL=acl())
    assert f"the user needs {' '.join(RIGHTS)}" in line_of(said, "redis").lower()


@pytest.mark.parametrize("missing", ["&vigil:*", "~vigil:*", "-eval", "-publish", "-xadd", "-set"])
def test_a_user_with_one_right_missing_is_found_before_the_start(
    missing: str, acl: Callable[..., str]
) -> None:
    """redis#12418, StackExchange.Redis#2512: a new user has no right to any channel."""
    rights = (
        (*RIGHTS, missing) if missing[0] == "-" else tuple(one for one in RIGHTS if one != missing)
    )
    is_ok, said = tried(VIGIL_REDIS__URL=acl(*rights))
    assert not is_ok
    refused = r"FAIL redis: (not_permitted|refused)\. The user needs ~vigil:\* &vigil:\* "
    assert re.match(refused, line_of(said, "redis"))


def test_a_redis_that_refuses_or_is_away_is_told_with_a_cure(
    start_redis: StartRedis, refused_port: int
) -> None:
    server = start_redis(password=PASSWORD)
    _, said = tried(VIGIL_REDIS__URL=server.url_with("canary"))
    assert line_of(said, "redis").startswith("FAIL redis: auth_failed. Check user and password")
    _, said = tried(VIGIL_REDIS__URL=f"redis://:canary@127.0.0.1:{refused_port}/0")
    assert line_of(said, "redis").startswith("FAIL redis: unreachable. Check host and port")
    _, said = tried(VIGIL_REDIS__URL="redis://:canary@redis.invalid/0")
    assert line_of(said, "redis").startswith(
        "FAIL redis: unreachable: the name redis.invalid does not resolve: "
    )
    with server.client() as client:
        client.config_set("maxmemory", "1")
    _, said = tried(VIGIL_REDIS__URL=server.url)
    assert line_of(said, "redis").startswith("FAIL redis: out_of_memory. Raise its maxmemory")


# ---------------------------------------------------------------- Kafka


def test_a_topic_is_read_without_joining_its_group(kafka_bootstrap: str) -> None:
    topic = f"frames-{uuid.uuid4().hex[:8]}"
    create_topic(kafka_bootstrap, topic, num_partitions=3)
    create_topic(kafka_bootstrap, f"{topic}-dead-letter")
    produce(kafka_bootstrap, topic, [Sent(b"x", key=b"gate")])
    _, said = tried(VIGIL_KAFKA__BOOTSTRAP_SERVERS=kafka_bootstrap, VIGIL_KAFKA__TOPIC=topic)
    assert line_of(said, f"kafka {topic}") == (
        f"ok   kafka {topic}: 3 partition(s), so that as many workers can share it; group vigil "
        f"not read yet; dead letters {topic}-dead-letter: writable"
    )


def test_a_topic_that_cannot_be_used_is_told_with_a_cure(
    kafka_broker: KafkaBroker, kafka_topic: str
) -> None:
    given = {
        "VIGIL_KAFKA__BOOTSTRAP_SERVERS": kafka_broker.bootstrap,
        "VIGIL_KAFKA__TOPIC": kafka_topic,
    }
    _, said = tried(**given)
    line = line_of(said, f"kafka {kafka_topic}")
    assert line.startswith(
        f"FAIL kafka {kafka_topic}: no topic {kafka_topic}-dead-letter for dead letters. Make it: "
    )
    _, said = tried(**given | {"VIGIL_KAFKA__TOPIC": "nowhere"})
    assert line_of(said, "kafka nowhere").startswith("FAIL kafka nowhere: not_found: no topic")
    secured = {
        "VIGIL_KAFKA__BOOTSTRAP_SERVERS": kafka_broker.sasl_bootstrap,
        "VIGIL_KAFKA__SECURITY_PROTOCOL": "sasl_plaintext",
        "VIGIL_KAFKA__SASL_USERNAME": SASL_USER,
        "VIGIL_KAFKA__SASL_PASSWORD": "canary",
        "VIGIL_KAFKA__DEAD_LETTER_TOPIC": f"{kafka_topic}-dead",
    }
    _, said = tried(**given | secured)
    assert f"FAIL kafka {kafka_topic}: auth_failed: " in line_of(said, f"kafka {kafka_topic}")
    _, said = tried(**given | secured | {"VIGIL_KAFKA__SASL_PASSWORD": SASL_PASSWORD})
    assert line_of(said, f"kafka {kafka_topic}").endswith(f"letters {kafka_topic}-dead: writable")


# ---------------------------------------------------------------- the model


def model_line(**variables: str) -> tuple[bool, str]:
    said: list[str] = []
    settings = environment.load(
        {
            "VIGIL_MODEL__PATH": "nano",
            "VIGIL_CAMERAS__GATE__URL": "/none/yard.mp4",
            "VIGIL_MODEL__DEVICE": "cpu",
        }
        | variables
    )
    is_ok = try_all(settings, model=sketch_engine(settings), clock=SystemClock(), say=said.append)
    line = line_of(said, "model nano")
    assert is_ok is False  # the camera's file is not there
    return line.startswith("ok"), line


def test_the_model_is_told_with_the_cameras_that_the_budget_admits() -> None:
    """By the engine's own arithmetic: so many are admitted, and not one more."""
    is_ok, line = model_line(VIGIL_MODEL__MEMORY_BUDGET="1GB")
    assert is_ok
    [told] = re.findall(r"(\d+) usual cameras fit into VIGIL_MODEL__MEMORY_BUDGET of 1.0 GB", line)
    settings = environment.load({"VIGIL_MODEL__PATH": "nano", "VIGIL_MODEL__MEMORY_BUDGET": "1GB"})
    engine, _ = sketch_engine(settings)
    grid = engine.pin_grid(1080, 1920, max_tokens=settings.model.max_tokens_per_frame)
    for number in range(int(told)):
        engine.admit(f"camera-{number}", grid)
    with pytest.raises(AdmissionError):
        engine.admit("one more", grid)


def test_a_model_beside_which_no_camera_fits_is_a_failure() -> None:
    is_ok, line = model_line(VIGIL_MODEL__MEMORY_BUDGET="50MB")
    assert not is_ok
    assert "0 usual cameras fit into VIGIL_MODEL__MEMORY_BUDGET of 50 MB" in line
    _, line = model_line(VIGIL_MODEL__MEMORY_BUDGET="50%")
    assert re.search(
        r"nothing to download; float32 weights take 22 MB, .*: \d+ usual cameras fit", line
    )


def test_the_memory_for_clips_is_told_where_there_are_to_be_some() -> None:
    _, line = model_line(VIGIL_EVIDENCE__CLIPS="on")
    assert "; clips take up to 34 MB of main memory a camera" in line
    _, line = model_line()
    assert "clips" not in line


def test_a_model_that_is_not_here_is_told_with_its_size_and_the_room_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = environment.load({"VIGIL_MODEL__PATH": "nano", "VIGIL_MODEL__DEVICE": "cpu"})
    engine, _ = sketch_engine(settings)
    found = try_model(settings, engine, missing_bytes=4_400_000_000)
    assert "4.4 GB to download; " in found.line
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000_000))
    found = try_model(settings, engine, missing_bytes=4_400_000_000)
    assert re.fullmatch(
        r"FAIL model nano: 4.4 GB to download; .*; 2.0 GB free in \S+\. Make room, or name another "
        r"folder by HF_HOME",
        found.line,
    )


def test_a_trial_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host's name that is resolved for minutes cannot be interrupted."""
    hangs = Event()
    monkeypatch.setattr("worker.trials.every.try_camera", lambda *_, **__: hangs.wait(60))
    monkeypatch.setattr("worker.trials.every.WATCH_S", 0.0)
    limits = {
        "VIGIL_RTSP__OPEN_TIMEOUT": "100ms",
        "VIGIL_RTSP__READ_TIMEOUT": "100ms",
    }
    monkeypatch.setattr("worker.trials.every.SLACK_S", 0.5)
    is_ok, said = tried(VIGIL_CAMERAS__GATE__URL="rtsp://admin:canary@h/x", **limits)
    hangs.set()
    assert not is_ok
    assert line_of(said, "camera gate").startswith("FAIL camera gate: timeout: the driver did not")


# ---------------------------------------------------------------- the command


@contextmanager
def variables(patch: pytest.MonkeyPatch, given: dict[str, str]) -> Iterator[None]:
    with patch.context() as patched:
        for name, value in given.items():
            patched.setenv(name, value)
        yield


def test_the_exit_status_says_whether_all_can_be_used(
    redis_url: str,
    yard_video: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sound = NANO | {"VIGIL_REDIS__URL": redis_url, "VIGIL_CAMERAS__YARD__URL": str(yard_video)}
    with variables(monkeypatch, sound):
        assert main(["check", "--connect"]) == 0
        assert capsys.readouterr().out.endswith("the settings are valid; all was tried\n")
    with variables(monkeypatch, sound | {"VIGIL_REDIS__URL": "redis://:canary@127.0.0.1:1/0"}):
        assert main(["check", "--connect"]) == 1
        assert main(["check", "--no-connect"]) == 0
        assert main(["check"]) == 0, "this is no terminal"
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        assert main(["check"]) == 1
    assert "canary" not in capsys.readouterr().out
