from pathlib import Path

from tests.documents.settings import settings_document
from worker.environment import load, templates
from worker.reference import example_env

ROOT = Path(__file__).resolve().parents[2]


def test_every_line_of_the_example_can_be_switched_on() -> None:
    lines = [line[1:] for line in example_env().splitlines() if line.startswith("#VIGIL_")]
    pairs = dict(line.split("=", 1) for line in lines)
    del pairs["VIGIL_QUESTIONS__FIRE__OPTIONS"]
    settings = load(pairs)
    assert settings == load(
        {
            name: pairs[name]
            for name in (
                "VIGIL_CAMERAS__GATE__URL",
                "VIGIL_MODEL__PATH",
                "VIGIL_QUESTIONS__FIRE__ASK",
            )
        }
    )


def test_the_demo_settings_are_valid() -> None:
    lines = (ROOT / "worker" / "demo" / "demo.env").read_text().splitlines()
    settings = load(dict(line.split("=", 1) for line in lines if line.startswith("VIGIL_")))
    assert "yard" in settings.cameras


def test_every_setting_is_in_the_table_once_and_said_in_a_sentence() -> None:
    lines = settings_document().splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| `VIGIL_")]
    assert len({row[0] for row in rows}) == len(rows) == len(list(templates()))
    assert [row for row in rows if not row[-1].removesuffix(" |").endswith(".")] == []


def test_a_size_is_written_with_its_unit() -> None:
    assert "| `VIGIL_OUTBOX__MAX_BYTES` | `256MiB` |" in settings_document()


def test_the_choices_of_a_setting_are_named_once() -> None:
    lines = {
        line.split("`")[1]: line for line in settings_document().splitlines() if line[:3] == "| `"
    }
    assert lines["VIGIL_CAMERAS__GATE__TRANSPORT"].count("One of: tcp, udp.") == 1
    assert "One of" not in lines["VIGIL_PRUNER__MODE"]
