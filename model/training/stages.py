"""The four stages as rows of one table: what is trained, how fast, and on what.

Source: sections 3 and 4 of the paper (arXiv 2501.13106) and `scripts/train/stage{1..4}_2b.sh` of
DAMO-NLP-SG/VideoLLaMA3.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal

from torch import nn

from model.errors import InputError
from model.training.lora import adapters
from model.videollama3.network import VideoLlama3

Rule = Literal["adamw", "muon"]
Part = Literal["vision", "projector", "language"]
Kind = Literal["image", "text", "video", "streaming", "grounding"]

PARTS: tuple[Part, ...] = ("vision", "projector", "language")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        number: 1 to 4.
        name: the paper's.
        rates: each trained part's highest learning rate; a part without one is frozen.
        has_token_compression: tokens that an earlier frame showed already are left out.
        image_merge: patches per token side of single images.
        video_merge: patches per token side of video frames.
        mix: how much of each kind of sample, by any measure: only the ratios count.
        rule: what steps the layers' matrices; everything else is stepped by AdamW.
        adapter_rate: the rate of a part's low-rank adapters over the part's own: what is narrow
            takes ten times as much where that is small.
    """

    number: int
    name: str
    rates: Mapping[Part, float]
    has_token_compression: bool
    image_merge: int
    video_merge: int
    mix: Mapping[Kind, float]
    rule: Rule = "adamw"
    adapter_rate: float = 10.0

    @property
    def trained(self) -> tuple[Part, ...]:
        """The parts that learn, in the order of the network."""
        return tuple(part for part in PARTS if part in self.rates)

    @property
    def shares(self) -> dict[Kind, float]:
        """The mix as shares that sum to 1."""
        total = sum(self.mix.values())
        return {kind: amount / total for kind, amount in self.mix.items()}


# The mixes are the paper's tables in millions of samples, its many kinds of image as one. Its
# stage 2 sums to 27.22 in the table and to 21.97 in its figure; the table is taken.
PAPER: tuple[Stage, ...] = (
    Stage(
        1,
        "vision encoder adaptation",
        rates={"vision": 1e-5, "projector": 1e-3},
        has_token_compression=False,
        image_merge=1,
        video_merge=2,
        mix={"image": 15.57},
    ),
    Stage(
        2,
        "vision-language alignment",
        rates={"vision": 2e-6, "projector": 1e-5, "language": 1e-5},
        has_token_compression=False,
        image_merge=1,
        video_merge=2,
        mix={"image": 20.97, "text": 6.25},
    ),
    Stage(
        3,
        "multi-task fine-tuning",
        rates={"vision": 2e-6, "projector": 1e-5, "language": 1e-5},
        has_token_compression=True,
        image_merge=1,
        video_merge=2,
        mix={"image": 13.92, "text": 2.21, "video": 2.92},
    ),
    Stage(
        4,
        "video-centric fine-tuning",
        rates={"vision": 2e-6, "projector": 1e-5, "language": 1e-5},
        has_token_compression=True,
        image_merge=2,
        video_merge=2,
        mix={"image": 0.88, "text": 1.56, "video": 3.03, "streaming": 0.0362, "grounding": 0.21},
    ),
)

# The same shape. Weights that have seen little take rates a hundred times as high, and a decoder
# that has never seen a camera's questions takes mostly those. A single picture is a frame of the
# same cameras here, and merged as one: at nano's size a token is as large as an object, not a word
# on a page.
NANO: tuple[Stage, ...] = (
    Stage(
        1,
        PAPER[0].name,
        rates={"vision": 4e-4, "projector": 6e-4},
        has_token_compression=False,
        image_merge=2,
        video_merge=2,
        mix={"image": 1.0},
        rule="muon",
        adapter_rate=1.0,
    ),
    Stage(
        2,
        PAPER[1].name,
        rates={"vision": 8e-4, "projector": 8e-4, "language": 1e-3},
        has_token_compression=False,
        image_merge=2,
        video_merge=2,
        mix={"image": 0.85, "text": 0.15},
        rule="muon",
        adapter_rate=1.0,
    ),
    Stage(
        3,
        PAPER[2].name,
        rates={"vision": 8e-4, "projector": 8e-4, "language": 1e-3},
        has_token_compression=True,
        image_merge=2,
        video_merge=2,
        mix={"image": 0.25, "text": 0.05, "video": 0.7},
        rule="muon",
        adapter_rate=1.0,
    ),
    Stage(
        4,
        PAPER[3].name,
        rates={"vision": 8e-4, "projector": 1e-3, "language": 1.5e-3},
        has_token_compression=True,
        image_merge=2,
        video_merge=2,
        mix={"image": 0.05, "text": 0.03, "video": 0.12, "streaming": 0.65, "grounding": 0.15},
        rule="muon",
        adapter_rate=1.0,
    ),
)

