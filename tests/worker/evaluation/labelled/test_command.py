"""Where `vigil eval` writes its page, and what it leaves alone."""

import os
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from worker.__main__ import main
from worker.evaluation.labelled import command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a clip and its labels, with nobody to play it."""

    def played(*_args: object, **_options: object) -> None:
        raise ConfigError("it is played")

    monkeypatch.setattr(command, "measure", played)
    monkeypatch.chdir(tmp_path)
    Path("gate.mp4").write_bytes(b"a recording")
    Path("gate.csv").write_text("question,start,end\nperson,1,2\n")
    Path("link.html").symlink_to("gate.csv")
    Path("older.html").write_text("<!doctype html>\n<html>")
    Path("pages").mkdir()
    return tmp_path


def told(target: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says of this page."""
    words = ["eval", "nano", "--video", ".", "--labels", "gate.csv", "--html", target]
    assert main(words) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("gate.csv", "expected a new file, or an older page, got gate.csv"),
        ("gate.mp4", "expected a new file, or an older page, got gate.mp4"),
        ("link.html", "expected a new file, or an older page, got link.html"),
        ("pages", "cannot write pages: Is a directory"),
        ("none/page.html", "expected a file in a folder that is there"),
        ("gate.mp4/page.html", "cannot write gate.mp4/page.html: Not a directory"),
    ],
)
def test_a_page_is_refused_before_anything_is_played(
    folder: Path, target: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert f"eval: --html: {words}" in told(target, capsys)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_folder_that_cannot_be_written_to_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def may(path: Path, mode: int) -> bool:  # whoever runs this may write everywhere
        return (path, mode) != (folder / "pages", os.W_OK)

    monkeypatch.setattr(os, "access", may)
    assert "that is there and can be written to, got pages/" in told("pages/page.html", capsys)


@pytest.mark.parametrize("target", ["new.html", "older.html", "pages/page.html"])
def test_a_new_page_and_an_older_one_may_be_written(
    folder: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "it is played" in told(target, capsys)
    assert not (folder / "new.html").exists()
