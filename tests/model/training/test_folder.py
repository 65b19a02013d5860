"""A folder written from our networks is one that transformers and our reader load unchanged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoProcessor, VideoLlama3ForConditionalGeneration, VideoLlama3Processor

from model.bundled import NANO
from model.errors import CheckpointError
from model.family import Prompt
from model.training.folder import native_key, write_folder, write_tokenizer
from model.training.nano import fresh
from model.training.recipe import HEADS_FILE
from model.videollama3.checkpoint import load_model, tensor_shapes
from model.videollama3.config import ModelConfig, TextConfig, VisionConfig
from model.videollama3.network import VideoLlama3
from model.videollama3.patches import patchify
from model.videollama3.prompt import NANO_1, VIDEOLLAMA3, prompt_of
from tests.model.nano_model import nano, picture


def tiny(*, is_tied: bool = True) -> VideoLlama3:
    config = ModelConfig(
        vision=VisionConfig(hidden_size=32, intermediate_size=48, num_layers=2, num_heads=2),
        text=TextConfig(
            hidden_size=32,
            intermediate_size=48,
            num_layers=2,
            num_heads=2,
            num_kv_heads=1,
            head_dim=16,
            vocab_size=1024,
            has_tied_head=is_tied,
        ),
        image_token_id=1022,
        video_token_id=1023,
        eos_token_ids=(1018, 1016),
    )
    return fresh(config, seed=0).eval()


def written(folder: Path, model: VideoLlama3, **how: Any) -> Path:
    write_folder(model, folder, tokenizer_source=NANO, card="# tiny\n", **how)
    return folder


def weights(model: VideoLlama3) -> dict[str, torch.Tensor]:
    return {name: weight.detach() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("is_tied", [True, False])
@torch.inference_mode()
def test_both_read_it_and_agree(tmp_path: Path, *, is_tied: bool) -> None:
    model = tiny(is_tied=is_tied)
    written(tmp_path, model, dtype=torch.float32)
    back = load_model(tmp_path, device="cpu", dtype=torch.float32)
    assert back.config == model.config
    assert {name for name, _ in back.named_parameters()} == set(weights(model))
    for name, weight in weights(back).items():
        assert torch.equal(weight, weights(model)[name])

    theirs: Any = VideoLlama3ForConditionalGeneration
    reference, report = theirs.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    state = reference.state_dict()
    for name, weight in weights(model).items():
        assert torch.equal(weight, state[native_key(name)])
    rows = patchify(picture(0))
    seen = reference.model.get_video_features(
        rows, torch.tensor([[1, 8, 10]]), torch.tensor([2])
    ).pooler_output
    torch.testing.assert_close(torch.cat(list(seen)), model.encode(rows, [(8, 10)]))


def test_bundled_model_survives_the_round(tmp_path: Path) -> None:
    written(tmp_path, nano())
    made = {path.name for path in tmp_path.iterdir()}
    assert made | {HEADS_FILE} == {path.name for path in NANO.iterdir()}  # what taught it aside
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644
    back = load_model(tmp_path, device="cpu", dtype=torch.float32)
    for name, weight in weights(back).items():
        assert torch.equal(weight, weights(nano())[name])


def test_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (written(tmp_path / name, tiny()) for name in ("a", "b"))
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_weights_are_bfloat16_unless_told(tmp_path: Path) -> None:
    model = tiny()
    size = written(tmp_path, model).joinpath("model.safetensors").stat().st_size
    num = sum(weight.numel() for weight in model.parameters())
    assert 2 * num <= size < 2 * num + 20_000
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"


def test_names_are_those_expected() -> None:
    model = tiny(is_tied=False)
    names = {native_key(name) for name, _ in model.named_parameters()}
    assert names == set(tensor_shapes(model, layout="transformers"))


@pytest.mark.parametrize("image_merge_size", [1, 2])
def test_processor_is_the_native_one(tmp_path: Path, *, image_merge_size: int) -> None:
    written(tmp_path, tiny(), image_merge_size=image_merge_size)
    auto: Any = AutoProcessor
    processor = auto.from_pretrained(tmp_path)
    assert isinstance(processor, VideoLlama3Processor)
    assert processor.image_processor.merge_size == image_merge_size
    assert processor.video_processor.merge_size == 2
    shown: Any = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Q?"}]}]
    prompt = processor.apply_chat_template(shown, add_generation_prompt=True)
    assert prompt == "<|im_start|>user\n<|image_pad|>\nQ?<|im_end|>\n<|im_start|>assistant\n"


def test_template_of_the_source_is_left_behind(tmp_path: Path) -> None:
    source = written(tmp_path / "source", tiny())
    config = json.loads((source / "tokenizer_config.json").read_text())
    config["chat_template"] = "{{ 'another' }}"
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    write_folder(tiny(), tmp_path / "out", tokenizer_source=source, card="")
    auto: Any = AutoProcessor
    prompt = auto.from_pretrained(tmp_path / "out").apply_chat_template(
        [{"role": "user", "content": "Q?"}]
    )
    assert prompt == "<|im_start|>user\nQ?<|im_end|>\n"


def test_tokenizer_is_written_as_bundled(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, Tokenizer.from_file(str(NANO / "tokenizer.json")))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (NANO / name).read_bytes()


def test_tokenizer_without_place_holders_is_refused(tmp_path: Path) -> None:
    content = json.loads((NANO / "tokenizer.json").read_text(encoding="utf-8"))
    content["added_tokens"] = [
        token for token in content["added_tokens"] if token["content"] != "<|image_pad|>"
    ]
    source = tmp_path / "source"
    source.mkdir()
    (source / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"expected the control token <\|image_pad\|>"):
        write_folder(tiny(), tmp_path / "out", tokenizer_source=source, card="")


def test_missing_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(CheckpointError, match=r"expected tokenizer\.json"):
        write_folder(tiny(), tmp_path / "out", tokenizer_source=tmp_path / "source", card="")


@pytest.mark.parametrize("prompt", [NANO_1, VIDEOLLAMA3], ids=lambda prompt: prompt.version)
def test_the_folder_says_what_prompt_the_model_was_trained_on(
    tmp_path: Path, prompt: Prompt
) -> None:
    assert prompt_of(written(tmp_path, tiny(), prompt=prompt)) is prompt
