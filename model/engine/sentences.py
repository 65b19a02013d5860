"""Answers that need more than their prefill: they are said side by side, a token at a time."""

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import torch

from model.engine.decoding import Decoding
from model.engine.readers import read
from model.engine.rows import Beginning
from model.kinds.base import Reader


@dataclass(slots=True, eq=False)
class Sentence:
    """A branch that is being said.

    Attributes:
        reader: who makes an answer of it.
        begun: what it goes on from.
        token: what it goes on with, before it has a row.
        row: of the batch; None while it waits for one.
    """

    reader: Reader
    begun: Beginning
    token: int
    row: int | None = None


class Sentences:
    """All of them, in a lasting batch; what is more than its rows waits for one to be free."""

    def __init__(self, decoding: Decoding) -> None:
        """Begin with none."""
        self._decoding = decoding
        self._waiting: deque[Sentence] = deque()
        self._going: list[Sentence] = []
        self._is_launched = False

    @property
    def are_any(self) -> bool:
        """Whether anything is left to be said."""
        return bool(self._waiting or self._going)

    def add(self, sentences: Iterable[Sentence]) -> None:
        """Take more; each begins when there is a row for it."""
        self._waiting.extend(sentences)

    def step(self) -> list[Sentence]:
        """Say one token more of each, or the few that are said between two looks.

        Returns:
            Those that have come to their ends.

        Raises:
            torch.OutOfMemoryError, MemoryError: the device has no room; `drop` what there is.
        """
        if not self.are_any:
            return []
        if not self._is_launched:
            self._launch()
        whole = self._read()
        if self._decoding.is_beside and self.are_any:
            with suppress(torch.OutOfMemoryError):  # the next call meets that again, and says so
                self._launch()  # it goes on while the caller does something else
        return whole

    def drop(self, sentence: Sentence) -> None:
        """Say no more of it, and let go of what is held for it."""
        if sentence.row is None:
            self._waiting.remove(sentence)
        else:
            self._going.remove(sentence)
            self._decoding.leave(sentence.row)
        sentence.begun.context.truncate(0)

    def _launch(self) -> None:
        num_new = min(len(self._waiting), self._decoding.num_free)
        new = [self._waiting[n] for n in range(num_new)]
        if new:
            rows = self._decoding.join([(one.begun, one.token) for one in new])
            for row in rows:
                sentence = self._waiting.popleft()
                sentence.row = row
                self._going.append(sentence)
        is_read = any(one.reader.next_reading for one in self._going)
        self._decoding.launch(1 if is_read else self._decoding.look_every)
        self._is_launched = True

    def _read(self) -> list[Sentence]:
        said = self._decoding.collect()
        self._is_launched = False
        going = [(one, row) for one in self._going if (row := one.row) is not None]
        readings = {row: one.reader.next_reading for one, row in going if one.reader.next_reading}
        found = {row: [[float(token)] for token in said[row]] for _, row in going}
        if readings:
            logits = self._decoding.logits(list(readings))
            for row, one in zip(readings, read(logits, list(readings.values())), strict=True):
                found[row] = [one]
        whole = []
        for sentence, row in going:
            token: int | None = None
            for one in found[row]:
                token = sentence.reader.go_on(one)
                if token is None:
                    break
            if token is None:
                self.drop(sentence)
                whole.append(sentence)
            elif row in readings:
                self._decoding.put(row, token)
        return whole
