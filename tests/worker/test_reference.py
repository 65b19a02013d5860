import re
from pathlib import Path

from worker.environment import load
from worker.metrics import Metrics
from worker.reference import example_env, metrics_page, settings_table

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_file_is_the_settings() -> None:
    written = (ROOT / "deploy" / "worker.env.example").read_text()
    assert written == example_env(), "run: vigil check --example > deploy/worker.env.example"


def test_the_readme_table_is_the_settings() -> None:
    assert settings_table() in (ROOT / "README.md").read_text()


def test_the_metrics_page_is_the_metrics() -> None:
    written = (ROOT / "deploy" / "METRICS.md").read_text()
    assert written == metrics_page(), (
        "run: python -c 'import worker.reference as r; print(r.metrics_page(), end=str())'"
        " > deploy/METRICS.md"
    )


def test_every_metric_named_in_the_documents_is_served_by_that_name() -> None:
    served = Metrics().exposition().decode()
    names = set(re.findall(r"^# TYPE (\S+)", served, re.MULTILINE))
    for page in ("README.md", "deploy/README.md", "deploy/METRICS.md"):
        named = re.findall(r"\bvigil_[a-z_]+\b", (ROOT / page).read_text())
        assert set(named) <= names, page


def test_every_line_of_the_example_can_be_switched_on() -> None:
    lines = [line[1:] for line in example_env().splitlines() if line.startswith("#VIGIL_")]
    pairs = dict(line.split("=", 1) for line in lines)
    del pairs["VIGIL_QUESTIONS__FIRE__OPTIONS"]
    settings = load(pairs)
    assert settings == load(
        {name: pairs[name] for name in ("VIGIL_CAMERAS__GATE__URL", "VIGIL_QUESTIONS__FIRE__ASK")}
    )


def test_the_demo_settings_are_valid() -> None:
    lines = (ROOT / "worker" / "demo" / "demo.env").read_text().splitlines()
    settings = load(dict(line.split("=", 1) for line in lines if line.startswith("VIGIL_")))
    assert "yard" in settings.cameras
