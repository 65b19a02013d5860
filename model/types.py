"""Values that pass between the pipeline and the model. Importing this loads numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOKEN_PX = 28
"""Side of a token in VideoLLaMA3, the bundled family. A grid of another family says its own."""


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """The token grid a camera's frames are resized to, pinned when it connects.

    Attributes:
        rows: tokens from top to bottom.
        cols: tokens from left to right.
        token_px: side of a token; the picture is rows * token_px high and cols * token_px wide.
    """

    rows: int
    cols: int
    token_px: int = TOKEN_PX

    @property
    def num_tokens(self) -> int:
        """Tokens in a full frame."""
        return self.rows * self.cols

    @property
    def height_px(self) -> int:
        """Height of a frame on this grid."""
        return self.rows * self.token_px

    @property
    def width_px(self) -> int:
        """Width of a frame on this grid."""
        return self.cols * self.token_px


@dataclass(frozen=True, slots=True)
class PrunedFrame:
    """A frame and which of its tokens the model is to see.

    Attributes:
        stream_id: the camera.
        pixels: uint8 RGB of the grid's height and width, (H, W, 3), C-contiguous.
        keep_mask: (rows, cols) bool, True where a token is sent.
        pts_s: stream time in seconds.
        is_refresh: every token is sent, as after a cut; the history before it stays, the grid may
            be another.
        stale_mask: (rows, cols) bool, tokens that did not change and that the vision cache alone is
            to see again, since what it holds of them is old; None for none. An engine that encodes
            whole frames has no such cache and passes over it.
    """

    stream_id: str
    pixels: NDArray[np.uint8]
    keep_mask: NDArray[np.bool_]
    pts_s: float
    is_refresh: bool
    stale_mask: NDArray[np.bool_] | None = None

    @property
    def grid(self) -> PatchGrid:
        """The grid this frame lies on."""
        rows, cols = self.keep_mask.shape
        return PatchGrid(rows, cols, token_px=self.pixels.shape[0] // rows)

    @property
    def num_kept(self) -> int:
        """Tokens sent."""
        return int(np.count_nonzero(self.keep_mask))

    @property
    def has_news(self) -> bool:
        """Whether it holds anything for the context, or for the vision cache alone."""
        is_stale = self.stale_mask is not None and bool(self.stale_mask.any())
        return self.is_refresh or self.num_kept > 0 or is_stale


@dataclass(frozen=True, slots=True)
class Question:
    """What the model is asked about a camera's window.

    Attributes:
        kind: how it is answered, a name in `model.kinds.KINDS`.
        text: the words put to the model.
        options: for `choice`, the answers it may give; empty otherwise.
    """

    kind: str
    text: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said.

    Attributes:
        kind: the question's kind.
        value: the caption or free text; the option chosen; the number counted; `yes` or `no` by
            the larger probability.
        p: for `yes_no` the probability of yes, for `choice` and `count` that of `value`;
            None for text and captions.
        num_generated: tokens decoded to get it.
        mass: the probability, in the whole vocabulary, that the first token answers the question
            at all; None for text and captions.
        shares: for `choice` the probability of each option, for `count` of each number from 0.
        is_truncated: text that was cut at its limit.
        span_s: for `when` the start and the end of the stretch answered. A reader gives seconds
            since the context's first frame, an engine stream time; None where the text is no
            stretch, or one that the window does not hold.
    """

    kind: str
    value: str | int
    p: float | None
    num_generated: int
    mass: float | None = None
    shares: tuple[float, ...] = ()
    is_truncated: bool = False
    span_s: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of a stream that the model's context covers.

    Attributes:
        start_pts_s: stream time of its first (full) frame. Another one is another context.
        end_pts_s: stream time of the stream's newest frame, whether or not anything changed in it.
        num_frames: frames in it that brought tokens.
        num_tokens: visual tokens in it.
    """

    start_pts_s: float
    end_pts_s: float
    num_frames: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What an engine holds and what has become of it since it was loaded.

    Attributes:
        num_streams: streams it holds something of.
        weight_bytes: device memory of the weights.
        vision_cache_bytes: device memory of the encoder's keys and values of every stream.
        context_bytes: device memory of the streams' contexts.
        budget_bytes: what all of them may take together; None for no bound.
        drift: how far tokens encoded in part were from tokens of whole frames in the last audits,
            as the mean of 1 - cosine; None before the first audit.
        num_audits: frames encoded both in part and whole.
        num_forced_refreshes: audits that found too much drift.
        num_out_of_memory: times the device had no memory left.
        num_shed: contexts and caches given up for it.
        num_cut_short: contexts that ended early because the budget had no room.
        num_unsaid: captions and texts that were begun and given up for want of memory.
        attention_backend: the kernels in use, and why.
        small_kernels: those between the products, and why.
    """

    num_streams: int
    weight_bytes: int
    vision_cache_bytes: int
    context_bytes: int
    budget_bytes: int | None
    drift: float | None
    num_audits: int
    num_forced_refreshes: int
    num_out_of_memory: int
    num_shed: int
    num_cut_short: int
    num_unsaid: int
    attention_backend: str
    small_kernels: str
