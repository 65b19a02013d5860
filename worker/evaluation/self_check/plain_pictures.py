"""Pictures that any trained model knows: one colour, or a few squares; and questions about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from model import Answer, Engine, Question
from model.types import PatchGrid, PrunedFrame
from worker.benchmarks.report import Progress, Row, at_least

Pixels = NDArray[np.uint8]

PICTURE_PX = (360, 640)
"""Height and width of the camera's picture that the plain ones stand for."""

COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 170, 40),
    "blue": (20, 40, 220),
    "yellow": (240, 220, 20),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
}
"""A colour's name -> its RGB levels."""

NUMBERS = (1, 2, 3)
"""So many white squares are on black."""


@dataclass(frozen=True, slots=True)
class Case:
    """A question about a plain picture.

    Attributes:
        question: what is asked.
        right: the answer.
    """

    question: Question
    right: str | int


@dataclass(frozen=True, slots=True)
class Asked:
    """A case and what the model said."""

    case: Case
    answer: Answer

    @property
    def mass(self) -> float:
        """How probable it was, from 0 to 1, that the model answers at all."""
        return self.answer.mass or 0.0

    @property
    def is_right(self) -> bool:
        """Whether it said what is there."""
        return self.answer.value == self.case.right


def plain_pictures(grid: PatchGrid) -> list[tuple[Pixels, list[Case]]]:
    """Draw every picture on a grid, uint8 RGB of its height and width, each with its questions."""
    names = list(COLOURS)
    pictures = []
    for index, (name, levels) in enumerate(COLOURS.items()):
        other = names[(index + 1) % len(names)]
        cases = [
            Case(Question("yes_no", f"Is the picture {name}?"), "yes"),
            Case(Question("yes_no", f"Is the picture {other}?"), "no"),
            Case(Question("choice", "What colour is the picture?", tuple(names)), name),
        ]
        pictures.append((_filled(grid, levels), cases))
    count = Question("count", "How many white squares are there?")
    pictures += [(_with_squares(grid, number), [Case(count, number)]) for number in NUMBERS]
    return pictures


def ask_about_plain_pictures(
    engine: Engine, *, max_tokens_per_frame: int, progress: Progress
) -> list[Asked]:
    """Show each picture to a stream of its own and ask about it; no stream is left behind."""
    grid = engine.pin_grid(*PICTURE_PX, max_tokens=max_tokens_per_frame)
    pictures = plain_pictures(grid)
    asked: list[Asked] = []
    for number, (pixels, cases) in enumerate(pictures, 1):
        stream_id = f"plain-{number}"
        whole = np.ones((grid.rows, grid.cols), dtype=np.bool_)
        engine.append([PrunedFrame(stream_id, pixels, whole, 0.0, is_refresh=True)])
        answers = engine.ask([(stream_id, case.question) for case in cases])
        engine.remove(stream_id)
        asked += [Asked(case, answer) for case, answer in zip(cases, answers, strict=True)]
        progress(f"plain pictures: {number} of {len(pictures)}")
    return asked


def plain_rows(asked: Sequence[Asked], *, min_mass: float) -> list[Row]:
    """Return the figures; the median mass alone has a target."""
    masses = [one.mass for one in asked]
    num_answered = sum(mass >= min_mass for mass in masses)
    rows = [
        at_least(
            "plain_mass_median",
            median(masses),
            min_mass,
            unit="probability",
            terms={"least": min(masses), "questions": len(masses)},
        ),
        Row(
            "plain_answered",
            num_answered / len(asked),
            "ratio",
            terms={"answered": num_answered, "questions": len(asked)},
        ),
    ]
    for kind in dict.fromkeys(one.case.question.kind for one in asked):
        of_kind = [one for one in asked if one.case.question.kind == kind]
        num_right = sum(one.is_right for one in of_kind)
        terms = {"right": num_right, "questions": len(of_kind)}
        rows.append(Row(f"plain_{kind}_right", num_right / len(of_kind), "ratio", terms=terms))
    return rows


def _filled(grid: PatchGrid, levels: tuple[int, int, int]) -> Pixels:
    return np.full((grid.height_px, grid.width_px, 3), levels, dtype=np.uint8)


def _with_squares(grid: PatchGrid, number: int) -> Pixels:
    """Draw white squares side by side on black, each in the middle of its share of the width."""
    pixels = _filled(grid, COLOURS["black"])
    share_px = grid.width_px // max(NUMBERS)
    side_px = min(share_px, grid.height_px) // 2
    top_px = (grid.height_px - side_px) // 2
    for place in range(number):
        left_px = place * share_px + (share_px - side_px) // 2
        pixels[top_px : top_px + side_px, left_px : left_px + side_px] = COLOURS["white"]
    return pixels
