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
    with pytest.raises(ConfigError, match=f"{name}: expected a size such as .* at least 64KiB"):
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
        (
            {"VIGIL_CAPTION_EVERY": "0s"},
            r"VIGIL_CAPTION_EVERY: expected a duration such as .* above 0s and at most 168h",
        ),
        (
            {"VIGIL_CAPTION_EVERY": "0"},
            r"VIGIL_CAPTION_EVERY: expected a duration such as .* above 0s and at most 168h",
        ),
        (
            {"VIGIL_QUESTIONS__A__KIND": "count"},
            r"VIGIL_QUESTIONS__A__ASK: expected the question in plain words",
        ),
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
        ({"VIGIL_CAMERAS__GATE__URL_FILE": "/x"}, r"GATE__URL_FILE: expected a readable file"),
        ({"VIGIL_LOG_LEVEL": "loud"}, r"LOG_LEVEL: expected one of debug, info, warning, error$"),
        ({"VIGIL_CAMERAS__GATE__LOOP": "perhaps"}, r"GATE__LOOP: expected true or false$"),
        (
            {"VIGIL_HEALTH__PORT": "x"},
            r"PORT: expected a whole number, at least 0 and at most 65535",
        ),
        (FIRE | {"VIGIL_QUESTIONS__FIRE__ENTER": "70"}, r"FIRE__ENTER: expected a number"),
        (FIRE | {"VIGIL_QUESTIONS__FIRE__ENTER": "high"}, r"FIRE__ENTER: .* percentage: 70%"),
        ({"VIGIL_MODEL__MEMORY_BUDGET": "120%"}, r"MEMORY_BUDGET: .* share of the device's memory"),
        ({"VIGIL_REDIS__PREFIX": "Site"}, r"VIGIL_REDIS__PREFIX: expected small letters"),
        ({"VIGIL_log_level": "info", "VIGIL_LOG_LEVEL": "debug"}, r"LOG_LEVEL: expected it once"),
    ],
)
def test_a_mistake_is_refused_in_one_line_that_names_the_variable(
    mistake: dict[str, str], line: str
) -> None:
    with pytest.raises(ConfigError, match=line) as refused:
        load(GATE | mistake)
    assert "\n" not in str(refused.value)


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


# ---------------------------------------------------------------- all mistakes, in our words


def test_every_mistake_is_told_and_not_the_first_of_them_alone() -> None:
    mistakes = {
        "VIGIL_LOG_LEVEL": "canary",
        "VIGIL_REDSI__URL": "canary",
        "VIGIL_HEALTH__PORT": "canary",
        "VIGIL_CAMERAS__YARD__URL": "10.0.0.5/canary",
        "VIGIL_REDIS__URL": "redis://h/canary",
        "VIGIL_MODEL__DEVICE": "canary",
        "VIGIL_QUESTIONS__FIRE__EVERY": "canary",
        "VIGIL_QUESTIONS__CARS__KIND": "count",
        "VIGIL_KAFKA__SASL_PASSWORD_FILE": "/none/canary",
        "VIGIL_RTSP__RETRY_BASE": "2h",
    }
    across = {"VIGIL_QUESTIONS__FIRE__CAMERAS": "cellar", "VIGIL_QUESTIONS__FIRE__EXIT": "90%"}
    with pytest.raises(ConfigError) as refused:
        load(GATE | FIRE | mistakes | across)
    lines = str(refused.value).splitlines()
    named = {line.partition(": ")[0] for line in lines}
    asked = "VIGIL_QUESTIONS__CARS__ASK"
    assert named == {*mistakes, *across, asked} - {"VIGIL_QUESTIONS__CARS__KIND"}
    assert len(lines) == len(named)
    assert "canary" not in str(refused.value)


@given(
    st.dictionaries(
        st.sampled_from([name.replace("*", "GATE") for name, _ in templates()]),
        st.text(max_size=20),
        max_size=8,
    )
)
def test_whatever_is_given_is_read_or_refused_in_our_own_words(given: dict[str, str]) -> None:
    try:
        load(given)
    except ConfigError as refused:
        for line in str(refused).splitlines():
            name, _, words = line.partition(": ")
            assert name.startswith("VIGIL_"), line
            assert words.startswith(("expected", "no such setting")), line


@pytest.mark.parametrize("name", ["VIGIL_ZEBRA", "VIGIL_MODEL__QUANTIZATION", "VIGIL_GPU"])
def test_a_name_that_is_near_to_none_gets_no_suggestion(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}: no such setting$"):
        load({name: "x"})


def test_what_docker_compose_alone_reads_is_passed_over() -> None:
    assert load({"VIGIL_ENV": "deploy/worker.env", "VIGIL_BUILD_NETWORK": "host"}) == load({})


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    "content",
    [  # komodo#737, docker-bookstack#122
        b"\xef\xbb\xbfrtsp://user:pw@cam/live",
        b'"rtsp://user:pw@cam/live"\r\n',
        b"'rtsp://user:pw@cam/live' \n\n",
    ],
)
def test_a_secrets_file_is_cleaned_as_a_variable_is(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "url").write_bytes(content)
    settings = load({"VIGIL_CAMERAS__GATE__URL_FILE": f'"{tmp_path / "url"}"\r'})
    assert settings.cameras["gate"].url == SecretStr("rtsp://user:pw@cam/live")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "with something in it, it is empty"),
        (b"\xef\xbb\xbf\r\n", "with something in it, it is empty"),
        (b'""\n', "with something in it, it is empty"),
        (b"canary\ncanary\n", "with one line"),
        (b"\xff\xfec\x00a\x00", "it is not UTF-8 text"),
    ],
)
def test_a_secrets_file_that_holds_none_is_refused_by_the_name_that_is_set(
    content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / "url").write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load({"VIGIL_REDIS__URL_FILE": str(tmp_path / "url")})
    assert str(refused.value).startswith("VIGIL_REDIS__URL_FILE: expected a ")
    assert words in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert "canary" not in str(refused.value)


def test_a_secrets_file_wins_over_the_variable(tmp_path: Path) -> None:
    """docker/compose#1741: a bundled address beside the file was a restart loop."""
    (tmp_path / "url").write_text("redis://site/0")
    given = {"VIGIL_REDIS__URL_FILE": str(tmp_path / "url"), "VIGIL_REDIS__URL": "redis://redis/0"}
    assert load(given).redis.url == SecretStr("redis://site/0")
    given = {"VIGIL_REDIS__URL_FILE": "", "VIGIL_REDIS__URL": "redis://redis/0"}
    assert load(given).redis.url == SecretStr("redis://redis/0")


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
