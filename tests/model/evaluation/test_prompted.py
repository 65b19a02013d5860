from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.errors import InputError
from model.evaluation.prompted import Clip, Picture, Prompted, Turn
from model.kinds.loops import looped_tail
from model.types import PatchGrid, PrunedFrame, Question
from model.videollama3.grid import pin_grid
from model.videollama3.patches import patchify
from tests.model.nano_model import (
    GRID,
    nano_engine,
    nano_family,
    nano_tokenizer,
    picture,
    pruned,
    reference_nano,
    some_tokens,
)

WHAT = "What is in the picture?"
WHO = "Who or what is in view?"
OPENING, CLOSING = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
SMALL = PatchGrid(3, 5, token_px=14)


def small_picture(seed: int) -> Picture:
    """One whose sides are whole patches, and not whole tokens of a video."""
    pixels = picture(seed, grid=PatchGrid(2, 3))
    return Picture(np.ascontiguousarray(pixels[: SMALL.height_px, : SMALL.width_px]))


def clip(num_frames: int) -> Clip:
    return Clip(
        tuple(
            pruned(picture(n), pts_s=float(n), keep=some_tokens(n), is_refresh=n == 0)
            for n in range(num_frames)
        )
    )


def as_transformers_takes_it(text: str, pictures: list[Picture]) -> dict[str, Tensor]:
    ids = torch.tensor([nano_tokenizer().encode(text)])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if pictures:
        rows = [patchify(one.pixels, merge_size=1) for one in pictures]
        given["pixel_values"] = torch.cat(rows)
        grids = [[1, SMALL.rows, SMALL.cols] for _ in pictures]
        given["image_grid_thw"] = torch.tensor(grids)
        given["image_merge_sizes"] = torch.ones(len(pictures), dtype=torch.int64)
    return given


def said_by_transformers(inputs: dict[str, Tensor], num_tokens: int) -> str:
    model: Any = reference_nano()
    generated = model.generate(
        **inputs, do_sample=False, repetition_penalty=1.0, max_new_tokens=num_tokens
    )
    said = generated[0, inputs["input_ids"].shape[1] :].tolist()
    return nano_tokenizer().decode(said[: len(said) - looped_tail(said)]).strip()


IMAGE = "<|image_pad|>" * SMALL.num_tokens
CASES = {
    "a picture": (
        [Turn("user", (small_picture(1), WHAT))],
        f"{OPENING}{IMAGE}\n{WHAT}{CLOSING}",
    ),
    "pictures among words": (
        [Turn("user", ("First ", small_picture(1), "second ", small_picture(2), WHAT))],
        f"{OPENING}First {IMAGE}\nsecond {IMAGE}\n{WHAT}{CLOSING}",
    ),
    "several turns": (
        [
            Turn("system", ("Be brief.",)),
            Turn("user", (small_picture(1), WHAT)),
            Turn("assistant", ("A car.",)),
            Turn("user", ("Which colour?",)),
        ],
        f"<|im_start|>system\nBe brief.<|im_end|>\n{OPENING}{IMAGE}\n{WHAT}"
        f"{CLOSING}A car.<|im_end|>\n{OPENING}Which colour?{CLOSING}",
    ),
    "words alone": ([Turn("user", (WHAT,))], f"{OPENING}{WHAT}{CLOSING}"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_prompt_is_continued_as_by_transformers(name: str) -> None:
    turns, text = CASES[name]
    pictures = [part for turn in turns for part in turn.parts if isinstance(part, Picture)]
    inputs = as_transformers_takes_it(text, pictures)
    reply = Prompted(nano_family()).reply(turns, max_new_tokens=16)
    assert reply.text
    assert reply.text == said_by_transformers(inputs, reply.num_generated)


@pytest.mark.parametrize("name", CASES)
def test_a_continuation_is_as_likely_as_by_transformers(name: str) -> None:
    turns, text = CASES[name]
    pictures = [part for turn in turns for part in turn.parts if isinstance(part, Picture)]
    said = nano_tokenizer().encode("yes, two")
    inputs = as_transformers_takes_it(text + "yes, two", pictures)
    with torch.inference_mode():
        logits = reference_nano()(**inputs).logits[0, -1 - len(said) : -1]
    rows = logits.log_softmax(-1)
    expected = sum(float(rows[n, token]) for n, token in enumerate(said))
    got, is_likeliest = Prompted(nano_family()).likelihood(turns, "yes, two")
    assert got == pytest.approx(expected, abs=1e-3)
    assert is_likeliest == (rows.argmax(-1).tolist() == said)


def test_what_is_said_is_the_likeliest_continuation() -> None:
    prompted = Prompted(nano_family())
    turns = [Turn("user", (clip(4), "Is a person in view?\nAnswer yes or no."))]
    said = prompted.reply(turns, max_new_tokens=8).text
    other = "no" if said == "yes" else "yes"
    (likely, is_likeliest), (less, _) = (prompted.likelihood(turns, one) for one in (said, other))
    assert is_likeliest
    assert likely > less


@pytest.mark.parametrize("vision", ["full", "delta"])
def test_a_clip_is_answered_as_in_service(vision: Any) -> None:
    shown = clip(6)
    engine = nano_engine(vision=vision)
    engine.append(shown.frames)
    [answer] = engine.ask([("gate", Question("text", WHO))])
    prompted = Prompted(nano_family(), vision=vision)
    # at most as long as the engine lets an answer be
    reply = prompted.reply([Turn("user", (shown, WHO))], max_new_tokens=16)
    assert answer.num_generated > 3
    assert (reply.text, reply.num_generated) == (answer.value, answer.num_generated)


def test_a_clip_that_ends_unchanged_is_answered_as_in_service() -> None:
    nothing = np.zeros((GRID.rows, GRID.cols), dtype=np.bool_)
    shown: tuple[PrunedFrame, ...] = (*clip(3).frames, pruned(picture(2), pts_s=5.0, keep=nothing))
    engine = nano_engine()
    engine.append(shown)
    [answer] = engine.ask([("gate", Question("caption", WHAT))])
    reply = Prompted(nano_family(), vision="delta").reply(
        [Turn("user", (Clip(shown), WHAT))], max_new_tokens=24
    )
    assert reply.text == answer.value


def test_nothing_of_a_prompt_is_left_for_the_next() -> None:
    prompted = Prompted(nano_family())
    alone = [Turn("user", (small_picture(3), WHAT))]
    before = prompted.reply(alone, max_new_tokens=12)
    prompted.reply([Turn("user", (clip(5), "Another one?"))], max_new_tokens=12)
    num_bytes = prompted._pool.num_bytes
    assert prompted.reply(alone, max_new_tokens=12) == before
    assert prompted._pool.num_bytes == num_bytes


def test_a_control_token_among_the_words_is_refused() -> None:
    with pytest.raises(InputError, match="plain text"):
        Prompted(nano_family()).reply([Turn("user", ("a<|im_end|>b",))], max_new_tokens=4)


def test_a_picture_gets_a_token_for_each_patch() -> None:
    grid = pin_grid(1080, 1920, max_tokens=16384, merge_size=1)
    assert (grid.rows, grid.cols, grid.token_px) == (77, 137, 14)
