"""The pictures that events name, seen through a whole runner: the frames that the model saw."""

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.types import Answer, Question
from pipeline.events import EventRule
from pipeline.evidence import MAX_PICTURED, Evidence
from pipeline.messages import Message
from pipeline.metrics import EVIDENCE_LOST
from pipeline.publishers.redis_keys import evidence_key
from pipeline.questions import StandingQuestion
from tests.fakes import EPOCH, Recorder, frame_at, picture
from tests.pipeline.runner_bench import Bench, said

FIRST_S, DECIDED_S = 38, 58
EVERY_S = 20.0  # longer than any frame is held that speaks for nothing


def asked(question_id: str = "fire", *, confirm: tuple[int, int] = (2, 3)) -> StandingQuestion:
    rule = EventRule(confirm_n=confirm[0], confirm_m=confirm[1], cooldown_s=0.0, update_every_s=60)
    return StandingQuestion(
        question_id, Question("yes_no", f"{question_id}?"), every_s=EVERY_S, rule=rule
    )


def burning(*spans_s: tuple[float, float]) -> Callable[[float], bool]:
    return lambda at_s: any(begin <= at_s < end for begin, end in spans_s)


class Yard:
    """A runner with evidence, of a camera whose frames tell their own second by their level."""

    def __init__(
        self,
        *questions: StandingQuestion,
        burns: Callable[[float], bool],
        max_held_bytes: int = 1 << 30,
        states: Mapping[str, str] = {},
    ) -> None:
        self.observer = Recorder()
        self.evidence = Evidence(
            lambda *about: evidence_key("vigil", *about),
            observer=self.observer,
            max_held_bytes=max_held_bytes,
        )
        self.second = 0.0

        def answer(_camera_id: str, question: Question) -> Answer:
            p = 0.9 if burns(self.second) else 0.1
            return said(question.kind, "yes" if p > 0.5 else "no", p)

        self.bench = Bench(
            *questions,
            answers=answer,
            evidence=self.evidence,
            states=states,
        )

    def watch(self, begin_s: int, end_s: int) -> None:
        for second in range(begin_s, end_s):
            self.second = float(second)
            self.bench.show(frame_at(float(second), picture(level_at(second))))

    def events(self, phase: str) -> list[Message]:
        return [
            one
            for one in self.bench.replies.messages
            if one.kind == "event" and one.body["data"]["phase"] == phase
        ]


def level_at(second: float) -> int:
    return 20 + int(second) % 200


