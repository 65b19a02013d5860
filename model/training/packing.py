"""Samples laid end to end in one row: ids, positions, labels, and who sees whom.

A sample is a trunk (the prompt's head, the frames with their stamps) and its exchanges, each of
which continues the trunk from its own moment. Positions begin at 0 in every sample and an
exchange's go on where it leaves the trunk, exactly as a fork's in service.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.errors import InputError
from model.prompt import HEAD, frame_stamp, question_suffix
from model.tokenizer import Tokenizer
from model.training.sample import Exchange, Sample

IGNORED = -100
NEXT_TURN = "\n<|im_start|>user\n"


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
        visual: (num_visual,) int64, where the visual tokens stand.
        layout: who sees whom.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    visual: NDArray[np.int64]
    layout: Layout


@dataclass(frozen=True, slots=True)
class Packed:
    """Samples in one row.

    Attributes:
        samples: those packed, in order.
        ids: (L,) int64.
        positions: (L,) int64, each sample's own.
        labels: (L,) int64, IGNORED but for answers.
        weights: (L,) float32.
        visual: (num_visual,) int64, rows that visual features take.
        layouts: for each sample, who sees whom.
    """

    samples: tuple[Sample, ...]
    ids: Tensor
    positions: Tensor
    labels: Tensor
    weights: Tensor
    visual: Tensor
    layouts: tuple[Layout, ...]


def write(sample: Sample, tokenizer: Tokenizer) -> Written:
    """Write one sample out, its labels on the answers alone.

    An answer's labels are its words and the token that closes its turn. Every answer of length n
    counts sqrt(n) in all, so that captions do not drown the single words.
    """
    trunk, visual, ends = _trunk(sample, tokenizer)
    ids = list(trunk)
    positions = list(range(len(trunk)))
    labels = [IGNORED] * len(trunk)
    weights = [0.0] * len(trunk)
    forks = []
    for exchange in sample.exchanges:
        start = ends[exchange.num_seen]
        words, is_answer = _words(exchange, tokenizer)
        forks.append(Fork(len(ids), len(ids) + len(words), start))
        positions += range(start, start + len(words))
        ids += words
        labels += _next(words, is_answer)
        weight = 1.0 / max(1, sum(is_answer)) ** 0.5
        weights += [weight if label != IGNORED else 0.0 for label in labels[-len(words) :]]
    return Written(
        ids=np.array(ids, dtype=np.int64),
        positions=np.array(positions, dtype=np.int64),
        labels=np.array(labels, dtype=np.int64),
        weights=np.array(weights, dtype=np.float32),
        visual=np.array(visual, dtype=np.int64),
        layout=Layout(len(ids), len(trunk), tuple(forks)),
    )


def pack(samples: Sequence[Sample], tokenizer: Tokenizer, *, max_tokens: int) -> Packed:
    """Lay samples end to end.

    Raises:
        InputError: there are none, or together they are longer than `max_tokens`.
    """
    written = [write(sample, tokenizer) for sample in samples]
    starts = [0, *accumulate(len(one.ids) for one in written)]
    if not written or starts[-1] > max_tokens:
        raise InputError(f"pack: expected 1 to {max_tokens} tokens, got {starts[-1]}")
    visual = [one.visual + start for one, start in zip(written, starts, strict=False)]
    return Packed(
        samples=tuple(samples),
        ids=torch.from_numpy(np.concatenate([one.ids for one in written])),
        positions=torch.from_numpy(np.concatenate([one.positions for one in written])),
        labels=torch.from_numpy(np.concatenate([one.labels for one in written])),
        weights=torch.from_numpy(np.concatenate([one.weights for one in written])),
        visual=torch.from_numpy(np.concatenate(visual)),
        layouts=tuple(one.layout for one in written),
    )


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
