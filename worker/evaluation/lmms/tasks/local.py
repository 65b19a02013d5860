"""What the task files beside this one point to; lmms-eval loads it by its path."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from model.evaluation.scores import span_iou

Document = Mapping[str, Any]
Visuals = list[Any]


def video(document: Document) -> Visuals:
    """Show a clip."""
    return [document["video"]]


def image(document: Document) -> Visuals:
    """Show a picture."""
    return [document["image"]]


def prompt(document: Document) -> str:
    """Ask in the words that were written with the scene."""
    return str(document["prompt"])


def rounds(
    document: Document,
    lmms_eval_specific_kwargs: Mapping[str, Any] | None = None,  # noqa: ARG001 (lmms-eval's)
    round_idx: int | None = None,
    previous_output: Sequence[str] | None = None,
    previous_round_info: object = None,
) -> Any:
    """Ask the same again of a longer piece of the clip, as OVO-Bench's forward tasks do."""
    if round_idx is None:
        return document["prompt"]
    if round_idx == len(document["until"]):
        return None, None, True, previous_output, previous_round_info
    shown = [_piece(document, round_idx)]
    return shown, document["prompt"], False, previous_output, previous_round_info


def first_piece(document: Document) -> Visuals:
    """Show what the first round is about."""
    return [_piece(document, 0)]


def is_said(document: Document, results: Sequence[str]) -> dict[str, float]:
    """Judge an answer in words."""
    return {"accuracy": float(_plain(results[0]) == _plain(document["answer"]))}


def is_said_in_rounds(document: Document, results: Sequence[Any]) -> dict[str, float]:
    """Judge all rounds of a clip."""
    said = results[0] if isinstance(results[0], list) else list(results)
    right = [
        _plain(one) == _plain(due) for one, due in zip(said, document["answers"], strict=False)
    ]
    return {"accuracy": sum(right) / len(document["answers"])}


def overlap(document: Document, results: Sequence[str]) -> dict[str, float]:
    """Judge a stretch of time, as Charades-STA is judged: by its overlap with the true one."""
    return {"mean_iou": span_iou(document["answer"], results[0])}


def likeliest(document: Document, results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Judge the option that is the likeliest to follow."""
    chosen = max(range(len(results)), key=lambda place: results[place][0])
    return {"accuracy": float(document["options"][chosen] == document["answer"])}


def mean(values: Sequence[float]) -> float:
    """Return the mean over documents."""
    return sum(values) / len(values)


def _piece(document: Document, number: int) -> Document:
    return {"type": "video", "url": document["video"], "video_end": document["until"][number]}


def _plain(text: str) -> str:
    return re.sub(r"[^\w ]", "", str(text).casefold()).strip()
