"""What curation does, as one table: its steps in order, their limits, and what they drop.

VL3-Syn7M's paper names the steps and no threshold; the defaults here are those of the works that
the steps come from, and are settings.
"""

import json
import math
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from model.curation.parts import StepFolder
from model.errors import DataError, InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """Every threshold.

    Attributes:
        max_aspect_ratio: longer side over shorter.
        min_side_px: of the shorter side.
        min_spread_levels: standard deviation of the grey picture at 32x32.
        max_differing_bits: of two fingerprints of 64 bits that count as one picture.
        min_aesthetic: score of a picture that is kept.
        min_text_similarity: cosine between a picture and its own caption, in CLIP's space.
        min_caption_similarity: the same for BLIP-2's caption.
        num_clusters: that pictures are sorted into.
        num_sampled: pictures that the clusters are fitted on.
        num_per_cluster: pictures taken of each.
    """

    max_aspect_ratio: float = 3.0
    min_side_px: int = 64
    min_spread_levels: float = 4.0
    max_differing_bits: int = 4
    min_aesthetic: float = 4.5
    min_text_similarity: float = 0.2
    min_caption_similarity: float = 0.25
    num_clusters: int = 20_000
    num_sampled: int = 1_000_000
    num_per_cluster: int = 350

    @classmethod
    def given(cls, values: Iterable[str]) -> "Limits":
        """Take some from text, each as NAME=VALUE, and the defaults for the others.

        Raises:
            InputError: it is not so, there is none of that name, or the value is no number it can
                be.
        """
        kinds = {field.name: float if field.type is float else int for field in fields(cls)}
        found: dict[str, Any] = {}
        for value in values:
            name, has_value, text = value.partition("=")
            if not has_value:
                raise InputError(f"--limit: expected NAME=VALUE, got {value!r}")
            if name not in kinds:
                raise InputError(f"--limit {name}: expected one of {', '.join(kinds)}")
            try:
                found[name] = kinds[name](text)
            except ValueError:
                found[name] = math.nan
            if not math.isfinite(found[name]):
                raise InputError(f"--limit {name}: expected a number, got {text!r}")
        return cls(**found)

    def __post_init__(self) -> None:
        for name in ("min_side_px", "num_clusters", "num_sampled", "num_per_cluster"):
            if getattr(self, name) < 1:
                raise InputError(f"--limit {name}: expected 1 or more, got {getattr(self, name)}")
        if not 0 <= self.max_differing_bits <= 8:
            got = self.max_differing_bits
            raise InputError(f"--limit max_differing_bits: expected 0 to 8, got {got}")


@dataclass(frozen=True, slots=True)
class Networks:
    """The checkpoints: folders or names on the hub.

    Attributes:
        clip: pictures and texts in one space.
        aesthetic: safetensors file of the scores' layers, over that CLIP's features.
        captioner: BLIP-2.
        recaptioner: a vision-language model.
        caption_prompt: what the captioner is given before its words.
        short_prompt: asks the recaptioner for a few words.
        detailed_prompt: asks it for all there is to say.
        device: `cpu` or `cuda`.
        max_new_tokens: of the recaptioner.
        batch_size: pictures that a captioner has at a time: fewer need less memory.
    """

    clip: str
    aesthetic: Path
    captioner: str
    recaptioner: str
    caption_prompt: str = ""
    short_prompt: str = "Describe the image in one short sentence."
    detailed_prompt: str = "Describe the image in detail."
    device: str = "cpu"
    max_new_tokens: int = 256
    batch_size: int = 32


@dataclass(frozen=True, slots=True)
class Step:
    """A row of the table.

    Attributes:
        name: of the step; its folder's too.
        does: what, in a line.
        drops: the reasons it drops for.
        limits: fields of `Limits` that it goes by.
        networks: fields of `Networks` that it asks.
    """

    name: str
    does: str
    drops: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


