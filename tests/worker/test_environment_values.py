"""Values as files and shells leave them, and as people write them."""

import pytest

from pipeline.errors import ConfigError
from worker.environment import load
from worker.notation import written
from worker.values import DeviceShare

GATE = {"VIGIL_CAMERAS__GATE__URL": "rtsp://user:pw@10.0.0.5/stream"}
FIRE = {"VIGIL_QUESTIONS__FIRE__ASK": "Is there fire or smoke?"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [  # docker/cli#4665, compose#2854: quotes; docker/for-win#810: blanks and CR
        ('Is the sign "OPEN" or "CLOSED"?', 'Is the sign "OPEN" or "CLOSED"?'),
        ('"OPEN" or "CLOSED"', '"OPEN" or "CLOSED"'),
        ('"Is it day?"', "Is it day?"),
        ("'Is it day?'\r", "Is it day?"),
        ('"Is it day?" ', "Is it day?"),
        ("\ufeffIs it day?\r\n", "Is it day?"),
        ("'", "'"),
        ("'tis day, 'twas night?", "'tis day, 'twas night?"),
    ],
)
def test_quotes_that_belong_together_and_blanks_around_a_value_are_taken_off(
    written: str, meant: str
) -> None:
    settings = load(GATE | {"VIGIL_QUESTIONS__FIRE__ASK": written})
    assert settings.questions["fire"].ask == meant


@pytest.mark.parametrize(
    ("written", "options"),
    [
        ('"red","green"', ("red", "green")),
        ("'red', 'green'", ("red", "green")),
        ('"red, dark", green', ("red, dark", "green")),
        ('"red, green"', ("red", "green")),
        ("'tis, 'twas", ("'tis", "'twas")),
    ],
)
def test_options_may_be_quoted_one_by_one_or_together(
    written: str, options: tuple[str, ...]
) -> None:
    given = {"VIGIL_QUESTIONS__FIRE__KIND": "choice", "VIGIL_QUESTIONS__FIRE__OPTIONS": written}
    assert load(GATE | FIRE | given).questions["fire"].options == options


@pytest.mark.parametrize("tail", ["\r", " ", "\t\r\n", "\u00a0"])
@pytest.mark.parametrize(
    ("name", "value"),
    [  # docker/for-win#810
        ("VIGIL_CAMERAS__GATE__URL", "rtsp://user:pw@10.0.0.5/stream"),
        ("VIGIL_REDIS__URL", "redis://redis:6379/0"),
        ("VIGIL_MODEL__PATH", "/models/x"),
        ("VIGIL_OUTBOX__PATH", "/data/outbox.sqlite"),
        ("VIGIL_LOG_LEVEL", "debug"),
        ("VIGIL_HEALTH__PORT", "9300"),
        ("VIGIL_CAPTION_EVERY", "20s"),
    ],
)
def test_no_value_keeps_what_an_editor_left_behind_it(name: str, value: str, tail: str) -> None:
    assert load(GATE | {name: value + tail}) == load(GATE | {name: value})


@pytest.mark.parametrize("empty", ["", " ", '""', "''", "\r", '"" \r'])
def test_what_is_empty_counts_as_absent(empty: str) -> None:
    assert load(GATE | {"VIGIL_LOG_LEVEL": empty, "VIGIL_NO_SUCH": empty}) == load(GATE)


@pytest.mark.parametrize("empty", ["", '""', "\r"])
@pytest.mark.parametrize(
    "name",
    [
        "VIGIL_CAMERAS__YARD__URL",
        "VIGIL_CAMERAS__YARD__URL_FILE",
        "VIGIL_QUESTIONS__FIRE__ASK",
    ],
)
def test_a_camera_or_question_that_is_named_and_empty_is_refused(name: str, empty: str) -> None:
    """compose#4189: the gate was not watched, and nothing said so."""
    with pytest.raises(ConfigError, match=f"^{name}: expected .* got nothing"):
        load(GATE | {name: empty})


def test_the_name_of_a_variable_may_have_a_byte_order_mark() -> None:
    assert load({"\ufeffVIGIL_LOG_LEVEL": "debug"}).log_level == "debug"


@pytest.mark.parametrize(
    ("name", "written", "plain"),
    [
        ("VIGIL_LOG_LEVEL", "INFO", "info"),
        ("VIGIL_FIDELITY", "Balanced", "balanced"),
        ("VIGIL_KAFKA__SECURITY_PROTOCOL", "sasl_ssl", "SASL_SSL"),
        ("VIGIL_CAMERAS__GATE__LOOP", "TRUE", "true"),
        ("VIGIL_CAMERAS__GATE__TRANSPORT", "UDP", "udp"),
        ("VIGIL_MODEL__DEVICE", "CUDA:1", "cuda:1"),
        ("VIGIL_WORKER_ID", "Site-A", "site-a"),
        ("VIGIL_OUTBOX__PATH", "MEMORY", "memory"),
        ("VIGIL_QUESTIONS__FIRE__KIND", "YES_NO", "yes_no"),
        ("VIGIL_QUESTIONS__FIRE__CAMERAS", "GATE", "gate"),
        ("VIGIL_QUESTIONS__FIRE__COOLDOWN", "0", "0s"),
        ("VIGIL_QUESTIONS__FIRE__COOLDOWN", "5M", "300s"),
        ("VIGIL_QUESTIONS__FIRE__EVERY", "1.5 s", "1.5s"),
        ("VIGIL_QUESTIONS__FIRE__ENTER", "80%", "0.8"),
        ("VIGIL_QUESTIONS__FIRE__UNKNOWN", "30%-60%", "0.3-0.6"),
        ("VIGIL_QUESTIONS__FIRE__CONFIRM", "3 / 4", "3/4"),
        ("VIGIL_CAMERAS__GATE__IGNORE", "0, 0, 30%, 10%", "0,0,0.3,0.1"),
        ("VIGIL_MODEL__MIN_MASS", "20 %", "0.2"),
        ("VIGIL_MODEL__AUDIT_SHARE", "2%", "0.02"),
        ("VIGIL_PRUNER__REFRESH_RATIO", "50%", "0.5"),
        ("VIGIL_MODEL__MEMORY_BUDGET", "20G", "20GiB"),
        ("VIGIL_MODEL__MEMORY_BUDGET", "20gb", "20000000000"),
        ("VIGIL_MODEL__MEMORY_BUDGET", "20 gib", "20GiB"),
        ("VIGIL_OUTBOX__MAX_BYTES", "64M", "64MiB"),
    ],
)
def test_what_a_person_writes_is_understood_where_it_can_mean_one_thing(
    name: str, written: str, plain: str
) -> None:
    assert load(GATE | FIRE | {name: written}) == load(GATE | FIRE | {name: plain})


def test_the_option_of_an_event_may_be_written_in_other_capitals() -> None:
    given = {"KIND": "choice", "OPTIONS": "Red, Green", "EVENT_ON": "red"}
    names = {f"VIGIL_QUESTIONS__FIRE__{name}": value for name, value in given.items()}
    assert load(GATE | FIRE | names).questions["fire"].event_on == "Red"


def test_a_memory_budget_may_be_a_share_of_the_devices_memory() -> None:
    settings = load(GATE | {"VIGIL_MODEL__MEMORY_BUDGET": "70%"})
    assert settings.model.memory_budget == DeviceShare(0.7)
    field = type(settings.model).model_fields["memory_budget"]
    assert written(settings.model.memory_budget, field) == "70%"
