from math import ceil

import pytest

from model.engine.outlook import NUM_MOMENTS, Growth, pages_ahead

WINDOW_S = 160.0


def most_pages(*streams: Growth) -> int:
    return pages_ahead(streams, window_s=WINDOW_S, max_context_tokens=16_384, page_tokens=256)


def lived_through(begin: int, rate: float, *, seconds: int, page: int = 256) -> int:
    """The most pages of a stream that is grown second by second, as contexts roll."""
    active, standby, most = (0, float(begin)), None, 0
    for _ in range(seconds):
        held = [one for one in (active, standby) if one]
        most = max(most, sum(ceil(tokens / page) for _, tokens in held))
        active, *rest = [(age + 1, tokens + rate) for age, tokens in held]
        standby = rest[0] if rest else None
        if active[0] >= WINDOW_S:
            active, standby = standby or (0, float(begin)), None
        if standby is None and active[0] >= WINDOW_S / 2:
            standby = (0, float(begin))
    return most


@pytest.mark.parametrize("rate", [0.0, 2.0, 38.0, 60.0])
def test_a_new_stream_holds_no_more_than_was_expected_and_not_much_less(rate: float) -> None:
    expected = most_pages(Growth(153, rate))
    most = lived_through(153, rate, seconds=1_000)
    assert most <= expected <= 1.1 * most + 2


def test_streams_that_began_together_add_up() -> None:
    one = Growth(153, 38.0)
    assert most_pages(*[one] * 7) == 7 * most_pages(one)
    assert most_pages() == 0


def test_streams_that_began_at_different_times_hold_less_than_each_at_its_most() -> None:
    spread = [
        Growth(
            153,
            38.0,
            ((80.0 + age_s, 153 + int(38 * (80 + age_s))), (age_s, 153 + int(38 * age_s))),
        )
        for age_s in (5.0 * n for n in range(NUM_MOMENTS))
    ]
    together = most_pages(*spread)
    assert together < 0.75 * sum(most_pages(one) for one in spread)
    held = sum(ceil(tokens / 256) for one in spread for _, tokens in one.contexts)
    assert together > held


def test_no_context_is_expected_beyond_its_limit() -> None:
    most = most_pages(Growth(153, 1_000.0))
    assert most <= 2 * 64 + 1
    assert most_pages(Growth(153, 1e9, ((100.0, 16_000), (20.0, 15_000)))) <= 129
