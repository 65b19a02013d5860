"""Gradient checkpointing: a layer's products are made again for its gradients, not kept till then.

It costs a third more time, and memory grows with the rows of one layer and not of all.
"""

from functools import partial
from itertools import chain

from torch.utils.checkpoint import checkpoint

from model.videollama3.network import VideoLlama3


def recompute_layers(model: VideoLlama3) -> None:
    """Let every layer of the encoder and the decoder keep its input alone."""
    for layer in chain(model.vision.layers, model.language.layers):
        layer.forward = partial(
            checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
        )
