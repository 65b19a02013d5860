"""A start from real folders: tiny SigLIPs and Qwen2s, made here, put together to the bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import SiglipConfig, SiglipModel, VideoLlama3ForConditionalGeneration

from model.bundled import NANO
from model.errors import CheckpointError
from model.training.folder import native_key, write_tokenizer
from model.training.start import start_from
from model.videollama3.checkpoint import load_model
from model.videollama3.patches import patchify
from model.videollama3.tokenizer import Tokenizer as VigilTokenizer
from tests.model.nano_model import picture
from tests.model.training.towers import TOWER, qwen, saved, siglip, tower


def tensors_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def expected(tower: dict[str, Tensor], decoder: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is carried over, by the names it is stored under afterwards."""
    kept = {
        f"model.vision_model.{name}": weight
        for name, weight in tower.items()
        if "position_embedding" not in name and not name.startswith("head.")
    }
    for name, weight in decoder.items():
        key = name if name.startswith("lm_head") else f"model.language_model.{name[6:]}"
        kept[key] = weight
    return kept


@pytest.mark.parametrize("is_tied", [True, False])
@torch.inference_mode()
def test_every_tensor_is_carried_over_and_both_read_it(tmp_path: Path, *, is_tied: bool) -> None:
    eyes, words = siglip(tmp_path / "siglip"), qwen(tmp_path / "qwen", is_tied=is_tied)
    start_from(eyes, words, tmp_path / "out", seed=0)
    made = tensors_of(tmp_path / "out")
    kept = expected(tensors_of(eyes), tensors_of(words))
    assert set(made) - set(kept) == {
        f"model.projector.readout.{index}.{leaf}" for index in (0, 2) for leaf in ("weight", "bias")
    }
    for name, weight in kept.items():
        assert torch.equal(made[name], weight), name

    model = load_model(tmp_path / "out", device="cpu", dtype=torch.float32)
    assert model.config.eos_token_ids == (1018, 1016)
    theirs: Any = VideoLlama3ForConditionalGeneration
    reference, report = theirs.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    state = reference.state_dict()
    for name, ours in model.named_parameters():
        assert torch.equal(ours, state[native_key(name)])
    rows = patchify(picture(0))
    seen = reference.model.get_video_features(rows, torch.tensor([[1, 8, 10]]), torch.tensor([2]))
    features = model.encode(rows, [(8, 10)])
    torch.testing.assert_close(torch.cat(list(seen.pooler_output)), features)


def test_a_text_tower_is_left_behind(tmp_path: Path) -> None:
    text = {**TOWER, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2}
    for key in ("patch_size", "image_size"):
        del text[key]
    whole: Any = SiglipModel(SiglipConfig(text_config=text, vision_config=TOWER))
    whole.vision_model.load_state_dict(tower().state_dict())
    words = qwen(tmp_path / "qwen")
    start_from(saved(whole, tmp_path / "whole"), words, tmp_path / "a", seed=0)
    start_from(siglip(tmp_path / "tower"), words, tmp_path / "b", seed=0)
    first, second = tensors_of(tmp_path / "a"), tensors_of(tmp_path / "b")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_seed_draws_the_projector_alone(tmp_path: Path) -> None:
    eyes, words = siglip(tmp_path / "siglip"), qwen(tmp_path / "qwen")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        start_from(eyes, words, tmp_path / name, seed=seed)
    first, same, other = (tensors_of(tmp_path / name) for name in "abc")
    assert all(torch.equal(first[name], same[name]) for name in first)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    assert {name.split(".")[1] for name in differing} == {"projector"}
    assert len(differing) == 4


@pytest.mark.parametrize("is_tied", [True, False])
def test_place_holders_are_added_and_given_rows(tmp_path: Path, *, is_tied: bool) -> None:
    words = qwen(tmp_path / "qwen", is_tied=is_tied, vocab_size=1022)
    content = json.loads((NANO / "tokenizer.json").read_text(encoding="utf-8"))
    content["added_tokens"] = content["added_tokens"][:-2]
    write_tokenizer(words, Tokenizer.from_str(json.dumps(content)))
    start_from(siglip(tmp_path / "siglip"), words, tmp_path / "out", seed=0)
    tokenizer = VigilTokenizer.load(tmp_path / "out")
    assert tokenizer.encode("a<|image_pad|><|video_pad|>")[1:] == [1022, 1023]
    before, made = tensors_of(words), tensors_of(tmp_path / "out")
    pairs = [("model.embed_tokens.weight", "model.language_model.embed_tokens.weight")]
    pairs += [] if is_tied else [("lm_head.weight", "lm_head.weight")]
    for old, new in pairs:
        assert torch.equal(made[new][:1022], before[old])
        torch.testing.assert_close(made[new][1022:], before[old].mean(0).expand(2, -1))
    model = load_model(tmp_path / "out", device="cpu", dtype=torch.float32)
    assert model.config.text.vocab_size == 1024