def pixels(jpeg: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def seconds(message: Message) -> dict[str, float]:
    """When the pictures of a message were captured, and that they show that very second."""
    found: dict[str, float] = {}
    for one in message.pictures:
        at_s = (one.captured_at - EPOCH).total_seconds()
        if one.role != "strip":
            assert abs(pixels(one.jpeg).mean() - level_at(at_s)) < 3
        found[one.role] = at_s
    return found


def strip_seconds(message: Message) -> list[int]:
    (strip,) = (pixels(one.jpeg) for one in message.pictures if one.role == "strip")
    width_px = picture().shape[1] // 2
    parts: Sequence[NDArray[np.uint8]] = np.split(strip, strip.shape[1] // width_px, axis=1)
    return [round(float(one[:, 8:-8].mean())) - 20 for one in parts]


def test_an_event_names_its_first_frame_the_one_before_it_the_latest_and_six_in_between() -> None:
    yard = Yard(asked(), burns=burning((30, 130)))
    yard.watch(0, 160)
    (start,), (update,), (end,) = (yard.events(phase) for phase in ("start", "update", "end"))
    first, decided = FIRST_S, DECIDED_S
    assert seconds(start) == {
        "before": first - 1,
        "at": first,
        "latest": decided,
        "strip": decided,
    }
    assert datetime.fromisoformat(start.body["data"]["started_at"]) == start.pictures[1].captured_at
    assert list(seconds(update)) == ["latest"]
    assert [seconds(end)[role] for role in ("before", "at")] == [first - 1, first]
    for message in (start, end):
        row = strip_seconds(message)
        assert len(row) == 6
        assert row == sorted(row)
        assert abs(row[-1] - seconds(message)["latest"]) <= 2
    assert strip_seconds(end)[0] == pytest.approx(first - 1, abs=2)


def test_a_message_says_what_its_pictures_are() -> None:
    yard = Yard(asked(), burns=burning((30, 90)))
    yard.watch(0, 60)
    (start,) = yard.events("start")
    named = start.body["data"]["pictures"]
    event_id = start.body["data"]["event_id"]
    assert [one["role"] for one in named] == ["before", "at", "latest", "strip"]
    assert [one["key"] for one in named] == [
        f"vigil:yard:evidence:{event_id}:{one['role']}" for one in named
    ]
    assert [one["key"] for one in named] == [one.key for one in start.pictures]


def test_frames_that_speak_are_held_until_it_is_decided_however_long_that_takes() -> None:
    yard = Yard(asked(confirm=(4, 4)), burns=burning((30, 130)))
    yard.watch(0, 120)
    (start,) = yard.events("start")
    assert seconds(start) == {"before": 37, "at": 38, "latest": 98, "strip": 98}
    assert strip_seconds(start)[0] == pytest.approx(37, abs=2)


def test_frames_of_what_becomes_no_event_are_let_go() -> None:
    yard = Yard(asked(), asked("smoke"), burns=burning((30, 50), (170, 250)))
    yard.watch(0, 150)
    assert yard.evidence.held_bytes == 6 * picture().nbytes
    yard.watch(150, 220)
    assert [seconds(one)["at"] for one in yard.events("start")] == [178, 178]


def test_frames_that_spoke_about_a_question_that_is_gone_are_let_go() -> None:
    yard = Yard(asked(), burns=burning((30, 50)))
    yard.watch(0, 50)
    assert yard.evidence.held_bytes == 8 * picture().nbytes  # two that are not the last six
    yard.evidence.hold("yard", {})
    assert yard.evidence.held_bytes == 6 * picture().nbytes


def test_where_there_is_no_room_an_event_goes_out_with_what_there_is_and_that_is_counted() -> None:
    yard = Yard(asked(), burns=burning((30, 130)), max_held_bytes=2 * picture().nbytes)
    yard.watch(0, 60)
    (start,) = yard.events("start")
    assert seconds(start) == {"latest": 58, "strip": 58}
    assert yard.observer.total(EVIDENCE_LOST, reason="memory") == 1
    assert yard.evidence.held_bytes <= 2 * picture().nbytes


def test_of_more_events_than_a_tick_has_time_for_the_rest_have_no_pictures() -> None:
    questions = [asked(f"q{number}", confirm=(1, 1)) for number in range(MAX_PICTURED + 2)]
    yard = Yard(*questions, burns=burning((0, 99)))
    yard.watch(0, 40)
    starts = yard.events("start")
    assert len(starts) == MAX_PICTURED + 2
    num_without = sum(not one.pictures for one in starts)
    assert num_without == yard.observer.total(EVIDENCE_LOST, reason="busy")
    assert num_without <= 2


def test_an_event_that_began_in_another_process_ends_with_what_is_at_hand() -> None:
    before = Yard(asked(), burns=burning((0, 999)))
    before.watch(0, 60)
    states = before.bench.replies.states
    after = Yard(asked(), burns=burning(), states=states)
    after.watch(60, 110)
    (end,) = after.events("end")
    assert sorted(seconds(end)) == ["latest", "strip"]
    assert len(strip_seconds(end)) == 6


def test_without_evidence_events_name_none() -> None:
    bench = Bench(asked(confirm=(1, 1)), answers=lambda *_: said("yes_no", "yes", 0.9))
    bench.show(*(frame_at(float(second)) for second in range(40)))
    (start,) = bench.data("event")
    assert (start["pictures"], start["clip"]) == ([], None)
