"""Qwen2.5's real vocabulary, made of the ranks that PyPI's `dashscope` carries."""

import base64
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import torch
from transformers import Qwen2Tokenizer
from transformers.convert_slow_tokenizer import TikTokenConverter

from model.videollama3.config import ModelConfig, TextConfig, VisionConfig
from model.videollama3.network import VideoLlama3
from model.videollama3.tokenizer import Tokenizer

NUM_RANKS = 151_643
VOCAB_SIZE = 151_936
"""Rows of the 2B checkpoint's embedding: more than there are tokens."""

CONTROL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>"),
    *("<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
"""In the order of their ids, the first of which follows the last rank."""


class _Ranks(TikTokenConverter):
    """Reads ranks without the `tiktoken` package."""

    @staticmethod
    def load_tiktoken_bpe(tiktoken_url: str) -> dict[bytes, int]:
        lines = (line.split() for line in Path(tiktoken_url).read_bytes().splitlines())
        return {base64.b64decode(token): int(rank) for token, rank in lines}


@cache
def qwen_tokenizer() -> Tokenizer:
    file = distribution("dashscope").locate_file("dashscope/resources/qwen.tiktoken")
    converter = _Ranks(vocab_file=str(file))  # type: ignore[no-untyped-call]  # transformers has no types here
    vocab, merges = converter.extract_vocab_merges_from_model(str(file))
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges)
    tokenizer.add_tokens(list(CONTROL_TOKENS), special_tokens=True)
    return Tokenizer(tokenizer)


def random_network(*, spread: float) -> VideoLlama3:
    """A small VideoLLaMA3 with as many words as the 2B checkpoint.

    Args:
        spread: of the embedding, which is the head too: so wide are the logits.
    """
    torch.manual_seed(0)
    network = VideoLlama3(
        ModelConfig(
            vision=VisionConfig(hidden_size=64, intermediate_size=64, num_layers=1, num_heads=2),
            text=TextConfig(
                hidden_size=64,
                intermediate_size=128,
                num_layers=2,
                num_heads=4,
                num_kv_heads=2,
                head_dim=16,
                vocab_size=VOCAB_SIZE,
                has_tied_head=True,
            ),
            image_token_id=151_655,
            video_token_id=151_656,
            eos_token_ids=(151_645,),
        )
    )
    torch.nn.init.normal_(network.language.embed_tokens.weight, std=spread)
    return network.eval().requires_grad_(requires_grad=False)
