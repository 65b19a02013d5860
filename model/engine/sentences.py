"""Answers that need more than their prefill: they are decoded side by side, a token at a time."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from model.engine.forks import Forks
from model.engine.readers import read
from model.kinds.base import Reader


class Sentences:
    """The branches of one pass that go on."""

    def __init__(self, forks: Forks, going: Mapping[int, tuple[Reader, int]]) -> None:
        """Take, by branch, its reader and the token that it goes on with."""
        self._forks = forks
        self._going = dict(going)

    @property
    def readers(self) -> list[Reader]:
        """Those that have no answer yet."""
        return [reader for reader, _ in self._going.values()]

    def step(self) -> None:
        """Decode one token of each."""
        follows = self._forks.step({branch: token for branch, (_, token) in self._going.items()})
        found_of = _read_on({branch: one for branch, (one, _) in self._going.items()}, follows)
        told = {
            branch: (reader, reader.go_on(found_of[branch]))
            for branch, (reader, _) in self._going.items()
        }
        self._going = {
            branch: (reader, token) for branch, (reader, token) in told.items() if token is not None
        }


@dataclass(slots=True)
class Begun:
    """An ask of which all that needs no more than a pass is known.

    Attributes:
        readers: for each question who answers it.
        sentences: what is still to be decoded, pass by pass.
    """

    readers: list[Reader]
    sentences: list[Sentences]

    @property
    def going(self) -> set[int]:
        """The questions, by their places, that have no answer yet."""
        open_readers = {id(reader) for one in self.sentences for reader in one.readers}
        return {place for place, one in enumerate(self.readers) if id(one) in open_readers}

    def step(self) -> None:
        """Decode one token of each sentence."""
        for one in self.sentences:
            one.step()
        self.sentences = [one for one in self.sentences if one.readers]


def _read_on(
    readers: Mapping[int, Reader], follows: Mapping[int, tuple[int, Tensor]]
) -> dict[int, list[float]]:
    """Give each branch's reader what it goes on by, with one wait at most.

    Args:
        readers: by branch.
        follows: by branch the likeliest token and the (V,) logits of what follows.
    """
    found = {branch: [float(follows[branch][0])] for branch in readers}
    readings = {
        branch: reader.next_reading for branch, reader in readers.items() if reader.next_reading
    }
    if readings:
        rows = torch.stack([follows[branch][1] for branch in readings])
        found.update(zip(readings, read(rows, list(readings.values())), strict=True))
    return found
