"""What rounding to FP8 costs in answers: the same clips with products, keys or both kept in it.

On a CPU numbers are rounded as a GPU rounds them, so that this needs none.
"""

from copy import deepcopy
from dataclasses import replace

from model import Engine, EngineConfig
from model.evaluation.evaluate import ask_clip
from model.evaluation.scores import Judged, accuracy, balanced_accuracy, fact_score, mean_iou
from worker.benchmarks.report import Progress, Row
from worker.evaluation.clips import clips

WAYS = (
    ("exact", False, False),
    ("keys", True, False),
    ("products", False, True),
    ("both", True, True),
)
"""A name -> whether keys are kept in FP8, and whether products are."""


def measure(
    engine: Engine, config: EngineConfig, *, first_seed: int, num_clips: int, progress: Progress
) -> list[Row]:
    """Show clips in every way: what is right in each, and how much is said as without rounding.

    Args:
        engine: whose model it is; it stays as it is.
        config: of the engines that the clips are shown to; the window is longer than a clip.
        first_seed: of the first scene.
        num_clips: one a scene.
        progress: told how far it is.
    """
    engines: dict[str, Engine] = {}
    for way, keys, products in WAYS:
        family = engine.family
        if products:
            family = replace(family, network=deepcopy(family.network))
        chosen = replace(config, fp8_keys=keys, fp8_products=products)
        engines[way] = Engine(family, model_name=engine.model_name, config=chosen)
    judged: dict[str, list[Judged]] = {way: [] for way in engines}
    for number, clip in enumerate(clips(first_seed, num_clips), start=1):
        progress(f"exact and in FP8, clip {number} of {num_clips}")
        for way, one in engines.items():
            judged[way] += ask_clip(one, clip.scene, clip.frames, clip.moments)
    exact = judged.pop("exact")
    return [_row(f"fp8_{way}_equal", found, exact) for way, found in judged.items()]


def _row(name: str, judged: list[Judged], exact: list[Judged]) -> Row:
    pairs = list(zip(judged, exact, strict=True))
    terms: dict[str, float] = {"questions": len(judged)}
    for task in dict.fromkeys(one.task for one in exact):
        for whose, members in (("", judged), ("_exact", exact)):
            terms[f"{task}{whose}"] = _score(task, [one for one in members if one.task == task])
        of_task = [one.said == other.said for one, other in pairs if one.task == task]
        terms[f"{task}_equal"] = sum(of_task) / len(of_task)
    num_equal = sum(one.said == other.said for one, other in pairs)
    return Row(name, num_equal / len(pairs), "ratio", terms=terms)


def _score(task: str, judged: list[Judged]) -> float:
    match task:
        case "yes_no":
            return balanced_accuracy(judged)
        case "caption":
            return fact_score(judged).f1
        case "grounding":
            return mean_iou(judged)
        case _:
            return accuracy(judged)
