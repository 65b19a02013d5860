import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from model.errors import CheckpointError
from model.videollama3.checkpoint import load_model
from model.videollama3.network import VideoLlama3
from model.videollama3.patches import patchify
from tests.model.tiny import clip, oracle, oracle_tensors, save_oracle

Tensors = dict[str, Tensor]
EMBEDDING = "model.language_model.embed_tokens.weight"
NORM = "model.vision_model.post_layernorm.weight"


@pytest.fixture(scope="module")
def reference() -> Any:
    return oracle()


@pytest.fixture(scope="module")
def tied_reference() -> Any:
    return oracle(is_tied=True)


def load(folder: Path, *, dtype: torch.dtype = torch.float32) -> VideoLlama3:
    return load_model(folder, device="cpu", dtype=dtype)


def remote_config(config: Any) -> dict[str, Any]:
    """A transformers config as the original repository writes it."""
    vision_keys = (
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_hidden_layers",
        "patch_size",
    )
    text: dict[str, Any] = config.text_config.to_dict()
    theta = text.pop("rope_parameters")["rope_theta"]
    return text | {
        "model_type": "videollama3_qwen2",
        "rope_theta": theta,
        "image_token_index": config.video_token_id,  # what the tokenizer has for a visual token
        "mm_projector_type": "mlp2x_gelu",
        "vision_encoder_config": {key: getattr(config.vision_config, key) for key in vision_keys},
    }


def remote_key(name: str) -> str:
    for native, remote in (
        ("model.vision_model.", "model.vision_encoder."),
        ("model.projector.", "model.mm_projector."),
        ("model.language_model.", "model."),
    ):
        if name.startswith(native):
            return name.replace(native, remote, 1)
    return name


def training_key(name: str) -> str:
    """What the original repository's scripts/convert_hf_checkpoint.py makes of it."""
    return remote_key(name).replace("vision_encoder", "vision_encoder.vision_encoder")


