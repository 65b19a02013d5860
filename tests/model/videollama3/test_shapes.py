"""The true models, on no memory: names, shapes and sizes against transformers' own modules."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

from model.videollama3.checkpoint import tensor_shapes
from model.videollama3.config import PRESETS, ModelConfig
from model.videollama3.network import VideoLlama3
from tests.model.videollama3.test_config import REMOTE_2B

REMOTE: dict[str, dict[str, Any]] = {
    "2b": REMOTE_2B,
    "7b": REMOTE_2B
    | {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
        "vocab_size": 152064,
    },
}


def transformers_config(size: str) -> VideoLlama3Config:
    remote = REMOTE[size]
    text_keys = (
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "rms_norm_eps",
        "tie_word_embeddings",
        "vocab_size",
    )
    return VideoLlama3Config(
        text_config={
            "model_type": "qwen2",
            "eos_token_id": [151645, 151643],
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            **{key: remote[key] for key in text_keys},
        },
        vision_config=remote["vision_encoder_config"] | {"model_type": "video_llama_3_vision"},
        image_token_id=151665,
        video_token_id=151665,
        tie_word_embeddings=remote["tie_word_embeddings"],
    )


def weightless(size: str) -> VideoLlama3:
    with torch.device("meta"):
        return VideoLlama3(PRESETS[size])


@pytest.mark.parametrize("size", ["2b", "7b"])
def test_both_familys_configs_give_the_preset(size: str) -> None:
    preset = PRESETS[size]
    generation = {
        "eos_token_id": [151645, 151643],
        "repetition_penalty": preset.repetition_penalty,
    }
    assert ModelConfig.from_json(REMOTE[size], generation) == preset
    native = ModelConfig.from_json(transformers_config(size).to_dict(), generation)
    assert native == replace(preset, is_prompt_penalized=True)


@pytest.mark.parametrize("size", ["2b", "7b"])
def test_every_tensors_name_and_shape_is_transformers(size: str) -> None:
    with torch.device("meta"):
        reference = VideoLlama3ForConditionalGeneration(transformers_config(size))
    expected = {name: tuple(weight.shape) for name, weight in reference.named_parameters()}
    assert tensor_shapes(weightless(size), layout="transformers") == expected


@pytest.mark.parametrize(
    ("size", "projector", "language"),
    [("2b", 4_131_840, 1_543_714_304), ("7b", 16_980_992, 7_615_616_512)],
)
def test_parts_have_the_published_number_of_weights(
    size: str, projector: int, language: int
) -> None:
    model = weightless(size)

    def num_weights(part: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in part.parameters())

    assert num_weights(model.vision) == 412_147_440
    assert num_weights(model.projector) == projector
    assert num_weights(model.language) == language


def test_layouts_differ_in_prefixes_alone() -> None:
    shapes = [
        list(tensor_shapes(weightless("7b"), layout=layout).items())
        for layout in ("transformers", "remote-code", "training")
    ]
    for entries in zip(*shapes, strict=True):
        assert len({shape for _, shape in entries}) == 1
        assert len({name.rpartition(".")[2] for name, _ in entries}) == 1
    names = [dict(entries) for entries in shapes]
    leaf = "encoder.layers.26.self_attn.out_proj.bias"
    assert f"model.vision_model.{leaf}" in names[0]
    assert f"model.vision_encoder.{leaf}" in names[1]
    assert f"model.vision_encoder.vision_encoder.{leaf}" in names[2]
    assert "model.mm_projector.readout.2.weight" in names[1]
    assert "model.layers.27.mlp.down_proj.weight" in names[1]
    assert all("lm_head.weight" in layout for layout in names)
