"""What is being said: answers that need more than their prefill come later than the others.

The sentences of one ask are decoded side by side, and those of several asks in turn, while contexts
grow and retire: what they go on from is held until they are whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import torch

from model.engine.answers import Respondent
from model.engine.kv_cache import KVSequence, PagePool
from model.engine.now import Now
from model.engine.rolling_context import Context, Moment
from model.engine.sentences import Begun
from model.engine.shortage import Shortage
from model.kinds.when import placed
from model.types import Answer, Question, Window


@dataclass(frozen=True, slots=True)
class _Open:
    """An ask of which something is still to be said.

    Attributes:
        begun: the ask.
        tickets: by the question's place.
        windows: what each question sees.
        moments: what is held for it.
    """

    begun: Begun
    tickets: dict[int, int]
    windows: list[Window]
    moments: list[Moment]


class Speech:
    """All sentences, of any number of asks."""

    def __init__(
        self,
        respondent: Respondent,
        pool: PagePool,
        *,
        shortage: Shortage,
        sample_period_s: float,
    ) -> None:
        """Begin with none.

        Args:
            respondent: begins asks.
            pool: where contexts lie.
            shortage: makes room when memory runs out.
            sample_period_s: between two frames, for answers that tell of a stretch.
        """
        self._respondent = respondent
        self._pool = pool
        self._shortage = shortage
        self._sample_period_s = sample_period_s
        self._tickets = count()
        self._open: list[_Open] = []

    @property
    def is_going(self) -> bool:
        """Whether anything is left to be said."""
        return bool(self._open)

    def ask(
        self, asks: Sequence[tuple[Question, Context]], *, nows: Mapping[KVSequence, Now]
    ) -> list[Answer]:
        """Give all answers, to the last word; as `begin`."""
        answers = self._shortage.spare(lambda: self._respondent.answer(self._pool, asks, nows=nows))
        return [
            self._placed(answer, context.window)
            for answer, (_, context) in zip(answers, asks, strict=True)
        ]

    def begin(
        self, asks: Sequence[tuple[Question, Context]], *, nows: Mapping[KVSequence, Now]
    ) -> list[Answer | int]:
        """Give the answers that need no more than a pass, and tickets for those that come later.

        Args:
            asks: each question with the context it is about, as it is now.
            nows: by context, what its questions begin with, where that is anything.

        Raises:
            InputError: a question cannot be put; none is.
            DeviceMemoryError: the device has no room for the pass.
        """
        contexts = dict.fromkeys(context for _, context in asks)
        moments = {context: context.hold() for context in contexts}
        put = [(question, moments[context]) for question, context in asks]
        held_nows = {
            moment.sequence: nows[context.sequence]
            for context, moment in moments.items()
            if context.sequence in nows
        }
        tickets: dict[int, int] = {}
        try:
            begun = self._shortage.spare(
                lambda: self._respondent.begin(self._pool, put, nows=held_nows)
            )
            tickets = {place: next(self._tickets) for place in sorted(begun.going)}
        finally:
            if not tickets:
                _let_go(moments.values())
        windows = [context.window for _, context in asks]
        if tickets:
            self._open.append(_Open(begun, tickets, windows, list(moments.values())))
        return [
            tickets[place] if place in tickets else self._placed(reader.answer(), windows[place])
            for place, reader in enumerate(begun.readers)
        ]

    @torch.inference_mode()
    def step(self) -> list[tuple[int, Answer | None]]:
        """Decode one token of each sentence.

        Returns:
            By ticket the answers that are whole; None where memory ran out, and nothing comes.
        """
        told: list[tuple[int, Answer | None]] = []
        for one in list(self._open):
            try:
                one.begun.step()
            except (RuntimeError, MemoryError) as exc:
                self._shortage.note(exc)
                told += [(ticket, None) for ticket in one.tickets.values()]
                one.tickets.clear()
            going = one.begun.going
            for place in [place for place in one.tickets if place not in going]:
                answer = self._placed(one.begun.readers[place].answer(), one.windows[place])
                told.append((one.tickets.pop(place), answer))
            if not one.tickets:
                self._open.remove(one)
                _let_go(one.moments)
        return told

    def _placed(self, answer: Answer, window: Window) -> Answer:
        return placed(answer, window, sample_period_s=self._sample_period_s)


def _let_go(moments: Iterable[Moment]) -> None:
    for moment in moments:
        moment.let_go()
