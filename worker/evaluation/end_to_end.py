"""The same questions through everything: H.264, a real worker and a real Redis, against the truth.

Scenes of some minutes are encoded as a camera would and played by a worker as its cameras, faster
than they last. What it answers and announces is read from the streams in Redis and compared with
the scene at the stream time of each message. Beside it stand the answers of the same engine to the
same questions at the same moments, shown the pictures as they were before the codec.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.evaluation.scores import Judged, balanced_accuracy, share_of
from model.scenes import Scene, downscaled
from model.scenes.topics import TOPICS
from model.scenes.witness import Witness
from model.training.samples import RENDER_SCALE
from model.types import Question
from pipeline.clock import SystemClock
from pipeline.pruner import prune_clip
from pipeline.publishers.stream import replies
from pipeline.sources.encoder import encode_clip
from worker import environment
from worker.benchmarks.report import Progress, Row, at_least, at_most
from worker.demo.embedded_redis import embedded_redis
from worker.evaluation.events import Matched, Start, joined, match, total
from worker.loading import load_engine
from worker.settings import Settings
from worker.supervisor import Supervisor
from worker.wiring import build

ASKED: Mapping[str, str] = {
    "person in view": "Is a person in view?",
    "car in view": "Is a car in view?",
    "bicycle in view": "Is a bicycle in view?",
    "dog in view": "Is a dog in view?",
    "parcel in view": "Is there a parcel on the ground?",
    "smoke": "Is there smoke?",
    "fire": "Is there fire?",
    "fire or smoke": "Is there fire or smoke?",
    "gate open": "Is the gate open?",
    "gate closed": "Is the gate closed?",
    "lights on": "Are the lights on?",
    "lights off": "Are the lights off?",
    "moving": "Is anything moving?",
    "person has left": "Has a person left?",
    "car has left": "Has a car left?",
    "person has entered": "Did a person enter?",
    "car has entered": "Did a car enter?",
    "gate has opened": "Did the gate open?",
    "gate has closed": "Did the gate close?",
    "parcel put down": "Has a parcel been put down?",
}
"""Topics of `scenes.topics` that a standing question can be about, and the question."""
EVENTS = ("person in view", "smoke")

SCENE_S = 300.0
FPS, GOP_S, BITS_PER_S = 5, 2.0, 500_000
WINDOW_S = 30.0
TICK_S = 5.0  # between two answers that count for accuracy
EVENT_TICK_S = 1.0
CONFIRM_N, CONFIRM_M = 2, 3
GAP_S = CONFIRM_M * EVENT_TICK_S  # a shorter one need not hold N answers that speak against
SHORTEST_S = CONFIRM_N * EVENT_TICK_S
MAX_LOSS = 0.02
TARGETS = {"precision": 0.95, "recall": 0.95, "delay_s": 3.0}
REPORT_EVERY_S = 10.0

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Filmed:
    """A scene as a camera delivers it.

    Attributes:
        camera_id: its name in the worker.
        scene: what there is to see.
        path: the H.264 file.
        pictures: (168, 308, 3) uint8 at every second, before the codec.
    """

    camera_id: str
    scene: Scene
    path: Path
    pictures: tuple[Pixels, ...]


def measure(folder: str, *, first_seed: int, minutes: float, progress: Progress) -> list[Row]:
    """Play so many minutes of scenes to a worker and score what it says.

    Args:
        folder: the model's checkpoint.
        first_seed: where to look for scenes; as many have smoke as have none.
        minutes: of stream time in all, in scenes of `SCENE_S`.
        progress: told how far it is.

    Raises:
        CheckpointError: the folder is not a whole checkpoint.
        ConfigError: there is no redis-server.
    """
    number = max(1, round(60 * minutes / SCENE_S))
    scenes = chosen(first_seed, number=number, duration_s=60 * minutes / number)
    with tempfile.TemporaryDirectory(prefix="vigil-eval-") as made, embedded_redis() as redis_url:
        filmed = []
        for index, scene in enumerate(scenes):
            progress(f"rendering scene {index + 1} of {number}, {scene.duration_s:.0f} s")
            filmed.append(film(scene, Path(made), camera_id=f"scene-{index}"))
        clock = SystemClock()
        begun_s = clock.monotonic_s()
        # One after the other: the first camera of a worker is sampled on the whole second, and
        # the others between, at moments that no message tells.
        for one in filmed:
            settings = settings_for(folder, [one], redis_url=redis_url)
            play(settings, num_frames=len(one.pictures), progress=progress)
        spent_s = clock.monotonic_s() - begun_s
        answers = {one.camera_id: replies(redis_url, one.camera_id, "answer") for one in filmed}
        events = {one.camera_id: replies(redis_url, one.camera_id, "event") for one in filmed}
    told = [x for one in filmed for x in judged_answers(one.scene, answers[one.camera_id])]
    progress("asking the engine about the same moments without codec and worker")
    direct = [
        answer
        for one in filmed
        for answer in judged_directly(settings_for(folder, [one], redis_url=redis_url), one)
    ]
    streamed_s = sum(one.scene.duration_s for one in filmed)
    return [
        _read_row(filmed, num_read=sum(map(len, answers.values()))),
        _accuracy_row(told, direct),
        *(
            row
            for topic in EVENTS
            for row in _event_rows(topic, [(x.scene, events[x.camera_id]) for x in filmed], answers)
        ),
        Row(
            "worker_stream_seconds_per_second",
            streamed_s / spent_s,
            "ratio",
            terms={"stream_s": streamed_s, "spent_s": spent_s},
        ),
    ]


def chosen(first_seed: int, *, number: int, duration_s: float) -> list[Scene]:
    """Give the first scenes from a seed on of which every second one has smoke."""
    scenes: list[Scene] = []
    seed = first_seed
    while len(scenes) < number:
        scene = Scene.from_seed(seed, duration_s=duration_s)
        if bool(true_spans(scene, "smoke")) == (len(scenes) % 2 == 0):
            scenes.append(scene)
        seed += 1
    return scenes


def film(scene: Scene, folder: Path, *, camera_id: str) -> Filmed:
    """Render a scene at 5 pictures a second into H.264; keep what every second looked like."""
    pictures: list[Pixels] = []

    def rendered() -> Iterator[Pixels]:
        for index in range(round(scene.duration_s * FPS)):
            picture = scene.frame(index / FPS, scale=RENDER_SCALE)
            if index % FPS == 0:
                pictures.append(downscaled(picture, factor=RENDER_SCALE))
            yield picture

    path = folder / f"{camera_id}.mp4"
    encode_clip(path, rendered(), fps=FPS, gop_s=GOP_S, bits_per_s=BITS_PER_S)
    return Filmed(camera_id, scene, path, tuple(pictures))


def settings_for(folder: str, filmed: Iterable[Filmed], *, redis_url: str) -> Settings:
    """Give the settings of a worker that watches these scenes as fast as it can."""
    variables = {
        "VIGIL_MODEL__PATH": folder,
        "VIGIL_MODEL__MAX_TOKENS_PER_FRAME": "72",
        "VIGIL_WINDOW": f"{WINDOW_S:g}s",
        "VIGIL_REDIS__URL": redis_url,
        "VIGIL_REDIS__STREAM_MAX_LEN": "1000000",
        "VIGIL_EVIDENCE__KEEP": "0s",
        "VIGIL_OUTBOX__PATH": "memory",
        "VIGIL_HEALTH__PORT": "0",
        "VIGIL_WORKER_ID": "eval",
    }
    for one in filmed:
        camera = f"VIGIL_CAMERAS__{one.camera_id.upper()}__"
        variables |= {f"{camera}URL": str(one.path), f"{camera}LIVE": "false"}
    return environment.load(variables | question_variables())


def question_variables() -> dict[str, str]:
    """Give the variables of the standing questions."""
    variables: dict[str, str] = {}
    for topic, text in ASKED.items():
        has_events = topic in EVENTS
        question = f"VIGIL_QUESTIONS__{question_id(topic).upper()}__"
        variables |= {
            f"{question}ASK": text,
            f"{question}EVERY": f"{EVENT_TICK_S if has_events else TICK_S:g}s",
            f"{question}UNKNOWN": "0.5-0.5",  # nothing is unknown: every answer counts
            f"{question}EVENTS": str(has_events).lower(),
            f"{question}CONFIRM": f"{CONFIRM_N}/{CONFIRM_M}",
            f"{question}COOLDOWN": "0s",
        }
    return variables


def question_id(topic: str) -> str:
    """Name the standing question about a topic."""
    return topic.replace(" ", "_")


def play(settings: Settings, *, num_frames: int, progress: Progress) -> None:
    """Run a worker until its files have been played to their ends."""
    clock = SystemClock()
    worker = build(settings, clock=clock)
    running = Thread(target=Supervisor(worker).run, kwargs={"health_port": 0}, daemon=True)
    running.start()
    told_s = clock.monotonic_s()
    while running.is_alive():
        running.join(0.1)
        if clock.monotonic_s() - told_s >= REPORT_EVERY_S:
            told_s = clock.monotonic_s()
            taken = sum(lane.taken for lane in worker.lanes.counts().values())
            progress(f"the worker has taken {taken} of {num_frames} frames")


# ---------------------------------------------------------------- answers


def judged_answers(
    scene: Scene, answers: Sequence[Mapping[str, Any]], *, every_s: float = TICK_S
) -> list[Judged]:
    """Judge a camera's answers at the seconds that count; those the truth leaves open are passed.

    Args:
        scene: what the camera saw.
        answers: its messages, oldest first; the first is about the frame at stream time 0.
        every_s: between two seconds that count.
    """
    topics = {question_id(topic): topic for topic in ASKED}
    first = _time(answers[0]["data"]["captured_at"]) if answers else None
    judged: list[Judged] = []
    for answer in answers:
        data = answer["data"]
        t_s = _since(first, data["captured_at"])
        if t_s % every_s == 0:
            start_s = _since(first, data["window"]["start"])
            topic = topics[data["question_id"]]
            judged += judged_one(scene, topic, start_s=start_s, t_s=t_s, said=data["answer"])
    return judged


def judged_directly(settings: Settings, filmed: Filmed) -> list[Judged]:
    """Judge the engine's answers about the pictures before the codec, at the same seconds."""
    engine = load_engine(settings)
    judged: list[Judged] = []
    seconds = ((pixels, float(index)) for index, pixels in enumerate(filmed.pictures))
    for frame in prune_clip(seconds):
        engine.append([frame])
        window = engine.window(frame.stream_id)
        if frame.pts_s % TICK_S or window is None:
            continue
        asks = [(frame.stream_id, Question("yes_no", text)) for text in ASKED.values()]
        for topic, answer in zip(ASKED, engine.ask(asks), strict=True):
            judged += judged_one(
                filmed.scene,
                topic,
                start_s=window.start_pts_s,
                t_s=frame.pts_s,
                said=str(answer.value),
            )
    return judged


