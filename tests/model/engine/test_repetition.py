"""Free text under a checkpoint's repetition penalty, beside what the reference generates."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import VideoLlama3Config

from model.bundled import NANO
from model.engine.config import EngineConfig
from model.engine.decoding import Decoding
from model.engine.engine import Engine
from model.engine.repetition import Repetition
from model.kinds import wording
from model.kinds.base import Branch
from model.types import PrunedFrame, Question
from model.videollama3.prompt import NANO_2, question_suffix
from tests.model.engine.test_engine import clip, reference_inputs
from tests.model.nano_model import nano_tokenizer
from tests.model.speaking import NUM_ROWS, heard
from tests.model.tiny import oracle, save_oracle
from tests.model.videollama3.test_checkpoint import save_remote

PENALTIES = (1.0, 1.05, 1.3)
TEXTS = (Question("caption", ""), Question("text", "What is in the video?"))
OTHERS = (
    Question("yes_no", "Is there fire?"),
    Question("choice", "What colour?", ("red", "blue")),
    Question("count", "How many cars?"),
)
# What transformers says where it is given no ids: the penalty is on what it generates alone.
EMBEDDED = pytest.mark.filterwarnings("ignore:Passing `repetition_penalty` with `inputs_embeds`")
LIMITS = (60, 9, 33, 1)  # of the texts that are decoded side by side


@pytest.fixture(scope="module")
def reference() -> Any:
    """Random weights with nano's vocabulary, some words likelier than the rest, as in any text."""
    config: dict[str, Any] = VideoLlama3Config.from_pretrained(NANO).to_dict()
    config["text_config"] |= {
        "num_hidden_layers": 2,
        "layer_types": None,
        "tie_word_embeddings": False,
    }
    config["vision_config"]["num_hidden_layers"] = 2
    config["tie_word_embeddings"] = False
    model = oracle(config=VideoLlama3Config.from_dict(config))
    model.generation_config.eos_token_id = None  # it goes on to the limit unless told otherwise
    spread = torch.randn(1024, 1, generator=torch.Generator().manual_seed(1))
    model.lm_head.weight.data *= torch.exp(0.5 * spread)
    return model


