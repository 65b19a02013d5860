"""How long to wait before the next try, as a pure function."""

import random


def backoff_s(failures: int, *, base_s: float, cap_s: float, rng: random.Random) -> float:
    """Return a jittered, exponentially growing pause in seconds, in [d / 2, d].

    d = min(cap_s, base_s * 2 ** (failures - 1)). Half of it is fixed, so that a hot loop is not
    possible, and half is drawn, so that forty cameras behind one switch do not return together
    ("equal jitter", M. Brooker, "Exponential Backoff and Jitter", 2015).

    Args:
        failures: how many tries have failed in a row, 1 or more.
        base_s: the first pause.
        cap_s: the longest pause.
        rng: where the jitter comes from.
    """
    delay_s = min(cap_s, base_s * 2.0 ** min(max(failures, 1) - 1, 30))
    return delay_s / 2 + rng.uniform(0.0, delay_s / 2)
