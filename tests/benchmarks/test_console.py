"""The small form of `python -m tests.benchmarks console`."""

from tests.benchmarks.console import measure


def test_a_history_is_found_and_shown_at_once() -> None:
    rows = {row.name: row for row in measure(lambda _: None, num_messages=10_000)}
    assert rows["messages"].value == 10_000
    assert {name for name, row in rows.items() if row.holds is False} == set()
    assert sum(name.startswith("search_") for name in rows) == 12
