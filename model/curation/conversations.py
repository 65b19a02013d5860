"""What was curated, as files that `vigil train --data` reads.

OUT/conversations/short.jsonl      for stage 1
OUT/conversations/detailed.jsonl   for stage 2
OUT/conversations/pictures/3f/3f09c1d2a4b5e687.jpg
"""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from model.curation.parts import Pictures, batches, counts
from model.curation.pictures import for_training
from model.curation.plan import STEPS, Plan

Shared = Callable[..., Iterable[dict[str, Any]]]

STYLES = ("short", "detailed")


def forget(plan: Plan) -> None:
    """Have all written anew: parts are about to be made."""
    _whole(plan).unlink(missing_ok=True)


def _whole(plan: Plan) -> Path:
    """Return the file that says that all is written of the parts that are there."""
    return plan.out / "conversations" / "whole"


def write(plan: Plan, *, each: Shared, num_workers: int) -> int:
    """Write pictures and conversations; return how many pictures there are.

    Raises:
        OSError: there is no room, say.
    """
    parts = range(len(plan.shards))
    last = plan.folder(STEPS[-1].name)
    folder = plan.out / "conversations"
    total, _ = counts(last, parts)
    if _whole(plan).exists():
        return total
    if folder.exists():
        shutil.rmtree(folder)  # it has pictures that may be wanted no more
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    for row in each(ConversationWriter, parts, given=(plan,), num_workers=num_workers):
        if row["failed"]:
            raise OSError(row["failed"])
    for style in STYLES:
        beside = folder / f".{style}.new"
        with beside.open("wb") as whole:
            for part in parts:
                with (folder / "parts" / f"{part:05d}-{style}.jsonl").open("rb") as file:
                    shutil.copyfileobj(file, whole)
        beside.replace(folder / f"{style}.jsonl")
    shutil.rmtree(folder / "parts")
    _whole(plan).touch()
    return total


class ConversationWriter:
    """Writes the pictures and lines of parts."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do parts by number; say why one failed."""
        failed = []
        for number in batch["number"]:
            try:
                self._write(int(number))
                failed.append("")
            except OSError as error:
                failed.append(f"conversations, part {number}: {error}")
        return {"failed": failed}

    def _write(self, part: int) -> None:
        folder = self._plan.out / "conversations"
        asked = {
            "short": self._plan.networks.short_prompt,
            "detailed": self._plan.networks.detailed_prompt,
        }
        stored = Pictures(self._plan.folder("read").part(part))
        lines: dict[str, list[str]] = {style: [] for style in STYLES}
        columns = ["row", "id", "rank", *STYLES]
        for rows in batches(self._plan.folder(STEPS[-1].name).part(part), columns):
            values = rows.to_pylist()
            for one, image in zip(values, stored.take([v["row"] for v in values]), strict=True):
                content, ending = for_training(image)
                name = picture_name(one["rank"], ending)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
                for style in STYLES:
                    said = {"id": one["id"], "image": [name]}
                    turns = [("human", f"<image>\n{asked[style]}"), ("gpt", one[style])]
                    said["conversations"] = [{"from": who, "value": text} for who, text in turns]
                    lines[style].append(json.dumps(said, ensure_ascii=False) + "\n")
        for style in STYLES:
            path = folder / "parts" / f"{part:05d}-{style}.jsonl"
            path.write_text("".join(lines[style]), encoding="utf-8")


def picture_name(rank: int, ending: str) -> str:
    """Name a picture's file by its rank: an id may hold what no file's name can."""
    name = f"{rank:016x}"
    return str(Path("pictures") / name[:2] / f"{name}.{ending}")
