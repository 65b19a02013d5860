from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from worker import environment
from worker.cleaning import read_env_file

SITE = """\
\ufeff# a site
VIGIL_LOG_LEVEL=debug   # the level
export VIGIL_FIDELITY = balanced
VIGIL_QUESTIONS__A__ASK=Is door #3 open?
VIGIL_QUESTIONS__B__ASK='Is door #3 open?'  # quoted
VIGIL_QUESTIONS__C__ASK="Is \\"3\\" #open?"
VIGIL_QUESTIONS__D__ASK=Is it "OPEN" or "CLOSED"?
VIGIL_QUESTIONS__E__ASK="OPEN" or "CLOSED"
VIGIL_QUESTIONS__F__OPTIONS="red","green"
VIGIL_CAMERAS__GATE__URL='rtsp://u:p$x@h/s#1'
VIGIL_CAMERAS__YARD__URL=rtsp://h/s#1
VIGIL_WINDOW=
VIGIL_TICKS=#none
VIGIL_PASSED_THROUGH
"""
READ = {
    "VIGIL_LOG_LEVEL": "debug",
    "VIGIL_FIDELITY": "balanced",
    "VIGIL_QUESTIONS__A__ASK": "Is door",  # compose#9327, compose#9509: so compose reads it
    "VIGIL_QUESTIONS__B__ASK": "Is door #3 open?",
    "VIGIL_QUESTIONS__C__ASK": 'Is "3" #open?',
    "VIGIL_QUESTIONS__D__ASK": 'Is it "OPEN" or "CLOSED"?',
    "VIGIL_QUESTIONS__E__ASK": '"OPEN" or "CLOSED"',
    "VIGIL_QUESTIONS__F__OPTIONS": '"red","green"',
    "VIGIL_CAMERAS__GATE__URL": "rtsp://u:p$x@h/s#1",
    "VIGIL_CAMERAS__YARD__URL": "rtsp://h/s#1",
    "VIGIL_WINDOW": "",
    "VIGIL_TICKS": "",
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_an_env_file_is_read_as_compose_reads_it(line_end: str, tmp_path: Path) -> None:
    file = tmp_path / "site.env"
    file.write_bytes(SITE.replace("\n", line_end).encode())
    assert read_env_file(str(file)) == READ


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("VIGIL_REDIS__URL=redis://:canary$x@h/0", r"^VIGIL_REDIS__URL: expected single quotes"),
        ('VIGIL_REDIS__URL="redis://:canary$x@h/0"', r"^VIGIL_REDIS__URL: expected single quotes"),
        ("VIGIL REDIS=canary", r"line 2: expected NAME=value$"),
        ("{canary}", r"line 2: expected NAME=value$"),
        ("\0", r"it is not UTF-8 text$"),
    ],
)
def test_a_line_that_compose_would_read_otherwise_is_refused(
    line: str, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "site.env"
    file.write_text(f"# a site\n{line}\n")
    with pytest.raises(ConfigError, match=words) as refused:
        read_env_file(str(file))
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("name", ["none.env", "."])
def test_an_env_file_that_cannot_be_read_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--env .*: expected a readable file: "):
        read_env_file(str(tmp_path / name))


def test_the_environment_wins_over_the_file_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "site.env"
    file.write_text("VIGIL_LOG_LEVEL=debug\nVIGIL_TICKS=7\nVIGIL_WINDOW=60s\n")
    monkeypatch.setenv("vigil_log_level", "error")
    monkeypatch.setenv("VIGIL_WINDOW", "'60s'")
    monkeypatch.delenv("VIGIL_TICKS", raising=False)
    assert environment.use_file(str(file)) == ["VIGIL_LOG_LEVEL"]
    settings = environment.load()
    assert (settings.log_level, settings.ticks, settings.window) == ("error", 7, 60.0)
    monkeypatch.delenv("VIGIL_TICKS")


def test_a_token_for_the_hub_is_cleaned_before_the_hubs_client_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", '"hf_canary"\r')
    environment.tidy_for_others()
    assert "hf_canary" in environment.secrets_of(environment.load({}))
