"""Rendered scenes as local data sets: clips, pictures and questions whose answers are known."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from model.bundled import NANO
from model.evaluation.evaluate import served
from model.kinds import kind_of, wording
from model.scenes import Scene
from model.scenes.quiz import Quiz, quizzes
from model.scenes.witness import Witness
from model.training.rendered import FIRST_HELD_OUT_SEED
from model.training.samples import RENDER_SCALE
from model.types import Question
from model.videollama3.prompt import prompt_of
from pipeline.sources.encoder import encode_clip
from worker.benchmarks.report import Progress

NUM_SCENES = 8
SCENE_S = 20.0
FPS, GOP_S, BITS_PER_S = 2, 2.0, 400_000
ROUNDS_S = (5.0, 10.0, 15.0, SCENE_S - 1)
WATCHED = ("person", "car")
FORMS = prompt_of(NANO).forms
"""The words that the bundled model was taught, as it alone knows these scenes."""

Document = dict[str, Any]


def render(folder: Path, *, num_scenes: int = NUM_SCENES, progress: Progress) -> list[str]:
    """Write scenes and the documents of every local task, where they are not there yet.

    Args:
        folder: gets `scene-N.mp4`, `scene-N.png` and one `TASK.jsonl` for each task.
        num_scenes: how many.
        progress: told how far it is.

    Returns:
        The tasks' names.
    """
    written = folder / f"scenes-{num_scenes}.json"
    if written.exists():
        names: list[str] = json.loads(written.read_text(encoding="utf-8"))
        return names
    folder.mkdir(parents=True, exist_ok=True)
    documents: dict[str, list[Document]] = {}
    for number in range(num_scenes):
        progress(f"rendering scene {number + 1} of {num_scenes}")
        for task, document in _of_scene(FIRST_HELD_OUT_SEED + number, folder):
            documents.setdefault(task, []).append(document)
    for task, mine in documents.items():
        rows = "".join(json.dumps(one) + "\n" for one in mine)
        (folder / f"{task}.jsonl").write_text(rows, encoding="utf-8")
    written.write_text(json.dumps(sorted(documents)), encoding="utf-8")
    return sorted(documents)


def _of_scene(seed: int, folder: Path) -> Iterator[tuple[str, Document]]:
    """Film a scene and ask about it."""
    scene = Scene.from_seed(seed, duration_s=SCENE_S)
    rng = np.random.default_rng((seed, 3))
    path, last_s = folder / f"scene-{seed}.mp4", SCENE_S - 1
    pictures = (
        scene.frame(index / FPS, scale=RENDER_SCALE) for index in range(round(SCENE_S * FPS))
    )
    encode_clip(path, pictures, fps=FPS, gop_s=GOP_S, bits_per_s=BITS_PER_S)
    clip = {"video": str(path.absolute())}

    def asked(task: str, *, at_s: float, start_s: float) -> list[Quiz]:
        return quizzes(scene, at_s, start_s=start_s, rng=rng, num=2, tasks=(task,))

    for quiz in asked("choice", at_s=last_s, start_s=0.0):
        place = quiz.options.index(quiz.answer)
        document = {**clip, **_document(quiz), "answer_place": place}
        yield "local_video_choice", document
        yield "local_likelihood", document
    for task, kind in (("local_open_answer", "text"), ("local_grounding", "grounding")):
        for quiz in asked(kind, at_s=last_s, start_s=0.0):
            yield task, {**clip, **_document(quiz)}
    still_s = float(rng.integers(2, int(SCENE_S)))
    still = folder / f"scene-{seed}.png"
    Image.fromarray(scene.frame(still_s, scale=1)).save(still)
    for quiz in asked("choice", at_s=still_s, start_s=still_s):
        yield "local_image_choice", {"image": str(still.absolute()), **_document(quiz)}
    for kind in WATCHED:
        question = Question("yes_no", f"Is a {kind} in view?")
        seen = [
            {one.kind for one in Witness(scene, 0.0, until_s).in_view()} for until_s in ROUNDS_S
        ]
        yield (
            "local_multi_round",
            {
                **clip,
                "prompt": wording(question, FORMS),
                "until": list(ROUNDS_S),
                "answers": ["yes" if kind in one else "no" for one in seen],
            },
        )


def _document(quiz: Quiz) -> Mapping[str, Any]:
    question = served(quiz)
    taught = kind_of(question.kind).taught
    return {
        "prompt": wording(question, FORMS),
        "options": [taught(question, option, FORMS) for option in quiz.options],
        "answer": taught(question, quiz.answer, FORMS),
    }
