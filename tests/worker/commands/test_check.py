"""`vigil check` beside `vigil run`: the same refusals, in the same words, with the same status."""

import io
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.outbox import Outbox
from worker.__main__ import main
from worker.supervisor import Supervisor

CAMERA = {"VIGIL_CAMERAS__GATE__URL": "rtsp://admin:canary@127.0.0.1:1/x"}
SOUND = CAMERA | {
    "VIGIL_MODEL__PATH": "nano",
    "VIGIL_OUTBOX__PATH": "memory",
    "VIGIL_HEALTH__PORT": "0",
}

Vigil = Callable[..., tuple[int, list[str], list[str]]]
"""(a command's words, variables) -> status, lines on stdout, lines on stderr."""


def ended(supervisor: Supervisor) -> int:
    supervisor._worker.outbox.close()
    return 0


@pytest.fixture
def vigil(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Vigil:
    """Runs a command in this process; `run` comes as far as its threads, and ends with 0."""
    monkeypatch.setattr("worker.supervisor.Supervisor.run", ended)
    monkeypatch.setattr("worker.supervisor.stop_on_signals", lambda _: None)
    monkeypatch.setattr("worker.log.configure", lambda **_: None)

    def run(*words: str, **variables: str) -> tuple[int, list[str], list[str]]:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            status = main(words)
        out, err = capsys.readouterr()
        assert "canary" not in out + err
        return status, out.splitlines(), err.splitlines()

    return run


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield str(taken.getsockname()[1])


@pytest.fixture
def used_outbox(tmp_path: Path) -> Iterator[str]:
    outbox = Outbox(tmp_path / "used.sqlite", max_bytes=10**6)
    yield str(tmp_path / "used.sqlite")
    outbox.close()


def both(vigil: Vigil, variables: dict[str, str]) -> list[str]:
    """Return the refusal that run and check agree upon."""
    status, _, refused = vigil("run", **variables)
    assert status == 2
    assert vigil("check", **variables)[0] == 2
    assert vigil("check", **variables)[2] == refused
    return refused


FIRE = "VIGIL_QUESTIONS__FIRE__"
CHOICE = {f"{FIRE}ASK": "Which?", f"{FIRE}KIND": "choice"}
KAFKA = {"VIGIL_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("mistake", "words"),
    [  # tried as a new user would: "the settings are fine" each time
        (
            {"VIGIL_CAMERAS__GATE__URL": "10.0.0.5/stream"},
            "VIGIL_CAMERAS__GATE__URL: expected rtsp",
        ),
        ({"VIGIL_MODEL__PATH": "/no/such"}, "VIGIL_MODEL__PATH: no such folder: /no/such"),
        ({"VIGIL_MODEL__PATH": "worker"}, "worker/config.json: expected this file, it is missing"),
        ({"VIGIL_MODEL__PATH": ""}, "VIGIL_MODEL__PATH: expected a model"),
        # aider#1240, curator#178: the inference thread died, all cameras blind
        ({f"{FIRE}ASK": "canary <|im_end|>"}, f"{FIRE}ASK: expected plain text"),
        (CHOICE | {f"{FIRE}OPTIONS": "canary <|im_end|>,b"}, f"{FIRE}OPTIONS: expected plain text"),
        (
            {"VIGIL_CAPTION_PROMPT": "canary <|im_end|>"},
            "VIGIL_CAPTION_PROMPT: expected plain text",
        ),
        ({f"{FIRE}ASK": "  "}, f"{FIRE}ASK: expected the question in plain words, got nothing"),
        (
            {"VIGIL_MODEL__MAX_CONTEXT_TOKENS": "131072"},
            "VIGIL_MODEL__MAX_CONTEXT_TOKENS: expected",
        ),
        # redis-py#4308, redis-py#728
        ({"VIGIL_REDIS__URL": "redis://:canary@h/abc"}, "VIGIL_REDIS__URL: expected the number"),
        ({"VIGIL_REDIS__URL": "redis://:canary@h/0?no=1"}, "VIGIL_REDIS__URL: expected an address"),
        # mozilla/bugbug#4028, redis-py#2066
        (
            {"VIGIL_REDIS__URL": "rediss://:canary@h/0?ssl_ca_certs=/none/ca.pem"},
            "VIGIL_REDIS__URL: expected readable certificates in CA_FILE or in the options for TLS",
        ),
        (
            KAFKA | {"VIGIL_KAFKA__SSL_CAFILE": "/none/ca.pem"},
            "VIGIL_KAFKA__SSL_CAFILE: expected a readable file: No such file or directory",
        ),
        (
            KAFKA | {"VIGIL_KAFKA__SSL_CAFILE": "README.md"},
            "VIGIL_KAFKA__SSL_CAFILE: expected a file of certificates in PEM",
        ),
        (
            KAFKA | {"VIGIL_KAFKA__DEAD_LETTER_TOPIC": "frames"},
            "VIGIL_KAFKA__DEAD_LETTER_TOPIC: expected another topic than VIGIL_KAFKA__TOPIC",
        ),
        ({"VIGIL_MODEL__DEVICE": "cuda:99"}, "VIGIL_MODEL__DEVICE: expected "),
        ({"VIGIL_HEALTH__BIND": "192.0.2.1"}, "VIGIL_HEALTH__BIND: cannot listen: Cannot assign"),
        ({"VIGIL_OUTBOX__PATH": "/proc/none/outbox"}, "VIGIL_OUTBOX__PATH: /proc/none/outbox: "),
    ],
)
def test_check_refuses_what_run_refuses_in_the_same_words(
    mistake: dict[str, str], words: str, vigil: Vigil
) -> None:
    refused = both(vigil, SOUND | mistake)
    assert len(refused) == 1
    assert refused[0].startswith(f"vigil: {words}")


def test_no_camera_at_all_is_refused_by_both(vigil: Vigil) -> None:
    refused = both(vigil, {"VIGIL_MODEL__PATH": "nano"})
    assert refused[0].startswith("vigil: VIGIL_CAMERAS__<ID>__URL: expected at least one camera")


@pytest.mark.parametrize("bind", ["::", "::1", "[::1]", "0.0.0.0", "localhost"])  # noqa: S104
def test_an_address_to_listen_on_may_be_of_ipv6(vigil: Vigil, bind: str) -> None:
    variables = SOUND | {"VIGIL_HEALTH__BIND": bind}
    for words in (["run"], ["check", "--no-connect"]):
        status, _, refused = vigil(*words, **variables)
        assert (status, [one for one in refused if "cannot listen" in one]) == (0, [])


def test_a_taken_port_is_refused_by_both(vigil: Vigil, taken_port: str) -> None:
    refused = both(vigil, SOUND | {"VIGIL_HEALTH__PORT": taken_port})
    assert refused == ["vigil: VIGIL_HEALTH__PORT: cannot listen: Address already in use"]


def test_a_second_worker_on_one_outbox_is_told_so_by_both(vigil: Vigil, used_outbox: str) -> None:
    refused = both(vigil, SOUND | {"VIGIL_OUTBOX__PATH": used_outbox})
    assert refused[0].startswith(
        f"vigil: VIGIL_OUTBOX__PATH: {used_outbox}: in use by another worker"
    )
    assert len(refused) == 1


def test_all_that_is_wrong_with_a_start_is_told_at_once(vigil: Vigil, taken_port: str) -> None:
    wrong = {
        "VIGIL_HEALTH__PORT": taken_port,
        f"{FIRE}ASK": "<|im_end|>",
        "VIGIL_CAPTION_PROMPT": "<|im_end|>",
        "VIGIL_REDIS__URL": "rediss://h/0?ssl_ca_certs=/none/ca.pem",
    }
    names = [line.split(": ")[1] for line in both(vigil, SOUND | wrong)]
    redis, port, caption, fire = names
    assert (redis, port) == ("VIGIL_REDIS__URL", "VIGIL_HEALTH__PORT")
    assert (caption, fire) == ("VIGIL_CAPTION_PROMPT", f"{FIRE}ASK")


def test_check_leaves_nothing_behind(vigil: Vigil, tmp_path: Path) -> None:
    outbox = tmp_path / "new" / "folder" / "outbox.sqlite"
    status, said, refused = vigil("check", **SOUND | {"VIGIL_OUTBOX__PATH": str(outbox)})
    assert (status, refused) == (0, [])
    assert (
        said[-1] == "# 1 camera(s), 0 question(s): the settings are valid; nothing was connected to"
    )
    assert list(tmp_path.iterdir()) == []


def test_sound_settings_are_run(vigil: Vigil) -> None:
    assert vigil("run", **SOUND)[0] == 0


def test_settings_come_from_a_file_that_the_environment_wins_over(
    vigil: Vigil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "site.env"
    lines = [f"{name}='{value}'\r\n" for name, value in SOUND.items()]
    file.write_text("".join(lines) + f"{FIRE}ASK='Is door #3 open?'\r\nVIGIL_TICKS=9\r\n")
    for name in (*SOUND, f"{FIRE}ASK"):
        monkeypatch.delenv(name, raising=False)
    status, said, told = vigil("check", "--env", str(file), VIGIL_TICKS="7")
    assert status == 0
    assert f"{FIRE}ASK=Is door #3 open?" in said
    assert "VIGIL_TICKS=7" in said
    assert told == [
        f"vigil: VIGIL_TICKS: the environment's value is taken, not the other one in {file}"
    ]


@pytest.mark.parametrize("command", ["run", "check", "healthcheck"])
def test_a_settings_file_that_is_not_there_is_refused(command: str, vigil: Vigil) -> None:
    status, said, refused = vigil(command, "--env", "/none/site.env")
    assert (status, said) == (2, [])
    assert refused == [
        "vigil: --env /none/site.env: expected a readable file: No such file or directory"
    ]


def test_it_prints_in_any_locale(vigil: Vigil, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `PYTHONIOENCODING=ascii` does: the question was a UnicodeEncodeError."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert vigil("check", **SOUND | {f"{FIRE}ASK": "Brennt es? 불이 났나요?"})[0] == 0
    sys.stdout.flush()
    assert b"VIGIL_QUESTIONS__FIRE__ASK=Brennt es? \\ubd88" in written.getvalue()
