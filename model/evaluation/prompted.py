"""Written-out prompts: pictures, clips and words in any order, of several turns; what follows them.

Service asks about a stream. Public benchmarks ask about whatever they like, pictures at any
resolution among it, so here a prompt is laid out as the checkpoint's template has it, and goes
through the engine's own encoder, contexts and forks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.engine.append import FrameFeatures, append
from model.engine.config import VisionMode
from model.engine.decoding import Decoding
from model.engine.forks import Forks
from model.engine.kv_cache import PagePool
from model.engine.rolling_context import Context, PendingFrame
from model.engine.sentences import Sentence, Sentences
from model.engine.stream_encoder import StreamEncoder
from model.errors import InputError
from model.family import Family
from model.kinds.base import Branch
from model.kinds.text import TextReader
from model.types import PrunedFrame
from model.videollama3.config import PATCH_PX
from model.videollama3.network import VideoLlama3
from model.videollama3.patches import patchify

IMAGE_MERGE = 1
"""Patches along the side of a picture's token: the reference gives pictures all there are."""
FRAMES_A_PASS = 16


@dataclass(frozen=True, slots=True)
class Picture:
    """A single picture.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, sides multiples of 14.
    """

    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Clip:
    """A video, as the pruner left it.

    Attributes:
        frames: in time order, the first one whole; times in seconds since the video began.
    """

    frames: tuple[PrunedFrame, ...]


Part = str | Picture | Clip


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says.

    Attributes:
        role: who says it.
        parts: in order; what follows a picture or a clip begins on a line of its own.
    """

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said.

    Attributes:
        text: to its end, to the limit, or to where it only says the same again.
        num_generated: tokens decoded.
        is_truncated: it was cut at the limit.
    """

    text: str
    num_generated: int
    is_truncated: bool


@dataclass(frozen=True, slots=True)
class _LaidOut:
    """A prompt: pieces that end with visual tokens, and the ids after the last of them."""

    pieces: tuple[tuple[tuple[int, ...], Tensor], ...]
    suffix_ids: tuple[int, ...]


