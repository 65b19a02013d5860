"""Which addresses of cameras and of Redis are taken, and which are refused without their value."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from pipeline.errors import ConfigError
from worker.environment import load

GATE = {"VIGIL_CAMERAS__GATE__URL": "rtsp://user:pw@10.0.0.5/stream"}
FIRE = {"VIGIL_QUESTIONS__FIRE__ASK": "Is there fire or smoke?"}


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize("database", ["abc", "1/2", "-1", "0x1", "1 2", "%31"])
def test_a_database_that_is_no_number_is_refused(database: str) -> None:
    """redis-py#4308, redis-py#728: /abc was database 0, /1/2 was database 12."""
    with pytest.raises(ConfigError, match=r"^VIGIL_REDIS__URL: expected the number of a database"):
        load(GATE | {"VIGIL_REDIS__URL": f"redis://:canary@h:6379/{database}"})


@pytest.mark.parametrize(
    "url", ["redis://h:port/0", "redis://:6379/0", "redis://h:0/0", "redis://"]
)
def test_a_redis_without_a_host_or_with_a_port_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^VIGIL_REDIS__URL: expected (a host|HOST:PORT)"):
        load(GATE | {"VIGIL_REDIS__URL": url})


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://h/", "redis://h:6379/15", "rediss://u:p/w@h/0"],
)
def test_a_redis_with_or_without_a_database_is_taken(url: str) -> None:
    assert load(GATE | {"VIGIL_REDIS__URL": url}).redis.url.get_secret_value() == url


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("BOOTSTRAP_SERVERS", "kafka:abc", "expected HOST:PORT"),
        ("BOOTSTRAP_SERVERS", "a:9092,kafka", "expected HOST:PORT"),
        ("BOOTSTRAP_SERVERS", "kafka:70000", "expected HOST:PORT"),
        ("TOPIC", "my frames/x", "expected up to 249 letters"),
        ("DEAD_LETTER_TOPIC", "letters!", "expected up to 249 letters"),
        ("DEAD_LETTER_TOPIC", "frames", "expected another topic"),
    ],
)
def test_a_kafka_that_cannot_be_is_refused(setting: str, value: str, words: str) -> None:
    usual = {"VIGIL_KAFKA__BOOTSTRAP_SERVERS": "a:9092,[::1]:9093"}
    assert load(GATE | usual)
    with pytest.raises(ConfigError, match=rf"^VIGIL_KAFKA__{setting}: {words}"):
        load(GATE | usual | {f"VIGIL_KAFKA__{setting}": value})


def test_a_login_to_kafka_has_a_name_and_a_protocol_that_uses_it() -> None:
    name, protocol = "VIGIL_KAFKA__SASL_USERNAME", "VIGIL_KAFKA__SECURITY_PROTOCOL"
    usual = GATE | {"VIGIL_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092"}
    assert load(usual | {name: "u", protocol: "SASL_SSL"})
    for variables in ({name: "u"}, {protocol: "SASL_SSL"}):
        with pytest.raises(ConfigError, match=rf"^{name}: expected"):
            load(usual | variables)


@pytest.mark.parametrize(
    "url",
    [
        "10.0.0.5/stream",
        "10.0.0.5",
        "camera.local:554/stream",
        "user:canary@h/s",
        "rtsp:/user:canary@h/s",
        "//10.0.0.5/stream",
        "camera/stream",
        "rtsp://",
        "rtsp://h:port/s",
    ],
)
def test_a_camera_whose_address_would_be_taken_for_a_file_is_refused(url: str) -> None:
    """Tried as a new user would: the settings were called fine."""
    with pytest.raises(
        ConfigError, match=r"^VIGIL_CAMERAS__GATE__URL: expected rtsp://"
    ) as refused:
        load({"VIGIL_CAMERAS__GATE__URL": url})
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "/videos/yard",
        "./stream",
        "yard.mp4",
        "clips/yard.mkv",
        "~/yard.mp4",
        "rtsp://admin:p@ss/w#rd@10.0.0.5:554/a?b=c",
        "rtsps://[fe80::1]:322/x",
    ],
)
def test_files_and_odd_addresses_are_taken_as_before(url: str) -> None:
    url_taken = load({"VIGIL_CAMERAS__GATE__URL": url}).cameras["gate"].url
    assert url_taken == SecretStr(url)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp:/user:canary@10.0.0.5/stream",
        "rtsp:user:canary@10.0.0.5",
        "user:canary@10.0.0.5/stream",
        "//user:canary@10.0.0.5/stream",
        "/user:canary@10.0.0.5/stream",
        "10.0.0.5/canary",
        "canary.local",
        "gate:554/canary.mp4",
        "rtsp//user:canary@10.0.0.5/stream",
        "http://user:canary@10.0.0.5/stream",
        "rtsp://user:canary@",
        "rtsp:///canary",
        "rtsp://10.0.0.5:canary/s",
        "rtsp://10.0.0.5:65536/canary",
        "rtsp://10.0.0.5:0/canary",
        "rtsp://fe80::1:canary/s",
        "file://canary/gate.mp4",
    ],
)
def test_an_address_that_is_none_is_refused_without_its_value(address: str) -> None:
    """It was taken for a file, printed by check, logged and published with its password."""
    with pytest.raises(ConfigError, match=r"VIGIL_CAMERAS__GATE__URL: expected ") as refused:
        load({"VIGIL_CAMERAS__GATE__URL": address})
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("RTSP://User:Pw@Cam/Live", "rtsp://User:Pw@Cam/Live"),
        ("RtSpS://[::1]/a@b", "rtsps://[::1]/a@b"),
        ("rtsp://u:p@[fe80::1%25eth0]:554/s", "rtsp://u:p@[fe80::1%25eth0]:554/s"),
        ("rtsp://admin:c@n:ary#?x/1@cam:554/s", "rtsp://admin:c@n:ary#?x/1@cam:554/s"),
        ("rtsp://cam_1?stream=a", "rtsp://cam_1?stream=a"),
        ("clips/gate.mp4", "clips/gate.mp4"),
        ("./gate", "./gate"),
        ("/video/10:30 gate", "/video/10:30 gate"),
        ("~/gate.mkv", "~/gate.mkv"),
        ("FILE:///video/gate.mp4", "file:///video/gate.mp4"),
    ],
)
def test_an_address_is_taken_with_its_scheme_in_any_case(address: str, taken: str) -> None:
    settings = load({"VIGIL_CAMERAS__GATE__URL": address})
    assert settings.cameras["gate"].url == SecretStr(taken)


def test_a_file_that_is_there_needs_no_sign_of_being_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate").touch()
    assert load({"VIGIL_CAMERAS__GATE__URL": "gate"}).cameras["gate"].url == SecretStr("gate")
