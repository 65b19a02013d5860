"""A trained model out: a folder in transformers' own format, read by it and by the worker."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import tokenizers
import torch
from safetensors.torch import save_file
from transformers import VideoLlama3Config

from model.errors import CheckpointError
from model.family import Prompt
from model.types import TOKEN_PX
from model.videollama3.checkpoint import LAYOUTS
from model.videollama3.config import MERGE_SIZE, NATIVE_MODEL_TYPE, PATCH_PX, ModelConfig
from model.videollama3.files import WEIGHTS
from model.videollama3.network import VideoLlama3
from model.videollama3.prompt import VERSION_FILE, VIDEOLLAMA3
from model.videollama3.tokenizer import Tokenizer

IMAGE_PAD = "<|image_pad|>"
VIDEO_PAD = "<|video_pad|>"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
)

# One turn of the paper's text: a clip's or picture's place-holder before the question, no system
# turn unless one is given.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for content in message['content'] -%}
{%- if content['type'] == 'video' -%}
{{- '<|video_pad|>\\n' -}}
{%- elif content['type'] == 'image' -%}
{{- '<|image_pad|>\\n' -}}
{%- elif content['type'] == 'text' -%}
{{- content['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def write_folder(
    model: VideoLlama3,
    out: Path,
    *,
    tokenizer_source: Path,
    card: str,
    dtype: torch.dtype = torch.bfloat16,
    image_merge_size: int = 1,
    prompt: Prompt = VIDEOLLAMA3,
    notes: Mapping[str, bool] = MappingProxyType({}),
) -> None:
    """Write a model, its tokenizer and all that `transformers` needs to load both unchanged.

    The same model gives the same bytes. The place-holders' ids are the tokenizer's own
    `<|image_pad|>` and `<|video_pad|>`, whatever the model's configuration says: a model of the
    remote-code family comes out in the native one.

    Args:
        model: the networks, on any device and in any precision.
        out: made when missing; files of the same names are written over.
        tokenizer_source: a folder with the tokenizer's files; `out` itself when they are there.
        card: README.md.
        dtype: what the weights are rounded to.
        image_merge_size: patches per token side of single images: 1, or 2 after stage 4.
        prompt: what the model was trained on; its version is written to vigil.json.
        notes: what else vigil.json says of the model, where it is true: `demo`, it knows only a
            rendered world; `speaks`, it learnt when to speak.

    Raises:
        CheckpointError: the tokenizer is missing or lacks a control token.
    """
    out.mkdir(parents=True, exist_ok=True)
    if tokenizer_source.resolve() != out.resolve():
        for name in TOKENIZER_FILES:
            if (tokenizer_source / name).is_file():
                shutil.copyfile(tokenizer_source / name, out / name)
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    tokenizer = Tokenizer.load(out)
    _write_configs(out, model.config, tokenizer=tokenizer, dtype=dtype)
    _write_processors(out, image_merge_size=image_merge_size)
    said = {"prompt": prompt.version} | {name: True for name, is_so in notes.items() if is_so}
    (out / VERSION_FILE).write_text(json.dumps(said) + "\n", encoding="utf-8")
    tensors = {
        native_key(name): weight.detach().to("cpu", dtype).contiguous()
        for name, weight in model.named_parameters()
    }
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    (out / WEIGHTS).chmod(0o644)  # it is written for its owner alone
    (out / "README.md").write_text(card, encoding="utf-8")


def write_tokenizer(
    folder: Path, tokenizer: tokenizers.Tokenizer, *, max_tokens: int = 32_768
) -> None:
    """Write a tokenizer's two files; every token added to its vocabulary is a control token.

    Args:
        folder: made when missing.
        tokenizer: byte-level BPE with Qwen2.5's control tokens.
        max_tokens: the longest text that `transformers` does not warn of.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str() + "\n", encoding="utf-8")
    added = sorted(tokenizer.get_added_tokens_decoder().items())
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "add_prefix_space": False,
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "clean_up_tokenization_spaces": False,
            "model_max_length": max_tokens,
            "added_tokens_decoder": {
                str(token_id): {"content": token.content, "special": token.special}
                for token_id, token in added
            },
        },
    )


