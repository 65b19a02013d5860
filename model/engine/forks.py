"""Forks: words put after contexts, many at once, and thrown away when they are answered.

All branches of all cameras go through the decoder in one packed pass; those that are to be decoded
go on one token at a time, each step one pass again. A context is read and never written.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, groupby

import torch
from torch import Tensor

from model.engine.cascade import CascadePrefill
from model.engine.decoding import Capture, Decoding, capture_on
from model.engine.kv_cache import KVSequence, PagePool
from model.engine.now import Now
from model.engine.prefixes import SharedPrefixes
from model.engine.repetition import Repetition
from model.engine.step import Suffixes
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
        capture: Capture | None = None,
    ) -> None:
        """Take the branches, each with the context it goes on from; neither is empty.

        Args:
            model: the decoder is run.
            pool: where the contexts lie.
            branches: each with its context.
            nows: by context, what a visual token among its branches' ids is.
            held: for each branch the ids of its context's prompt, which the repetition penalty of
                text counts; empty where there are none.
            capture: how steps are captured; by default as the device allows.

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
        self._prefixes = SharedPrefixes(pool, list(sequences.values()), is_kept=bool(self._going))
        self._capture = capture or capture_on(model.device)
        self._suffixes: Suffixes | None = None
        self._held = held
        self._repetition: Repetition | None = None
        self._decoding: Decoding | None = None

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
        self._suffixes = self._new_suffixes({n: own for n, (own, _) in rows.items()})
        families = [
            [self._branches[n] for n in members]
            for _, members in groupby(self._order, key=self._families.__getitem__)
        ]
        attend = CascadePrefill(
            self._prefixes,
            [[len(branch.ids) for branch in members] for members in families],
            backend=language.backend,
            store=self._suffixes.store if self._suffixes else _forget,
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
        if any(self._branches[n].is_text for n in self._going):
            in_order |= self._penalized(in_order)
        return [in_order[n] for n in range(len(in_order))]

    @torch.inference_mode()
    def step(self, tokens: Mapping[int, int]) -> dict[int, tuple[int, Tensor]]:
        """Append one token to each of some branches, in one pass; the others are over.

        Args:
            tokens: branch, by its place in the order given -> token. Each was in the last step.

        Returns:
            For each of them the likeliest token that follows, under the repetition penalty, and
            the (V,) float32 logits without it.
        """
        if self._suffixes is None:
            raise RuntimeError("expected a prefill before a step")
        if self._decoding is None:
            self._decoding = Decoding(
                self._model,
                self._prefixes,
                self._suffixes,
                families=[self._families[n] for n in self._going],
                capture=self._capture,
                repetition=self._repetition,
            )
        places = {n: place for place, n in enumerate(self._going)}
        follows = self._decoding.step({places[n]: token for n, token in tokens.items()})
        return {n: follows[places[n]] for n in tokens}

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
        """Begin to note what the branches hold; give the logits of texts under the penalty."""
        config = self._model.config
        if config.repetition_penalty == 1.0:
            return {}
        going = [self._branches[n] for n in self._going]
        held: list[set[int]] = [set() for _ in going]
        if config.is_prompt_penalized:
            contexts = [self._held[n] if self._held else () for n in self._going]
            held = [{*ids, *branch.ids} for ids, branch in zip(contexts, going, strict=True)]
        last = torch.stack([logits[n][-1] for n in self._going])
        self._repetition = Repetition(
            config.repetition_penalty,
            held,
            vocab_size=last.shape[1],
            max_new_tokens=max(branch.max_new_tokens for branch in going),
            device=self._model.device,
        )
        rows = zip(self._going, going, self._repetition.penalized(last), strict=True)
        return {n: torch.vstack([logits[n][:-1], row]) for n, branch, row in rows if branch.is_text}

    def _new_suffixes(self, rows: Mapping[int, range]) -> Suffixes | None:
        """Make room for the branches that are to be decoded."""
        if not self._going:
            return None
        going = [self._branches[n] for n in self._going]
        max_tokens = max(len(branch.ids) + branch.max_new_tokens for branch in going)
        return Suffixes(self._pool, [rows[n] for n in self._going], max_tokens=max_tokens)


def _forget(layer: int, keys: Tensor, values: Tensor) -> None:
    """Keep nothing: no branch goes on."""
