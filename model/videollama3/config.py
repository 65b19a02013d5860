"""The shapes of a VideoLLaMA3, read from config.json in either of its layouts."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from model.errors import CheckpointError

PATCH_PX = 14
MERGE_SIZE = 2  # patches along a token's side

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"

NATIVE_MODEL_TYPE = "video_llama_3"
REMOTE_MODEL_TYPE = "videollama3_qwen2"


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """The SigLIP-NaViT encoder.

    Attributes:
        hidden_size: width of a patch's row, a multiple of 4 * num_heads.
        intermediate_size: width of the MLP.
        num_layers: encoder layers.
        num_heads: attention heads.
        layer_norm_eps: of every LayerNorm.
        rope_theta: base of the 2-D rotary frequencies.
    """

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    layer_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_heads


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The Qwen2.5 decoder.

    Attributes:
        hidden_size: width of a token's row.
        intermediate_size: width of the gated MLP.
        num_layers: decoder layers.
        num_heads: query heads.
        num_kv_heads: key and value heads, a divisor of num_heads.
        head_dim: width of one head.
        vocab_size: rows of the embedding.
        max_positions: longest sequence the model takes, in tokens.
        rms_norm_eps: of every RMSNorm.
        rope_theta: base of the rotary frequencies.
        has_tied_head: the output head is the embedding.
    """

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_positions: int = 32_768
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1_000_000.0
    has_tied_head: bool = False

    @property
    def heads(self) -> tuple[int, int, int]:
        """Query heads, key heads and the width of a head: what its attention's kernels go by."""
        return self.num_heads, self.num_kv_heads, self.head_dim


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A whole VideoLLaMA3.

    Attributes:
        vision: the encoder.
        text: the decoder.
        image_token_id: the prompt's place-holder for an image token.
        video_token_id: the prompt's place-holder for a video token; the remote-code layout has
            one place-holder for both.
        eos_token_ids: tokens that end an answer.
        repetition_penalty: what divides the positive logits, and multiplies the negative ones, of
            tokens that free text has held before; 1 for none.
        is_prompt_penalized: tokens of the prompt count as held. `transformers` counts them. The
            remote code does not: it hands `generate` the prompt as embeddings, without ids.
    """

    vision: VisionConfig
    text: TextConfig
    image_token_id: int
    video_token_id: int
    eos_token_ids: tuple[int, ...]
    repetition_penalty: float = 1.0
    is_prompt_penalized: bool = True

    @classmethod
    def from_json(
        cls, config: Mapping[str, Any], generation_config: Mapping[str, Any] | None = None
    ) -> Self:
        """Read config.json and, where there is one, generation_config.json.

        Raises:
            CheckpointError: a key is missing or holds what this network does not support.
        """
        generation = generation_config or {}
        model_type = _required(config, "model_type")
        match model_type:
            case "video_llama_3":
                text = _section(config, "text_config")
                vision = _section(config, "vision_config")
                image_token_id = _id(config, "image_token_id")
                video_token_id = _id(config, "video_token_id")
            case "videollama3_qwen2":
                text = config
                vision = _section(config, "vision_encoder_config")
                image_token_id = video_token_id = _id(config, "image_token_index")
                _only(config, "mm_projector_type", "mlp2x_gelu")
            case other:
                raise CheckpointError(
                    f"config.json: model_type: expected {NATIVE_MODEL_TYPE} or "
                    f"{REMOTE_MODEL_TYPE}, got {_shown(other)}"
                )
        is_tied = bool(config.get("tie_word_embeddings") or text.get("tie_word_embeddings"))
        text_config = _text_config(text, has_tied_head=is_tied)
        return cls(
            vision=_vision_config(vision),
            text=text_config,
            image_token_id=image_token_id,
            video_token_id=video_token_id,
            eos_token_ids=_eos_token_ids(
                (GENERATION_CONFIG, generation),
                (CONFIG, config),
                (CONFIG, text),
                vocab_size=text_config.vocab_size,
            ),
            repetition_penalty=_repetition_penalty(generation),
            is_prompt_penalized=model_type == NATIVE_MODEL_TYPE,
        )


def _vision_config(section: Mapping[str, Any]) -> VisionConfig:
    _only(section, "patch_size", PATCH_PX, default=None)
    _only(section, "hidden_act", "gelu_pytorch_tanh")
    _only(section, "num_channels", 3)
    config = VisionConfig(
        hidden_size=_count(section, "hidden_size"),
        intermediate_size=_count(section, "intermediate_size"),
        num_layers=_count(section, "num_hidden_layers"),
        num_heads=_count(section, "num_attention_heads"),
        layer_norm_eps=_epsilon(section, "layer_norm_eps", default=1e-6),
        rope_theta=_rope_theta(section, rope_type="axial", default=10_000.0),
    )
    if config.hidden_size % (4 * config.num_heads):
        raise CheckpointError(
            f"config.json: vision hidden_size: expected a multiple of 4 * {config.num_heads} "
            f"heads, got {config.hidden_size}"
        )
    return config


def _text_config(section: Mapping[str, Any], *, has_tied_head: bool) -> TextConfig:
    _only(section, "hidden_act", "silu")
    _only(section, "use_sliding_window", expected=False)
    hidden_size = _count(section, "hidden_size")
    num_heads = _count(section, "num_attention_heads")
    config = TextConfig(
        hidden_size=hidden_size,
        intermediate_size=_count(section, "intermediate_size"),
        num_layers=_count(section, "num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=_count(section, "num_key_value_heads", default=num_heads),
        head_dim=_count(section, "head_dim", default=hidden_size // num_heads),
        vocab_size=_count(section, "vocab_size"),
        max_positions=_count(section, "max_position_embeddings"),
        rms_norm_eps=_epsilon(section, "rms_norm_eps", default=None),
        rope_theta=_rope_theta(section, rope_type="default", default=None),
        has_tied_head=has_tied_head,
    )
    if config.num_heads % config.num_kv_heads or config.head_dim % 2:
        raise CheckpointError(
            "config.json: expected num_attention_heads a multiple of num_key_value_heads and "
            f"an even head_dim, got {config.num_heads}, {config.num_kv_heads} and {config.head_dim}"
        )
    return config


def _eos_token_ids(*sections: tuple[str, Mapping[str, Any]], vocab_size: int) -> tuple[int, ...]:
    """The first section that has them: generation_config.json knows more than config.json."""
    for file, section in sections:
        got = section.get("eos_token_id")
        if got is None:
            continue
        ids = got if isinstance(got, list) else [got]
        if not ids or not all(type(one) is int and 0 <= one < vocab_size for one in ids):
            raise CheckpointError(
                f"{file}: eos_token_id: expected ids of a vocabulary of {vocab_size}, got {got!r}"
            )
        return tuple(ids)
    raise CheckpointError(f"{GENERATION_CONFIG}, {CONFIG}: eos_token_id is missing")


def _repetition_penalty(generation: Mapping[str, Any]) -> float:
    got = generation.get("repetition_penalty")
    if got is None:
        return 1.0
    if type(got) not in (int, float) or not 0 < got <= sys.float_info.max:
        raise CheckpointError(
            f"{GENERATION_CONFIG}: repetition_penalty: expected a number above 0, got {got!r}"
        )
    return float(got)


def _rope_theta(section: Mapping[str, Any], *, rope_type: str, default: float | None) -> float:
    """The base frequency; transformers 5 writes rope_parameters, 4 wrote rope_theta flat."""
    parameters = section.get("rope_parameters") or section.get("rope_scaling") or {}
    if not isinstance(parameters, Mapping):
        raise CheckpointError(f"config.json: rope: expected an object, got {_shown(parameters)}")
    got = parameters.get("rope_type", parameters.get("type", rope_type))
    if got != rope_type:
        raise CheckpointError(f"config.json: rope_type: expected {rope_type}, got {_shown(got)}")
    theta = parameters.get("rope_theta", section.get("rope_theta", default))
    if theta is None:
        raise CheckpointError("config.json: rope_theta is missing")
    return _number(theta, "rope_theta", above=1.0, below=1e12)


def _required(section: Mapping[str, Any], key: str) -> Any:
    if section.get(key) is None:
        raise CheckpointError(f"config.json: {key} is missing")
    return section[key]


_MOST = {"num_hidden_layers": 256, "num_attention_heads": 1024, "num_key_value_heads": 1024}
_MOST_ELSE = 2**24  # of widths, rows and positions: far above any model there is


def _count(section: Mapping[str, Any], key: str, *, default: int | None = None) -> int:
    """Return a size: a whole number that a network can be built of."""
    got = section.get(key)
    if got is None and default is not None:
        got = default
    elif got is None:
        _required(section, key)
    most = _MOST.get(key, _MOST_ELSE)
    if type(got) is not int or not 1 <= got <= most:
        raise CheckpointError(
            f"config.json: {key}: expected a whole number from 1 to {most}, got {_shown(got)}"
        )
    return got


def _id(section: Mapping[str, Any], key: str) -> int:
    """Return a token's id."""
    got = _required(section, key)
    if type(got) is not int or not 0 <= got < _MOST_ELSE:
        raise CheckpointError(f"config.json: {key}: expected a token's id, got {_shown(got)}")
    return got


