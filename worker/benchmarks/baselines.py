"""What `vigil bench cameras` compares with: `transformers` answering as its users have it do.

A request encodes the whole clip and prefills the whole prompt, each time from pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration
from transformers.utils import logging as transformers_logging

from model.errors import CheckpointError
from model.family import Prompt
from model.kinds import wording
from model.types import PrunedFrame, Question
from model.videollama3.config import MERGE_SIZE, ModelConfig
from model.videollama3.patches import patchify
from model.videollama3.prompt import VIDEOLLAMA3, prompt_of
from model.videollama3.tokenizer import Tokenizer


class Transformers:
    """transformers' VideoLLaMA3: a request at a time, from pixels."""

    def __init__(self, model: Any, tokenizer: Tokenizer, *, prompt: Prompt = VIDEOLLAMA3) -> None:
        """Take the model, its tokenizer and the prompt that its requests are written in."""
        self._model = model
        self._tokenizer = tokenizer
        self._prompt = prompt

    @classmethod
    def random(
        cls,
        config: ModelConfig,
        tokenizer: Tokenizer,
        *,
        dtype: torch.dtype,
        device: str = "cpu",
    ) -> Self:
        """Make one of these shapes with random weights, and the best attention it has there."""
        vision, text = config.vision, config.text
        theirs = VideoLlama3Config(
            text_config={
                "model_type": "qwen2",
                "hidden_size": text.hidden_size,
                "intermediate_size": text.intermediate_size,
                "num_hidden_layers": text.num_layers,
                "num_attention_heads": text.num_heads,
                "num_key_value_heads": text.num_kv_heads,
                "vocab_size": text.vocab_size,
                "max_position_embeddings": text.max_positions,
                "rope_parameters": {"rope_type": "default", "rope_theta": text.rope_theta},
                "tie_word_embeddings": text.has_tied_head,
                "eos_token_id": tokenizer.im_end_id,
            },
            vision_config={
                "hidden_size": vision.hidden_size,
                "intermediate_size": vision.intermediate_size,
                "num_hidden_layers": vision.num_layers,
                "num_attention_heads": vision.num_heads,
                "patch_size": 14,
            },
            image_token_id=config.image_token_id,
            video_token_id=tokenizer.visual_id,
            tie_word_embeddings=text.has_tied_head,
        )
        torch.manual_seed(0)
        with torch.device(device):
            model: Any = VideoLlama3ForConditionalGeneration(theirs)
        return cls(model.to(dtype).eval().requires_grad_(requires_grad=False), tokenizer)

    @classmethod
    def load(cls, folder: Path, *, dtype: torch.dtype, device: torch.device) -> Self:
        """Load a checkpoint of transformers' own layout, with its words.

        Raises:
            CheckpointError: the folder's words cannot be read, or transformers does not take the
                checkpoint, or would make up a part of it.
        """
        class_: Any = VideoLlama3ForConditionalGeneration
        logs: Any = transformers_logging  # untyped
        had_bar = logs.is_progress_bar_enabled()
        logs.disable_progress_bar()
        try:
            model, about = class_.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise CheckpointError(f"{folder}: transformers does not load it: {error}") from error
        finally:
            if had_bar:
                logs.enable_progress_bar()
        if missing := sorted(about["missing_keys"]):
            raise CheckpointError(f"{folder}: transformers finds no {missing[0]} in it")
        model = model.to(device).eval().requires_grad_(requires_grad=False)
        return cls(model, Tokenizer.load(folder), prompt=prompt_of(folder))

    def save(self, folder: Path) -> None:
        """Write it where `load_model` reads it: both then have the same weights."""
        tensors = {name: weight.contiguous() for name, weight in self._model.state_dict().items()}
        if self._model.config.tie_word_embeddings:
            del tensors["lm_head.weight"]
        self._model.config.to_json_file(folder / "config.json")
        save_file(tensors, folder / "model.safetensors")

    @torch.inference_mode()
    def answer(self, frames: Sequence[PrunedFrame], question: Question) -> Tensor:
        """Answer about a clip whose first frame is whole; give the next token's logits, (V,)."""
        logits: Tensor = self._model(**self._request(frames, question), logits_to_keep=1).logits
        return logits[0, -1]

    @torch.inference_mode()
    def say(self, frames: Sequence[PrunedFrame], question: Question, *, num_tokens: int) -> Tensor:
        """Say so many tokens about such a clip, greedily: (num_tokens,) int64."""
        request = self._request(frames, question)
        ids: Tensor = self._model.generate(
            **request, max_new_tokens=num_tokens, min_new_tokens=num_tokens, do_sample=False
        )
        return ids[0, request["input_ids"].shape[1] :]

    def _request(self, frames: Sequence[PrunedFrame], question: Question) -> dict[str, Tensor]:
        """Write a request out, from its words and pixels."""
        masks = [np.ones_like(frames[0].keep_mask), *(frame.keep_mask for frame in frames[1:])]
        words = wording(question, self._prompt.forms)
        prompt = self._prompt.head
        for index, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
            prompt += self._prompt.frame_stamp(frame.pts_s - frames[0].pts_s, is_first=index == 0)
            prompt += "<|video_pad|>" * int(mask.sum())
        prompt += self._prompt.question_suffix(words)
        ids = torch.tensor([self._tokenizer.encode(prompt)])
        rows = torch.cat([patchify(frame.pixels) for frame in frames])
        grid = frames[0].grid
        request = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "pixel_values_videos": rows.to(self._model.dtype),
            "video_grid_thw": torch.tensor(
                [[len(frames), MERGE_SIZE * grid.rows, MERGE_SIZE * grid.cols]]
            ),
            "video_merge_sizes": torch.tensor([MERGE_SIZE]),
            "video_compression_mask": torch.from_numpy(np.concatenate([m.ravel() for m in masks])),
        }
        return {name: value.to(self._model.device) for name, value in request.items()}
