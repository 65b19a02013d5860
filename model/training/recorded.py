"""Samples from conversation files, numbered without end, the same for the same seed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path

import numpy as np

from model.errors import InputError
from model.training.conversation import Conversation, read
from model.training.sample import Sample

BLOCK = 1000
"""So many samples in a row hold each file's share, to the nearest one."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Samples by number: every epoch has every conversation once, in an order of its own.

    Attributes:
        files: the conversations of each file, at least one in all.
        sampled: makes a sample of a conversation.
        seed: of the orders.
        weights: how much of each file, by any measure; empty where every conversation is to come as
            often as any other. With weights a file has epochs of its own.
    """

    files: tuple[tuple[Conversation, ...], ...]
    sampled: Callable[[Conversation], Sample]
    seed: int
    weights: tuple[float, ...] = ()

    @property
    def num_conversations(self) -> int:
        """Conversations in all."""
        return sum(len(file) for file in self.files)

    @property
    def num_of_words(self) -> int:
        """Conversations without a picture."""
        return sum(not (one.images or one.video) for file in self.files for one in file)

    @property
    def teaches_speaking(self) -> bool:
        """Whether some of it says when to speak."""
        return any(one.is_unasked for file in self.files for one in file)

    def sample(self, index: int) -> Sample:
        """Return sample `index`."""
        if self.weights:
            file, place = self._drawn(index)
            conversation = _shuffled(self.files[file], place, seed=(self.seed, file + 1))
        else:
            every = [one for file in self.files for one in file]
            conversation = _shuffled(every, index, seed=(self.seed,))
        return self.sampled(conversation)

    def _drawn(self, index: int) -> tuple[int, int]:
        """Say which file a sample is of, and how many of it come before."""
        block, place = divmod(index, BLOCK)
        counts = _shares(self.weights, total=BLOCK)
        turns = np.repeat(np.arange(len(counts)), counts)
        np.random.default_rng((self.seed, 0, block)).shuffle(turns)
        file = int(turns[place])
        return file, block * counts[file] + int((turns[:place] == file).sum())


def _shuffled(
    conversations: Sequence[Conversation], index: int, *, seed: tuple[int, ...]
) -> Conversation:
    epoch, place = divmod(index, len(conversations))
    order = np.random.default_rng((*seed, epoch)).permutation(len(conversations))
    return conversations[int(order[place])]


def _shares(weights: Sequence[float], *, total: int) -> list[int]:
    """Part a number by weights; what is left after rounding down goes to the largest remainders."""
    exact = [weight / sum(weights) * total for weight in weights]
    counts = [int(share) for share in exact]
    order = sorted(range(len(counts)), key=lambda file: counts[file] - exact[file])
    for file in order[: total - sum(counts)]:
        counts[file] += 1
    return counts


def weighed(names: Iterable[str]) -> tuple[tuple[Path, ...], tuple[float, ...]]:
    """Read FILE or FILE=WEIGHT; weights are empty where none is given.

    Raises:
        InputError: a weight is no positive number, or so small that its file never comes; or some
            files have one and others none.
    """
    paths, weights = [], []
    for name in names:
        path, sign, weight = name.rpartition("=")
        if not sign or Path(name).exists():
            paths.append(Path(name))
            continue
        paths.append(Path(path))
        try:
            weights.append(float(weight))
        except ValueError:
            weights.append(nan)
        if not 0 < weights[-1] < inf:
            raise InputError(f"--data: expected FILE=WEIGHT with more than 0, got {name}")
    if weights and len(weights) != len(paths):
        raise InputError(
            f"--data: expected a weight for every file or for none, got {len(weights)} for "
            f"{len(paths)} files"
        )
    if 0 in (shares := _shares(weights, total=BLOCK)):
        raise InputError(
            f"--data: expected weights by which each file has one of {BLOCK} samples, got none "
            f"for {paths[shares.index(0)]}"
        )
    return tuple(paths), tuple(weights)


def read_files(
    paths: Iterable[Path],
    *,
    tried: Callable[[Conversation], object],
    skip_bad: bool,
    progress: Callable[[str], None],
) -> tuple[tuple[Conversation, ...], ...]:
    """Read conversation files, each on its own.

    Args:
        paths: the files.
        tried: called with each conversation; raises DataError for one that cannot be taken.
        skip_bad: pass over what does not fit, and tell of it.
        progress: told what was skipped, and how many conversations each file has.

    Raises:
        DataError: something does not fit; the message names file and line.
        InputError: a file has no sound conversation at all.
    """
    files = []
    for path in paths:
        file = read(path, tried=tried, skip_bad=skip_bad)
        for problem in file.skipped:
            progress(f"skipped {problem.source}: {problem.message}")
        total = len(file.conversations) + len(file.skipped)
        progress(f"{path}: {len(file.conversations)} of {total} conversations")
        if not file.conversations:
            raise InputError(f"{path}: expected at least one sound conversation, got none")
        files.append(file.conversations)
    return tuple(files)
