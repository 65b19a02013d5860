"""A checkpoint judged whole: its files, its parts beside each other, its first logits."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.bundled import NANO
from model.errors import CheckpointError
from model.family import Family
from model.progress import Progress
from model.videollama3 import family, hub
from model.videollama3.family import load

Json = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled model, to be broken."""
    copy = tmp_path / "copy"
    shutil.copytree(NANO, copy)
    return copy


def loaded(path: Path | str, **named: Any) -> Family:
    return load(str(path), device=torch.device("cpu"), dtype=torch.float32, **named)


def edit(file: Path, change: Callable[[Json], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def reweigh(folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, folder / "model.safetensors")


def test_a_whole_checkpoint_loads_and_tells_how_far_it_is() -> None:
    told: list[Progress] = []
    assert loaded("nano", tell=told.append).is_demo
    size = (NANO / "model.safetensors").stat().st_size
    assert told[0] == Progress("loading", "nano", 0, size)
    assert str(told[0]) == f"loading nano ({size / 1e6:.1f} MB)"
    assert {one.stage for one in told[1:]} == {"loaded"}
    done = [one.done_bytes for one in told]
    assert done == sorted(done)
    assert 0.99 * size < done[-1] <= size
    assert str(told[-1]).startswith("loaded 100% of nano")


def test_sizes_are_said_as_people_say_them() -> None:
    assert str(Progress("loading", "a/b", 0, 4_400_000_000)) == "loading a/b (4.4 GB)"


def test_a_copy_of_the_demo_model_is_one_and_another_model_is_not(folder: Path) -> None:
    assert loaded(folder).is_demo
    (folder / "vigil.json").unlink()
    assert not loaded(folder).is_demo


def rows_to(number: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda table: torch.cat([table, table.new_zeros(number - len(table), table.shape[1])])


EMBEDDING = "model.language_model.embed_tokens.weight"


@pytest.mark.parametrize("rows", [151_936, 1024 + 1025])
def test_a_tokenizer_far_smaller_than_the_embedding_is_refused(folder: Path, rows: int) -> None:
    edit(folder / "config.json", lambda config: config["text_config"].update(vocab_size=rows))
    reweigh(folder, EMBEDDING, rows_to(rows))
    with pytest.raises(CheckpointError, match=rf"vocabulary of {rows} .*got one of 1024"):
        loaded(folder)


def test_rows_that_pad_an_embedding_are_none_of_the_tokenizers_business(folder: Path) -> None:
    edit(folder / "config.json", lambda config: config["text_config"].update(vocab_size=1324))
    reweigh(folder, EMBEDDING, rows_to(1324))
    assert loaded(folder)


def test_a_tokenizer_larger_than_the_embedding_is_refused(folder: Path) -> None:
    edit(folder / "config.json", lambda config: config["text_config"].update(vocab_size=1020))
    with pytest.raises(CheckpointError, match=r"vocabulary of 1020 .*got one of 1024"):
        loaded(folder)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("config.json", {"video_token_id": 7, "image_token_id": 6}, "visual token's id 7"),
        ("generation_config.json", {"eos_token_id": [3, 4]}, r"end token among \[3, 4\]"),
    ],
)
def test_control_tokens_that_are_others_to_the_configuration_are_refused(
    folder: Path, name: str, change: Json, words: str
) -> None:
    edit(folder / name, lambda content: content.update(change))
    with pytest.raises(CheckpointError, match=words):
        loaded(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("tensor", "ours"),
    [
        (EMBEDDING, "language.embed_tokens.weight"),
        ("model.vision_model.post_layernorm.bias", "vision.post_layernorm.bias"),
        ("model.projector.readout.2.weight", "projector.readout.2.weight"),
        (
            "model.language_model.layers.3.mlp.up_proj.weight",
            "language.layers.3.mlp.up_proj.weight",
        ),
    ],
)
def test_weights_that_give_no_finite_logits_are_refused_by_their_name(
    folder: Path, value: float, tensor: str, ours: str
) -> None:
    reweigh(folder, tensor, lambda weight: torch.full_like(weight, value))
    with pytest.raises(CheckpointError, match=f"expected finite logits, .* {ours} is not finite"):
        loaded(folder)


def test_weights_whose_products_overflow_are_refused(folder: Path) -> None:
    tensor = "model.language_model.norm.weight"
    reweigh(folder, tensor, lambda weight: torch.full_like(weight, 3e38))
    with pytest.raises(CheckpointError, match=r"expected finite logits, .* in torch\.float32"):
        loaded(folder)


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "vigil.json",
        "preprocessor_config.json",
        "processor_config.json",
        "video_preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ],
)
@pytest.mark.parametrize("broken", ["deep", "pipe", "folder", "cut off", "a list", "dangling"])
def test_a_broken_file_is_refused_at_once_in_one_line(folder: Path, name: str, broken: str) -> None:
    file = folder / name
    file.unlink()
    match broken:
        case "deep":
            file.write_text(DEEP)
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case "cut off":
            file.write_text('{"a": ')
        case "a list":
            file.write_text("[]")
        case _:
            file.symlink_to(folder / "none")
    began_s = time.monotonic()
    with pytest.raises(CheckpointError) as refusal:
        loaded(folder)
    assert time.monotonic() - began_s < 10
    assert "\n" not in str(refusal.value)
    assert str(folder) in str(refusal.value)


@pytest.mark.parametrize("name", ["model.safetensors", "merges.txt", "chat_template.jinja"])
def test_a_pipe_in_any_files_place_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(CheckpointError, match=f"{name}: expected a file, got a pipe"):
        loaded(folder)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """A repository on the hub with the copy's files; notes what is fetched, in order."""
    steps: list[str] = []

    class Place(hub.Place):
        def fetch_small(self) -> None:
            steps.append("small files")

        def fetch_weights(self, _tell: object = None) -> None:
            steps.append("weights")

    def find(path: str, *, revision: str | None) -> hub.Place:
        steps.append(f"config.json of {path} at {revision}")
        return Place(folder, path, revision)

    monkeypatch.setattr(family, "find", find)
    return steps


def test_the_weights_are_fetched_last(steps: list[str]) -> None:
    loaded("owner/name", revision="v1")
    assert steps == ["config.json of owner/name at v1", "small files", "weights"]


@pytest.mark.parametrize(
    ("name", "change", "num_steps"),
    [
        ("config.json", {"model_type": "qwen2_vl"}, 1),
        ("config.json", {"video_token_id": 7, "image_token_id": 6}, 2),
        ("vigil.json", {"prompt": "none-such"}, 2),
        ("preprocessor_config.json", {"image_mean": [0.48, 0.46, 0.41]}, 2),
    ],
)
def test_what_is_wrong_is_found_before_anything_large_is_fetched(
    folder: Path, steps: list[str], name: str, change: Json, num_steps: int
) -> None:
    edit(folder / name, lambda content: content.update(change))
    with pytest.raises(CheckpointError):
        loaded("owner/name")
    assert len(steps) == num_steps
    assert "weights" not in steps
