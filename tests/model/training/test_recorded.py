from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from model.errors import InputError
from model.training.conversation import Conversation, Turn
from model.training.recorded import BLOCK, Recorded, weighed
from model.training.shown import sample_of
from model.training.stages import PAPER
from model.videollama3.grid import pin_grid
from pipeline.pruner import prune_clip
from pipeline.recorded import Media

MEDIA = Media(partial(pin_grid, max_tokens=16))
SAMPLED = partial(sample_of, media=MEDIA, prune=prune_clip, stage=PAPER[3])


def file(name: str, num: int) -> tuple[Conversation, ...]:
    return tuple(Conversation(f"{name}:{i}", (Turn(f"{name} {i}?", "yes"),)) for i in range(num))


def drawn(*weights: float, num: int, first: int = 0, seed: int = 0) -> list[str]:
    files = (file("a", 3), file("b", 7))
    recorded = Recorded(files, SAMPLED, seed=seed, weights=weights)
    samples = [recorded.sample(index) for index in range(first, first + num)]
    return [sample.exchanges[0].turns[0][0] for sample in samples]


def test_without_weights_every_conversation_comes_once_an_epoch() -> None:
    for epoch in range(3):
        assert len(set(drawn(num=10, first=10 * epoch))) == 10
    assert drawn(num=10) != drawn(num=10, first=10)


def test_weights_are_shares_of_files_and_each_file_has_its_own_epochs() -> None:
    names = drawn(3.0, 1.0, num=2 * BLOCK)
    for block in (names[:BLOCK], names[BLOCK:]):
        assert Counter(name[0] for name in block) == {"a": 750, "b": 250}
    for name, size in (("a", 3), ("b", 7)):
        of_it = [one for one in names if one[0] == name]
        for start in range(0, len(of_it) - size, size):
            assert len(set(of_it[start : start + size])) == size
    early = Counter(name[0] for name in names[:100])
    assert 60 < early["a"] < 90  # mixed, not one file after the other


def test_a_sample_is_the_same_whoever_asks_for_it_and_when() -> None:
    assert drawn(1.0, 2.0, num=40, first=30) == drawn(1.0, 2.0, num=70)[30:]
    assert drawn(1.0, 2.0, num=40, seed=1) != drawn(1.0, 2.0, num=40)


def test_shares_that_do_not_come_out_even_sum_to_a_block() -> None:
    counts = Counter(name[0] for name in drawn(1.0, 2.0, num=BLOCK))
    assert counts == {"a": 333, "b": 667}


def test_weights_are_read_behind_the_name(tmp_path: Path) -> None:
    odd = tmp_path / "a=2"
    odd.write_text("")
    assert weighed(["x.json", str(odd)]) == ((Path("x.json"), odd), ())
    assert weighed(["x.json=0.5", f"{odd}=2"]) == ((Path("x.json"), odd), (0.5, 2.0))


@pytest.mark.parametrize("names", [["a=0", "b=1"], ["a=-1"], ["a=nan"], ["a=inf"], ["a=much"]])
def test_a_weight_that_is_none_is_refused(names: list[str]) -> None:
    with pytest.raises(InputError, match="expected FILE=WEIGHT with more than 0"):
        weighed(names)


def test_a_weight_by_which_a_file_would_never_come_is_refused() -> None:
    with pytest.raises(InputError, match=r"one of 1000 samples, got none for b\.json"):
        weighed(["a.json=5000", "b.json=1"])
    assert weighed(["a.json=999", "b.json=1"])[1] == (999.0, 1.0)


def test_a_weight_for_some_files_alone_is_refused() -> None:
    with pytest.raises(InputError, match="a weight for every file or for none, got 1 for 2 files"):
        weighed(["a=1", "b"])


def test_shares_hold_whatever_the_weights() -> None:
    rng = np.random.default_rng(0)
    for _ in range(3):
        first, second = rng.uniform(0.1, 10, 2)
        counts = Counter(name[0] for name in drawn(first, second, num=BLOCK))
        assert counts["a"] == pytest.approx(BLOCK * first / (first + second), abs=1)
