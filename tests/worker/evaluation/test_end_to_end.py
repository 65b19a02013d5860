"""What is read from Redis is judged at its own stream time, and the whole way there works."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from model.evaluation.scores import accuracy
from model.scenes import Scene
from model.scenes.topics import TOPICS
from model.scenes.witness import Witness
from pipeline.messages import rfc3339
from worker.evaluation import end_to_end
from worker.evaluation.end_to_end import (
    ASKED,
    EVENTS,
    chosen,
    judged_answers,
    judged_one,
    measure,
    question_id,
    starts_of,
    true_spans,
)
from worker.evaluation.events import Start

BEGAN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def at(t_s: float) -> str:
    return rfc3339(BEGAN + timedelta(seconds=t_s))


def answer(topic: str, said: str, *, t_s: float, start_s: float = 0.0) -> Mapping[str, Any]:
    data = {"question_id": question_id(topic), "answer": said, "captured_at": at(t_s)}
    return {"data": {**data, "window": {"start": at(start_s)}}}


def truth(scene: Scene, topic: str, *, t_s: float, start_s: float) -> str:
    """The right answer; anything where it is open."""
    found = TOPICS[topic](Witness(scene, start_s, t_s), np.random.default_rng(0))
    return "yes" if found and found[0][1] else "no"


def test_every_question_is_one_of_its_topic() -> None:
    scenes = [Scene.from_seed(seed, duration_s=20.0) for seed in range(12)]
    for topic, asked in ASKED.items():
        rng = np.random.default_rng(0)
        said = {
            question
            for scene in scenes
            for _ in range(12)
            for question, _ in TOPICS[topic](Witness(scene, 0.0, 12.0), rng)
        }
        assert asked in said, topic


def test_whoever_knows_the_truth_is_right_at_every_moment() -> None:
    scene = Scene.from_seed(11, duration_s=30.0)
    messages = [
        answer(topic, truth(scene, topic, t_s=t_s, start_s=start_s), t_s=t_s, start_s=start_s)
        for t_s, start_s in ((0.0, 0.0), (5.0, 0.0), (6.0, 0.0), (20.0, 15.0))
        for topic in ASKED
    ]
    judged = judged_answers(scene, messages)
    assert accuracy(judged) == 1.0
    assert len(judged) > 20
    assert judged_answers(scene, []) == []


def test_answers_between_the_ticks_and_open_ones_are_passed_over() -> None:
    scene = Scene.from_seed(10_000_001, duration_s=300.0)
    (smoke, *_) = true_spans(scene, "smoke")
    assert judged_one(scene, "smoke", start_s=0.0, t_s=smoke[0], said="no") == []
    messages = [answer("gate open", "no", t_s=0.0), answer("gate open", "no", t_s=6.0)]
    assert len(judged_answers(scene, messages)) == 1


def test_an_event_starts_where_its_message_says() -> None:
    def event(phase: str, topic: str, began_s: float, t_s: float) -> Mapping[str, Any]:
        times = {"started_at": at(began_s), "captured_at": at(t_s)}
        return {"data": {"phase": phase, "question_id": question_id(topic), **times}}

    events = [
        event("start", "smoke", 7.0, 8.0),
        event("start", "person in view", 9.0, 10.0),
        event("update", "smoke", 7.0, 68.0),
        event("end", "smoke", 7.0, 90.0),
    ]
    assert starts_of("smoke", events, began_at=at(0.0)) == [Start(7.0, 8.0)]


def test_every_second_scene_has_smoke() -> None:
    scenes = chosen(10_000_000, number=4, duration_s=60.0)
    assert [bool(true_spans(scene, "smoke")) for scene in scenes] == [True, False, True, False]
    assert len({scene.seed for scene in scenes}) == 4


def test_a_scene_goes_through_codec_worker_and_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end_to_end, "SCENE_S", 6.0)
    told: list[str] = []
    rows = measure("nano", first_seed=10_000_000, minutes=0.2, progress=told.append)
    by_name = {row.name: row for row in rows}
    accuracy_row = by_name["worker_yes_no_balanced_accuracy"]
    # two scenes of six seconds: two questions every second, the others at 0 and 5 s
    num_rare = len(ASKED) - len(EVENTS)
    read = by_name["worker_answers_read"]
    assert read.value == read.target == 2 * (6 * len(EVENTS) + 2 * num_rare)
    assert accuracy_row.terms["questions"] > 2 * len(EVENTS)
    assert accuracy_row.target == pytest.approx(
        accuracy_row.terms["without_codec_and_worker"] - end_to_end.MAX_LOSS
    )
    assert {f"events_{one}_recall" for one in ("person", "smoke")} <= by_name.keys()
    assert by_name["events_smoke_recall"].target == 0.95
    assert any("rendering" in words for words in told)
