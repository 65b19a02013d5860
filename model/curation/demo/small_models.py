"""Small networks that know the painted pictures: CLIP, an aesthetic head and BLIP-2, trained here.

They are real checkpoints of `transformers`, a few hundred kB each, so that a curation of painted
pictures runs the same code as one of real ones. They learn from pictures that no run curates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import nn

from model.curation.demo import painted
from model.curation.demo.painted import Subject
from model.curation.models import Clip
from model.curation.pictures import opened

SEED = 7_001  # of what is learned from; curated pictures have other seeds
SHORT = "few :"
DETAILED = "all :"
_INPUT_PX = 48
_BATCH = 64
_CLIP_RATE, _BLIP2_RATE = 6e-3, 3e-3
_SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
_TEXTS = (*painted.COLOURS, *painted.SHAPES, *painted.PLACES, *painted.GROUNDS)
_WORDS = ("a", "on", "at", "the", "few", "all", ":", "blurred")
_QUERIES = 8
_SPOILED_EVERY = 3

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is learned from.

    Attributes:
        pictures: one of some is spoiled.
        subjects: what each shows.
        is_spoiled: (N,) bool.
        pixels: the pictures as networks take them.
    """

    pictures: list[Image.Image]
    subjects: list[Subject]
    is_spoiled: NDArray[np.bool_]
    pixels: torch.Tensor


def lessons_of(count: int, *, seed: int = SEED) -> Lessons:
    """Draw pictures to learn from, their subjects evenly spread."""
    rng = np.random.default_rng(seed)
    subjects = [painted.any_subject(rng) for _ in range(count)]
    pictures = [painted.draw(subject, rng) for subject in subjects]
    is_spoiled = np.arange(count) % _SPOILED_EVERY == 0
    pictures = [
        opened(painted.encoded(painted.spoiled(picture, rng) if spoiled else picture))
        for picture, spoiled in zip(pictures, is_spoiled, strict=True)
    ]
    pixels = _image_processor()(images=pictures, return_tensors="pt")["pixel_values"]
    return Lessons(pictures, subjects, is_spoiled, pixels)


