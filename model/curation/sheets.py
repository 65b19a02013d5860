"""Pictures of a run: the funnel, and sheets of what each step kept and dropped for each reason."""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

from model.curation.parts import Pictures, StepFolder, counts
from model.curation.pictures import opened
from model.curation.plan import STEPS, Plan

INK, PAPER = (38, 42, 48), (255, 255, 255)
KEPT, DROPPED = (62, 128, 96), (206, 120, 86)
_ON_A_SHEET = 48
_ACROSS = 8
_TILE_PX = 120
_LINE_PX = 18
_BAR_PX = 620

Spot = tuple[int, int, int, str]
"""(rank, part, row, words): where a picture is, and what to write under it."""


def draw(plan: Plan) -> Iterator[Path]:
    """Draw `funnel.png` and a sheet for each step and reason in `OUT/sheets`; yield their paths.

    On a sheet are the pictures of lowest rank, so it is a fair sample and the same in every run.
    """
    folder = plan.out / "sheets"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    parts = range(len(plan.shards))
    found = [(step.name, *counts(plan.folder(step.name), parts)) for step in STEPS]
    funnel = folder / "funnel.png"
    _funnel(found).save(funnel)
    yield funnel
    for number, step in enumerate(STEPS, start=1):
        last = plan.folder(step.name)
        kept = _sheet(plan, _kept(last, parts))
        if kept is not None and step.drops:
            yield _saved(kept, folder / f"{number}-{step.name}-kept.jpg")
        for reason in step.drops:
            sheet = _sheet(plan, _dropped(last, parts, reason))
            if sheet is not None:
                yield _saved(sheet, folder / f"{number}-{step.name}-dropped-{reason}.jpg")


def _funnel(found: Sequence[tuple[str, int, dict[str, int]]]) -> Image.Image:
    """A bar for each step, as long as what it was given: kept, then dropped, with the counts."""
    first = found[0][1] + sum(found[0][2].values())
    lines = sum(2 + len(reasons) for _, _, reasons in found)
    picture = Image.new("RGB", (_BAR_PX + 200, (lines + 2) * _LINE_PX), PAPER)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13)
    y = _LINE_PX / 2
    for number, (name, kept, reasons) in enumerate(found, start=1):
        wide = _BAR_PX * kept / max(1, first)
        out = _BAR_PX * sum(reasons.values()) / max(1, first)
        pen.rectangle((16, y, 16 + wide, y + _LINE_PX - 4), fill=KEPT)
        pen.rectangle((16 + wide, y, 16 + wide + out, y + _LINE_PX - 4), fill=DROPPED)
        at = 24 + wide + out
        pen.text((at, y), f"{number} {name}: {kept:,} kept", fill=INK, font=font)
        for reason, count in reasons.items():
            y += _LINE_PX
            pen.text((32, y), f"{count:,} dropped: {reason}", fill=DROPPED, font=font)
        y += 2 * _LINE_PX
    return picture


def _kept(folder: StepFolder, parts: Sequence[int]) -> list[Spot]:
    lowest: list[Spot] = []
    for part in parts:
        rows = pq.read_table(folder.part(part), columns=["rank", "row", "text"])
        order = pc.sort_indices(rows, [("rank", "ascending")]).slice(0, _ON_A_SHEET)
        some = [(v["rank"], part, v["row"], v["text"]) for v in rows.take(order).to_pylist()]
        lowest = heapq.nsmallest(_ON_A_SHEET, lowest + some)
    return lowest


def _dropped(folder: StepFolder, parts: Sequence[int], reason: str) -> list[Spot]:
    lowest: list[Spot] = []
    for part in parts:
        rows = pq.read_table(folder.dropped(part), columns=["rank", "row", "reason", "what"])
        rows = rows.filter(pc.and_(pc.equal(rows["reason"], reason), pc.greater(rows["row"], -1)))
        order = pc.sort_indices(rows, [("rank", "ascending")]).slice(0, _ON_A_SHEET)
        some = [(v["rank"], part, v["row"], v["what"]) for v in rows.take(order).to_pylist()]
        lowest = heapq.nsmallest(_ON_A_SHEET, lowest + some)
    return lowest


def _sheet(plan: Plan, spots: Sequence[Spot]) -> Image.Image | None:
    if not spots:
        return None
    down = -(-len(spots) // _ACROSS)
    sheet = Image.new("RGB", (_ACROSS * _TILE_PX, down * (_TILE_PX + _LINE_PX)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for place, (_, part, row, words) in enumerate(spots):
        stored = Pictures(plan.folder("read").part(part))
        picture = opened(stored.take([row])[0], near_px=_TILE_PX)
        picture.thumbnail((_TILE_PX - 4, _TILE_PX - 4))
        x, y = place % _ACROSS * _TILE_PX, place // _ACROSS * (_TILE_PX + _LINE_PX)
        sheet.paste(picture, (x, y))
        pen.text((x, y + _TILE_PX - 2), words[:20], fill=INK, font=font)
    return sheet


def _saved(sheet: Image.Image, path: Path) -> Path:
    sheet.save(path, quality=88)
    return path
