"""What the engine asks of a model family: one value, which the family's own folder builds.

The engine knows no family. A folder beside `videollama3/` that builds a `Family` of its own
networks, tokenizer and prompt is served like it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from model.kinds.base import Forms, Vocabulary
from model.layers.attention import Attend, Backend, Store
from model.types import PatchGrid


class GridRule(Protocol):
    """Chooses the token grid that a camera's frames are resized to."""

    def __call__(self, height_px: int, width_px: int, *, max_tokens: int) -> PatchGrid: ...


@dataclass(frozen=True, slots=True)
class Patches:
    """The family's way from pixels to the encoder's rows, and from patches to tokens.

    Attributes:
        patch_px: side of a patch.
        merge_size: patches along a token's side.
        patchify: cuts frames (T, H, W, 3) uint8 into the encoder's rows, normalised.
        merge: makes one row of each token's patches, which lie together.
        pin_grid: chooses a camera's grid.
    """

    patch_px: int
    merge_size: int
    patchify: Callable[[Tensor], Tensor]
    merge: Callable[[Tensor], Tensor]
    pin_grid: GridRule

    @property
    def token_px(self) -> int:
        """Side of a token."""
        return self.patch_px * self.merge_size

    @property
    def per_token(self) -> int:
        """Patches of a token."""
        return self.merge_size**2


class VisionShape(Protocol):
    """The encoder's shape, as far as its cache needs it."""

    @property
    def num_layers(self) -> int: ...
    @property
    def num_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...


class TextShape(Protocol):
    """The decoder's shape, as far as contexts need it."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def num_kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def max_positions(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...


class Shape(Protocol):
    """A network's shape, and how its checkpoint says that text is generated."""

    @property
    def vision(self) -> VisionShape: ...
    @property
    def text(self) -> TextShape: ...
    @property
    def eos_token_ids(self) -> tuple[int, ...]: ...
    @property
    def repetition_penalty(self) -> float: ...
    @property
    def is_prompt_penalized(self) -> bool: ...


class Encoder(Protocol):
    """The vision encoder; what a patch attends to is the caller's."""

    @property
    def backend(self) -> Backend: ...

    def run(self, rows: Tensor, positions: Tensor, *, attend: Attend) -> Tensor:
        """Encode patches (N, ...) at their (row, column), (N, 2); one row for each."""
        ...


class Decoder(Protocol):
    """The language model; what a token attends to is the caller's."""

    @property
    def backend(self) -> Backend: ...

    def embed(self, ids: Tensor) -> Tensor:
        """Look up token ids (L,): (L, hidden_size)."""
        ...

    def forward(
        self, embeds: Tensor, positions: Tensor, *, attend: Attend, wanted: Tensor | None = None
    ) -> Tensor:
        """Decode rows at their positions; give the wanted ones, or all, ready for `logits`."""
        ...

    def fill(self, embeds: Tensor, positions: Tensor, *, attend: Attend, store: Store) -> None:
        """Decode rows for the keys and values they leave behind, and for nothing else."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every token of the vocabulary, in float32."""
        ...


class Network(Protocol):
    """The networks, with their weights."""

    @property
    def config(self) -> Shape: ...
    @property
    def patches(self) -> Patches: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def vision(self) -> Encoder: ...
    @property
    def projector(self) -> Callable[[Tensor], Tensor]: ...
    @property
    def language(self) -> Decoder: ...

    def fuse(self, *, in_fp8: bool = False) -> Self:
        """Make passes without gradients of fewer and larger products, and return the network.

        Args:
            in_fp8: keep the weights of the layers' products in FP8, for good.

        Raises:
            InputError: the device has no such products.
        """
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


class Tokenizer(Vocabulary, Protocol):
    """Text to token ids and back.

    Attributes:
        visual_id: the token that stands for one visual token in a written-out prompt.
        end_ids: the tokens at which an answer is over.
        control_words: texts that encode to control tokens and have no place in a question.
    """

    @property
    def visual_id(self) -> int: ...
    @property
    def end_ids(self) -> frozenset[int]: ...
    @property
    def control_words(self) -> tuple[str, ...]: ...


class FrameStamp(Protocol):
    """Gives the text before a frame's tokens."""

    def __call__(self, time_s: float, *, is_first: bool) -> str:
        """Give it at seconds since the context's first frame."""
        ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """The words around frames and questions, as a checkpoint was taught them.

    Each piece begins and ends where the tokenizer splits anyway, so that the tokens of the pieces
    are those of the whole.

    Attributes:
        version: names this prompt in a checkpoint's folder.
        head: what stands before the first frame.
        frame_stamp: (time_s, is_first) -> the text before a frame's tokens.
        question_suffix: a question's words -> everything after the last visual token.
        forms: how each kind of question is asked.
        has_whole_stamps: stamps count whole sampling periods; else they are seconds as they come.
        shows_now: a fork begins with the newest sampled frame's stamp and one of its tokens.
    """

    version: str
    head: str
    frame_stamp: FrameStamp
    question_suffix: Callable[[str], str]
    forms: Forms
    has_whole_stamps: bool
    shows_now: bool


@dataclass(frozen=True, slots=True)
class Family:
    """One loaded model of one family: all that the engine knows of it.

    Attributes:
        network: the networks, with their weights and their patch geometry.
        tokenizer: of the same checkpoint.
        prompt: the words around frames and questions.
        is_demo: it is a demonstration, which knows only a rendered world.
        speaks: it learnt to tell, after each frame, whether something is worth saying.
    """

    network: Network
    tokenizer: Tokenizer
    prompt: Prompt
    is_demo: bool = False
    speaks: bool = False

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end an answer, by the tokenizer and by the checkpoint."""
        return self.tokenizer.end_ids | frozenset(self.network.config.eos_token_ids)

    @property
    def choice_ids(self) -> tuple[int, int]:
        """The tokens behind a frame after which something is said, and after which nothing is."""
        return choice_ids(self.tokenizer, self.prompt)


def choice_ids(tokenizer: Vocabulary, prompt: Prompt) -> tuple[int, int]:
    """Give the first token of a question's words and that of the next frame's stamp.

    What follows a frame in the written-out prompt is one of the two. So a model says with it
    whether it would rather speak or see more, and needs no word for that.
    """
    speak = tokenizer.encode(prompt.question_suffix("a"))[0]
    watch = tokenizer.encode(prompt.frame_stamp(1.0, is_first=False))[0]
    return speak, watch
