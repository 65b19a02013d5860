"""Samples laid end to end in one row: ids, positions, labels, and who sees whom.

A sample is a trunk (the prompt's head, the frames with their stamps) and its exchanges, each of
which continues the trunk from its own moment. Positions begin at 0 in every sample and an
exchange's go on where it leaves the trunk, exactly as a fork's in service.
"""

from collections import Counter
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.engine.config import VisionMode
from model.errors import InputError
from model.family import choice_ids
from model.kinds.choice import LETTERS
from model.training.clip_encoder import CPU_GROUP_FRAMES, LaidClips, lay_out
from model.training.sample import Exchange, Media, Sample
from model.training.truth import Truth
from model.types import PrunedFrame
from model.videollama3.prompt import HEAD, VIDEOLLAMA3, frame_stamp, question_suffix
from model.videollama3.tokenizer import Tokenizer

IGNORED = -100
LETTER_WORTH = 4.0
"""A letter is one token, and found late: it counts so many times, or captions drown it."""
NEXT_TURN = "\n<|im_start|>user\n"


class LengthError(InputError):
    """Samples are longer together than they may be, or there are none."""


class Options(NamedTuple):
    """A question's lettered options.

    Attributes:
        rows: of each option's last token, in the letters' order.
        right: which of them is the answer, from 0.
    """

    rows: tuple[int, ...]
    right: int


class Fork(NamedTuple):
    """An exchange's rows, and how much of the trunk they see.

    Attributes:
        begin: its first row in the sample.
        end: one past its last.
        num_seen: rows of the trunk that come before it.
    """

    begin: int
    end: int
    num_seen: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Who sees whom in a sample: the trunk and each fork are causal, forks see no other fork.

    Attributes:
        length: rows in all.
        num_trunk: rows of the trunk, the first ones.
        forks: the exchanges, in order.
    """

    length: int
    num_trunk: int
    forks: tuple[Fork, ...]

    def sees(self) -> Tensor:
        """Write it out: (length, length) bool, row i may attend to column j."""
        seen = torch.zeros(self.length, self.length, dtype=torch.bool)
        seen[: self.num_trunk, : self.num_trunk] = _lower(self.num_trunk)
        for begin, end, num_seen in self.forks:
            seen[begin:end, :num_seen] = True
            seen[begin:end, begin:end] = _lower(end - begin)
        return seen


@dataclass(frozen=True, slots=True)
class Written:
    """One sample as token ids.

    Attributes:
        ids: (L,) int64, the trunk first.
        positions: (L,) int64.
        labels: (L,) int64, what follows each id where that is an answer's, else IGNORED.
        weights: (L,) float32, what each label counts.
        is_choice: (L,) bool, where the label says whether something is worth saying.
        visual: (num_visual,) int64, where the trunk's visual tokens stand.
        shown_again: (n, 2) int64, where a fork shows a visual token again, and which of `visual`.
        options: of the choices among the exchanges.
        layout: who sees whom.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    is_choice: NDArray[np.bool_]
    visual: NDArray[np.int64]
    shown_again: NDArray[np.int64]
    options: tuple[Options, ...]
    layout: Layout


@dataclass(frozen=True, slots=True)
class Shown:
    """What is known of a sample's frames, but for their pixels.

    Attributes:
        media: `video` or `images`.
        sizes: tokens kept of each frame.
        merge_size: patches per token side.
        truth: of the frames, where there is one.
    """

    media: Media
    sizes: tuple[int, ...]
    merge_size: int
    truth: Truth | None

    @property
    def num_rows(self) -> int:
        """Rows of the decoder that its frames take."""
        return 4 // self.merge_size**2 * sum(self.sizes)


class Pile(NamedTuple):
    """The clips of one merge size, for the encoder.

    Attributes:
        merge_size: patches per token side.
        places: whose they are, among those shown.
        clips: laid out.
    """

    merge_size: int
    places: tuple[int, ...]
    clips: LaidClips


@dataclass(frozen=True, slots=True)
class Packed:
    """Samples in one row: all that the network needs of them.

    Attributes:
        shown: the samples that have frames, in order.
        piles: their frames, for the encoder.
        whole_ends: the last frames of videos of known truth, whole; None where there are none.
        ids: (L,) int64.
        positions: (L,) int64, each sample's own.
        labels: (L,) int64, IGNORED but for answers and choices.
        weights: (L,) float32.
        is_choice: (L,) bool.
        choice_ids: the labels of speaking and of watching on.
        visual: (num_visual,) int64, rows that visual features take.
        shown_again: (n, 2) int64, rows that take one of those features again, and which.
        options: of all lettered choices.
        layouts: for each sample, who sees whom.
    """

    shown: tuple[Shown, ...]
    piles: tuple[Pile, ...]
    whole_ends: LaidClips | None
    ids: Tensor
    positions: Tensor
    labels: Tensor
    weights: Tensor
    is_choice: Tensor
    choice_ids: tuple[int, int]
    visual: Tensor
    shown_again: Tensor
    options: tuple[Options, ...]
    layouts: tuple[Layout, ...]


