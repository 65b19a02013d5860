"""Forks: words put after contexts, many at once, and thrown away when they are answered.

All branches of all cameras go through the decoder in one packed pass; those that are to be decoded
go on in a `decoding.Decoding`. A context is read and never written.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, groupby

import torch
from torch import Tensor

from model.engine.cascade import CascadePrefill, SharedPrefixes
from model.engine.kv_cache import KVSequence, PagePool
from model.engine.now import Now
from model.engine.repetition import Repetition
from model.engine.rows import Beginning
from model.errors import InputError
from model.family import Network
from model.kinds.base import Branch
from model.layers.to_device import to_device


class Forks:
    """Branches of any number of contexts; the contexts must stay as they are meanwhile."""

    def __init__(
        self,
        model: Network,
        pool: PagePool,
        branches: Sequence[tuple[KVSequence, Branch]],
        *,
        nows: Mapping[KVSequence, Now] | None = None,
        held: Sequence[Collection[int]] = (),
    ) -> None:
        """Take the branches, each with the context it goes on from; neither is empty.

        Args:
            model: the decoder is run.
            pool: where the contexts lie.
            branches: each with its context.
            nows: by context, what a visual token among its branches' ids is.
            held: for each branch the ids of its context's prompt, which the repetition penalty of
                text counts; empty where there are none.

        Raises:
            InputError: a branch would pass the model's positions.
        """
        for sequence, branch in branches:
            num_more = max(branch.max_new_tokens, bool(branch.children))
            length = sequence.length + len(branch.ids) + num_more
            if length > pool.max_positions:
                raise InputError(
                    f"fork: expected at most {pool.max_positions} tokens with its context, "
                    f"got {length}"
                )
        self._model = model
        self._pool = pool
        self._branches = [branch for _, branch in branches]
        self._nows = [(nows or {}).get(sequence) for sequence, _ in branches]
        # The branches of one context lie side by side, in the order they came.
        sequences = {id(sequence): sequence for sequence, _ in branches}
        family_of = {key: family for family, key in enumerate(sequences)}
        self._families = [family_of[id(sequence)] for sequence, _ in branches]
        self._order = sorted(range(len(branches)), key=self._families.__getitem__)
        self._going = [n for n in self._order if branches[n][1].max_new_tokens]
        self._sequences = [sequence for sequence, _ in branches]
        self._prefixes = SharedPrefixes(pool, list(sequences.values()))
        self._held = held
        self._layers: list[tuple[Tensor, Tensor]] = []  # the words of all that go on
        self._words: dict[int, range] = {}  # which of them are a branch's

    @torch.inference_mode()
    def prefill(self) -> list[Tensor]:
        """Run every branch's words and children through the decoder, in one pass.

        Returns:
            For each branch, in the order given, (num_readings, V) float32 logits of what follows
            its last tokens, then of what follows each child. The last of a text's are under the
            repetition penalty.
        """
        language, device = self._model.language, self._model.device
        laid_out = [self._branches[n] for n in self._order]
        ends = accumulate(len(branch.ids) + len(branch.children) for branch in laid_out)
        rows = {}  # of each branch its own, then its children's
        for branch, n, end in zip(laid_out, self._order, ends, strict=True):
            start = end - len(branch.children) - len(branch.ids)
            rows[n] = range(start, end - len(branch.children)), end
        going: list[int] = []
        for n in self._going:
            own, _ = rows[n]
            self._words[n] = range(len(going), len(going) + len(own))
            going += own
        kept = to_device(going, device, dtype=torch.int64)

        def store(layer: int, keys: Tensor, values: Tensor) -> None:  # noqa: ARG001, they come in order
            if going:
                self._layers.append((keys.index_select(0, kept), values.index_select(0, kept)))

        families = [
            [self._branches[n] for n in members]
            for _, members in groupby(self._order, key=self._families.__getitem__)
        ]
        attend = CascadePrefill(
            self._prefixes,
            [[len(branch.ids) for branch in members] for members in families],
            backend=language.backend,
            store=store,
            num_wanted=[[branch.num_scored for branch in members] for members in families],
            num_children=[[len(branch.children) for branch in members] for members in families],
        )
        scored = [
            row
            for branch, n in zip(laid_out, self._order, strict=True)
            for row in range(rows[n][0].stop - branch.num_scored, rows[n][1])
        ]
        wanted = to_device(scored, device)
        embeds = self._embed({n: own for n, (own, _) in rows.items()})
        hidden = language.forward(embeds, attend.positions, attend=attend, wanted=wanted)
        logits = torch.split(language.logits(hidden), [branch.num_readings for branch in laid_out])
        in_order = dict(zip(self._order, logits, strict=True))
        in_order |= self._penalized(in_order)
        return [in_order[n] for n in range(len(in_order))]

    def beginning(self, n: int) -> Beginning:
        """Say what a branch that was to be decoded goes on from, after the prefill; hold that."""
        return Beginning(
            self._sequences[n].hold(),
            self._layers,
            self._words[n],
            max_new_tokens=self._branches[n].max_new_tokens,
            held_ids=self._held_ids(n),
        )

    def _embed(self, rows: Mapping[int, range]) -> Tensor:
        """Look the branches' and children's tokens up; the visual ones are features already."""
        laid_out = [self._branches[n] for n in self._order]
        ids = [token for branch in laid_out for token in (*branch.ids, *branch.children)]
        embeds = self._model.language.embed(to_device(ids, self._model.device))
        visual = [
            (row, now.features)
            for n, now in enumerate(self._nows)
            if now is not None
            for row in rows[n]
            if ids[row] == now.ids[-1]
        ]
        if visual:
            places = to_device([row for row, _ in visual], embeds.device)
            embeds.index_copy_(0, places, torch.cat([features for _, features in visual]))
        return embeds

    def _penalized(self, logits: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Give the logits of texts with what follows them under the penalty."""
        config, device = self._model.config, self._model.device
        texts = [n for n in self._going if self._branches[n].is_text]
        if config.repetition_penalty == 1.0 or not texts:
            return {}
        last = torch.stack([logits[n][-1] for n in texts])
        repetition = Repetition(
            config.repetition_penalty,
            num_rows=len(texts),
            vocab_size=last.shape[1],
            device=device,
        )
        for row, n in enumerate(texts):
            repetition.begin(row, self._held_ids(n))
        found = repetition.penalized(torch.arange(len(texts), device=device), last)
        return {n: torch.vstack([logits[n][:-1], row]) for n, row in zip(texts, found, strict=True)}

    def _held_ids(self, n: int) -> frozenset[int]:
        """Give what the penalty counts as said when a branch begins to be decoded."""
        if not self._model.config.is_prompt_penalized:
            return frozenset()
        return frozenset([*(self._held[n] if self._held else ()), *self._branches[n].ids])