def _epsilon(section: Mapping[str, Any], key: str, *, default: float | None) -> float:
    got = default if default is not None and section.get(key) is None else _required(section, key)
    return _number(got, key, above=0.0, below=1.0)


def _number(got: object, key: str, *, above: float, below: float) -> float:
    if isinstance(got, bool) or not isinstance(got, int | float) or not above <= got < below:
        raise CheckpointError(
            f"config.json: {key}: expected a number from {above:g} to {below:g}, got {_shown(got)}"
        )
    return float(got)


def _shown(value: object) -> str:
    """Write a value as an error may hold it: short, in one line."""
    text = str(value)
    return text[:80] if text.isprintable() else repr(text)[:80]


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = _required(config, key)
    if not isinstance(section, Mapping):
        raise CheckpointError(f"config.json: {key}: expected an object, got {_shown(section)}")
    return section


_SAME: Any = object()


def _only(section: Mapping[str, Any], key: str, expected: Any, *, default: Any = _SAME) -> None:
    """Refuse any value but the one this network implements; absent means `default`."""
    got = section.get(key, expected if default is _SAME else default)
    if got != expected:
        raise CheckpointError(f"config.json: {key}: expected {expected}, got {_shown(got)}")


def _preset(text: TextConfig, *, repetition_penalty: float) -> ModelConfig:
    return ModelConfig(
        vision=VisionConfig(hidden_size=1152, intermediate_size=4304, num_layers=27, num_heads=16),
        text=text,
        image_token_id=151_665,
        video_token_id=151_665,
        eos_token_ids=(151_645, 151_643),
        repetition_penalty=repetition_penalty,
        is_prompt_penalized=False,
    )


PRESETS: dict[str, ModelConfig] = {
    "2b": _preset(
        TextConfig(
            hidden_size=1536,
            intermediate_size=8960,
            num_layers=28,
            num_heads=12,
            num_kv_heads=2,
            head_dim=128,
            vocab_size=151_936,
            has_tied_head=True,
        ),
        repetition_penalty=1.1,
    ),
    "7b": _preset(
        TextConfig(
            hidden_size=3584,
            intermediate_size=18_944,
            num_layers=28,
            num_heads=28,
            num_kv_heads=4,
            head_dim=128,
            vocab_size=152_064,
        ),
        repetition_penalty=1.05,
    ),
}