class Prompted:
    """Answers prompts, one at a time; of one the next has its last clip's features alone.

    Benchmarks ask several things about a video, and encoding it is most of the work.
    """

    def __init__(self, family: Family, *, vision: VisionMode = "full") -> None:
        """Put it on a loaded model.

        Args:
            family: a VideoLLaMA3.
            vision: what of a clip's frames goes through the encoder.

        Raises:
            InputError: another family, of whose pictures nothing is known here.
        """
        network = family.network
        if not isinstance(network, VideoLlama3):
            raise InputError(f"model: expected a VideoLLaMA3, got {type(network).__name__}")
        self._family = family
        self._network = network.fuse()
        self._vision: VisionMode = vision
        self._encoded: tuple[Clip, list[tuple[str, Tensor]]] | None = None
        self._pool = PagePool(network.config.text, dtype=network.dtype, device=network.device)

    @torch.inference_mode()
    def reply(self, turns: Sequence[Turn], *, max_new_tokens: int) -> Reply:
        """Give what the assistant says next, decoded greedily under the checkpoint's penalty.

        Raises:
            InputError: words with a control token in them, pixels off the grid, or more than the
                model has positions for.
        """
        laid_out = self._lay_out(turns)
        reader = TextReader(
            "text",
            laid_out.suffix_ids,
            max_new_tokens=max_new_tokens,
            end_ids=self._family.end_ids,
            vocabulary=self._family.tokenizer,
        )
        context = self._read(laid_out)
        try:
            forks = self._fork(context, reader.branches[0])
            [logits] = forks.prefill()
            token = reader.begin([[float(logits[-1].argmax())]])
            sentences = Sentences(Decoding(self._network, self._pool, num_rows=1))
            if token is not None:
                sentences.add([Sentence(reader, forks.beginning(0), token)])
            while sentences.are_any:
                sentences.step()
        finally:
            context.release()
        answer = reader.answer()
        return Reply(str(answer.value), answer.num_generated, answer.is_truncated)

    @torch.inference_mode()
    def likelihood(self, turns: Sequence[Turn], continuation: str) -> tuple[float, bool]:
        """Give the logarithm of the probability that the assistant says just this next.

        Returns:
            The sum over its tokens, and whether each of them is the likeliest where it stands.

        Raises:
            InputError: as `reply`; or no words.
        """
        self._check(continuation)
        said = self._family.tokenizer.encode(continuation)
        if not said:
            raise InputError("continuation: expected words, got none")
        laid_out = self._lay_out(turns)
        context = self._read(laid_out)
        try:
            ids = (*laid_out.suffix_ids, *said)
            [logits] = self._fork(context, Branch(ids, num_scored=len(said) + 1)).prefill()
        finally:
            context.release()
        rows = logits[:-1].log_softmax(-1)
        told = torch.tensor(said, device=rows.device)
        is_likeliest = bool((rows.argmax(-1) == told).all())
        return float(rows.gather(1, told[:, None]).sum()), is_likeliest

    def _lay_out(self, turns: Sequence[Turn]) -> _LaidOut:
        """Write a prompt out up to where the assistant is to speak."""
        pieces: list[tuple[tuple[int, ...], Tensor]] = []
        encode = self._family.tokenizer.encode
        words = ""
        for turn in turns:
            words += f"<|im_start|>{turn.role}\n"
            for part in turn.parts:
                if isinstance(part, str):
                    self._check(part)
                    words += part
                    continue
                if isinstance(part, Picture):
                    shown = [(words, self._features(part))]
                else:
                    if self._encoded is None or self._encoded[0] is not part:
                        self._encoded = part, self._shown(part)
                    (stamp, first), *others = self._encoded[1]
                    shown = [(words + stamp, first), *others]
                pieces += [(tuple(encode(before)), features) for before, features in shown]
                words = "\n"
            words += "<|im_end|>\n"
        ids = encode(words + "<|im_start|>assistant\n")
        if not pieces:  # a fork needs a context: the control token that everything begins with
            width = self._network.config.text.hidden_size
            nothing = torch.empty(
                (0, width), dtype=self._network.dtype, device=self._network.device
            )
            pieces, ids = [((ids[0],), nothing)], ids[1:]
        return _LaidOut(tuple(pieces), tuple(ids))

    def _check(self, words: str) -> None:
        for control in self._family.tokenizer.control_words:
            if control in words:
                raise InputError(f"prompt: expected plain text, got the control token {control}")

    def _features(self, picture: Picture) -> Tensor:
        """Encode a picture: (tokens, width)."""
        rows = patchify(picture.pixels, merge_size=IMAGE_MERGE).to(self._network.device)
        height_px, width_px = picture.pixels.shape[:2]
        grid = (height_px // PATCH_PX, width_px // PATCH_PX)
        return self._network.encode(rows, [grid], merge_size=IMAGE_MERGE)

    def _shown(self, clip: Clip) -> list[tuple[str, Tensor]]:
        """Encode a clip as in service; give each frame that brings tokens with its stamp."""
        prompt, frames = self._family.prompt, clip.frames
        if not frames:
            raise InputError("clip: expected a frame, got none")
        encoder = StreamEncoder(self._network, mode=self._vision, keeps_first=prompt.shows_now)
        seen = [index for index, frame in enumerate(frames) if not index or frame.has_news]
        # Whole frames do not see each other, so many of them go through in one pass.
        is_packed = self._vision == "full"
        size = FRAMES_A_PASS if is_packed else 1
        shown: list[tuple[str, Tensor]] = []
        newest = frames[0].stream_id
        for start in range(0, len(seen), size):
            batch = [
                replace(frames[index], stream_id=f"{index}") if is_packed else frames[index]
                for index in seen[start : start + size]
            ]
            whole = [index == 0 for index in seen[start : start + size]]
            for index, frame, encoded in zip(
                seen[start : start + size], batch, encoder.encode(batch, whole), strict=True
            ):
                features = FrameFeatures.of(frame, encoded)
                tokens = features.whole if index == 0 else features.kept
                if tokens is not None and len(tokens):
                    shown.append((self._stamp(frames, index), tokens))
            newest = batch[-1].stream_id
        first, last = encoder.first_token(newest), len(frames) - 1
        if first is not None and not (frames[last].is_refresh or frames[last].num_kept or not last):
            shown.append((self._stamp(frames, last), first))  # what "now" is: see `engine.now`
        return shown

    def _stamp(self, frames: Sequence[PrunedFrame], index: int) -> str:
        """Give the text before a frame's tokens."""
        prompt, passed_s = self._family.prompt, frames[index].pts_s - frames[0].pts_s
        time_s = round(passed_s) if prompt.has_whole_stamps else passed_s
        return prompt.frame_stamp(time_s, is_first=index == 0)

    def _read(self, laid_out: _LaidOut) -> Context:
        """Let a context read a prompt up to its last visual token, in one pass."""
        context = Context(self._pool, self._family, start_pts_s=0.0)
        visual_id = self._family.tokenizer.visual_id
        for number, (ids, features) in enumerate(laid_out.pieces):
            context.unread.append(
                PendingFrame(ids, number, is_whole=False, num_tokens=len(features))
            )
            context.held_ids |= {*ids, visual_id} if len(features) else {*ids}
        seen = [FrameFeatures(whole=None, kept=features) for _, features in laid_out.pieces]
        try:
            append(self._network, self._pool, [context], seen)
        except BaseException:
            context.release()
            raise
        return context

    def _fork(self, context: Context, branch: Branch) -> Forks:
        held = [context.held_ids]
        return Forks(self._network, self._pool, [(context.sequence, branch)], held=held)
