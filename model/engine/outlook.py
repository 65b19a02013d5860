"""What streams will hold together: the pages of their contexts over a window to come.

As a context retires its pages come back, twice a window of each stream. Streams that began at
different times hold most at different times, and so less together than each at its most.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_MOMENTS = 16  # that are looked at, evenly over a window


@dataclass(frozen=True, slots=True)
class Growth:
    """How the contexts of a stream stand, and how fast they grow.

    Attributes:
        begin_tokens: what each begins with, a whole frame.
        tokens_per_s: what each gets from then on.
        contexts: age in seconds and tokens, of the active one and then of the standby, as far as
            there are such; none before the first frame.
    """

    begin_tokens: int
    tokens_per_s: float
    contexts: tuple[tuple[float, int], ...] = ()


def pages_ahead(
    streams: Sequence[Growth], *, window_s: float, max_context_tokens: int, page_tokens: int
) -> int:
    """Count the pages that streams will hold together when that is most, within a window to come.

    Each moment is looked at before any context retires, with room for the whole frame that another
    may begin with in the same pass: so what is found is a bound.

    Args:
        streams: how they stand.
        window_s: a context retires at this age; a standby begins at half of it.
        max_context_tokens: it retires with so many, too.
        page_tokens: tokens of a page.
    """
    begins = np.array([float(one.begin_tokens) for one in streams])
    rates = np.array([one.tokens_per_s for one in streams])
    # Of each stream the active context and the standby; without tokens where there is none.
    ages_s, tokens = np.zeros((2, len(streams), 2))
    for row, one in enumerate(streams):
        for column, context in enumerate(one.contexts or ((0.0, one.begin_tokens),)):
            ages_s[row, column], tokens[row, column] = context
    step_s = window_s / NUM_MOMENTS
    most = 0
    for _ in range(NUM_MOMENTS):
        is_held = tokens > 0
        tokens = np.minimum(tokens + is_held * rates[:, None] * step_s, max_context_tokens)
        ages_s = ages_s + is_held * step_s
        held = np.ceil(tokens / page_tokens).sum(axis=1) + np.ceil(begins / page_tokens)
        most = max(most, int(held.sum()))
        is_over = (ages_s[:, 0] > window_s - step_s / 2) | (tokens[:, 0] >= max_context_tokens)
        for held_of in (ages_s, tokens):  # the standby takes over
            held_of[is_over, 0], held_of[is_over, 1] = held_of[is_over, 1], 0.0
        is_gone = tokens[:, 0] == 0  # it had none, and begins anew
        tokens[is_gone, 0] = begins[is_gone]
        is_half = (ages_s[:, 0] > window_s / 2 - step_s / 2) | (
            tokens[:, 0] >= max_context_tokens / 2
        )
        opens = is_half & (tokens[:, 1] == 0)
        tokens[opens, 1], ages_s[opens, 1] = begins[opens], 0.0
    return most
