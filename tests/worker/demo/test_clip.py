"""The demo camera's clip, and what lies beside it, are about the same thing."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

import worker.demo
from deploy.camera.render import is_worth_showing
from worker.demo.timeline import Timeline
from worker.demo.verdict import SUBJECTS
from worker.environment import load

CLIP = Path(worker.demo.__file__).parent / "yard.mp4"
BLOCK_PX = 28
CHANGED_LEVELS = 8.0


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    return Timeline.read(CLIP.with_suffix(".json"))


@pytest.fixture(scope="module")
def seconds() -> list[NDArray[np.float32]]:
    """The brightness of blocks of the picture, a picture a second, as far as the clip goes."""
    with av.open(CLIP) as container:
        rate = container.streams.video[0].average_rate
        assert rate is not None
        frames = [
            frame.to_ndarray(format="gray")
            for number, frame in enumerate(container.decode(video=0))
            if number % int(rate) == 0
        ]
    return [_blocks(frame) for frame in frames]


def _blocks(gray: NDArray[Any]) -> NDArray[np.float32]:
    rows, cols = gray.shape[0] // BLOCK_PX, gray.shape[1] // BLOCK_PX
    whole = gray[: rows * BLOCK_PX, : cols * BLOCK_PX].astype(np.float32)
    means: NDArray[np.float32] = whole.reshape(rows, BLOCK_PX, cols, BLOCK_PX).mean(axis=(1, 3))
    return means


def test_they_are_of_one_length(timeline: Timeline) -> None:
    with av.open(CLIP) as container:
        stream = container.streams.video[0]
        assert stream.average_rate is not None
        assert stream.frames / stream.average_rate == timeline.duration_s


def test_what_is_there_shows(timeline: Timeline, seconds: list[NDArray[np.float32]]) -> None:
    """A picture differs from the still one when something is there, and then alone."""
    for t_s, picture in enumerate(seconds):
        near = [timeline.at(t_s + off_s) for off_s in (-1.0, -0.5, 0.0, 0.5, 1.0)]
        is_there = {any(stay.kind != "lights" for stay in stays) for stays in near}
        is_lit = all(any(stay.kind == "lights" for stay in stays) for stays in near)
        if len(is_there) == 1 and is_lit:  # nothing is half in view
            changed = float(np.abs(picture - seconds[0]).max()) > CHANGED_LEVELS
            assert {changed} == is_there, f"at {t_s} s"


def test_it_loops_without_a_jump(seconds: list[NDArray[np.float32]]) -> None:
    assert np.abs(seconds[-1] - seconds[0]).max() < CHANGED_LEVELS


def test_everything_worth_showing_happens(timeline: Timeline) -> None:
    assert is_worth_showing(timeline)


def test_every_question_of_the_demo_is_one_the_timeline_answers() -> None:
    lines = CLIP.with_name("demo.env").read_text().splitlines()
    settings = load(dict(line.split("=", 1) for line in lines if line.startswith("VIGIL_")))
    assert {question.ask for question in settings.questions.values()} <= set(SUBJECTS)
