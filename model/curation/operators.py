"""What each step does to some rows of a part: the same rows in, the same verdicts out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from model.curation.duplicates import place
from model.curation.parts import Floats, features_of
from model.curation.plan import Limits, Networks, Plan
from model.training.conversation import tag_in

if TYPE_CHECKING:
    from model.curation.models import Matcher, Scorer, Writer

Drop = tuple[int, str, str]
"""(row of the batch, reason, what came)."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a step says of a batch.

    Attributes:
        drops: rows to drop; of two about one row the first counts.
        columns: what is added, a value for each row, dropped ones too.
    """

    drops: list[Drop]
    columns: dict[str, pa.Array] = field(default_factory=dict)


class Operator(Protocol):
    """A step's work on a batch of rows.

    Attributes:
        adds: the columns it adds.
        near_px: side in px that it wants pictures decoded near to; None if it wants none.
    """

    adds: pa.Schema
    near_px: int | None

    def judge(self, rows: pa.Table, pictures: Sequence[Image.Image]) -> Judged:
        """Judge rows.

        Args:
            rows: with the columns of the steps before.
            pictures: RGB, one for each row; empty if none are wanted.
        """
        ...


NO_COLUMNS = pa.schema([])


class Shape:
    """Drops what is too long, too small or blank."""

    adds = NO_COLUMNS
    near_px: int | None = None

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def judge(self, rows: pa.Table, pictures: Sequence[Image.Image]) -> Judged:
        del pictures
        drops: list[Drop] = []
        columns = (rows.column(name).to_pylist() for name in ("width", "height", "spread_levels"))
        for index, (width, height, spread) in enumerate(zip(*columns, strict=True)):
            short, long = sorted((width, height))
            if long > short * self._limits.max_aspect_ratio:
                drops.append((index, "aspect_ratio", f"{width}x{height} px"))
            elif short < self._limits.min_side_px:
                drops.append((index, "small", f"{width}x{height} px"))
            elif spread < self._limits.min_spread_levels:
                drops.append((index, "blank", f"{spread:.1f} levels"))
        return Judged(drops)


class Unique:
    """Drops the copies that were found among all pictures."""

    adds = NO_COLUMNS
    near_px: int | None = None

    def __init__(self, part: int, copies: NDArray[np.int64], same_ids: NDArray[np.int64]) -> None:
        """Take what `duplicates` found, sorted."""
        self._part = part
        self._found = (("same_id", same_ids), ("duplicate", copies))

    def judge(self, rows: pa.Table, pictures: Sequence[Image.Image]) -> Judged:
        del pictures
        places = place(self._part, rows.column("row").to_numpy())
        drops: list[Drop] = []
        for reason, found in self._found:
            spots = np.minimum(np.searchsorted(found, places), max(len(found) - 1, 0))
            again = found[spots] == places if len(found) else np.zeros(len(places), np.bool_)
            drops += [(int(index), reason, "") for index in np.flatnonzero(again)]
        return Judged(drops)


class Aesthetic:
    """Adds CLIP features and the score read off them, and drops low ones."""

    near_px: int | None = 448  # twice what CLIP takes

    def __init__(self, matcher: "Matcher", scorer: "Scorer", limits: Limits) -> None:
        self._matcher, self._scorer, self._limits = matcher, scorer, limits
        features = pa.list_(pa.float16(), matcher.width)
        self.adds = pa.schema([("features", features), ("aesthetic", pa.float32())])

    def judge(self, rows: pa.Table, pictures: Sequence[Image.Image]) -> Judged:
        del rows
        features = self._matcher.of_pictures(pictures).astype(np.float16)
        scores = self._scorer.scores(features.astype(np.float32))
        finite = np.isfinite(scores) & np.isfinite(features).all(1)
        drops = _scored("aesthetic_score", scores, self._limits.min_aesthetic, finite)
        flat = pa.array(features.reshape(-1))
        held = pa.FixedSizeListArray.from_arrays(flat, self._matcher.width)
        return Judged(drops, {"features": held, "aesthetic": pa.array(scores, pa.float32())})


class Captioned:
    """Compares both captions with the picture: the pair's own first, BLIP-2's where that holds."""

    near_px: int | None = 448
    adds = pa.schema(
        [
            ("text_similarity", pa.float32()),
            ("caption", pa.string()),
            ("caption_similarity", pa.float32()),
        ]
    )

    def __init__(
        self, matcher: "Matcher", writer: "Writer", limits: Limits, *, prompt: str
    ) -> None:
        self._matcher, self._writer, self._limits = matcher, writer, limits
        self._prompt = prompt

    def judge(self, rows: pa.Table, pictures: Sequence[Image.Image]) -> Judged:
        features = features_of(rows)
        own = _cosines(features, self._matcher.of_texts(rows.column("text").to_pylist()))
        drops = _scored("text_similarity", own, self._limits.min_text_similarity, np.isfinite(own))
        out = {index for index, _, _ in drops}
        left = [index for index in range(len(rows)) if index not in out]
        captions: list[str | None] = [None] * len(rows)
        ours = np.full(len(rows), np.nan, dtype=np.float32)
        if left:
            said = self._writer.write([pictures[index] for index in left], prompt=self._prompt)
            for index, words in zip(left, said, strict=True):
                captions[index] = words
            ours[left] = _cosines(features[left], self._matcher.of_texts(said))
            limit = self._limits.min_caption_similarity
            found = _scored("caption_similarity", ours[left], limit, np.isfinite(ours[left]))
            drops += [
                (left[index], reason, f"{what}: {captions[left[index]]}")
                for index, reason, what in found
            ]
        columns = {
            "text_similarity": pa.array(own, pa.float32()),
            "caption": pa.array(captions, pa.string()),
            "caption_similarity": pa.array(ours, pa.float32()),
        }
        return Judged(drops, columns)


class Clustered:
    """Adds the nearest centre's number."""

    adds = pa.schema([("cluster", pa.int32())])
    near_px: int | None = None

    def __init__(self, centres: Floats) -> None:
        self._centres = centres

    def judge(self, rows: pa.Table, pictures: Sequence[Image.Image]) -> Judged:
        from model.curation.clusters import nearest

        del pictures
        return Judged([], {"cluster": pa.array(nearest(features_of(rows), self._centres))})