def make(folder: Path, *, say: Say, num_steps: int = 500, num_lessons: int = 4000) -> None:
    """Train all three into `folder`: `clip/`, `aesthetic.safetensors`, `blip2/`.

    Args:
        folder: takes them; where the last of them is, nothing is done.
        say: takes a line about each.
        num_steps: of CLIP's training; BLIP-2's takes twice as many.
        num_lessons: pictures to learn from.
    """
    if (folder / "blip2" / "config.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # so small that threads would wait for each other, above all when busy
    try:
        _make(folder, say=say, num_steps=num_steps, num_lessons=num_lessons)
    finally:
        torch.set_num_threads(before)


def _make(folder: Path, *, say: Say, num_steps: int, num_lessons: int) -> None:
    lessons = lessons_of(num_lessons)
    loss = _train_clip(folder / "clip", lessons, num_steps=num_steps)
    say(f"clip: {num_steps} steps, loss {loss:.2f}")
    clip = Clip(str(folder / "clip"))
    others = lessons_of(num_lessons // 2, seed=SEED + 1)
    right = _fit_aesthetic(folder / "aesthetic.safetensors", others, clip=clip)
    say(f"aesthetic head: {right:.1%} of its pictures on the right side of 5")
    loss = _train_blip2(folder / "blip2", lessons, num_steps=2 * num_steps)
    say(f"blip2: {2 * num_steps} steps, loss {loss:.3f}")


def _train_clip(folder: Path, lessons: Lessons, *, num_steps: int) -> float:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(SEED)
    shape: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 192, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config=shape
        | {"num_hidden_layers": 1, "vocab_size": len(_vocabulary()), "projection_dim": 48}
        | {"max_position_embeddings": 24, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0},
        vision_config=shape
        | {"num_hidden_layers": 2, "image_size": _INPUT_PX, "patch_size": 12}
        | {"projection_dim": 48},
        projection_dim=48,
        logit_scale_init_value=2.3,
    )
    model: Any = CLIPModel(config)
    words = _tokenizer("<s> $A </s>")
    words.save_pretrained(folder)
    _image_processor().save_pretrained(folder)
    texts = [
        "blurred" if is_spoiled else subject.detailed
        for subject, is_spoiled in zip(lessons.subjects, lessons.is_spoiled, strict=True)
    ]
    given = words(texts, padding=True, return_tensors="pt")
    numbers = torch.from_numpy(np.unique(texts, return_inverse=True)[1])

    def loss_of(some: torch.Tensor) -> torch.Tensor:
        logits = model(
            pixel_values=lessons.pixels[some],
            input_ids=given["input_ids"][some],
            attention_mask=given["attention_mask"][some],
        ).logits_per_image
        alike = (numbers[some][:, None] == numbers[some][None]).float()
        alike = alike / alike.sum(1, keepdim=True)  # pictures of one subject are no mismatch
        entropy = nn.functional.cross_entropy
        return (entropy(logits, alike) + entropy(logits.T, alike)) / 2

    loss = _trained(model, loss_of, torch.arange(len(texts)), num_steps=num_steps, rate=_CLIP_RATE)
    model.eval().save_pretrained(folder)
    return loss


def _train_blip2(folder: Path, lessons: Lessons, *, num_steps: int) -> float:
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        OPTConfig,
    )

    torch.manual_seed(SEED)
    words = _tokenizer("<s> $A")  # a prompt is gone on from
    make_processor: Any = Blip2Processor
    processor = make_processor(_image_processor(), words, num_query_tokens=_QUERIES)
    shape: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 192, "num_attention_heads": 4}
    text = OPTConfig(
        vocab_size=len(words),
        hidden_size=64,
        word_embed_proj_dim=64,
        ffn_dim=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        dropout=0.0,
        init_std=0.08,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            **shape,
            num_hidden_layers=2,
            image_size=_INPUT_PX,
            patch_size=12,
            initializer_range=0.08,  # its own is nothing, for weights that are loaded anyway
        ),
        qformer_config=Blip2QFormerConfig(
            **shape,
            num_hidden_layers=2,
            encoder_hidden_size=64,
            vocab_size=8,
            initializer_range=0.08,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        text_config=text,
        num_query_tokens=_QUERIES,
        image_text_hidden_size=48,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    model: Any = Blip2ForConditionalGeneration(config)
    nn.init.normal_(model.query_tokens, std=0.5)

    words.padding_side = "right"
    pictures = torch.full((len(lessons.subjects), _QUERIES), config.image_token_id)
    texts = [f"{SHORT} {subject.short} </s>" for subject in lessons.subjects]
    texts += [f"{DETAILED} {subject.detailed} </s>" for subject in lessons.subjects]
    short, detailed = words(texts, padding=True, return_tensors="pt")["input_ids"].chunk(2)

    def loss_of(some: torch.Tensor) -> torch.Tensor:
        few, many = some.tensor_split(2)
        ids = torch.cat([pictures[some], torch.cat([short[few], detailed[many]])], dim=1)
        labels = ids.masked_fill(ids == 0, -100)
        labels[:, : _QUERIES + 3] = -100  # the picture, <s> and the prompt
        loss: torch.Tensor = model(
            pixel_values=lessons.pixels[some],
            input_ids=ids,
            attention_mask=(ids != 0).long(),
            labels=labels,
        ).loss
        return loss

    sharp = torch.from_numpy(np.flatnonzero(~lessons.is_spoiled))
    loss = _trained(model, loss_of, sharp, num_steps=num_steps, rate=_BLIP2_RATE)
    model.generation_config.pad_token_id = 0
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return loss


def _fit_aesthetic(path: Path, lessons: Lessons, *, clip: Clip) -> float:
    """Fit a line through features: 8 for sound pictures and 2 for spoiled; say how often right.

    Args:
        path: takes it.
        lessons: pictures that CLIP has not learned from: features of those it has are better.
        clip: gives the features.
    """
    features = clip.of_pictures(lessons.pictures)
    wanted = np.where(lessons.is_spoiled, 2.0, 8.0)
    weights = np.where(lessons.is_spoiled, _SPOILED_EVERY - 1, 1)[:, None]  # as many as sound
    known = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    ridge = known.T @ (weights * known) + 1e-3 * np.eye(known.shape[1])
    line = np.linalg.solve(ridge, known.T @ (weights[:, 0] * wanted))
    weight = torch.from_numpy(line[None, :-1].astype(np.float32))
    save_file({"layers.0.weight": weight, "layers.0.bias": torch.tensor([line[-1]]).float()}, path)
    return float((((known @ line) > 5) == (wanted > 5)).mean())


def _trained(
    model: Any,
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    among: torch.Tensor,
    *,
    num_steps: int,
    rate: float,
) -> float:
    """Train on batches drawn among some lessons; return the mean loss of the last tenth."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=rate, total_steps=num_steps, pct_start=0.15
    )
    losses: list[float] = []
    model.train()
    for _ in range(num_steps):
        loss: Any = loss_of(among[torch.randperm(len(among))[:_BATCH]])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return float(np.mean(losses[-max(1, num_steps // 10) :]))


def _vocabulary() -> dict[str, int]:
    return {word: number for number, word in enumerate((*_SPECIALS, *_WORDS, *_TEXTS))}


def _tokenizer(template: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    pad, begin, end, unknown = _SPECIALS
    made = Tokenizer(WordLevel(_vocabulary(), unk_token=unknown))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(single=template, special_tokens=[(begin, 1), (end, 2)])
    roles = {"pad_token": pad, "bos_token": begin, "eos_token": end, "unk_token": unknown}
    wrap: Any = PreTrainedTokenizerFast
    return wrap(tokenizer_object=made, **roles)


def _image_processor() -> Any:
    from transformers import CLIPImageProcessor

    side = {"height": _INPUT_PX, "width": _INPUT_PX}
    return CLIPImageProcessor(size=side, crop_size=side, do_center_crop=False)
