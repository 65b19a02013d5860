from importlib import util
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.curation.demo.shards import write
from model.curation.plan import STEPS
from worker.__main__ import REFUSED, main


def test_the_table_shows_every_step_with_the_thresholds_in_effect(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["curate", "--table", "--limit", "min_aesthetic=5.5"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [
        [str(number), step.name] for number, step in enumerate(STEPS, start=1)
    ]
    assert lines[3].endswith("; min_aesthetic=5.5")


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """What a run needs: shards, and a file of the aesthetic score."""
    write(tmp_path / "shards", 4, seed=1, per_shard=4)
    head = tmp_path / "head.safetensors"
    save_file({"layers.0.weight": torch.ones(1, 2), "layers.0.bias": torch.ones(1)}, head)
    shards, out = str(tmp_path / "shards"), str(tmp_path / "out")
    return ["--shards", shards, "--out", out, "--aesthetic", str(head)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--out: expected the folder for the result, got none"),
        (["--out", "x"], "--shards: expected files or folders, got none"),
        (["--out", "x", "--shards", "."], "--aesthetic: expected the file of the aesthetic score"),
        (["--out", "x", "--workers", "0"], "--workers: expected 1 or more, got 0"),
        (["--out", "x", "--batch", "-1"], "--batch: expected 1 or more, got -1"),
        (["--out", "x", "--demo", "0"], "--demo: expected 1 or more, got 0"),
        (["--out", "x", "--demo", "-5"], "--demo: expected 1 or more, got -5"),
        (["--limit", "min_aesthetic"], "--limit: expected NAME=VALUE, got 'min_aesthetic'"),
        (
            ["--out", "x", "--shards", "nowhere", "--aesthetic", "a"],
            "nowhere: expected .tar or .parquet shards, got: it is missing",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(
    more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curate", *more]) == REFUSED
    assert message in capsys.readouterr().err


def test_without_the_extra_it_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(util, "find_spec", lambda _: None)
    assert main(["curate", "--table"]) == REFUSED
    assert "pip install 'vigil[curation]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--aesthetic", "nowhere"], "nowhere: expected a safetensors file, got: "),
        (["--clip", "/nowhere"], "--clip: expected a folder with config.json, got /nowhere"),
        (
            ["--captioner", "./nowhere"],
            "--captioner: expected a folder with config.json, got ./now",
        ),
        (["--recaptioner", "."], "--recaptioner: expected a folder with config.json, got ."),
    ],
)
def test_networks_that_are_nowhere_are_refused_before_anything_is_made(
    given: list[str],
    more: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["curate", *given, *more]) == REFUSED
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_begun_with_other_shards_is_refused(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "out" / "1-read" / "made-by.json"
    made.parent.mkdir(parents=True)
    made.write_text('{"shards": ["other.tar 7"]}', encoding="utf-8")
    made.with_name("part-00000.parquet").touch()
    assert main(["curate", *given]) == REFUSED
    assert 'shards: expected ["other.tar 7"], which ' in capsys.readouterr().err


def test_a_ray_that_does_not_start_ends_the_run_in_a_line(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # noqa: TRY002, as Ray does

    monkeypatch.setattr("ray.init", init)
    assert main(["curate", *given]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        "Ray: expected it to start, got: The current node timed out during startup."
        " What is done is kept; call again to go on."
    )
