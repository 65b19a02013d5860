"""VideoLLaMA3 as one `Family` value, which the engine is given."""

from dataclasses import replace

import torch

from model.family import Family, Prompt
from model.layers.backends import prove
from model.videollama3.checkpoint import load_model, locate
from model.videollama3.network import VideoLlama3
from model.videollama3.prompt import VIDEOLLAMA3, is_demo, prompt_of
from model.videollama3.tokenizer import Tokenizer


def family_of(
    network: VideoLlama3, tokenizer: Tokenizer, *, prompt: Prompt = VIDEOLLAMA3
) -> Family:
    """Put a network and its tokenizer together with the prompt it was trained on."""
    return Family(network, tokenizer, prompt)


def load(path: str, *, device: torch.device, dtype: torch.dtype) -> Family:
    """Load a checkpoint of any layout and prove its attention backend on the device.

    Args:
        path: what `checkpoint.locate` takes.
        device: where the weights go.
        dtype: what the weights are kept in.

    Raises:
        CheckpointError: the folder is not a whole VideoLLaMA3 checkpoint.
        BackendError: attention on this device is not what the formula says.
    """
    folder = locate(path)
    tokenizer = Tokenizer.load(folder)
    network = load_model(folder, device=device, dtype=dtype)
    prove(network.language.backend, device=device, dtype=dtype)
    family = family_of(network, tokenizer, prompt=prompt_of(folder))
    return replace(family, is_demo=is_demo(folder))