def write(sample: Sample, tokenizer: Tokenizer) -> Written:
    """Write one sample out, its labels on the answers and on what is chosen after frames.

    An answer's labels are its words and the token that closes its turn. Every answer of length n
    counts sqrt(n) in all, so that captions do not drown the single words.
    """
    trunk, visual, ends = _trunk(sample, tokenizer)
    ids = list(trunk)
    positions = list(range(len(trunk)))
    labels, weights = _choices(sample, tokenizer, ends)
    forks, again, options = [], [], []
    for exchange in sample.exchanges:
        start = ends[exchange.num_seen]
        now = _now(exchange, sample, tokenizer)
        if now:
            again.append((len(ids) + len(now) - 1, _first_token(exchange, sample)))
        asked, is_answer = _words(exchange, tokenizer)
        words, is_answer = now + asked, [False] * len(now) + is_answer
        if exchange.num_options:
            options.append(_options(exchange, len(ids) + len(now), asked, tokenizer))
        forks.append(Fork(len(ids), len(ids) + len(words), start))
        positions += range(start, start + len(words))
        ids += words
        labels += _next(words, is_answer)
        weight = (LETTER_WORTH if exchange.num_options else 1.0) / max(1, sum(is_answer)) ** 0.5
        weights += [weight if label != IGNORED else 0.0 for label in labels[-len(words) :]]
    return Written(
        ids=np.array(ids, dtype=np.int64),
        positions=np.array(positions, dtype=np.int64),
        labels=np.array(labels, dtype=np.int64),
        weights=np.array(weights, dtype=np.float32),
        is_choice=np.arange(len(ids)) < len(trunk),
        visual=np.array(visual, dtype=np.int64),
        shown_again=np.array(again, dtype=np.int64).reshape(-1, 2),
        options=tuple(options),
        layout=Layout(len(ids), len(trunk), tuple(forks)),
    )


def pack(
    samples: Sequence[Sample],
    tokenizer: Tokenizer,
    *,
    max_tokens: int,
    mode: VisionMode = "delta",
    group_frames: int = CPU_GROUP_FRAMES,
) -> Packed:
    """Lay samples end to end.

    Args:
        samples: in the order of their rows.
        tokenizer: of the network.
        max_tokens: that they may take together.
        mode: how the encoder sees their clips, as in `clip_encoder.lay_out`.
        group_frames: as there.

    Raises:
        LengthError: there are none, or together they are longer than `max_tokens`.
    """
    written = [write(sample, tokenizer) for sample in samples]
    starts = [0, *accumulate(len(one.ids) for one in written)]
    if not written or starts[-1] > max_tokens:
        raise LengthError(f"pack: expected 1 to {max_tokens} tokens, got {starts[-1]}")
    visual = [one.visual + start for one, start in zip(written, starts, strict=False)]
    before = [0, *accumulate(len(one.visual) for one in written)]
    again = [one.shown_again + where for one, *where in zip(written, starts, before, strict=False)]
    shown = [sample for sample in samples if sample.frames]
    ends = [one.frames[-1] for one in shown if is_end_compared(one.media, one.truth, one.frames)]
    return Packed(
        shown=tuple(
            Shown(one.media, tuple(f.num_kept for f in one.frames), one.merge_size, one.truth)
            for one in shown
        ),
        piles=tuple(_piles(shown, mode=mode, group_frames=group_frames)),
        whole_ends=(
            lay_out([[end] for end in ends], mode="full", group_frames=group_frames)
            if ends
            else None
        ),
        ids=torch.from_numpy(np.concatenate([one.ids for one in written])),
        positions=torch.from_numpy(np.concatenate([one.positions for one in written])),
        labels=torch.from_numpy(np.concatenate([one.labels for one in written])),
        weights=torch.from_numpy(np.concatenate([one.weights for one in written])),
        is_choice=torch.from_numpy(np.concatenate([one.is_choice for one in written])),
        choice_ids=_choice_ids(tokenizer),
        visual=torch.from_numpy(np.concatenate(visual)),
        shown_again=torch.from_numpy(np.concatenate(again)),
        options=tuple(
            Options(tuple(start + row for row in rows), right)
            for one, start in zip(written, starts, strict=False)
            for rows, right in one.options
        ),
        layouts=tuple(one.layout for one in written),
    )


def is_end_compared(media: Media, truth: Truth | None, frames: Sized) -> bool:
    """Say whether a sample's last frame is encoded whole too, to compare."""
    return media == "video" and truth is not None and len(frames) > 1


