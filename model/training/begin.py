"""What nano starts from: its own words, an encoder that can name, a decoder that can read."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.prompt import CAPTION_TEXT
from model.tokenizer import Tokenizer
from model.training.folder import write_folder, write_tokenizer
from model.training.loop import Progress
from model.training.nano import fresh, nano_config
from model.training.pretrain import Namer
from model.training.recipe import Plan, run_naming, run_saying, run_stage
from model.training.rendered import Rendered
from model.training.samples import Asked, script_sample
from model.training.scenes import Scene
from model.training.stages import Stage
from model.training.vocabulary import train_tokenizer
from model.training.words import Speaker
from model.types import MERGE_SIZE

VOCAB_SIZE = 1024
NUM_READ = 2500
FIRST_READ_SEED = 9_000_000
NAMING_RATE, READING_RATE = 2e-3, 2e-3
READING = Stage(
    number=0,
    name="reading",
    rates={"language": READING_RATE},
    has_token_compression=False,
    image_merge=MERGE_SIZE,
    video_merge=MERGE_SIZE,
    mix={"text": 1.0},
)
CARD = """\
# beginning

Where vigil-nano's recipe starts: an encoder that was trained to name what tokens show and a
decoder that was trained on scenes in words, with a projector that brings the one's tokens close
to the other's words.
"""


def begin(rendered: Rendered, *, plan: Plan, seed: int, out: Path) -> Iterator[Progress]:
    """Make the folder that stage 1 starts from; see `pretrain` for what it stands in for.

    Args:
        rendered: the scenes.
        plan: of the encoder's training; the decoder's takes as many steps of half the size.
        seed: of the weights.
        out: the folder to make; `words` in it holds the tokenizer, `naming`, `reading` and
            `saying` the states of the three trainings.
    """
    words = out / "words"
    if not (words / "tokenizer.json").is_file():
        words.mkdir(parents=True, exist_ok=True)
        write_tokenizer(words, train_tokenizer(_read(), vocab_size=VOCAB_SIZE))
    tokenizer = Tokenizer.load(words)
    config = nano_config(
        vocab_size=VOCAB_SIZE,
        image_token_id=tokenizer.encode("<|image_pad|>")[0],
        video_token_id=tokenizer.encode("<|video_pad|>")[0],
        eos_token_ids=(tokenizer.im_end_id,),
    )
    model = fresh(config, seed=seed)
    namer = Namer(model)
    yield from run_naming(
        namer, clip=rendered.labelled, rate=NAMING_RATE, plan=plan, out=out / "naming"
    )
    scripts = replace(rendered, mix={"text": 1.0})
    half = replace(plan, batch_size=max(1, plan.batch_size // 2))
    yield from run_stage(
        model, tokenizer, READING, sample=scripts.sample, plan=half, out=out / "reading"
    )
    model.vision.requires_grad_(requires_grad=True)
    model.projector.requires_grad_(requires_grad=True)
    speaker = Speaker(model, tokenizer)
    yield from run_saying(speaker, clip=rendered.labelled, plan=plan, out=out / "saying")
    write_folder(model, out, tokenizer_source=words, card=CARD, image_merge_size=MERGE_SIZE)


@functools.cache
def _read() -> tuple[str, ...]:
    """Give the texts that the tokenizer is made of: questions, answers and scripts."""
    texts = []
    for seed in range(FIRST_READ_SEED, FIRST_READ_SEED + NUM_READ):
        rng = np.random.default_rng(seed)
        sample = script_sample(
            Scene.from_seed(seed, duration_s=44.0),
            start_s=float(rng.integers(0, 10)),
            num_frames=20,
            asked=Asked(4, 6),
            rng=rng,
        )
        turns = [turn for exchange in sample.exchanges for turn in exchange.turns]
        texts += [text for question, answer in turns for text in (f"\n{question}", answer, answer)]
        texts += [*sample.script, f"\n{CAPTION_TEXT}"]
    return tuple(texts)
