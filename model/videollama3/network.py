"""VideoLLaMA3's networks: encoder, merge, projector and decoder."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from model.errors import InputError
from model.family import Patches
from model.layers.attention import SDPA, Backend
from model.layers.fp8 import check_device, keep_in_fp8
from model.layers.small_kernels import choose_small_kernels
from model.videollama3.config import MERGE_SIZE, PATCH_PX, ModelConfig
from model.videollama3.grid import pin_grid
from model.videollama3.language import Decoder
from model.videollama3.patches import patchify
from model.videollama3.projector import Projector
from model.videollama3.vision import VisionEncoder, merge

PATCHES = Patches(PATCH_PX, MERGE_SIZE, patchify=patchify, merge=merge, pin_grid=pin_grid)


class VideoLlama3(nn.Module):
    """The networks; weights come from `checkpoint.load_model`."""

    patches = PATCHES

    def __init__(self, config: ModelConfig, *, backend: Backend = SDPA) -> None:
        super().__init__()
        self.config = config
        self.vision = VisionEncoder(config.vision, backend=backend)
        self.projector = Projector(config)
        self.language = Decoder(config.text, backend=backend)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.language.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are kept in."""
        return self.language.embed_tokens.weight.dtype

    def fuse(self, *, in_fp8: bool = False) -> Self:
        """Make passes without gradients of fewer and larger kernels, and return the model.

        Weights keep names and values, and take no more memory; training goes on as before.

        Args:
            in_fp8: keep the weights of every layer's products in FP8, for good, and train no more;
                embedding, head and projector stay as they are.

        Raises:
            InputError: the device has no such products, or none that give float32.
        """
        if in_fp8:
            check_device("fp8_products", self.device)
            if self.device.type == "cuda" and self.dtype == torch.float32:
                raise InputError("fp8_products: expected a model in bfloat16, got float32")
            keep_in_fp8(self.vision.layers)
            keep_in_fp8(self.language.layers)
        kernels = choose_small_kernels(self.device, self.dtype)
        self.vision.fuse(kernels)
        self.language.fuse(kernels)
        return self

    def encode(
        self, rows: Tensor, patch_grids: Sequence[tuple[int, int]], *, merge_size: int = MERGE_SIZE
    ) -> Tensor:
        """Turn whole frames into token rows.

        Args:
            rows: (N, 588), the frames' rows end to end, in the order of `patches.patchify`.
            patch_grids: each frame's (height, width) in patches; their areas sum to N.
            merge_size: patches per token side: 2 for video, 1 for the reference's images.

        Returns:
            (N / merge_size², text width): each frame's tokens in raster order, frames end to end.

        Raises:
            InputError: rows and grids do not fit.
        """
        features = self.vision(rows, patch_grids, merge_size=merge_size)
        out: Tensor = self.projector(merge(features, merge_size))
        return out
