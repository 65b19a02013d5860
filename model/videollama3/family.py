"""VideoLLaMA3 as one `Family` value, which the engine is given."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from model.errors import CheckpointError
from model.family import Family, Prompt
from model.layers.attention import Segments, attention
from model.layers.backends import prove
from model.progress import Tell, untold
from model.videollama3.checkpoint import (
    load_model,
    model_without_weights,
    plan_model,
    read_config,
)
from model.videollama3.config import ModelConfig
from model.videollama3.files import check_files
from model.videollama3.hub import Place, find
from model.videollama3.network import VideoLlama3
from model.videollama3.preprocessor import check_preprocessor
from model.videollama3.prompt import VIDEOLLAMA3, is_demo, prompt_of, speaks
from model.videollama3.tokenizer import Tokenizer

_TRIED_TOKENS = (2, 3)  # rows and columns of the picture that a loaded model is tried on


def family_of(
    network: VideoLlama3, tokenizer: Tokenizer, *, prompt: Prompt = VIDEOLLAMA3
) -> Family:
    """Put a network and its tokenizer together with the prompt it was trained on."""
    return Family(network, tokenizer, prompt)


def load(
    path: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    revision: str | None = None,
    tell: Tell = untold,
) -> Family:
    """Load a checkpoint of any layout and prove its attention backend on the device.

    What can be judged without the weights is judged before they are fetched: config.json first,
    then the tokenizer and what is said of pictures.

    Args:
        path: what `hub.find` takes.
        device: where the weights go.
        dtype: what the weights are kept in.
        revision: a branch, tag or commit on the hub.
        tell: told how far it is.

    Raises:
        CheckpointError: it is not a whole VideoLLaMA3 checkpoint, its parts do not fit each other,
            or its logits are not finite.
        BackendError: attention on this device is not what the formula says.
    """
    judged = _judged(path, revision=revision)
    place = judged.place
    place.fetch_weights(tell)
    network = load_model(place.folder, device=device, dtype=dtype, name=path, tell=tell)
    prove(network.language.backend, device=device, dtype=dtype)
    check_finite(network, judged.tokenizer, judged.prompt, folder=place.folder)
    return judged.family(network)


def sketch(
    path: str, *, device: torch.device, dtype: torch.dtype, revision: str | None = None
) -> tuple[Family, int]:
    """Judge a checkpoint as `load` does, as far as that goes without reading or fetching weights.

    Returns:
        The family, its weights on the meta device: it can be asked about prompts and sizes. And
        how many bytes of weights are not on this machine yet.

    Raises:
        CheckpointError: as `load`.
    """
    judged = _judged(path, revision=revision)
    missing_bytes = sum(judged.place.to_download().values())
    if missing_bytes:
        network = model_without_weights(judged.config, device=device, dtype=dtype)
    else:
        network = plan_model(judged.place.folder, device=device, dtype=dtype).model
    return judged.family(network.to(dtype)), missing_bytes


@dataclass(frozen=True, slots=True)
class _Judged:
    """A checkpoint's small files, found to fit each other."""

    place: Place
    config: ModelConfig
    tokenizer: Tokenizer
    prompt: Prompt

    def family(self, network: VideoLlama3) -> Family:
        family = family_of(network, self.tokenizer, prompt=self.prompt)
        folder = self.place.folder
        return replace(family, is_demo=is_demo(folder), speaks=speaks(folder))


def _judged(path: str, *, revision: str | None) -> _Judged:
    place = find(path, revision=revision)
    check_files(place.folder)
    read_config(place.folder)
    place.fetch_small()
    check_files(place.folder)
    config = read_config(place.folder)  # with generation_config.json
    tokenizer = Tokenizer.load(place.folder)
    tokenizer.check_fits(config)
    check_preprocessor(place.folder)
    return _Judged(place, config, tokenizer, prompt_of(place.folder))


@torch.inference_mode()
def check_finite(
    network: VideoLlama3, tokenizer: Tokenizer, prompt: Prompt, *, folder: Path
) -> None:
    """Run a small picture and a question through a network: refuse what gives no finite logits.

    Raises:
        CheckpointError: NaN or infinity; it names a tensor that holds some, where one does.
    """
    rows, cols = _TRIED_TOKENS
    token_px = network.patches.token_px
    picture = torch.arange(rows * cols * token_px**2 * 3).remainder(256).to(torch.uint8)
    patches = network.patches.patchify(picture.view(rows * token_px, cols * token_px, 3))
    visual = network.encode(patches.to(network.device, network.dtype), [(2 * rows, 2 * cols)])
    head = tokenizer.encode(prompt.head + prompt.frame_stamp(0.0, is_first=True))
    suffix = tokenizer.encode(prompt.question_suffix("Is it day?"))
    embeds = torch.cat([_embedded(network, head), visual, _embedded(network, suffix)])
    segments = Segments.of([len(embeds)], device=network.device)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ARG001
        backend = network.language.backend
        return attention(q, k, v, segments=segments, backend=backend, is_causal=True)

    positions = torch.arange(len(embeds), device=network.device)
    hidden = network.language(embeds, positions, attend=attend)
    if bool(network.language.logits(hidden[-1:]).isfinite().all()):
        return
    broken = [name for name, weight in network.named_parameters() if not weight.isfinite().all()]
    where = f", and {broken[0]} is not finite" if broken else f" in {network.dtype}"
    raise CheckpointError(f"{folder}: expected finite logits, got NaN or infinity{where}")


def _embedded(network: VideoLlama3, ids: list[int]) -> Tensor:
    return network.language.embed(torch.tensor(ids, device=network.device))
