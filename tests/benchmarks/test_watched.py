"""The small form of `python -m tests.benchmarks watched`."""

from tests.benchmarks.watched import measure
from worker.demo.show import SCENE


def test_the_watched_and_the_unwatched_worker_are_measured_in_turn() -> None:
    first, *rounds = measure(
        lambda _: None, num_cameras=1, rounds=1, seconds=4.0, settle_s=1.0, video=SCENE
    )
    assert first.value is not None
    assert len(rounds) == 1
    terms = rounds[0].terms
    assert rounds[0].value == terms["watched_cores"] - terms["alone_cores"]
    for name in ("watched", "alone"):
        assert 0 < terms[f"{name}_cores"] < 2
        assert terms[f"{name}_frames_a_s"] > 0
