"""A file played to a worker, its answers as they were published."""

from collections.abc import Sequence
from pathlib import Path
from time import sleep

from model import Engine
from model.engine.around import AroundEngine
from model.scenes import Scene
from model.types import PrunedFrame
from pipeline.clock import SystemClock
from pipeline.sources.encoder import encode_clip
from worker import environment
from worker.evaluation.labelled.footage import Clip, questions_of, settings_for
from worker.evaluation.labelled.playing import play
from worker.loading import load_engine

NUM_FRAMES, FPS = 8, 10
EVERY_S = 2 / FPS  # every other frame


class Slow(AroundEngine[Engine]):
    """An engine that takes longer to see a frame than a question waits."""

    def append(self, frames: Sequence[PrunedFrame], *, may_shed: bool = True) -> None:
        sleep(1.5 * EVERY_S)
        super().append(frames, may_shed=may_shed)


def test_a_model_that_is_slower_than_the_file_costs_no_answer(tmp_path: Path) -> None:
    scene, path = Scene.from_seed(10_000_000, duration_s=10.0), tmp_path / "gate.mp4"
    pictures = [scene.frame(index / FPS, scale=1) for index in range(NUM_FRAMES)]
    encode_clip(path, pictures, fps=FPS, gop_s=2.0, bits_per_s=500_000)
    clip = Clip("gate", path, "gate")
    given = {
        "VIGIL_MODEL__PATH": "nano",
        "VIGIL_MODEL__MAX_TOKENS_PER_FRAME": "72",
        "VIGIL_WINDOW": "30s",
        "VIGIL_SAMPLE_FPS": str(FPS),
        "VIGIL_QUESTIONS__PERSON__ASK": "Is a person in view?",
        "VIGIL_QUESTIONS__PERSON__EVERY": f"{EVERY_S:g}s",
    }
    settings = environment.load(given)
    mine = settings_for(settings, clip, questions=questions_of(settings, clip))
    slow = Slow(load_engine(mine))
    played = play(mine, clip, slow, clock=SystemClock(), progress=lambda _: None)
    assert [(one.t_s, one.reason) for one in played.answers] == [
        (index / FPS, None) for index in range(0, NUM_FRAMES, 2)
    ]
