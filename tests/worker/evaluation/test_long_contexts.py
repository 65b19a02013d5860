"""What is asked of a minute's context, of viewers that know everything and nothing."""

from collections.abc import Sequence

import numpy as np
import pytest

from model.scenes import Scene
from model.scenes.quiz import caption
from model.types import Answer, PrunedFrame, Question
from worker.evaluation import long_contexts
from worker.evaluation.long_contexts import TARGETS, measure, questions

SEED = 10_000_000


def shown(seed: int, *, is_busy: bool) -> tuple[Scene, tuple[PrunedFrame, ...]]:
    """A frame a second; nothing of its picture matters here."""
    scene = Scene.from_seed(seed, duration_s=76.0, is_busy=is_busy)
    mask, pixels = np.ones((1, 1), dtype=np.bool_), np.zeros((28, 28, 3), dtype=np.uint8)
    return scene, tuple(
        PrunedFrame("a", pixels, mask, float(at_s), is_refresh=False) for at_s in range(3, 64)
    )


class Viewer:
    """Says of every clip what is true of it, or nothing at all."""

    def __init__(self, *, knows: bool) -> None:
        self.knows, self.number, self.at_s = knows, -1, 99.0

    def append(self, frames: Sequence[PrunedFrame]) -> None:
        if frames[0].pts_s < self.at_s:
            self.number += 1
            self.scene, seen = shown(SEED + self.number, is_busy=self.number % 2 == 1)
            manner = ("calm", "busy")[self.number % 2]
            asked = questions(self.scene, seen, manner=manner)
            self.known = {(at_s, quiz.question): quiz.answer for at_s, _, quiz in asked}
        self.at_s = frames[0].pts_s

    def ask(self, asks: Sequence[tuple[str, Question]]) -> list[Answer]:
        return [Answer(question.kind, self._said(question), None, 1) for _, question in asks]

    def _said(self, question: Question) -> str:
        if not self.knows:
            return "perhaps"
        if question.kind == "caption":
            rng = np.random.default_rng(0)
            return caption(self.scene, self.at_s, start_s=3.0, rng=rng)
        return self.known[self.at_s, question.text]

    def remove(self, stream_id: str) -> None:
        del stream_id


@pytest.mark.parametrize("knows", [True, False])
def test_who_knows_all_reaches_every_target_and_who_knows_nothing_none(
    monkeypatch: pytest.MonkeyPatch, *, knows: bool
) -> None:
    monkeypatch.setattr(long_contexts, "clip", shown)
    rows = measure(Viewer(knows=knows), first_seed=SEED, num_clips=6, progress=lambda _words: None)
    assert [row.name for row in rows] == list(TARGETS)
    assert all(row.value == (1.0 if knows else 0.0) for row in rows)
    assert all(row.holds == (knows if row.target else None) for row in rows)


def test_captions_are_asked_after_half_a_minute_and_a_whole_one() -> None:
    scene, frames = shown(SEED, is_busy=True)
    asked = list(questions(scene, frames, manner="busy"))
    captions = [at_s for at_s, name, _ in asked if "caption" in name]
    assert captions == [33.0, 63.0]
    assert all(at_s == 63.0 for at_s, name, _ in asked if name == "long_history_60s")
