"""The engine: frames of many streams in, answers about their windows out.

Every frame is encoded whole, once, in one pass over the streams that are due; the tokens that the
pruner kept go on to the stream's contexts, as in the reference. Not safe for use by two threads.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from model.answers import Respondent
from model.attention import prove
from model.checkpoint import load_model, locate
from model.context import Context, RollingContext
from model.errors import InputError
from model.network import VideoLlama3
from model.patches import patchify
from model.tokenizer import Tokenizer
from model.types import MERGE_SIZE, Answer, PatchGrid, PrunedFrame, Question, Window

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(slots=True)
class Stream:
    """What is held of one camera.

    Attributes:
        context: what the model has seen of it.
        grid: the token grid of its frames; None before the first.
    """

    context: RollingContext
    grid: PatchGrid | None = None

    def reset(self) -> None:
        """Forget everything seen."""
        self.context.reset()
        self.grid = None


class Engine:
    """VideoLLaMA3 over the rolling windows of many streams."""

    def __init__(
        self,
        model: VideoLlama3,
        tokenizer: Tokenizer,
        *,
        model_name: str,
        window_s: float,
        max_context_tokens: int,
        max_caption_tokens: int,
        max_answer_tokens: int,
    ) -> None:
        """Put the parts together.

        Args:
            model: the networks, with their weights.
            tokenizer: of the same checkpoint.
            model_name: what to call it in messages.
            window_s: a question sees between half of this and all of it.
            max_context_tokens: text and visual tokens a window may hold; a busy one is cut short.
            max_caption_tokens: a caption ends here at the latest.
            max_answer_tokens: and a free text here.

        Raises:
            InputError: a limit is not positive, or the model has too few positions for them.
            CheckpointError: the tokenizer is not fit for reading answers.
        """
        limits = (window_s, max_context_tokens, max_caption_tokens, max_answer_tokens)
        if min(limits) <= 0:
            raise InputError(
                "engine: expected positive window_s, max_context_tokens, max_caption_tokens and "
                f"max_answer_tokens, got {', '.join(map(str, limits))}"
            )
        max_positions = model.config.text.max_positions
        needed = max_context_tokens + max(max_caption_tokens, max_answer_tokens)
        if needed >= max_positions:
            raise InputError(
                "max_context_tokens: expected room for a question and its answer within the "
                f"model's {max_positions} positions, got {max_context_tokens}"
            )
        self.model_name = model_name
        self._model = model
        self._tokenizer = tokenizer
        self._window_s = window_s
        self._max_context_tokens = max_context_tokens
        self._respondent = Respondent(
            model,
            tokenizer,
            max_caption_tokens=max_caption_tokens,
            max_answer_tokens=max_answer_tokens,
        )
        self._streams: dict[str, Stream] = {}

    @classmethod
    def load(
        cls,
        path: str,
        *,
        device: str,
        dtype: str,
        window_s: float,
        max_context_tokens: int,
        max_caption_tokens: int,
        max_answer_tokens: int,
    ) -> Self:
        """Load a checkpoint of either family and prove its attention backend.

        `path` is a local folder or a repository on the Hugging Face hub; `device` `cpu`, `cuda` or
        `cuda:1`; `dtype` `bfloat16`, `float16` or `float32`; the limits are the constructor's.

        Raises:
            CheckpointError: the folder is not a whole VideoLLaMA3 checkpoint.
            BackendError: attention on this device is not what the formula says.
            InputError: a device, dtype or limit cannot be had.
        """
        target = _device(device)
        if dtype not in DTYPES:
            raise InputError(f"dtype: expected one of {', '.join(DTYPES)}; got {dtype}")
        folder = locate(path)
        tokenizer = Tokenizer.load(folder)
        model = load_model(folder, device=target, dtype=DTYPES[dtype])
        prove(model.language.backend, device=target, dtype=model.dtype)
        return cls(
            model,
            tokenizer,
            model_name=folder.resolve().name if Path(path).is_dir() else path,
            window_s=window_s,
            max_context_tokens=max_context_tokens,
            max_caption_tokens=max_caption_tokens,
            max_answer_tokens=max_answer_tokens,
        )

    @property
    def attention_backend(self) -> str:
        """The kernels in use, and why."""
        backend = self._model.language.backend
        return f"{backend.name} ({backend.reason})"

    @property
    def num_bytes(self) -> int:
        """Device memory held by weights and contexts."""
        weights = sum(weight.nbytes for weight in self._model.parameters())
        return weights + sum(stream.context.num_bytes for stream in self._streams.values())

    @torch.inference_mode()
    def append(self, frames: Sequence[PrunedFrame]) -> None:
        """Show frames, of any number of streams, in the order given.

        A stream's first frame, a refresh, and the first after a jump back in time are seen whole,
        whatever their mask. When this raises, every stream is as it was before.

        Raises:
            InputError: a frame is malformed, or changes its stream's grid without being a refresh.
        """
        self._check(frames)
        for frame in frames:
            self._streams.setdefault(frame.stream_id, Stream(self._new_context()))
        shown = [frame for frame in frames if self._is_shown(frame)]
        if not shown:
            return
        features_of = self._encode(shown)
        with ExitStack() as undo:
            for stream_id in {frame.stream_id for frame in shown}:
                undo.enter_context(self._streams[stream_id].context.all_or_nothing())
            for frame, features in zip(shown, features_of, strict=True):
                # The mask is on the host already: as indices it selects without a wait.
                seen = np.ones_like(frame.keep_mask) if frame.is_refresh else frame.keep_mask
                kept = torch.from_numpy(np.flatnonzero(seen))
                self._streams[frame.stream_id].context.append(
                    features,
                    kept.to(self._model.device),
                    pts_s=frame.pts_s,
                )
        for frame in shown:
            self._streams[frame.stream_id].grid = frame.grid

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        """Answer questions, each about the window of its stream; none changes another's answer.

        Args:
            asks: stream id and question.

        Returns:
            One answer for each, in order.

        Raises:
            InputError: a stream has shown no frame, or a question cannot be put; none is answered.
        """
        contexts = [self._context(stream_id) for stream_id, _ in asks]
        for _, question in asks:
            self._respondent.check(question)
        return [
            self._respondent.answer(question, context)
            for (_, question), context in zip(asks, contexts, strict=True)
        ]

    def window(self, stream_id: str) -> Window | None:
        """Give the stretch of a stream that a question sees; None where it has shown no frame."""
        stream = self._streams.get(stream_id)
        return stream.context.window if stream else None

    def reset(self, stream_id: str) -> None:
        """Forget what a stream has shown; its next frame starts anew."""
        if stream_id in self._streams:
            self._streams[stream_id].reset()

    def remove(self, stream_id: str) -> None:
        """Forget a stream and free what it holds."""
        self._streams.pop(stream_id, None)

    def _encode(self, frames: Sequence[PrunedFrame]) -> Sequence[Tensor]:
        """Encode whole frames in one packed pass; give each one's tokens, (num_tokens, D)."""
        device, dtype = self._model.device, self._model.dtype
        rows = [patchify(torch.tensor(frame.pixels, device=device)) for frame in frames]
        grids = [(frame.grid.rows * MERGE_SIZE, frame.grid.cols * MERGE_SIZE) for frame in frames]
        features = self._model.encode(torch.cat(rows).to(dtype), grids)
        return torch.split(features, [frame.grid.num_tokens for frame in frames])

    def _new_context(self) -> RollingContext:
        return RollingContext(
            self._model,
            self._tokenizer,
            window_s=self._window_s,
            max_context_tokens=self._max_context_tokens,
        )

    def _context(self, stream_id: str) -> Context:
        stream = self._streams.get(stream_id)
        context = stream.context.elder if stream else None
        if context is None:
            raise InputError(f"stream {stream_id}: expected a frame before a question, got none")
        return context

    def _is_shown(self, frame: PrunedFrame) -> bool:
        """Tell whether a frame has anything to show: one that keeps nothing costs nothing."""
        window = self.window(frame.stream_id)
        return (
            window is None
            or frame.is_refresh
            or frame.num_kept > 0
            or frame.pts_s < window.end_pts_s
        )

    def _check(self, frames: Sequence[PrunedFrame]) -> None:
        """Refuse a batch with a frame that cannot be shown."""
        grids = {stream_id: stream.grid for stream_id, stream in self._streams.items()}
        for frame in frames:
            _check_arrays(frame)
            pinned = grids.get(frame.stream_id)
            if pinned and frame.grid != pinned and not frame.is_refresh:
                raise InputError(
                    f"stream {frame.stream_id}: expected a refresh where the grid changes from "
                    f"{pinned.rows}x{pinned.cols} to {frame.grid.rows}x{frame.grid.cols} tokens"
                )
            grids[frame.stream_id] = frame.grid


def _check_arrays(frame: PrunedFrame) -> None:
    """Refuse a frame whose arrays or time do not fit each other."""
    name = f"stream {frame.stream_id}"
    mask, pixels = frame.keep_mask, frame.pixels
    if mask.ndim != 2 or mask.dtype != np.bool_ or not mask.size:
        raise InputError(
            f"{name}: expected a keep mask of bool (rows, cols), got {mask.dtype} {mask.shape}"
        )
    expected = (frame.grid.height_px, frame.grid.width_px, 3)
    if pixels.shape != expected or pixels.dtype != np.uint8:
        raise InputError(
            f"{name}: expected pixels of uint8 {expected}, got {pixels.dtype} {pixels.shape}"
        )
    if not math.isfinite(frame.pts_s):
        raise InputError(f"{name}: expected a finite pts_s, got {frame.pts_s}")


def _device(name: str) -> torch.device:
    """Give the device of that name, where the machine has it."""
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise InputError(f"device: expected cpu or cuda, got {name}") from exc
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"device: expected one this machine has, got {name}, and CUDA is not there"
        )
    return device
