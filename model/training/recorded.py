"""Samples from conversation files, numbered without end, the same for the same seed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.errors import InputError
from model.training.conversation import Conversation, MediaReader, read
from model.training.sample import Sample
from model.training.samples import Prune
from model.training.shown import sample_of
from model.training.stages import Stage


@dataclass(frozen=True, slots=True)
class Recorded:
    """Samples by number: every epoch has every conversation once, in an order of its own.

    Attributes:
        conversations: at least one.
        stage: how their pictures are merged and pruned.
        seed: of the orders.
        media: reads the files they name.
        prune: the camera's pruner.
    """

    conversations: tuple[Conversation, ...]
    stage: Stage
    seed: int
    media: MediaReader
    prune: Prune

    def sample(self, index: int) -> Sample:
        """Return sample `index`."""
        epoch, place = divmod(index, len(self.conversations))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.conversations))
        conversation = self.conversations[int(order[place])]
        return sample_of(conversation, media=self.media, prune=self.prune, stage=self.stage)


def read_files(
    paths: Iterable[Path], *, media: MediaReader, skip_bad: bool, progress: Callable[[str], None]
) -> tuple[Conversation, ...]:
    """Read conversation files.

    Args:
        paths: the files.
        media: tries what they name.
        skip_bad: pass over what does not fit, and tell of it.
        progress: told what was skipped, and how many conversations each file has.

    Raises:
        DataError: something does not fit; the message names file and line.
        InputError: there is no sound conversation at all.
    """
    conversations: list[Conversation] = []
    for path in paths:
        file = read(path, media=media, skip_bad=skip_bad)
        for problem in file.skipped:
            progress(f"skipped {problem.source}: {problem.message}")
        total = len(file.conversations) + len(file.skipped)
        progress(f"{path}: {len(file.conversations)} of {total} conversations")
        conversations += file.conversations
    if not conversations:
        raise InputError("--data: expected at least one sound conversation, got none")
    return tuple(conversations)
