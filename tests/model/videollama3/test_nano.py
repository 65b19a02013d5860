"""The bundled model folder: in transformers' own format."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor, AutoTokenizer, Qwen2Tokenizer, VideoLlama3Processor

from model.bundled import NANO
from model.errors import CheckpointError
from model.kinds.count import digit_ids
from model.kinds.yes_no import yes_no_ids
from model.videollama3.patches import patchify
from model.videollama3.tokenizer import Tokenizer
from tests.model.nano_model import nano, nano_tokenizer, picture, reference_nano

ROOT = NANO.parents[1]


def test_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in NANO.iterdir()) < 24_000_000


def test_card_says_what_it_knows() -> None:
    card = (NANO / "README.md").read_text(encoding="utf-8")
    assert "knows only its rendered world" in " ".join(card.split())


def test_transformers_loads_the_processor_unchanged() -> None:
    auto: Any = AutoProcessor  # untyped
    processor = auto.from_pretrained(NANO)
    assert isinstance(processor, VideoLlama3Processor)
    assert isinstance(AutoTokenizer.from_pretrained(NANO), Qwen2Tokenizer)
    config = reference_nano().config
    assert processor.video_token_id == config.video_token_id == nano_tokenizer().visual_id
    assert processor.image_token_id == config.image_token_id


def test_transformers_loads_every_weight() -> None:
    weights = load_file(NANO / "model.safetensors")
    state = reference_nano().state_dict()
    assert set(weights) == set(state) - {"lm_head.weight"}
    for name, weight in weights.items():
        assert weight.dtype == torch.bfloat16
        assert torch.equal(weight.float(), state[name])


@torch.inference_mode()
def test_features_vary_with_the_picture() -> None:
    model = nano()
    features = [model.encode(patchify(picture(seed)), [(8, 10)]) for seed in (0, 1)]
    assert (features[0] - features[1]).abs().mean() > 0.1


def test_tokenizer_reads_answers_off_single_tokens() -> None:
    tokenizer = nano_tokenizer()
    yes, no = yes_no_ids(tokenizer)
    assert len(yes) == len(no) == 6
    assert len(set(digit_ids(tokenizer))) == 10
    assert len({tokenizer.im_start_id, tokenizer.im_end_id, tokenizer.visual_id}) == 3


def test_tokenizer_fills_the_embedding() -> None:
    words = Qwen2Tokenizer.from_pretrained(NANO).get_vocab()
    assert sorted(words.values()) == list(range(nano().config.text.vocab_size))


@pytest.mark.parametrize("text", ["A red car, 12 km/h.", "  naïve 🦊\n\nGüte", "<|im_end|"])
def test_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = nano_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_control_tokens_are_read_and_not_said() -> None:
    tokenizer = nano_tokenizer()
    ids = tokenizer.encode("<|im_start|>car<|im_end|>")
    assert (ids[0], ids[-1]) == (tokenizer.im_start_id, tokenizer.im_end_id)
    assert tokenizer.decode(ids) == "car"


def test_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected tokenizer\.json, or vocab\.json and"):
        Tokenizer.load(tmp_path)


def test_broken_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_tokenizer_without_control_tokens_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"expected the control token <\|im_start\|>"):
        Tokenizer(Qwen2Tokenizer(vocab={"a": 0, "<|endoftext|>": 1}, merges=[]))


def test_remote_family_placeholder_comes_first() -> None:
    vocab = {"<|endoftext|>": 0, "a": 1}
    remote = Qwen2Tokenizer(vocab=vocab, merges=[])
    remote.add_tokens(
        ["<|im_start|>", "<|im_end|>", "<|video_pad|>", "<image>"], special_tokens=True
    )
    tokenizer = Tokenizer(remote)
    assert tokenizer.encode("a<image>a") == [1, tokenizer.visual_id, 1]


def test_tokenizer_of_the_remote_family_is_the_same(tmp_path: Path) -> None:
    written = json.loads((NANO / "tokenizer.json").read_text(encoding="utf-8"))
    merges = "\n".join(" ".join(pair) for pair in written["model"]["merges"])
    (tmp_path / "vocab.json").write_text(json.dumps(written["model"]["vocab"]), encoding="utf-8")
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "added_tokens_decoder": {
                    str(token["id"]): {"content": token["content"], "special": True}
                    for token in written["added_tokens"]
                },
                "auto_map": {"AutoProcessor": "processing_videollama3.Videollama3Qwen2Processor"},
                "tokenizer_class": "Qwen2Tokenizer",
                "processor_class": "Videollama3Qwen2Processor",
            }
        ),
        encoding="utf-8",
    )
    remote, native = Tokenizer.load(tmp_path), nano_tokenizer()
    text = "<|im_start|>user\nTime 12.0s:<|video_pad|>\nIs it naïve?<|im_end|>\n"
    assert remote.encode(text) == native.encode(text)
    assert remote.visual_id == native.visual_id
