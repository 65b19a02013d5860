"""The repetition penalty of free text: what was there before is less likely to come again.

Source: `RepetitionPenaltyLogitsProcessor` of transformers, after "CTRL" (arXiv 1909.05858), section
4.1. A logit above 0 is divided by the penalty and one below multiplied with it, once for a token
that was there, however often.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from model.layers.to_device import to_device


class Repetition:
    """The tokens that each row of a decoding has held, and the penalty on them.

    Nothing here waits for the device, and a step only writes in place: it may be captured.
    """

    def __init__(
        self,
        penalty: float,
        held: Sequence[Collection[int]],
        *,
        vocab_size: int,
        max_new_tokens: int,
        device: torch.device,
    ) -> None:
        """Take what was there before a decoding.

        Args:
            penalty: above 0; 1 would change nothing.
            held: for each row the ids that its text begins with.
            vocab_size: columns of the logits.
            max_new_tokens: every row may come to hold so many more.
            device: where the logits are.
        """
        self._penalty = penalty
        num_held = max(len(ids) for ids in held)
        width = num_held + max_new_tokens
        # What is not there yet is a token behind the vocabulary, which no logit belongs to.
        rows = [
            [*(min(token, vocab_size) for token in ids), *[vocab_size] * (width - len(ids))]
            for ids in held
        ]
        self._held = to_device(rows, device)
        self._end = torch.full((1,), num_held, device=device)

    def hold(self, ids: Tensor) -> None:
        """Note one more token of each row, (B,) int64."""
        self._held.index_copy_(1, self._end, ids[:, None])
        self._end.add_(1)

    def penalized(self, logits: Tensor) -> Tensor:
        """Give (B, V) logits with the penalty on them; those given stay as they are."""
        padded = pad(logits, (0, 1))
        found = padded.gather(1, self._held)
        found = torch.where(found < 0, found * self._penalty, found / self._penalty)
        return padded.scatter_(1, self._held, found)[:, :-1]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop every row but these."""
        self._held = self._held[to_device(rows, self._held.device)]
