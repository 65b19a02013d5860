from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from pipeline.errors import ConfigError
from pipeline.regions import Region
from worker.environment import load, secrets_of, templates, variables

GATE = {"VIGIL_CAMERAS__GATE__URL": "rtsp://user:pw@10.0.0.5/stream"}
FIRE = {"VIGIL_QUESTIONS__FIRE__ASK": "Is there fire or smoke?"}


def test_the_example_of_the_design_is_read() -> None:
    settings = load(
        GATE
        | FIRE
        | {
            "VIGIL_REDIS__URL": "redis://redis:6379/0",
            "VIGIL_QUESTIONS__FIRE__EVERY": "5s",
            "VIGIL_QUESTIONS__CARS__ASK": "How many cars are there?",
            "VIGIL_QUESTIONS__CARS__KIND": "count",
            "VIGIL_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
            "VIGIL_KAFKA__TOPIC": "frames",
            "VIGIL_MODEL__PATH": "DAMO-NLP-SG/VideoLLaMA3-2B",
            "VIGIL_MODEL__DEVICE": "cuda",
        }
    )
    assert settings.cameras["gate"].url == SecretStr("rtsp://user:pw@10.0.0.5/stream")
    assert settings.questions["fire"].every == 5.0
    assert settings.questions["cars"].kind == "count"
    assert settings.kafka.topic == "frames"
    assert settings.model.device == "cuda"


def test_regions_are_rectangles_in_fractions_of_the_picture() -> None:
    settings = load(GATE | {"VIGIL_CAMERAS__GATE__IGNORE": "0,0,0.3,0.1; 0.9,0,1,1"})
    assert settings.cameras["gate"].ignore == (Region(0, 0, 0.3, 0.1), Region(0.9, 0, 1, 1))


@pytest.mark.parametrize(
    ("written", "num_bytes"),
    [("20GiB", 20 * 1024**3), ("512MiB", 512 * 1024**2), ("2.5GB", 2_500_000_000), ("0", 0)],
)
def test_sizes_have_units(written: str, num_bytes: int) -> None:
    settings = load(GATE | {"VIGIL_MODEL__MEMORY_BUDGET": written})
    assert settings.model.memory_budget == num_bytes


def test_a_size_may_have_a_lower_bound() -> None:
    name = "VIGIL_OUTBOX__MAX_BYTES"
    assert load(GATE | {name: "64KiB"}).outbox.max_bytes == 64 * 1024
    with pytest.raises(ConfigError, match=f"{name}: .*greater than or equal to 65536"):
        load(GATE | {name: "1KiB"})


@pytest.mark.parametrize("written", ["0", "0s"])
def test_a_duration_that_may_be_zero_needs_no_unit_for_it(written: str) -> None:
    settings = load(GATE | FIRE | {"VIGIL_KAFKA__MAX_LAG": written})
    assert settings.kafka.max_lag == 0.0


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="VIGIL_MODEL__MEMORY_BUDGET: expected a size such as"):
        load(GATE | {"VIGIL_MODEL__MEMORY_BUDGET": "20 apples"})


def test_ids_with_underscores_and_digits_are_read() -> None:
    settings = load({"VIGIL_CAMERAS__FRONT_DOOR_2__URL": "a.mp4"})
    assert list(settings.cameras) == ["front_door_2"]


def test_an_empty_variable_counts_as_absent() -> None:
    assert load({"VIGIL_LOG_LEVEL": ""}).log_level == "info"


