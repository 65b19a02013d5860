"""The repetition penalty of free text: what was there before is less likely to come again.

Source: `RepetitionPenaltyLogitsProcessor` of transformers, after "CTRL" (arXiv 1909.05858), section
4.1. A logit above 0 is divided by the penalty and one below multiplied with it, once for a token
that was there, however often.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from model.layers.to_device import to_device


class Repetition:
    """The tokens that each row has held, and the penalty on them.

    Nothing here waits for the device, and `hold` only writes in place: it may be captured.
    """

    def __init__(
        self, penalty: float, *, num_rows: int, vocab_size: int, device: torch.device
    ) -> None:
        """Begin with rows that have held nothing.

        Args:
            penalty: above 0; 1 would change nothing.
            num_rows: of texts.
            vocab_size: columns of the logits.
            device: where the logits are.
        """
        self._penalty = penalty
        self._held = torch.zeros(num_rows, vocab_size, dtype=torch.bool, device=device)
        self._true = torch.ones((), dtype=torch.bool, device=device)

    def begin(self, row: int, ids: Collection[int]) -> None:
        """Let a row have held these and no others; ids that no logit belongs to do not count."""
        known = [token for token in ids if token < self._held.shape[1]]
        self._held[row] = False
        self._held[row].index_fill_(0, to_device(known, self._held.device, dtype=torch.int64), 1)

    def hold(self, rows: Tensor, ids: Tensor) -> None:
        """Note one more token of each of some rows, (B,) int64 both."""
        self._held.index_put_((rows, ids), self._true)

    def penalized(self, rows: Tensor, logits: Tensor) -> Tensor:
        """Give (B, V) logits of these rows with the penalty on them; those given stay."""
        found = torch.where(logits < 0, logits * self._penalty, logits / self._penalty)
        return torch.where(self._held.index_select(0, rows), found, logits)