def loaded(model: Any, folder: Path, *, penalty: float, is_remote: bool = False) -> Engine:
    """Write a checkpoint with the penalty in its generation_config.json, and load it."""
    (save_remote if is_remote else save_oracle)(model, folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vigil.json"):
        shutil.copy(NANO / name, folder / name)
    generation = {"do_sample": True, "repetition_penalty": penalty, "eos_token_id": [1018, 1016]}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    limits = EngineConfig(
        vision="full", audit_share=0.0, max_caption_tokens=40, max_answer_tokens=24
    )
    return Engine.load(str(folder), device="cpu", dtype="float32", config=limits)


def streams() -> dict[str, list[PrunedFrame]]:
    """Clips of several lengths, so that prompts hold several sets of tokens."""
    return {
        name: [replace(frame, stream_id=name) for frame in clip(num_frames)]
        for name, num_frames in (("gate", 2), ("yard", 5), ("dock", 12))
    }


def said(engine: Engine, asks: Sequence[tuple[str, str, int]]) -> list[list[int]]:
    """Decode texts (stream, words, tokens) side by side, each to its limit, loops and all."""
    contexts = [engine._context(name) for name, _, _ in asks]
    branches = [
        Branch(
            tuple(nano_tokenizer().encode(question_suffix(words))),
            max_new_tokens=limit,
            is_text=True,
        )
        for _, words, limit in asks
    ]
    pool = engine._pool
    decoding = Decoding(engine._model, pool, num_rows=NUM_ROWS)
    put = [(context.sequence, branch) for context, branch in zip(contexts, branches, strict=True)]
    held = [sorted(context.held_ids) for context in contexts]
    return heard(decoding, engine._model, pool, put, held)


def generated(model: Any, inputs: dict[str, Tensor], *, penalty: float, limit: int) -> list[int]:
    """What transformers says greedily."""
    ids = model.generate(
        **inputs, do_sample=False, repetition_penalty=penalty, max_new_tokens=limit
    )
    start = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
    tokens: list[int] = ids[0, start:].tolist()
    return tokens


def embedded(model: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the original repository hands to `generate`: the prompt as embeddings, without ids."""
    found: dict[str, Tensor] = {}

    def look(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        found["inputs_embeds"] = kwargs["inputs_embeds"]

    hook = model.model.language_model.register_forward_pre_hook(look, with_kwargs=True)
    with torch.inference_mode():
        model(**inputs, logits_to_keep=1)
    hook.remove()
    return found | {"attention_mask": inputs["attention_mask"]}


@pytest.mark.parametrize("penalty", PENALTIES)
def test_texts_are_transformers_token_for_token(
    reference: Any, tmp_path: Path, penalty: float
) -> None:
    engine, clips = loaded(reference, tmp_path, penalty=penalty), streams()
    for frames in clips.values():
        for frame in frames:
            engine.append([frame])
    asks = [
        (name, wording(question, NANO_2.forms), limit)
        for question in TEXTS
        for name in clips
        for limit in LIMITS
    ]
    expected = {
        (name, words): generated(
            reference, reference_inputs(clips[name], words), penalty=penalty, limit=max(LIMITS)
        )
        for name, words, _ in asks
    }
    for (name, words, limit), ids in zip(asks, said(engine, asks), strict=True):
        assert ids == expected[name, words][:limit]


@EMBEDDED
@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_remote_codes_checkpoints_are_penalised_for_what_they_said_alone(
    reference: Any, tmp_path: Path, penalty: float
) -> None:
    engine, clips = loaded(reference, tmp_path, penalty=penalty, is_remote=True), streams()
    for frames in clips.values():
        engine.append(frames)
    asks = [(name, wording(TEXTS[0], NANO_2.forms), max(LIMITS)) for name in clips]
    for (name, words, limit), ids in zip(asks, said(engine, asks), strict=True):
        inputs = embedded(reference, reference_inputs(clips[name], words))
        assert ids == generated(reference, inputs, penalty=penalty, limit=limit)


@EMBEDDED
def test_the_penalty_and_the_prompt_both_matter(reference: Any) -> None:
    inputs = reference_inputs(clip(5), wording(TEXTS[0], NANO_2.forms))
    texts = [generated(reference, inputs, penalty=penalty, limit=60) for penalty in PENALTIES]
    texts.append(generated(reference, embedded(reference, inputs), penalty=1.3, limit=60))
    assert len({tuple(text) for text in texts}) == 4


@pytest.mark.parametrize("penalty", PENALTIES)
def test_answers_are_what_transformers_says_up_to_their_ends(
    reference: Any, tmp_path: Path, penalty: float
) -> None:
    engine, clips = loaded(reference, tmp_path, penalty=penalty), streams()
    for frames in clips.values():
        engine.append(frames)
    asks = [(name, question) for name in clips for question in TEXTS]
    for (name, question), answer in zip(asks, engine.ask(asks), strict=True):
        inputs = reference_inputs(clips[name], wording(question, NANO_2.forms))
        ids = generated(reference, inputs, penalty=penalty, limit=answer.num_generated)
        text = nano_tokenizer().decode(ids).strip()
        # A loop that was noticed is cut to one turn, and told is what stands before.
        assert text == answer.value if answer.is_truncated else text.startswith(str(answer.value))


def test_answers_that_are_scored_know_no_penalty(reference: Any, tmp_path: Path) -> None:
    answers = []
    for penalty in (1.0, 1.3):
        engine = loaded(reference, tmp_path / str(penalty), penalty=penalty)
        engine.append(clip(3))
        asks = [("gate", question) for question in (*OTHERS, *TEXTS)]
        answers.append(engine.ask(asks)[: len(OTHERS)])
    assert answers[0] == answers[1]


def test_a_context_holds_what_its_written_out_prompt_holds(reference: Any, tmp_path: Path) -> None:
    engine, frames = loaded(reference, tmp_path, penalty=1.1), clip(12)
    suffix = nano_tokenizer().encode(question_suffix("What?"))
    for num_frames, frame in enumerate(frames, start=1):
        engine.append([frame])
        ids = reference_inputs(frames[:num_frames], "What?")["input_ids"][0].tolist()
        context = engine._context("gate")
        before = context.held_ids
        assert before == set(ids[: len(ids) - len(suffix)])
        mark = context.mark()
        context.show(0, num_tokens=1, is_whole=False, pts_s=98765.4)
        assert context.held_ids >= before
        context.rewind(mark)
        assert context.held_ids == before


def test_a_token_that_was_there_often_is_penalised_once() -> None:
    repetition = Repetition(2.0, num_rows=3, vocab_size=4, device=torch.device("cpu"))
    repetition.begin(0, [1, 1, 3, 4])  # the last is no token that a logit belongs to
    repetition.begin(2, [])
    rows, logits = torch.tensor([0, 2]), torch.tensor([[4.0, 4.0, -4.0, -4.0]] * 2)
    before = logits.clone()
    assert repetition.penalized(rows, logits).tolist() == [[4, 2, -4, -8], [4, 4, -4, -4]]
    repetition.hold(rows, torch.tensor([1, 2]))
    assert repetition.penalized(rows, logits).tolist() == [[4, 2, -4, -8], [4, 4, -8, -4]]
    repetition.begin(2, [0])
    assert repetition.penalized(rows[1:], logits[1:]).tolist() == [[2, 4, -4, -4]]
    assert torch.equal(logits, before)
