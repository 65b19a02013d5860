"""A pruner's decisions counted against the truth.

A token has truly changed when the mean over some 7x7 px block of its clean picture is off by 3 grey
levels or more, in any channel, from the clean picture of what was last sent of it, by the very mask
under test: a change that is missed stays one until it is sent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.types import TOKEN_PX
from pipeline.pruner import Pruner
from tests.benchmarks.pruning.fidelity import Mask, Pixels, block_means, over_pixels, pruner_masks
from tests.benchmarks.pruning.labelled import Cell, frames_of, truth_of

TRUTH_BLOCK_PX = 7
TRUTH_LEVELS = 3.0
LEARNING_FRAMES = 10


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens of one cell, over its frames after the first.

    Attributes:
        changed: truly changed.
        sent: sent.
        changed_sent: both.
        missed_plainly: changed by twice what makes a change, and not sent.
        quiet_sent_ratio: sent per token after the tenth frame.
    """

    changed: int
    sent: int
    changed_sent: int
    missed_plainly: int
    quiet_sent_ratio: float

    @property
    def recall(self) -> float:
        """Truly changed tokens sent per truly changed token."""
        return self.changed_sent / self.changed if self.changed else 1.0

    @property
    def sent_per_changed(self) -> float:
        """Tokens sent per truly changed one."""
        return self.sent / max(1, self.changed)


def scene_counts(cell: Cell, pruner: Pruner) -> Counts:
    """Play a cell to a pruner and count against the truth."""
    frames = frames_of(cell)
    truth = truth_of(cell, frames)
    masks = pruner_masks(frames, pruner)
    sent = np.stack(masks[1:])
    levels = np.stack(list(true_change_levels(truth, masks)))
    changed = levels >= TRUTH_LEVELS
    return Counts(
        changed=int(changed.sum()),
        sent=int(sent.sum()),
        changed_sent=int((changed & sent).sum()),
        missed_plainly=int(((levels >= 2 * TRUTH_LEVELS) & ~sent).sum()),
        quiet_sent_ratio=float(np.mean(masks[LEARNING_FRAMES:])),
    )


def true_change_levels(
    truth: Sequence[Pixels], masks: Sequence[Mask]
) -> Iterator[NDArray[np.float32]]:
    """Yield, for each picture after the first, how far each token truly is from what was sent.

    Args:
        truth: the clean pictures.
        masks: what was sent of each, the first of them whole; decides what the next ones are
            compared with.

    Yields:
        (rows, cols), grey levels: the worst 7x7 px block in its worst channel.
    """
    seen = truth[0].copy()
    for picture, mask in zip(truth[1:], masks[1:], strict=True):
        off = np.abs(block_means(picture.astype(np.float32) - seen, TRUTH_BLOCK_PX)).max(axis=2)
        blocks = TOKEN_PX // TRUTH_BLOCK_PX
        rows, cols = mask.shape
        yield off.reshape(rows, blocks, cols, blocks).max(axis=(1, 3))
        np.copyto(seen, picture, where=over_pixels(mask))
