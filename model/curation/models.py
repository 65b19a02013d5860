"""The networks that curation asks, each behind what is asked of it, from `transformers`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from safetensors.torch import load_file

from model.curation.parts import Floats
from model.errors import CheckpointError


class Matcher(Protocol):
    """Pictures and texts in one space: CLIP.

    Attributes:
        width: D, of its features.
    """

    width: int

    def of_pictures(self, pictures: Sequence[Image.Image]) -> Floats:
        """Give (N, D) features of length 1; a row that is not finite where the network failed."""
        ...

    def of_texts(self, texts: Sequence[str]) -> Floats:
        """Give (N, D) features of length 1, texts cut where the network's input ends."""
        ...


class Scorer(Protocol):
    """How much people would like a picture, from its features."""

    def scores(self, features: Floats) -> Floats:
        """Give (N,) scores of (N, D) features; LAION's are 1 to 10."""
        ...


class Writer(Protocol):
    """A captioner: BLIP-2, or a vision-language model."""

    def write(self, pictures: Sequence[Image.Image], *, prompt: str) -> list[str]:
        """Say something of each picture, greedily, so that the same picture gets the same words."""
        ...


class Clip:
    """A CLIP checkpoint of `transformers`, from a folder or a name on the hub."""

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        """Load it.

        Args:
            name: such as `openai/clip-vit-large-patch14`, which LAION's aesthetic scores stand on.
            device: `cpu` (float32) or `cuda` (float16).
        """
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        self._device = device
        self._dtype = torch.float16 if device.startswith("cuda") else torch.float32
        loaded: Any = CLIPModel.from_pretrained(name, use_safetensors=True, dtype=self._dtype)
        self._model = loaded.to(device).eval()
        self.width = int(loaded.config.projection_dim)
        images: Any = AutoImageProcessor
        words: Any = AutoTokenizer
        self._pixels = images.from_pretrained(name)
        self._words = words.from_pretrained(name)

    @torch.inference_mode()
    def of_pictures(self, pictures: Sequence[Image.Image]) -> Floats:
        pixels = self._pixels(images=list(pictures), return_tensors="pt")["pixel_values"]
        found = self._model.get_image_features(pixels.to(self._device, self._dtype))
        return _unit(found.pooler_output)

    @torch.inference_mode()
    def of_texts(self, texts: Sequence[str]) -> Floats:
        longest = self._model.config.text_config.max_position_embeddings
        given = self._words(
            list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt"
        ).to(self._device)
        found = self._model.get_text_features(given["input_ids"], given["attention_mask"])
        return _unit(found.pooler_output)


class LinearScorer:
    """Linear layers, one after the other: LAION's predictor has nothing in between them."""

    def __init__(self, path: Path) -> None:
        """Read them.

        Args:
            path: safetensors file with `layers.N.weight` and `layers.N.bias`; the README says how
                LAION's `sac+logos+ava1-l14-linearMSE.pth` becomes one.

        Raises:
            CheckpointError: it is missing or holds something else.
        """
        try:
            tensors = load_file(path)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path}: expected a safetensors file, got: {error}") from error
        numbers = sorted({int(n) for key in tensors for n in re.findall(r"^layers\.(\d+)\.", key)})
        expected = {f"layers.{n}.{part}" for n in numbers for part in ("weight", "bias")}
        if not numbers or expected != tensors.keys():
            got = ", ".join(sorted(tensors)) or "nothing"
            raise CheckpointError(f"{path}: expected layers.N.weight and layers.N.bias, got {got}")
        self._layers = [
            (tensors[f"layers.{n}.weight"].float(), tensors[f"layers.{n}.bias"].float())
            for n in numbers
        ]

    @torch.inference_mode()
    def scores(self, features: Floats) -> Floats:
        values = torch.from_numpy(features)
        for weight, bias in self._layers:
            values = torch.nn.functional.linear(values, weight, bias)
        return values.squeeze(-1).numpy()


class Captioner:
    """Any image-to-text checkpoint of `transformers`: BLIP-2, InternVL, Qwen-VL.

    A checkpoint with a chat template is asked in it; one without is given the prompt as it stands.
    """

    def __init__(
        self, name: str, *, device: str = "cpu", max_new_tokens: int = 256, batch_size: int = 32
    ) -> None:
        """Load it.

        Args:
            name: a folder or a name on the hub.
            device: `cpu` (float32) or `cuda` (bfloat16).
            max_new_tokens: a text is cut there.
            batch_size: pictures that the network has at a time, in the order they are given in.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self._device = device
        self._dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        self._max_new_tokens = max_new_tokens
        self._batch_size = batch_size
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            name, use_safetensors=True, dtype=self._dtype
        )
        self._model = loaded.to(device).eval()
        processors: Any = AutoProcessor
        self._processor = processors.from_pretrained(name)
        self._processor.tokenizer.padding_side = "left"  # generation goes on at the right

    @torch.inference_mode()
    def write(self, pictures: Sequence[Image.Image], *, prompt: str) -> list[str]:
        if getattr(self._processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": prompt}]
            asked = self._processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
        else:
            asked = prompt
        batches = range(0, len(pictures), self._batch_size)
        some = (pictures[begin : begin + self._batch_size] for begin in batches)
        return [text for batch in some for text in self._said(batch, asked)]

    def _said(self, pictures: Sequence[Image.Image], asked: str) -> list[str]:
        given = self._processor(
            images=list(pictures), text=[asked] * len(pictures), padding=True, return_tensors="pt"
        ).to(self._device, self._dtype)
        ids = self._model.generate(
            **given, do_sample=False, num_beams=1, max_new_tokens=self._max_new_tokens
        )
        new = ids[:, given["input_ids"].shape[1] :]
        texts = self._processor.batch_decode(new, skip_special_tokens=True)
        return [text.strip() for text in texts]


def _unit(features: torch.Tensor) -> Floats:
    long = features.float()
    found: Floats = (long / long.norm(dim=-1, keepdim=True)).cpu().numpy()
    return found
