"""What a folder that already holds something means for a run."""

from pathlib import Path

import pytest

from model.errors import InputError
from model.training.runs import finish, standing, write_down

OPTIONS = {"seed": 0}


def test_a_finished_run_is_finished_with_or_without_its_state(tmp_path: Path) -> None:
    write_down(tmp_path, OPTIONS)
    finish(tmp_path)
    assert standing(tmp_path, OPTIONS, is_resumed=False) == "finished"
    with pytest.raises(InputError, match="holds another run: seed 0 there and 1 here"):
        standing(tmp_path, {"seed": 1}, is_resumed=False)


def test_a_run_without_a_state_begins_anew_as_itself_once_it_has_a_step(tmp_path: Path) -> None:
    write_down(tmp_path, OPTIONS)
    assert standing(tmp_path, {"seed": 1}, is_resumed=False) == "new"  # no step was done
    (tmp_path / "losses.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    assert standing(tmp_path, OPTIONS, is_resumed=False) == "new"
    with pytest.raises(InputError, match="holds another run: seed 0 there and 1 here"):
        standing(tmp_path, {"seed": 1}, is_resumed=False)
