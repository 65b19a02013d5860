"""Figures of speaking, of viewers that know exactly when and what to say."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from model.scenes import Scene
from model.scenes.quiz import caption
from model.training.samples import worth_saying
from model.types import Answer, PrunedFrame, Question
from worker.evaluation.speaking import Speaking

SCENE = Scene.from_seed(10_000_003, duration_s=44.0)


def frames() -> list[PrunedFrame]:
    """A frame a second; nothing of its picture matters here."""
    mask = np.ones((1, 1), dtype=np.bool_)
    pixels = np.zeros((28, 28, 3), dtype=np.uint8)
    return [PrunedFrame("a", pixels, mask, float(at), is_refresh=False) for at in range(40)]


class Viewer:
    """Says the truth, and speaks by a rule over the frames' times."""

    def __init__(self, worth: Callable[[float], float]) -> None:
        self.at_s = 0.0
        self.worth = worth

    def append(self, frames: Sequence[PrunedFrame]) -> None:
        self.at_s = frames[-1].pts_s

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        words = caption(SCENE, self.at_s, start_s=0.0, rng=np.random.default_rng(0))
        return [Answer(question.kind, words, None, 1) for _, question in asks]

    def remove(self, stream_id: str) -> None:
        del stream_id

    def worth_saying(self, stream_id: str) -> float | None:
        del stream_id
        return self.worth(self.at_s)


def figures(worth: Callable[[float], float]) -> dict[str, float]:
    found = Speaking()
    found.add(Viewer(worth), SCENE, frames())
    return {row.name: row.value or 0.0 for row in found.rows()}


def news_s() -> list[float]:
    times_s = [frame.pts_s for frame in frames()]
    return [at for at, is_so in zip(times_s, worth_saying(SCENE, times_s), strict=True) if is_so]


def test_who_speaks_when_something_is_new_is_right_and_tells_more_than_fixed_times_do() -> None:
    assert len(news_s()) >= 3
    found = Speaking()
    found.add(Viewer(lambda at_s: 0.9 if at_s in news_s() else 0.1), SCENE, frames())
    assert (found.num_right, found.num_met) == (found.num_spoken, found.num_worth)
    assert found.num_worth == len(news_s())
    assert found.chosen.num_told > found.periodic.num_told
    rows = {row.name: row for row in found.rows()}
    assert rows["speaking_precision"].value == rows["speaking_recall"].value == 1.0
    told = rows["speaking_words_periodic"]
    assert told.value == pytest.approx(told.terms["words"] / (39 / 3600))


def test_who_speaks_late_or_of_nothing_is_told_so() -> None:
    assert figures(lambda _at_s: 0.1)["speaking_recall"] == 0.0
    quiet = [at for at in range(1, 40) if all(abs(at - news) > 2 for news in news_s())]
    assert quiet
    found = figures(lambda at_s: 0.9 if at_s in quiet else 0.1)
    assert found["speaking_precision"] == 0.0
    assert found["speaking_recall"] == 0.0


@pytest.mark.parametrize(("late_s", "recall"), [(2.0, 1.0), (2.5, 0.0)])
def test_two_seconds_are_near(late_s: float, recall: float) -> None:
    found = Speaking()
    found._count([10.0 + late_s], [10.0])
    assert (found.num_met, found.num_right) == (int(recall), int(recall))