class Picked:
    """Drops what comes after a cluster's last rank."""

    adds = NO_COLUMNS
    near_px: int | None = None

    def __init__(self, last: NDArray[np.uint64]) -> None:
        self._last = last

    def judge(self, rows: pa.Table, pictures: Sequence[Image.Image]) -> Judged:
        del pictures
        clusters = rows.column("cluster").to_numpy()
        over = rows.column("rank").to_numpy() > self._last[clusters]
        return Judged(
            [(int(i), "cluster_full", f"cluster {clusters[i]}") for i in np.flatnonzero(over)]
        )


class Recaptioned:
    """Adds a short and a detailed caption."""

    near_px: int | None = 896  # twice the tile of InternVL
    adds = pa.schema([("short", pa.string()), ("detailed", pa.string())])

    def __init__(self, writer: "Writer", networks: Networks) -> None:
        self._writer, self._networks = writer, networks

    def judge(self, rows: pa.Table, pictures: Sequence[Image.Image]) -> Judged:
        del rows
        short = self._writer.write(pictures, prompt=self._networks.short_prompt)
        detailed = self._writer.write(pictures, prompt=self._networks.detailed_prompt)
        return Judged(
            unusable(short, detailed), {"short": pa.array(short), "detailed": pa.array(detailed)}
        )


def unusable(short: Sequence[str], detailed: Sequence[str]) -> list[Drop]:
    """Say which captions a training file could not hold."""
    drops: list[Drop] = []
    for index, texts in enumerate(zip(short, detailed, strict=True)):
        if not all(text.strip() for text in texts):
            drops.append((index, "no_words", ""))
        elif found := tag_in(texts[0]) or tag_in(texts[1]):
            drops.append((index, "control_words", found))
    return drops


def operator_of(name: str, plan: Plan, part: int) -> Operator:
    """Build a step's operator; torch and networks are loaded here, for the steps that need them."""
    return _BUILDERS[name](plan, part)


def _unique(plan: Plan, part: int) -> Operator:
    made = plan.folder("duplicates").path
    copies, same = (np.load(made / f"{what}.npy", mmap_mode="r") for what in ("copies", "same-ids"))
    return Unique(part, copies, same)


def _aesthetic(plan: Plan, _: int) -> Operator:
    from model.curation.models import Clip, LinearScorer

    networks = plan.networks
    scorer = LinearScorer(networks.aesthetic)
    return Aesthetic(Clip(networks.clip, device=networks.device), scorer, plan.limits)


def _captioned(plan: Plan, _: int) -> Operator:
    from model.curation.models import Captioner, Clip

    networks = plan.networks
    writer = Captioner(
        networks.captioner,
        device=networks.device,
        max_new_tokens=40,
        batch_size=networks.batch_size,
    )
    matcher = Clip(networks.clip, device=networks.device)
    return Captioned(matcher, writer, plan.limits, prompt=networks.caption_prompt)


def _recaptioned(plan: Plan, _: int) -> Operator:
    from model.curation.models import Captioner

    networks = plan.networks
    writer = Captioner(
        networks.recaptioner,
        device=networks.device,
        max_new_tokens=networks.max_new_tokens,
        batch_size=networks.batch_size,
    )
    return Recaptioned(writer, networks)


def _clustered(plan: Plan, _: int) -> Operator:
    return Clustered(np.load(plan.folder("cluster").path / "centres.npy"))


def _picked(plan: Plan, _: int) -> Operator:
    return Picked(np.load(plan.folder("pick").path / "last-ranks.npy"))


_BUILDERS: dict[str, Callable[[Plan, int], Operator]] = {
    "shape": lambda plan, _: Shape(plan.limits),
    "duplicates": _unique,
    "aesthetic": _aesthetic,
    "caption": _captioned,
    "cluster": _clustered,
    "pick": _picked,
    "recaption": _recaptioned,
}


def _scored(reason: str, scores: Floats, limit: float, finite: NDArray[Any]) -> list[Drop]:
    """Say which scores are too low or no numbers; a score that is no number is never kept."""
    return [
        (index, reason, f"{score:.3f}") if is_finite else (index, "not_finite", reason)
        for index, (score, is_finite) in enumerate(zip(scores.tolist(), finite, strict=True))
        if not (is_finite and score >= limit)
    ]


def _cosines(features: Floats, others: Floats) -> Floats:
    found: Floats = (features * others).sum(1)
    return found
