"""Rendered scenes as training samples: seen, pruned by the code that serves, and asked about."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.family import Prompt
from model.kinds import KINDS, kind_of, wording
from model.kinds.base import Forms
from model.scenes import Scene, downscaled
from model.scenes.quiz import TASKS, Quiz, quizzes, true_facts
from model.scenes.topics import TOPICS
from model.scenes.witness import Witness
from model.training.sample import Exchange, Sample
from model.training.truth import truth_of
from model.types import TOKEN_PX, PrunedFrame, Question
from model.videollama3.config import MERGE_SIZE
from model.videollama3.prompt import NANO_2, frame_stamp

RENDER_SCALE = 2
DEFAULT_CAPTION_SHARE = 0.5
FRAME_S = 1.0
NUM_ORDERS = 2
"""A choice is put with its options in so many orders: its letter is what takes long to learn."""
STILL_SHARE = 0.4
"""Of the moments behind which nothing changes for a while, how many are put off into that while."""

Prune = Callable[[Iterable[tuple[NDArray[np.uint8], float]]], list[PrunedFrame]]
"""Pictures (168, 308, 3) uint8 with their times in, what a camera's pruner makes of each out."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a clip.

    Attributes:
        num_moments: how many of its shown frames are asked about.
        num_each: questions drawn at each.
        tasks: which kinds.
        shares: of the questions of a topic, how many of those drawn are put, where that
            leaves one; all where unnamed.
        also: yes/no topics put besides wherever the truth tells: always where it is no, else as
            often as this share.
        prompt: how questions are put, and whether they begin with what is now.
    """

    num_moments: int
    num_each: int
    tasks: tuple[str, ...] = TASKS
    shares: Mapping[str, float] = field(default_factory=dict)
    also: Mapping[str, float] = field(default_factory=dict)
    prompt: Prompt = NANO_2


def put(quiz: Quiz, *, forms: Forms, rng: np.random.Generator) -> tuple[str, str]:
    """Give the words put to the model for a question, as the engine would, and the right answer.

    Half of the captions are asked for in the words that a camera's caption is asked for in.
    """
    match quiz.task:
        case "caption" if rng.random() < DEFAULT_CAPTION_SHARE:
            return wording(Question("caption", ""), forms), quiz.answer
        case kind if kind in KINDS:
            question = Question(kind, quiz.question, quiz.options)
            return wording(question, forms), kind_of(kind).taught(question, quiz.answer, forms)
        case _:
            return quiz.question, quiz.answer


def watch(
    scene: Scene, *, start_s: float, num_frames: int, prune: Prune, num_before: int = 2
) -> tuple[PrunedFrame, ...]:
    """Play a stretch of a scene to a pruner; give the frames that a new context is shown.

    Args:
        scene: what there is to see.
        start_s: of the context's first frame, which is whole.
        num_frames: at 1 fps, those that change nothing, and are not shown, included.
        prune: the camera's pruner.
        num_before: frames that the pruner sees before the context begins, as in service.
    """
    times = [start_s + FRAME_S * index for index in range(-num_before, num_frames)]
    pictures = ((picture(scene, time_s), time_s) for time_s in times if time_s >= 0)
    frames = [frame for frame in prune(pictures) if frame.pts_s >= start_s]
    first = replace(frames[0], keep_mask=np.ones_like(frames[0].keep_mask))
    return (first, *(frame for frame in frames[1:] if frame.num_kept))


def asked_of(
    scene: Scene,
    frames: Sequence[PrunedFrame],
    *,
    asked: Asked,
    rng: np.random.Generator,
    until_s: float | None = None,
    is_spoken: bool = False,
) -> Sample:
    """Ask at several moments of a context that grows by `frames`.

    Args:
        scene: what they show.
        frames: those that brought something, times in the scene's own.
        asked: how much is asked, and in which words.
        rng: of what is asked.
        until_s: nothing changed between the last of them and this time; None where nobody knows.
        is_spoken: the sample also says after which frames something is worth saying.
    """
    times = [frame.pts_s for frame in frames]
    known_s = times[-1] if until_s is None else until_s
    exchanges = _exchanges(scene, times, start_s=times[0], asked=asked, rng=rng, until_s=known_s)
    worth = worth_saying(scene, times) if is_spoken else ()
    return Sample("video", tuple(frames), exchanges, truth=truth_of(scene, frames), worth=worth)


def worth_saying(scene: Scene, times_s: Sequence[float]) -> tuple[bool | None, ...]:
    """Say of each frame whether a true caption has something to state that it had not before.

    Of the first frame nobody says: what it shows may have been told before the context began.
    """
    stated = [true_facts(scene, time_s, start_s=times_s[0]) for time_s in times_s]
    news = (bool(now - before) for before, now in pairwise(stated))
    return (None, *news)


def image_sample(
    scene: Scene, *, time_s: float, asked: Asked, rng: np.random.Generator, merge_size: int
) -> Sample:
    """One picture and what can be told from it."""
    pixels = picture(scene, time_s)
    whole = np.ones((pixels.shape[0] // TOKEN_PX, pixels.shape[1] // TOKEN_PX), dtype=np.bool_)
    frame = PrunedFrame("", pixels, whole, time_s, is_refresh=True)
    exchanges = _exchanges(scene, [time_s], start_s=time_s, asked=asked, rng=rng)
    truth = truth_of(scene, [frame]) if merge_size == MERGE_SIZE else None
    return Sample("images", (frame,), exchanges, merge_size=merge_size, truth=truth)


def script_sample(
    scene: Scene, *, start_s: float, num_frames: int, asked: Asked, rng: np.random.Generator
) -> Sample:
    """The same in words: what a frame's tokens would show, written out.

    For a decoder that cannot see yet: the questions are the real ones, and so is what can be
    known at each moment.
    """
    script: list[str] = []
    times: list[float] = []
    before = ""
    for index in range(num_frames):
        time_s = start_s + FRAME_S * index
        words, is_moving = described(scene, time_s)
        if words != before or is_moving:
            script.append(f"{frame_stamp(FRAME_S * index, is_first=not script)}{words}")
            times.append(time_s)
        before = words
    exchanges = _exchanges(scene, times, start_s=start_s, asked=asked, rng=rng)
    return Sample("text", (), exchanges, script=tuple(script))


def described(scene: Scene, time_s: float) -> tuple[str, bool]:
    """Say what is to be seen at a moment, and whether any of it moves."""
    seen = [one for one in scene.seen(time_s) if one.visible >= 0.1]
    words = []
    for one in seen:
        centre = (one.box[0] + one.box[2]) / 2
        place = "left" if centre < 103 else "right" if centre > 205 else "middle"
        manner = f" {one.heading}" if one.is_moving and one.heading else ""
        words.append(f" {one.colour} {one.kind} {place}{manner}")
    state = scene.state(time_s)
    people = sum(one.kind == "person" and one.visible >= 0.3 for one in seen)
    cars = sum(one.kind == "car" and one.visible >= 0.3 for one in seen)
    words.append(f" {people} people {cars} cars")
    words.append(" open" if state.gate_open > 0.5 else " closed")
    words.append(" light" if state.lights_on else " dark")
    words += [" smoke"] * (state.smoke > 0.3) + [" fire"] * (state.fire > 0.3)
    return ",".join(words), any(one.is_moving for one in seen)


def picture(scene: Scene, time_s: float) -> NDArray[np.uint8]:
    """Give what the camera delivers at a moment: (168, 308, 3) uint8 RGB."""
    return downscaled(scene.frame(time_s, scale=RENDER_SCALE), factor=RENDER_SCALE)


def _exchanges(
    scene: Scene,
    times: Sequence[float],
    *,
    start_s: float,
    asked: Asked,
    rng: np.random.Generator,
    until_s: float | None = None,
) -> tuple[Exchange, ...]:
    """Ask after the last of these shown frames and after some before it.

    Where nothing changes from one shown frame to the next, or from the last to `until_s`, some are
    put later; none are without it.
    """
    forms = asked.prompt.forms
    others = rng.permutation(np.arange(1, len(times)))[: asked.num_moments - 1]
    exchanges = []
    for num_seen in sorted([*others.tolist(), len(times)]):
        at_s = shown_s = times[num_seen - 1]
        if asked.prompt.shows_now and until_s is not None:
            next_s = times[num_seen] if num_seen < len(times) else until_s
            num_still = round((next_s - shown_s) / FRAME_S) - 1
            if num_still > 0 and rng.random() < STILL_SHARE:
                at_s += FRAME_S * int(rng.integers(1, num_still + 1))
        now_s = at_s if at_s > shown_s else None
        drawn = quizzes(
            scene, at_s, start_s=start_s, rng=rng, num=asked.num_each, tasks=asked.tasks
        )
        chosen = [quiz for quiz in drawn if rng.random() < asked.shares.get(quiz.topic, 1.0)]
        known = {quiz.question for quiz in drawn}
        witness = Witness(scene, start_s, at_s)
        chosen += [quiz for quiz in _also(witness, asked, rng) if quiz.question not in known]
        exchanges += [
            Exchange(
                num_seen,
                (put(each, forms=forms, rng=rng),),
                now_s=now_s,
                num_options=len(quiz.options) if forms.has_letters else 0,
            )
            for quiz in chosen or drawn[:1]
            for each in _ordered(quiz, rng)
        ]
    return tuple(exchanges)


def _ordered(quiz: Quiz, rng: np.random.Generator) -> Iterator[Quiz]:
    """Give a choice in several orders of its options, anything else as it is."""
    yield quiz
    for _ in range(NUM_ORDERS - 1 if quiz.options else 0):
        yield replace(quiz, options=tuple(str(one) for one in rng.permutation(quiz.options)))


def _also(witness: Witness, asked: Asked, rng: np.random.Generator) -> Iterator[Quiz]:
    for topic, share in asked.also.items():
        for question, is_so in TOPICS[topic](witness, rng):
            if not is_so or rng.random() < share:
                yield Quiz("yes_no", question, (), "yes" if is_so else "no", topic)
