from typing import Any

import pytest

from model.errors import CheckpointError
from model.videollama3.config import PRESETS, ModelConfig, TextConfig, VisionConfig
from tests.model.tiny import oracle_config

REMOTE_2B: dict[str, Any] = {
    "architectures": ["Videollama3Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 1536,
    "image_token_index": 151665,
    "intermediate_size": 8960,
    "max_position_embeddings": 32768,
    "mm_projector_type": "mlp2x_gelu",
    "model_type": "videollama3_qwen2",
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "use_token_compression": True,
    "vision_encoder": None,
    "vision_encoder_config": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "model_type": "videollama3_vision_encoder",
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
    },
    "vocab_size": 151936,
}


def native(**text: Any) -> dict[str, Any]:
    """The tiny model's config.json, keys of its text_config replaced."""
    config: dict[str, Any] = oracle_config().to_dict()
    config["text_config"] |= text
    return config


def test_the_remote_code_familys_config_is_read() -> None:
    generation = {"eos_token_id": [151645, 151643], "repetition_penalty": 1.1}
    assert ModelConfig.from_json(REMOTE_2B, generation) == PRESETS["2b"]


def test_transformers_config_is_read() -> None:
    assert ModelConfig.from_json(native()) == ModelConfig(
        vision=VisionConfig(hidden_size=96, intermediate_size=160, num_layers=3, num_heads=4),
        text=TextConfig(
            hidden_size=64,
            intermediate_size=96,
            num_layers=3,
            num_heads=4,
            num_kv_heads=2,
            head_dim=16,
            vocab_size=96,
            max_positions=4096,
        ),
        image_token_id=90,
        video_token_id=91,
        eos_token_ids=(3,),
    )


def test_a_flat_rope_theta_and_a_tie_in_the_text_section_are_read() -> None:
    config = native(rope_theta=5e5, rope_parameters=None, tie_word_embeddings=True)
    text = ModelConfig.from_json(config).text
    assert text.rope_theta == 5e5
    assert text.has_tied_head


def test_the_generation_config_knows_more_ends_than_the_config() -> None:
    assert ModelConfig.from_json(native(), {"eos_token_id": [5, 6]}).eos_token_ids == (5, 6)
    assert ModelConfig.from_json(native(), {}).eos_token_ids == (3,)


def test_the_repetition_penalty_is_read_and_whether_the_prompt_is_under_it() -> None:
    generation = {"repetition_penalty": 1.05, "eos_token_id": None}
    config = ModelConfig.from_json(native(), generation)
    assert (config.repetition_penalty, config.is_prompt_penalized) == (1.05, True)
    assert ModelConfig.from_json(native(), {"repetition_penalty": None}).repetition_penalty == 1.0
    assert not ModelConfig.from_json(REMOTE_2B, generation).is_prompt_penalized


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        *(
            ({"repetition_penalty": got}, "repetition_penalty: expected a number above 0, got")
            for got in (0, -1.1, "1.1", True, [1.1], float("nan"), float("inf"), 10**400)
        ),
        *(
            ({"eos_token_id": got}, "eos_token_id: expected ids of a vocabulary of 96, got")
            for got in ([], "3", True, [3, "4"], -1, 96, [[3]], 3.0, {"id": 3})
        ),
    ],
)
def test_a_generation_config_that_says_no_such_thing_is_refused(
    generation: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=f"^generation_config.json: {message}") as refused:
        ModelConfig.from_json(native(), generation)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "model_type is missing"),
        ({"model_type": "qwen2_vl"}, "model_type: expected video_llama_3 or .* got qwen2_vl"),
        (native(vocab_size=None), "vocab_size is missing"),
        (native(eos_token_id=None), "eos_token_id is missing"),
        (native(rope_parameters=None), "rope_theta is missing"),
        (native(rope_parameters={"rope_type": "yarn"}), "rope_type: expected default, got yarn"),
        (native(use_sliding_window=True), "use_sliding_window: expected False, got True"),
        (native(num_key_value_heads=3), "expected num_attention_heads a multiple .* got 4, 3"),
        (native() | {"vision_config": None}, "vision_config is missing"),
        (native() | {"vision_config": "siglip"}, "vision_config: expected an object"),
        (REMOTE_2B | {"image_token_index": None}, "image_token_index is missing"),
        (REMOTE_2B | {"vision_encoder_config": {}}, "patch_size: expected 14, got None"),
        (REMOTE_2B | {"mm_projector_type": "linear"}, "mm_projector_type: expected mlp2x_gelu"),
    ],
)
def test_a_config_that_is_not_ours_is_refused_by_the_key(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        ModelConfig.from_json(config)
