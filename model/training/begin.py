"""What nano starts from: its own words, and a network that has seen its world.

The paper begins with a vision tower and a language model that others trained, SigLIP and Qwen2.5.
Nano has nobody's, so both are made here, together and from nothing: clips as they are served,
questions of every kind, and lessons at every token (see `teaching`).
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from model.kinds.text import CAPTION_TEXT
from model.scenes import Scene
from model.training.folder import write_folder, write_tokenizer
from model.training.loop import Event
from model.training.nano import fresh, nano_config
from model.training.recipe import Job, is_done, run_stage
from model.training.samples import Asked, script_sample
from model.training.stages import Stage
from model.training.vocabulary import train_tokenizer
from model.videollama3.config import MERGE_SIZE
from model.videollama3.prompt import NANO_2
from model.videollama3.tokenizer import Tokenizer

VOCAB_SIZE = 1024
NUM_READ = 2500
FIRST_READ_SEED = 9_000_000
FLOOR = 0.25  # the four stages go on from here
BEGINNING = Stage(
    number=0,
    name="beginning",
    rates={"vision": 2e-3, "projector": 2e-3, "language": 2e-3},
    has_token_compression=True,
    image_merge=MERGE_SIZE,
    video_merge=MERGE_SIZE,
    mix={"image": 0.1, "video": 0.15, "streaming": 0.6, "grounding": 0.15},
    rule="muon",
)
CARD = """\
# beginning

Where vigil-nano's recipe starts: an encoder and a decoder that were trained together on rendered
scenes, in the place of those that others trained.
"""


def begin(job: Job, *, num_read: int = NUM_READ) -> Iterator[Event]:
    """Make the folder that stage 1 starts from.

    Args:
        job: the run, of the stage `BEGINNING`; `words` in its folder holds the tokenizer, its seed
            is that of the weights.
        num_read: scenes of which the questions, answers and scripts make the tokenizer.
    """
    words = job.out / "words"
    if not (words / "tokenizer.json").is_file():
        words.mkdir(parents=True, exist_ok=True)
        write_tokenizer(words, train_tokenizer(_read(num_read), vocab_size=VOCAB_SIZE))
    tokenizer = Tokenizer.load(words)
    config = nano_config(
        vocab_size=VOCAB_SIZE,
        image_token_id=tokenizer.encode("<|image_pad|>")[0],
        video_token_id=tokenizer.encode("<|video_pad|>")[0],
        eos_token_ids=(tokenizer.im_end_id,),
    )
    model = fresh(config, seed=job.seed)
    lasting = replace(job, plan=replace(job.plan, floor=FLOOR))
    yield from run_stage(model, tokenizer, lasting, start=None)
    if not is_done(job):
        return
    write_folder(
        model,
        job.out,
        tokenizer_source=words,
        card=CARD,
        image_merge_size=MERGE_SIZE,
        prompt=NANO_2,
    )


def _read(num_scenes: int) -> tuple[str, ...]:
    """Give the texts that the tokenizer is made of: questions, answers and scripts."""
    texts = []
    for seed in range(FIRST_READ_SEED, FIRST_READ_SEED + num_scenes):
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