def judged_one(scene: Scene, topic: str, *, start_s: float, t_s: float, said: str) -> list[Judged]:
    """Judge one answer of a viewer who has watched since `start_s`; none where it is open."""
    rng = np.random.default_rng((scene.seed, round(1000 * t_s)))  # draws words, and what is dull
    found = TOPICS[topic](Witness(scene, start_s, t_s), rng)
    return [Judged("yes_no", topic, "yes" if truth else "no", said) for _, truth in found[:1]]


def _read_row(filmed: Sequence[Filmed], *, num_read: int) -> Row:
    """Every answer that was due is to be found in Redis."""
    due = 0
    for one in filmed:
        num_seconds = len(one.pictures)
        due += len(EVENTS) * num_seconds
        due += (len(ASKED) - len(EVENTS)) * ceil(num_seconds / TICK_S)
    return at_least("worker_answers_read", num_read, due, unit="answers")


def _accuracy_row(told: Sequence[Judged], direct: Sequence[Judged]) -> Row:
    if not told or not direct:
        return Row("worker_yes_no_balanced_accuracy", None, "ratio: nothing was answered")
    beside = balanced_accuracy(direct)
    terms = {
        "questions": len(told),
        "share_yes": share_of("yes", told),
        "without_codec_and_worker": beside,
        "questions_without": len(direct),
    }
    value = balanced_accuracy(told)
    return at_least("worker_yes_no_balanced_accuracy", value, beside - MAX_LOSS, terms=terms)


