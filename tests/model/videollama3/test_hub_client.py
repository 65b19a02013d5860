"""The hub's own client against a hub on this machine: what it fetches, and how its errors read."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from model.bundled import NANO
from model.errors import CheckpointError
from model.progress import Progress
from model.videollama3.family import load, sketch
from tests.servers.hub import COMMIT, LocalHub, local_hub

REPO = "owner/name"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "repository"
    shutil.copytree(NANO, copy)
    (copy / "modeling.py").write_text("raise SystemExit")
    (copy / "pytorch_model.bin").write_bytes(b"pickle")
    return copy


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with local_hub(folder, REPO) as one:
        monkeypatch.setattr(constants, "ENDPOINT", one.url)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            one.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield one


def loaded(*, revision: str | None = None) -> list[str]:
    """Load the repository's model; return what was told, one line for each stage and share."""
    told: list[Progress] = []
    device = torch.device("cpu")
    load(REPO, device=device, dtype=torch.float32, revision=revision, tell=told.append)
    return [str(one) for one in told]


def test_a_model_is_fetched_small_files_first_and_nothing_executable(hub: LocalHub) -> None:
    told = loaded()
    assert hub.asked[0] == "config.json"
    assert hub.asked[-1] == "model.safetensors"
    assert hub.asked.count("model.safetensors") == 1
    assert not {"modeling.py", "pytorch_model.bin"} & set(hub.asked)
    assert told[0] == f"downloaded 0% of {REPO} (10.9 MB)"
    assert f"downloaded 100% of {REPO} (10.9 MB)" in told
    assert f"loading {REPO} (10.9 MB)" in told
    assert told[-1] == f"loaded 100% of {REPO} (10.9 MB)"


def test_a_sketch_fetches_no_weights_and_tells_how_many_are_missing(hub: LocalHub) -> None:
    def sketched() -> int:
        family, num_bytes = sketch(REPO, device=torch.device("cpu"), dtype=torch.bfloat16)
        assert {weight.device.type for weight in family.network.parameters()} == {"meta"}
        assert family.network.dtype == torch.bfloat16
        return num_bytes

    assert sketched() == (NANO / "model.safetensors").stat().st_size
    assert "model.safetensors" not in hub.asked
    loaded()
    assert sketched() == 0


def test_a_sketch_refuses_a_tensor_that_is_missing_where_the_weights_are_here(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "nano"
    shutil.copytree(NANO, folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.projector.readout.0.bias"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"readout\.0\.bias: expected shape"):
        sketch(str(folder), device=torch.device("cpu"), dtype=torch.float32)


def test_what_was_fetched_once_serves_without_the_hub(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded()
    hub.asked.clear()
    told = loaded(revision=COMMIT)
    assert told[0] == f"loading {REPO} (10.9 MB)"
    assert hub.asked == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert loaded()[0] == f"loading {REPO} (10.9 MB)"


def test_a_config_of_another_model_is_all_that_is_fetched_of_it(
    hub: LocalHub, folder: Path
) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_vl"}))
    with pytest.raises(CheckpointError, match="got qwen2_vl"):
        loaded()
    assert hub.asked == ["config.json"]


def test_pictures_prepared_otherwise_are_found_before_the_weights_are_fetched(
    hub: LocalHub, folder: Path
) -> None:
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.48, 0.46, 0.41]}')
    with pytest.raises(CheckpointError, match=r"image_mean: expected 3 times 0\.5"):
        loaded()
    assert "model.safetensors" not in hub.asked


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((401, "RepoNotFound"), "check the name; a private one needs HF_TOKEN"),
        ((404, "RepoNotFound"), "check the name; a private one needs HF_TOKEN"),
        ((401, "GatedRepo"), r"\(gated\): accept them on its page and set HF_TOKEN"),
        ((403, "GatedRepo"), r"\(gated\): accept them on its page and set HF_TOKEN"),
        ((404, "RevisionNotFound"), "model revision: expected a branch, a tag or a commit"),
        ((404, "EntryNotFound"), r"expected config\.json and model\.safetensors"),
        ((403, ""), r"refuses access \(403\): check that HF_TOKEN"),
    ],
)
def test_what_the_hub_refuses_is_one_line_without_an_address(
    hub: LocalHub,
    refusal: tuple[int, str],
    words: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    hub.refusal = refusal
    with pytest.raises(CheckpointError, match=words) as error:
        loaded()
    said = str(error.value)
    assert REPO in said
    everything = said + caplog.text + "".join(capfd.readouterr())
    assert "\n" not in said
    assert "http" not in everything
    assert hub.url not in everything


def test_a_revision_that_is_none_is_refused(hub: LocalHub) -> None:
    with pytest.raises(CheckpointError, match="model revision: expected a branch"):
        loaded(revision="no-such")
    assert hub.asked == []


def test_a_hub_that_is_not_asked_and_a_model_that_is_not_here_is_offline(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="the hub cannot be reached: go online once"):
        loaded()
    assert hub.asked == []


def test_weights_that_are_not_here_are_asked_for_and_not_guessed_at(
    hub: LocalHub, folder: Path
) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"expected .*model\.safetensors .* one is missing"):
        loaded()
    assert "pytorch_model.bin" not in hub.asked