STEPS = (
    Step(
        "read",
        "open shards, decode pictures, take fingerprints",
        ("truncated", "unreadable_shard", "no_image", "not_an_image", "too_large", "no_caption"),
    ),
    Step(
        "shape",
        "drop what is too long, too small or blank",
        ("aspect_ratio", "small", "blank"),
        ("max_aspect_ratio", "min_side_px", "min_spread_levels"),
    ),
    Step(
        "duplicates",
        "keep one of the pictures that are the same",
        ("same_id", "duplicate"),
        ("max_differing_bits",),
    ),
    Step(
        "aesthetic",
        "CLIP features, and the aesthetic score that is read off them",
        ("aesthetic_score", "not_finite"),
        ("min_aesthetic",),
        ("clip", "aesthetic"),
    ),
    Step(
        "caption",
        "compare the pair's caption, then BLIP-2's, with the picture by CLIP",
        ("text_similarity", "caption_similarity", "not_finite"),
        ("min_text_similarity", "min_caption_similarity"),
        ("clip", "captioner", "caption_prompt"),
    ),
    Step(
        "cluster",
        "sort pictures into clusters of CLIP features",
        (),
        ("num_clusters", "num_sampled"),
    ),
    Step("pick", "take a fixed number of each cluster", ("cluster_full",), ("num_per_cluster",)),
    Step(
        "recaption",
        "write a short and a detailed caption",
        ("no_words", "control_words", "recaption_failed"),
        (),
        ("recaptioner", "short_prompt", "detailed_prompt", "max_new_tokens"),
    ),
)
"""Cheap before dear: each step sees only what those before it have left."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run.

    Attributes:
        shards: what is curated, in order; a shard's place is its parts' number.
        out: takes all that is made.
        limits: the thresholds.
        networks: the checkpoints.
    """

    shards: tuple[Path, ...]
    out: Path
    limits: Limits
    networks: Networks

    def folder(self, name: str) -> StepFolder:
        """Return a step's folder."""
        return StepFolder(self.out / f"{index_of(name) + 1}-{name}")

    def before(self, name: str) -> StepFolder:
        """Return the folder of the step before."""
        return self.folder(STEPS[index_of(name) - 1].name)

    def root(self) -> Path:
        """Return the folder that holds all shards: ids are told from there, on any machine."""
        return Path(os.path.commonpath([shard.parent for shard in self.shards]))

    def settle(self) -> None:
        """Write down what each step goes by, or compare it with what its parts were made by.

        A step goes by all that those before it go by.

        Raises:
            InputError: a folder holds parts made by something else.
            DataError: a shard is missing.
        """
        root = self.root()
        shards = [f"{path.relative_to(root)} {_size_of(path)}" for path in self.shards]
        now: dict[str, Any] = {"shards": shards}
        for step in STEPS:
            now |= {name: getattr(self.limits, name) for name in step.limits}
            now |= {name: str(getattr(self.networks, name)) for name in step.networks}
            _settle(self.folder(step.name).path, now)


def _settle(folder: Path, now: Mapping[str, Any]) -> None:
    file = folder / "made-by.json"
    then = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    other = [name for name in now if now[name] != then.get(name)]
    if not other:
        return
    if any(folder.glob("part-*.parquet")):
        raise InputError(
            f"{other[0]}: expected {_short(then.get(other[0]))}, which {folder} was made by, "
            f"got {_short(now[other[0]])}; to make it anew, delete it and the steps after it"
        )
    if file.exists():
        shutil.rmtree(folder)  # without a part, all in it was prepared for other settings
    folder.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".new")  # a full disk leaves no half of it
    beside.write_text(json.dumps(now, indent=1), encoding="utf-8")
    beside.replace(file)


def index_of(name: str) -> int:
    """Return a step's place in the table."""
    return [step.name for step in STEPS].index(name)


def table(limits: Limits) -> list[str]:
    """Show the steps with their limits, a line each."""
    values = asdict(limits)
    return [
        f"{number} {step.name:<11}{step.does}"
        + "".join(f"; {name}={values[name]:g}" for name in step.limits)
        for number, step in enumerate(STEPS, start=1)
    ]


def _size_of(shard: Path) -> int:
    try:
        return shard.stat().st_size
    except OSError as error:
        raise DataError(f"{shard}: expected this shard, got: {error.strerror}") from error


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:77]}..."
