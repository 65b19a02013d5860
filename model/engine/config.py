"""What an engine may be told, with its defaults. Importing this loads no torch."""

from dataclasses import dataclass
from typing import Literal

from model.errors import InputError

VisionMode = Literal["delta", "full", "isolated"]
"""What of a frame goes through the encoder: see `model.engine.stream_encoder`."""

MAX_TOKENS_PER_FRAME = 144
"""Tokens of a full frame at most, unless the caller says otherwise: 448x252 px."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The engine's limits and ways.

    Attributes:
        window_s: a question sees between half of this and all of it.
        sample_period_s: between two sampled frames of a stream.
        max_context_tokens: text and visual tokens a window may hold; a busy one is cut short.
        max_caption_tokens: a caption ends here at the latest.
        max_answer_tokens: a free text ends here at the latest.
        spoken_together: texts and captions that are decoded side by side at most; others wait.
        vision: what of a frame goes through the encoder.
        audit_share: share of the frames encoded in part that are encoded whole too.
        max_drift: cosine distance beyond which such a frame replaces its stream's cache.
        memory_budget_bytes: what weights, caches and contexts may take together; None for no
            bound.
        says_when: with every frame the model says whether something is worth saying; one that did
            not learn it is refused.
        fp8_products: weights are kept in FP8, and products with them made in it; the network stays
            so. On a CPU numbers are rounded alike, and nothing is saved.
        fp8_keys: contexts keep keys and values in FP8.
    """

    window_s: float = 180.0
    max_context_tokens: int = 16_384
    max_caption_tokens: int = 64
    max_answer_tokens: int = 32
    spoken_together: int = 64
    vision: VisionMode = "delta"
    audit_share: float = 0.01
    max_drift: float = 0.05
    memory_budget_bytes: int | None = None
    sample_period_s: float = 1.0
    says_when: bool = False
    fp8_products: bool = False
    fp8_keys: bool = False

    def __post_init__(self) -> None:
        """Refuse a limit that nothing fits in.

        Raises:
            InputError: a limit is not positive.
        """
        limits = (
            self.window_s,
            self.sample_period_s,
            self.max_context_tokens,
            self.max_caption_tokens,
            self.max_answer_tokens,
            self.spoken_together,
        )
        if min(limits) <= 0:
            raise InputError(
                "engine: expected positive window_s, sample_period_s, max_context_tokens, "
                "max_caption_tokens, max_answer_tokens and spoken_together, got "
                f"{', '.join(map(str, limits))}"
            )


DEFAULTS = EngineConfig()
