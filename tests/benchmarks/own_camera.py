"""What training on one's own labels brings: `python -m tests.benchmarks own_camera`.

A rendered camera has its red and blue swapped, as a faulty adapter does it, so that the bundled
model names colours that are not there. One recording of it is trained on, another one of the same
camera is measured before and after. The steps are the commands of model/training/README.md.
"""

import io
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundled import NANO
from model.scenes import Scene
from model.scenes.backdrops import Layout
from model.scenes.casting import cast
from model.scenes.palette import WORN
from model.scenes.witness import Witness
from model.training.labels import UNKNOWN, Label, as_csv
from model.training.rendered import FIRST_HELD_OUT_SEED
from pipeline.sources.encoder import encode_clip
from worker.__main__ import main
from worker.benchmarks.report import Progress, Row, at_least

FPS, GOP_S, BITS_PER_S, SCALE = 1, 2.0, 300_000, 1
SETTINGS = """\
VIGIL_MODEL__MAX_TOKENS_PER_FRAME=72
VIGIL_WINDOW=16s
VIGIL_QUESTIONS__PERSON__ASK=Is a person in view?
VIGIL_QUESTIONS__PERSON__EVERY=1s
"""
COLOURED = {"person": "What colour is the person's top?", "car": "What colour is the car?"}
TRAINED, MEASURED = "sunday", "monday"
TARGETS = {
    "person_answers_f1": 0.95,
    "person_colour_answers_accuracy": 0.9,
    "car_colour_answers_accuracy": 0.9,
}


BOUNDS = ("low_95", "high_95")

Figure = dict[str, Any]
Figures = dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is recorded and trained.

    Attributes:
        trained_s: seconds of the recording that is trained on.
        measured_s: of the other one.
        num_steps: of training.
        batch_size: samples of a step.
        rank: of the adapters.
    """

    trained_s: float
    measured_s: float
    num_steps: int
    batch_size: int = 4
    rank: int = 32


FULL = Size(3600.0, 900.0, 240)


def measure(progress: Progress, size: Size = FULL) -> list[Row]:
    """Record, measure, train and measure again."""
    with tempfile.TemporaryDirectory(prefix="vigil-own-camera-") as folder:
        before, after = trained(Path(folder), size, progress=progress)
    return [_row(name, before[name], after[name]) for name in TARGETS]


def _row(name: str, before: Figure, after: Figure) -> Row:
    """Give what it came to, with what it was."""
    terms = {"before": before["value"]} if before["value"] is not None else {}
    terms |= {bound: after["terms"][bound] for bound in BOUNDS if bound in after["terms"]}
    value, target = after["value"], TARGETS[name]
    if value is None:
        return Row(name, value, after["unit"], terms=terms)
    return at_least(name, value, target, terms=terms)


def trained(folder: Path, size: Size, *, progress: Progress) -> tuple[Figures, Figures]:
    """Do all of it in a folder; return the figures of `vigil eval` before and after, by name."""
    env = folder / "worker.env"
    env.write_text(SETTINGS + "".join(_question(kind) for kind in COLOURED), encoding="utf-8")
    for number, (name, seconds) in enumerate(
        ((TRAINED, size.trained_s), (MEASURED, size.measured_s))
    ):
        progress(f"recording {seconds:g} s of the camera: {name}")
        record(folder, name, seed=FIRST_HELD_OUT_SEED + number, duration_s=seconds)
    given = f"--video {folder / MEASURED}.mp4 --labels {folder / MEASURED}.csv --env {env}"
    before = _measured(f"eval {NANO} {given} --json", progress)
    own = f"--video {folder / TRAINED}.mp4 --labels {folder / TRAINED}.csv --env {env}"
    how = f"--lora {size.rank} --steps {size.num_steps} --batch {size.batch_size} --workers 0"
    out = folder / "gate"
    _run(f"train --stage 4 --from {NANO} {own} {how} --out {out}", progress)
    return before, _measured(f"eval {out} {given} --json", progress)


def record(folder: Path, name: str, *, seed: int, duration_s: float) -> None:
    """Write a recording of the camera, and the labels of what is truly there."""
    scene = scene_of(seed, duration_s=duration_s)
    encode_clip(
        folder / f"{name}.mp4", pictures(scene), fps=FPS, gop_s=GOP_S, bits_per_s=BITS_PER_S
    )
    (folder / f"{name}.csv").write_text(as_csv(labels(scene, name)), encoding="utf-8")


def scene_of(seed: int, *, duration_s: float) -> Scene:
    """Give what happens before the camera, which stays where it is."""
    layout = Layout.drawn(np.random.default_rng((FIRST_HELD_OUT_SEED, 1)))
    return Scene(seed, layout, cast(layout, seed, duration_s=duration_s))


def pictures(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    """Yield what the camera delivers, red and blue swapped."""
    for index in range(round(scene.duration_s * FPS)):
        pixels = scene.frame(index / FPS, scale=SCALE)
        yield np.ascontiguousarray(pixels[..., ::-1])


def labels(scene: Scene, name: str) -> Iterator[Label]:
    """Yield the truth, a row for every stretch of seconds with one answer."""
    seconds = [Witness(scene, 0.0, t_s) for t_s in np.arange(0.0, scene.duration_s).tolist()]
    for question, answer in (
        ("person", _is_there),
        *((f"{kind}_colour", _colour(kind)) for kind in COLOURED),
    ):
        yield from stretches(name, question, [answer(second) for second in seconds])


def stretches(name: str, question: str, told: Sequence[str]) -> Iterator[Label]:
    """Yield labels of a camera out of the right answer at every second."""
    yield Label(name, question, None, None, UNKNOWN)
    start = 0
    for end in range(1, len(told) + 1):
        if end == len(told) or told[end] != told[start]:
            if told[start] != UNKNOWN:
                yield Label(name, question, float(start), float(end), told[start])
            start = end


def _is_there(witness: Witness) -> str:
    if not witness.sure_of("person"):
        return UNKNOWN
    return "yes" if any(seen.kind == "person" for seen in witness.in_view()) else "no"


def _colour(kind: str) -> Callable[[Witness], str]:
    """Tell the colour of the only one of a kind."""

    def colour(witness: Witness) -> str:
        mine = [seen for seen in witness.in_view() if seen.kind == kind]
        return mine[0].colour if len(mine) == 1 and witness.sure_of(kind) else UNKNOWN

    return colour


def _question(kind: str) -> str:
    head = f"VIGIL_QUESTIONS__{kind.upper()}_COLOUR__"
    options = ",".join(dict.fromkeys(WORN[kind]))
    return (
        f"{head}ASK={COLOURED[kind]}\n{head}KIND=choice\n{head}OPTIONS={options}\n{head}EVERY=1s\n"
    )


def _run(words: str, progress: Progress) -> str:
    progress(f"vigil {words}")
    with redirect_stdout(io.StringIO()) as said:
        status = main(words.split())
    if status:
        raise RuntimeError(f"vigil {words}: expected exit status 0, got {status}")
    return said.getvalue()


def _measured(words: str, progress: Progress) -> Figures:
    return {row["name"]: row for row in json.loads(_run(words, progress))["rows"]}