TABLES: Mapping[str, tuple[Stage, ...]] = {"nano": NANO, "paper": PAPER}


def stage_of(number: int, *, table: str, rate: float = 1.0, frozen: Collection[str] = ()) -> Stage:
    """Return a row of a table of `TABLES`, its rates multiplied by `rate`, parts of it frozen.

    Args:
        number: of the stage.
        table: `nano` or `paper`.
        rate: the rates are the table's times this.
        frozen: parts that are left as they are, of `vision`, `projector` and `language`.

    Raises:
        InputError: there is no such stage, the rate is not a positive number, or nothing is left
            to train.
    """
    if not 0 < rate < inf:
        raise InputError(f"--rate: expected more than 0, got {rate:g}")
    stages = {stage.number: stage for stage in TABLES[table]}
    if number not in stages:
        raise InputError(f"--stage: expected 0 to {max(stages)}, got {number}")
    stage = stages[number]
    rates = {part: rate * each for part, each in stage.rates.items() if part not in frozen}
    if not rates:
        raise InputError(
            f"--freeze: expected a part of stage {number} left to train, got all of "
            f"{', '.join(stage.trained)}"
        )
    return replace(stage, rates=rates)


def parameter_groups(
    model: VideoLlama3, stage: Stage, *, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Freeze what a stage does not train; give AdamW's groups for what it does.

    Args:
        model: its parameters' `requires_grad` is set.
        stage: which parts are trained and how fast.
        weight_decay: of matrices; biases and norms have none.

    Returns:
        For every trained part, in the order of the network, its layers' matrices, its other
        matrices (embeddings) and its vectors: `name` (`vision.layers`), `params`, `lr` (the
        highest), `weight_decay` and `rule`. Of a part that has adapters, these alone.
    """
    modules: dict[Part, nn.Module] = {
        "vision": model.vision,
        "projector": model.projector,
        "language": model.language,
    }
    for part, module in modules.items():
        module.requires_grad_(part in stage.rates)
    groups: list[dict[str, Any]] = []
    for part in stage.trained:
        if narrow := adapters(modules[part]):
            modules[part].requires_grad_(requires_grad=False)
            for matrix in narrow:
                matrix.requires_grad = True
            groups.append(
                {
                    "name": f"{part}.adapters",
                    "params": narrow,
                    "lr": stage.rates[part] * stage.adapter_rate,
                    "weight_decay": weight_decay,
                    "rule": "adamw",
                }
            )
            continue
        parameters = list(modules[part].named_parameters())
        in_layers = [p for name, p in parameters if p.dim() == 2 and _is_in_a_layer(name)]
        chosen = {id(parameter) for parameter in in_layers}
        others = [p for _, p in parameters if id(p) not in chosen]
        groups += [
            {
                "name": f"{part}.{shape}",
                "params": members,
                "lr": stage.rates[part],
                "weight_decay": decay,
                "rule": rule,
            }
            for shape, members, decay, rule in (
                ("layers", in_layers, weight_decay, stage.rule),
                ("matrices", [p for p in others if p.dim() > 1], weight_decay, "adamw"),
                ("vectors", [p for p in others if p.dim() < 2], 0.0, "adamw"),
            )
            if members
        ]
    return groups


def _is_in_a_layer(name: str) -> bool:
    return "layers." in name or "readout." in name