def _piles(shown: Sequence[Sample], *, mode: VisionMode, group_frames: int) -> Iterator[Pile]:
    for merge_size in sorted({sample.merge_size for sample in shown}):
        places = tuple(i for i, sample in enumerate(shown) if sample.merge_size == merge_size)
        clips = [clip for i in places for clip in _clips(shown[i])]
        laid = lay_out(clips, mode=mode, merge_size=merge_size, group_frames=group_frames)
        yield Pile(merge_size, places, laid)


def _clips(sample: Sample) -> list[Sequence[PrunedFrame]]:
    """Single images are clips of one frame each."""
    return [sample.frames] if sample.media == "video" else [[frame] for frame in sample.frames]


def _trunk(sample: Sample, tokenizer: Tokenizer) -> tuple[list[int], list[int], list[int]]:
    """Write what all exchanges share: its ids, where visual tokens stand, its length by moment."""
    ids = tokenizer.encode(HEAD)
    visual: list[int] = []
    ends = [len(ids)]
    if sample.media == "text":
        for words in sample.script:
            ids += tokenizer.encode(words)
            ends.append(len(ids))
        return ids, visual, ends
    merged = 4 // sample.merge_size**2  # rows of the decoder for one token of the mask
    for index, frame in enumerate(sample.frames):
        if sample.media == "video":
            time_s = frame.pts_s - sample.frames[0].pts_s
            stamp = frame_stamp(time_s, is_first=index == 0)
            ids += tokenizer.encode(stamp)
        elif index:
            ids += tokenizer.encode("\n")
        visual += range(len(ids), len(ids) + merged * frame.num_kept)
        ids += [tokenizer.visual_id] * (merged * frame.num_kept)
        ends.append(len(ids))
    return ids, visual, ends


def _now(exchange: Exchange, sample: Sample, tokenizer: Tokenizer) -> list[int]:
    """Write what a fork begins with in a still stretch: the newest frame's stamp and one token."""
    if exchange.now_s is None:
        return []
    stamp = frame_stamp(exchange.now_s - sample.frames[0].pts_s, is_first=False)
    return [*tokenizer.encode(stamp), tokenizer.visual_id]


def _first_token(exchange: Exchange, sample: Sample) -> int:
    """Say which of a sample's visual rows is a picture's first token, sent last before a fork."""
    merged, place, latest = 4 // sample.merge_size**2, 0, 0
    for frame in sample.frames[: exchange.num_seen]:
        if frame.keep_mask.flat[0]:
            latest = place
        place += merged * frame.num_kept
    return latest


def _options(exchange: Exchange, start: int, asked: list[int], tokenizer: Tokenizer) -> Options:
    """Find the options' lines in an exchange that starts at this row.

    They lie before the line of the form that the answer takes, which the turn's end and the
    assistant's opening follow, each with a line break.
    """
    [line_break] = tokenizer.encode("\n")
    [(_, answer)] = exchange.turns
    breaks = [row for row, token in enumerate(asked) if token == line_break]
    ends = breaks[-2 - exchange.num_options : -2]
    return Options(tuple(start + end - 1 for end in ends), LETTERS.index(answer))


def _choice_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    return choice_ids(tokenizer, VIDEOLLAMA3)  # every prompt of the family has these words


def _choices(
    sample: Sample, tokenizer: Tokenizer, ends: Sequence[int]
) -> tuple[list[int], list[float]]:
    """Label the last row of each frame with the token that it is to be followed by.

    Both choices count alike in a sample that has both, however seldom there is something to say.
    """
    labels, weights = [IGNORED] * ends[-1], [0.0] * ends[-1]
    speak, watch = _choice_ids(tokenizer)
    known = [(end - 1, worth) for end, worth in zip(ends[1:], sample.worth, strict=False)]
    counts = Counter(worth for _, worth in known)
    for row, worth in known:
        if worth is not None:
            labels[row] = speak if worth else watch
            weights[row] = 1.0 / counts[worth]
    return labels, weights


def _words(exchange: Exchange, tokenizer: Tokenizer) -> tuple[list[int], list[bool]]:
    """Write an exchange: its ids, and which of them the model is to say itself."""
    ids: list[int] = []
    is_answer: list[bool] = []
    for index, (question, answer) in enumerate(exchange.turns):
        asked = question_suffix(question)
        asked_ids = tokenizer.encode(NEXT_TURN + asked[1:] if index else asked)
        answer_ids = [*tokenizer.encode(answer), tokenizer.im_end_id]
        ids += asked_ids + answer_ids
        is_answer += [False] * len(asked_ids) + [True] * len(answer_ids)
    return ids, is_answer


def _next(ids: Sequence[int], is_answer: Sequence[bool]) -> list[int]:
    """Give what each id is followed by, where that is the model's to say."""
    followers = zip(ids[1:], is_answer[1:], strict=True)
    return [token if said else IGNORED for token, said in followers] + [IGNORED]


def _lower(size: int) -> Tensor:
    return torch.ones(size, size, dtype=torch.bool).tril()