# ---------------------------------------------------------------- events


def true_spans(scene: Scene, topic: str) -> list[tuple[float, float]]:
    """Give the stretches in which the topic of an event is true, one for each subject."""
    kind = topic.removesuffix(" in view")
    return [(one.start_s, one.end_s) for one in scene.presence() if one.kind == kind]


def starts_of(
    topic: str, events: Sequence[Mapping[str, Any]], *, began_at: str | None
) -> list[Start]:
    """Give a topic's event starts among a camera's messages; `began_at` is stream time 0."""
    first = _time(began_at) if began_at else None
    return [
        Start(_since(first, data["started_at"]), _since(first, data["captured_at"]))
        for data in (event["data"] for event in events)
        if data["phase"] == "start" and data["question_id"] == question_id(topic)
    ]


def _event_rows(
    topic: str,
    seen: Sequence[tuple[Scene, Sequence[Mapping[str, Any]]]],
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
) -> list[Row]:
    began = [each[0]["data"]["captured_at"] if each else None for each in answers.values()]
    found = total(
        matched(topic, scene, events, began_at=began_at)
        for (scene, events), began_at in zip(seen, began, strict=True)
    )
    return _matched_rows(f"events_{topic.partition(' ')[0]}", found)


def matched(
    topic: str, scene: Scene, events: Sequence[Mapping[str, Any]], *, began_at: str | None
) -> Matched:
    """Say how a camera's events of a topic fit the truth; `began_at` is stream time 0."""
    return match(
        starts_of(topic, events, began_at=began_at),
        joined(true_spans(scene, topic), gap_s=GAP_S),
        shortest_s=SHORTEST_S,
    )


def _matched_rows(name: str, found: Matched) -> list[Row]:
    terms = {"found": found.num_found, "starts": found.num_starts, "spans": found.num_spans}
    rows = []
    for what, value in (("precision", found.precision), ("recall", found.recall)):
        row = f"{name}_{what}"
        if value is None:
            rows.append(Row(row, None, "ratio: there were none", TARGETS[what], terms=terms))
        else:
            rows.append(at_least(row, value, TARGETS[what], terms=terms))
    delay_s = found.median_delay_s
    if delay_s is None:
        rows.append(Row(f"{name}_median_delay", None, "s: there were none", TARGETS["delay_s"]))
    else:
        slowest = {"slowest_s": max(found.delays_s)}
        rows.append(
            at_most(f"{name}_median_delay", delay_s, TARGETS["delay_s"], unit="s", terms=slowest)
        )
    return rows


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _since(first: datetime | None, at: str) -> float:
    """Give stream time to the frame; messages round theirs to a millisecond."""
    passed_s = (_time(at) - first).total_seconds() if first else 0.0
    return round(passed_s * FPS) / FPS