def test_other_programs_variables_do_not_matter() -> None:
    assert load({"PATH": "/bin", "VIGILANTE": "1"}).log_level == "info"


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        ({"VIGIL_REDSI__URL": "x"}, r"VIGIL_REDSI__URL: no such setting; did you mean VIGIL_REDIS"),
        ({"VIGIL_CAMERAS__GATE__URLL": "x"}, r"__URLL: no such .* mean VIGIL_CAMERAS__GATE__URL\?"),
        ({"VIGIL_CAMERAS__0": "x"}, r"VIGIL_CAMERAS__0: no such setting"),
        ({"VIGIL_CAPTION_EVERY": "10"}, r"VIGIL_CAPTION_EVERY: expected a duration such as 30s"),
        ({"VIGIL_CAPTION_EVERY": "0s"}, r"VIGIL_CAPTION_EVERY: .*greater than 0"),
        ({"VIGIL_CAPTION_EVERY": "0"}, r"VIGIL_CAPTION_EVERY: .*greater than 0"),
        ({"VIGIL_QUESTIONS__A__KIND": "count"}, r"VIGIL_QUESTIONS__A__ASK: field required"),
        (FIRE | {"VIGIL_QUESTIONS__FIRE__KIND": "maybe"}, r"VIGIL_QUESTIONS__FIRE__KIND: .*yes_no"),
        (FIRE | {"VIGIL_QUESTIONS__FIRE__CAMERAS": "yard"}, r"FIRE__CAMERAS: .*cameras \(gate\)"),
        (FIRE | {"VIGIL_QUESTIONS__FIRE__KIND": "choice"}, r"FIRE__OPTIONS: expected two or more"),
        (FIRE | {"VIGIL_QUESTIONS__FIRE__CONFIRM": "3/2"}, r"FIRE__CONFIRM: expected N/M"),
        (FIRE | {"VIGIL_QUESTIONS__FIRE__EXIT": "0.9"}, r"FIRE__EXIT: expected at most ENTER"),
        (FIRE | {"VIGIL_QUESTIONS__FIRE__EVENT_ON": "x"}, r"FIRE__EVENT_ON: expected yes or no"),
        ({"VIGIL_QUESTIONS__CAPTION__ASK": "x"}, r"VIGIL_QUESTIONS__CAPTION: expected another id"),
        ({"VIGIL_CAMERAS__YARD__LOOP": "true"}, r"VIGIL_CAMERAS__YARD__URL: expected an address"),
        ({"VIGIL_CAMERAS__GATE__IGNORE": "0,0,1.2,1"}, r"GATE__IGNORE: expected LEFT,TOP,RIGHT"),
        ({"VIGIL_CAMERAS__GATE__PRIVATE": "0,0,1"}, r"GATE__PRIVATE: expected LEFT,TOP,RIGHT"),
        ({"VIGIL_CAMERAS__GATE__ASPECT": "16x9"}, r"GATE__ASPECT: expected WIDTH:HEIGHT, such"),
        ({"VIGIL_CAMERAS__GATE__ASPECT": "16:0"}, r"GATE__ASPECT: expected WIDTH:HEIGHT, such"),
        ({"VIGIL_CAMERAS__GATE__ASPECT": "99:1"}, r"GATE__ASPECT: "),
        ({"VIGIL_CAMERAS__GATE__ROTATE": "45"}, r"GATE__ROTATE: expected 0, 90, 180 or 270"),
        ({"VIGIL_MODEL__DEVICE": "tpu"}, r"VIGIL_MODEL__DEVICE: "),
        ({"VIGIL_HEALTH__PORT": "99999"}, r"VIGIL_HEALTH__PORT: .*65535"),
        ({"VIGIL_REDIS__URL_FILE": "/none"}, r"VIGIL_REDIS__URL_FILE: expected a readable file"),
    ],
)
def test_a_mistake_is_refused_in_one_line_that_names_the_variable(
    mistake: dict[str, str], line: str
) -> None:
    with pytest.raises(ConfigError, match=line) as refused:
        load(GATE | mistake)
    assert "\n" not in str(refused.value)


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


@pytest.mark.parametrize(
    ("written", "aspect"), [("16:9", 16 / 9), ("4/3", 4 / 3), ("1.85", 1.85), ("2.39:1", 2.39)]
)
def test_an_aspect_is_written_as_on_a_box(written: str, aspect: float) -> None:
    settings = load(GATE | {"VIGIL_CAMERAS__GATE__ASPECT": written})
    assert float(settings.cameras["gate"].aspect or 0) == pytest.approx(aspect)


@given(
    st.sampled_from([name for name, _ in templates()]),
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12, max_size=20),
)
def test_no_refusal_prints_the_value(template: str, value: str) -> None:
    canary = f"canary{value}"
    name = template.replace("*", "GATE")
    try:
        settings = load(GATE | {name: canary})
    except ConfigError as refused:
        assert name in str(refused) or "GATE" in str(refused)  # noqa: PT017
        assert canary not in str(refused)  # noqa: PT017
    else:
        is_secret = "SecretStr" in str(dict(templates())[template].annotation)
        assert not is_secret or canary not in repr(settings)


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("rtsp://user:pw@cam/live\n")
    settings = load({"VIGIL_CAMERAS__GATE__URL_FILE": str(secret)})
    assert settings.cameras["gate"].url == SecretStr("rtsp://user:pw@cam/live")


@pytest.mark.parametrize("order", [1, -1], ids=["file last", "file first"])
def test_the_file_of_a_secret_wins_over_its_value(tmp_path: Path, order: int) -> None:
    """docker/compose#1741: a bundled default of an address must not win over the site's own."""
    secret = tmp_path / "url"
    secret.write_text("redis://elsewhere:6379/3\n")
    given = [("VIGIL_REDIS__URL", "redis://redis:6379/0"), ("VIGIL_REDIS__URL_FILE", str(secret))]
    settings = load(GATE | dict(given[::order]))
    assert settings.redis.url == SecretStr("redis://elsewhere:6379/3")


def test_settings_never_show_a_secret() -> None:
    settings = load(GATE | {"VIGIL_REDIS__URL": "redis://:canary@redis/0"})
    assert "canary" not in repr(settings)
    assert "pw" not in repr(settings)


def test_every_setting_says_what_it_is() -> None:
    for name, field in templates():
        assert field.description, name


def test_the_effective_settings_are_listed_by_variable() -> None:
    shown = {name: value for name, value, _ in variables(load(GATE | FIRE))}
    assert shown["VIGIL_QUESTIONS__FIRE__EVERY"] == 5.0
    assert shown["VIGIL_WINDOW"] == 180.0


def test_the_secrets_of_the_environment_and_of_addresses_are_never_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-of-the-hub")
    url = "rtsps://cam/WaGgPq9CEsXiDv0h?access_token=canary-of-the-camera"
    secrets = secrets_of(load({"VIGIL_CAMERAS__GATE__URL": url}))
    assert {"canary-of-the-hub", "WaGgPq9CEsXiDv0h", "canary-of-the-camera"} <= set(secrets)
    assert "" not in secrets