def test_precision_is_the_wider_of_the_two(tmp_path: Path) -> None:
    words = qwen(tmp_path / "qwen", dtype=torch.bfloat16)
    start_from(siglip(tmp_path / "siglip"), words, tmp_path / "out", seed=0)
    made = tensors_of(tmp_path / "out")
    assert {weight.dtype for weight in made.values()} == {torch.float32}
    kept = expected({}, tensors_of(words))
    assert all(torch.equal(made[name], weight.float()) for name, weight in kept.items())


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("siglip", "encoder.layers.1.self_attn.k_proj.bias"),
        ("qwen", "model.layers.0.mlp.up_proj.weight"),
    ],
)
def test_a_missing_strange_or_misshapen_tensor_is_named(
    tmp_path: Path, part: str, name: str
) -> None:
    folders = {"siglip": siglip(tmp_path / "siglip"), "qwen": qwen(tmp_path / "qwen")}
    whole = tensors_of(folders[part])
    for change, message in (
        ({name: None}, f"{name}: expected shape .*, got no such tensor"),
        ({name: torch.zeros(3)}, rf"{name}: expected floats of shape .*, got .* of \(3,\)"),
        ({f"{name}.scale": torch.zeros(1)}, rf"{name}\.scale: expected no such tensor"),
    ):
        tensors = {key: weight for key, weight in (whole | change).items() if weight is not None}
        save_file(tensors, folders[part] / "model.safetensors")
        with pytest.raises(CheckpointError, match=f"{folders[part]}: {message}"):
            start_from(folders["siglip"], folders["qwen"], tmp_path / "out", seed=0)


def test_weights_of_eight_bits_are_named(tmp_path: Path) -> None:
    words, name = qwen(tmp_path / "qwen"), "model.layers.0.mlp.up_proj.weight"
    tensors = tensors_of(words)
    save_file(tensors | {name: tensors[name].to(torch.float8_e4m3fn)}, words / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"{words}: {name}: expected floats of 16 bits"):
        start_from(siglip(tmp_path / "siglip"), words, tmp_path / "out", seed=0)


@pytest.mark.parametrize("text", ["[]", "{}", "null", "{"])
def test_a_tokenizer_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    words = qwen(tmp_path / "qwen")
    (words / "tokenizer.json").write_text(text)
    with pytest.raises(CheckpointError, match=f"{words}: its tokenizer cannot be read"):
        start_from(siglip(tmp_path / "siglip"), words, tmp_path / "out", seed=0)


def test_folders_of_another_kind_are_refused(tmp_path: Path) -> None:
    eyes, words = siglip(tmp_path / "siglip"), qwen(tmp_path / "qwen")
    with pytest.raises(CheckpointError, match="expected siglip or siglip_vision_model, got qwen2"):
        start_from(words, words, tmp_path / "out", seed=0)
    with pytest.raises(CheckpointError, match="expected qwen2, got siglip_vision_model"):
        start_from(eyes, eyes, tmp_path / "out", seed=0)
    with pytest.raises(CheckpointError, match=r"config\.json: expected a JSON object"):
        start_from(tmp_path / "gone", words, tmp_path / "out", seed=0)
    config = json.loads((eyes / "config.json").read_text())
    (eyes / "config.json").write_text(json.dumps(config | {"patch_size": 16}))
    with pytest.raises(CheckpointError, match="patch_size: expected 14, got 16"):
        start_from(eyes, words, tmp_path / "out", seed=0)
    (eyes / "model.safetensors").write_bytes(b"{")
    with pytest.raises(CheckpointError, match="expected a whole safetensors file"):
        start_from(eyes, words, tmp_path / "out", seed=0)
    (eyes / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="expected safetensors files, got none"):
        start_from(eyes, words, tmp_path / "out", seed=0)
    (words / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"expected tokenizer\.json, or vocab\.json and"):
        start_from(siglip(tmp_path / "again"), words, tmp_path / "out", seed=0)