def native_key(name: str) -> str:
    """Give the name that `transformers` stores a parameter of `VideoLlama3` under."""
    ours, theirs = next(pair for pair in LAYOUTS["transformers"] if name.startswith(pair[0]))
    return theirs + name.removeprefix(ours)


def _write_configs(
    out: Path, config: ModelConfig, *, tokenizer: Tokenizer, dtype: torch.dtype
) -> None:
    """Write config.json and generation_config.json: greedy, ended by the model's end tokens."""
    text, vision = config.text, config.vision
    pad_id = _id_of(tokenizer, "<|endoftext|>")
    native = VideoLlama3Config(
        architectures=["VideoLlama3ForConditionalGeneration"],
        dtype=str(dtype).removeprefix("torch."),
        image_token_id=_id_of(tokenizer, IMAGE_PAD),
        video_token_id=_id_of(tokenizer, VIDEO_PAD),
        tie_word_embeddings=text.has_tied_head,
        vision_config={
            "model_type": f"{NATIVE_MODEL_TYPE}_vision",
            "hidden_size": vision.hidden_size,
            "intermediate_size": vision.intermediate_size,
            "num_hidden_layers": vision.num_layers,
            "num_attention_heads": vision.num_heads,
            "patch_size": PATCH_PX,
            "layer_norm_eps": vision.layer_norm_eps,
            "rope_parameters": {"rope_type": "axial", "rope_theta": vision.rope_theta},
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": text.vocab_size,
            "hidden_size": text.hidden_size,
            "intermediate_size": text.intermediate_size,
            "num_hidden_layers": text.num_layers,
            "num_attention_heads": text.num_heads,
            "num_key_value_heads": text.num_kv_heads,
            "head_dim": text.head_dim,
            "max_position_embeddings": text.max_positions,
            "rms_norm_eps": text.rms_norm_eps,
            "rope_parameters": {"rope_type": "default", "rope_theta": text.rope_theta},
            "tie_word_embeddings": text.has_tied_head,
            "bos_token_id": pad_id,
            "eos_token_id": tokenizer.im_end_id,
        },
    )
    native.save_pretrained(out)
    _write_json(
        out / "generation_config.json",
        {
            "do_sample": False,
            "eos_token_id": list(config.eos_token_ids),
            "pad_token_id": pad_id,
        },
    )


def _write_processors(out: Path, *, image_merge_size: int) -> None:
    """Write how pictures are prepared: the released checkpoints' values."""
    pixels = {
        "do_convert_rgb": True,
        "do_resize": True,
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "patch_size": PATCH_PX,
        "temporal_patch_size": 1,
    }
    image_token_px, video_token_px = image_merge_size * PATCH_PX, TOKEN_PX
    _write_json(
        out / "preprocessor_config.json",
        {
            "image_processor_type": "VideoLlama3ImageProcessor",
            "processor_class": "VideoLlama3Processor",
            "merge_size": image_merge_size,
            "size": _limits_px(image_token_px),
            **pixels,
        },
    )
    _write_json(
        out / "video_preprocessor_config.json",
        {
            "video_processor_type": "VideoLlama3VideoProcessor",
            "processor_class": "VideoLlama3Processor",
            "merge_size": MERGE_SIZE,
            "size": _limits_px(video_token_px),
            "use_token_compression": True,
            **pixels,
        },
    )
    _write_json(out / "processor_config.json", {"processor_class": "VideoLlama3Processor"})


def _limits_px(token_px: int) -> dict[str, int]:
    """Give the least and the most pixels of a picture: 16 and 16384 tokens."""
    return {"shortest_edge": 16 * token_px**2, "longest_edge": 16_384 * token_px**2}


def _id_of(tokenizer: Tokenizer, text: str) -> int:
    ids = tokenizer.encode(text)
    if len(ids) != 1:
        raise CheckpointError(f"tokenizer: expected the control token {text}; it has none")
    return ids[0]


def _write_json(path: Path, value: object) -> None:
    """Write one JSON document with a stable layout."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