def save_remote(model: Any, folder: Path, *, key: Callable[[str], str] = remote_key) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(remote_config(model.config)))
    tensors = {key(name): weight for name, weight in oracle_tensors(model).items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


def save_sharded(folder: Path, tensors: Tensors, *, num_shards: int = 3) -> None:
    """Replace a folder's one weight file by shards and their index."""
    (folder / "model.safetensors").unlink()
    weight_map: dict[str, str] = {}
    for shard in range(num_shards):
        file = f"model-{shard + 1:05}-of-{num_shards:05}.safetensors"
        part = {name: tensors[name] for name in list(tensors)[shard::num_shards]}
        save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def assert_is_oracle(network: VideoLlama3, model: Any) -> None:
    rows = patchify(clip(1, 3, 4)[0])
    expected = model.get_image_features(
        rows, torch.tensor([(1, 6, 8)]), image_merge_sizes=torch.tensor([2])
    ).pooler_output[0]
    assert (network.encode(rows, [(6, 8)]) - expected).abs().max() <= 1e-4
    assert torch.equal(network.language.logits(torch.eye(64)), model.lm_head(torch.eye(64)))
    assert not any(weight.requires_grad or weight.is_meta for weight in network.parameters())


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize(
    ("save", "key"),
    [
        pytest.param(save_oracle, str, id="transformers"),
        pytest.param(save_remote, remote_key, id="remote-code"),
        pytest.param(
            lambda model, folder: save_remote(model, folder, key=training_key),
            training_key,
            id="training",
        ),
    ],
)
@pytest.mark.parametrize("head", ["untied", "tied"])
def test_every_layout_loads_to_the_same_network(
    reference: Any,
    tied_reference: Any,
    tmp_path: Path,
    save: Callable[[Any, Path], Path],
    key: Callable[[str], str],
    num_shards: int,
    head: str,
) -> None:
    model = tied_reference if head == "tied" else reference
    folder = save(model, tmp_path)
    if num_shards > 1:
        tensors = {key(name): weight for name, weight in oracle_tensors(model).items()}
        save_sharded(folder, tensors, num_shards=num_shards)
    assert_is_oracle(load(folder), model)


@pytest.mark.parametrize("head", ["untied", "tied"])
def test_what_transformers_saves_loads(
    reference: Any, tied_reference: Any, tmp_path: Path, head: str
) -> None:
    model = tied_reference if head == "tied" else reference
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_is_oracle(load(tmp_path), model)


def test_weights_are_kept_in_the_dtype_asked_for(reference: Any, tmp_path: Path) -> None:
    network = load(save_oracle(reference, tmp_path), dtype=torch.bfloat16)
    assert network.dtype == torch.bfloat16
    assert network.device == torch.device("cpu")
    assert {weight.dtype for weight in network.parameters()} == {torch.bfloat16}


def test_a_tied_head_that_was_stored_as_well_is_not_kept_twice(
    tied_reference: Any, tmp_path: Path
) -> None:
    folder = save_oracle(tied_reference, tmp_path)
    tensors = oracle_tensors(tied_reference)
    save_file(
        tensors | {"lm_head.weight": tensors[EMBEDDING].clone()}, folder / "model.safetensors"
    )
    network = load(folder)
    assert network.language.lm_head is None
    assert_is_oracle(network, tied_reference)


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def replaced(name: str, value: Tensor) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: value}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            without(NORM),
            rf"model.safetensors: {NORM}: expected shape \(96,\), got no such tensor",
            id="missing",
        ),
        pytest.param(
            replaced("model.language_model.layers.3.mlp.up_proj.weight", torch.zeros(96, 64)),
            r"model.safetensors: model.language_model.layers.3.mlp.up_proj.weight: "
            r"expected no such tensor, got one of shape \(96, 64\)",
            id="extra",
        ),
        pytest.param(
            replaced(NORM, torch.zeros(64)),
            rf"model.safetensors: {NORM}: expected shape \(96,\), got \(64,\)",
            id="mis-shaped",
        ),
        pytest.param(
            replaced(NORM, torch.zeros(96, dtype=torch.int8)),
            rf"{NORM}: expected one of .*, got I8",
            id="quantised",
        ),
        pytest.param(
            without("lm_head.weight"),
            r"lm_head.weight: expected shape \(96, 64\), got no such tensor",
            id="untied head missing",
        ),
    ],
)
def test_a_wrong_tensor_is_named_with_its_file(
    reference: Any, tmp_path: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    folder = save_oracle(reference, tmp_path)
    save_file(change(oracle_tensors(reference)), folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=message) as refusal:
        load(folder)
    assert str(folder) in str(refusal.value)


def test_a_wrong_tensor_is_named_as_its_own_layout_names_it(reference: Any, tmp_path: Path) -> None:
    folder = save_remote(reference, tmp_path)
    tensors = {remote_key(name): weight for name, weight in oracle_tensors(reference).items()}
    del tensors["model.mm_projector.readout.0.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.mm_projector\.readout\.0\.bias"):
        load(folder)


def test_a_head_of_its_own_on_a_tied_model_is_refused(tied_reference: Any, tmp_path: Path) -> None:
    folder = save_oracle(tied_reference, tmp_path)
    tensors = oracle_tensors(tied_reference) | {"lm_head.weight": torch.zeros(96, 64)}
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lm_head\.weight: tie_word_embeddings is true"):
        load(folder)


def test_a_missing_shard_is_named_with_a_tensor_of_it(reference: Any, tmp_path: Path) -> None:
    folder = save_oracle(reference, tmp_path)
    save_sharded(folder, oracle_tensors(reference))
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"model-00002-of-00003\.safetensors: this shard is missing; it holds"
    ):
        load(folder)


def test_a_tensor_in_two_shards_is_refused(reference: Any, tmp_path: Path) -> None:
    folder = save_oracle(reference, tmp_path)
    tensors = oracle_tensors(reference)
    save_sharded(folder, tensors)
    save_file({NORM: tensors[NORM]}, folder / "again.safetensors")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["again"] = "again.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=rf"{NORM} is also in .*expected it once"):
        load(folder)


def test_an_index_that_points_out_of_the_folder_is_refused(reference: Any, tmp_path: Path) -> None:
    folder = save_oracle(reference, tmp_path / "model")
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"weight_map": {NORM: "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="expected a file name"):
        load(folder)


def test_pickled_weights_are_refused(reference: Any, tmp_path: Path) -> None:
    folder = save_oracle(reference, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"got pytorch_model\.bin: only safetensors"):
        load(folder)


def test_a_cut_off_file_is_refused(reference: Any, tmp_path: Path) -> None:
    file = save_oracle(reference, tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: expected a whole safetensors"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json: expected"):
        load(tmp_path)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json: expected this file, it is missing"):
        load(tmp_path)
