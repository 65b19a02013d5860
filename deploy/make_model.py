"""Make the bundled model folder: `python deploy/make_model.py model/nano`.

Writes a VideoLLaMA3 of about 1.4 million parameters in Hugging Face's own format, with a tokenizer
trained on sentences about camera scenes. The weights are drawn from a fixed seed and are not
trained: the folder exercises every path of the real model and says nothing true. The same
arguments give the same bytes.
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import GenerationConfig, VideoLlama3Config, VideoLlama3ForConditionalGeneration

VOCAB_SIZE = 1024
CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Qwen2.5's own splitting rule: it keeps every digit a token and ends words at line breaks.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for content in message['content'] -%}
{%- if content['type'] == 'video' -%}
{{- '<|video_pad|>\\n' -}}
{%- elif content['type'] == 'image' -%}
{{- '<|image_pad|>\\n' -}}
{%- elif content['type'] == 'text' -%}
{{- content['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

CARD = """\
# vigil-nano

A VideoLLaMA3 of {millions:.2f} million parameters in Hugging Face's own format, so that the worker
runs without a download and every path of the real model is exercised. `transformers` loads it
unchanged.

**It is not trained: its captions and answers mean nothing**, and its probabilities are those of
chance. The weights were drawn from seed {seed}. For answers, load a real checkpoint instead.

| part | shape |
|---|---|
| vision encoder | 4 layers, 96 wide, 3 heads, 14 px patches merged 2x2 |
| decoder | 4 layers, 128 wide, 4 heads over 2 key heads, 1024 tokens, tied head |
| weights | bfloat16 safetensors |

Made by `python deploy/make_model.py model/nano`.
"""

COLOURS = ("red", "blue", "green", "yellow", "white", "black", "grey", "orange", "brown")
THINGS = """
car van truck bus bicycle motorcycle person man woman child worker dog cat bird box bag suitcase
ladder cone pallet trolley forklift ball fire flame cloud puddle bin crate drone
"""
ACTIONS = """
enters, leaves, stops, turns, waits, crosses, moves left, moves right, moves up, moves down,
drives past, walks past, runs past, stands still, falls, lies down, appears, disappears, opens,
closes, burns, smokes, flashes, carries a bag, pushes a trolley, climbs a ladder, parks, reverses
"""
PLACES = """
at the gate, near the door, on the road, on the left, on the right, in the middle, in the yard, in
the car park, by the fence, at the entrance, at the exit, in the corridor, on the platform, behind
the building, in front of the camera, at the top, at the bottom, in the background
"""
NUMBERS = "no zero one two three four five six seven eight nine ten several many"
QUESTIONS = (
    "Describe what is happening in the video in one sentence.",
    "Is there fire or smoke?",
    "Is the gate open?",
    "Is the door closed?",
    "Is anyone in the yard?",
    "Has a person fallen?",
    "Is the road blocked?",
    "How many cars are there?",
    "How many people are there?",
    "What colour is the car?",
    "What has changed?",
    "Who is in the video?",
    "Where is the person now?",
    "When did it happen?",
    "Answer yes or no.",
    "Answer with a number.",
    "Answer with one of the options.",
    "Options:",
)
REMARKS = (
    "The scene is empty.",
    "Nothing has changed.",
    "Nothing moves.",
    "The camera is dark.",
    "It is night.",
    "It is day.",
    "The light goes on.",
    "The light goes off.",
    "It rains.",
    "It snows.",
    "The camera moves.",
    "There is fire.",
    "There is smoke.",
    "The gate is open.",
    "The gate is closed.",
)
WORDS = """
about after again against all alarm alone along also always animal another any anything arm around
away back baggage because been before being below beside between big both bridge bright building
bump but by can cargo cars chair change check clean clear close clothes coat cold come counter
count crash crowd crowded cut dangerous delivery desk different dirty distance does down driver
driving each early either else empty enough ever every everyone fast fight first floor following
forklift four front full garage gates get glass go going gone group guard had half hand hard has
hat have head heavy helmet her here high his holding house if inside into item jacket just kind
lane large last late less license line lit little load long looking lying machine many marked
missing more most much must near never new next night not object of off old only open other out
outside over package parked parking pass path pause people phone place plate police present public
queue quickly quiet rail rain room running safe same second see seen seconds several shelf short
should shown side sign since sitting slow small smoke snow some someone something soon speed spill
square stair standing start state station still store street table tall than that their them then
these they this those three through time today together too tool towards track traffic train tree
trees two under unusual until up used vest visible wait walking wall warning water wearing wet
what wheel when where which while who whole why wide will window with without work working wrong
zone
"""
# Both sides of a yes/no answer are read off its first token, so every spelling is to be one token.
ANSWERS = ("yes", "Yes", "YES", "no", "No", "NO", "unknown")


def phrases(text: str) -> list[str]:
    """Split a comma-separated text."""
    return [phrase.strip() for phrase in text.replace("\n", " ").split(",")]


def corpus() -> Iterator[str]:
    """Give the sentences the tokenizer is trained on, the same every time."""
    things, actions, places = THINGS.split(), phrases(ACTIONS), phrases(PLACES)
    for colour, thing, place in itertools.product(COLOURS, things, places):
        yield f"A {colour} {thing} is {place}."
    for number, thing in itertools.product(NUMBERS.split(), things):
        yield f"There are {number} {thing}s. {number.capitalize()} {thing}s."
    for thing, action, place in itertools.product(things, actions, places):
        yield f"The {thing} {action} {place}."
    for second in range(180):
        yield f",Time {second}.0s:"
        yield f"user\nTime {second}.5s: assistant\n"
    for line in (*QUESTIONS, *REMARKS) * 40:
        yield f"\n{line}"
    for word in WORDS.split() * 4:
        yield f" {word}"
    for answer in ANSWERS * 400:
        yield answer
        yield f"The answer is {answer}."


def train_tokenizer() -> Tokenizer:
    """Train a byte-level BPE with Qwen2.5's normaliser, splitting rule and control tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        corpus(),
        BpeTrainer(
            vocab_size=VOCAB_SIZE - len(CONTROL_TOKENS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in CONTROL_TOKENS]
    )
    if tokenizer.get_vocab_size() != VOCAB_SIZE:
        raise SystemExit(f"expected {VOCAB_SIZE} tokens, got {tokenizer.get_vocab_size()}")
    return tokenizer


def architecture(tokenizer: Tokenizer) -> VideoLlama3Config:
    """Give the shape of the model: VideoLLaMA3's, with everything small."""
    end_id = tokenizer.token_to_id("<|im_end|>")
    return VideoLlama3Config(
        architectures=["VideoLlama3ForConditionalGeneration"],
        dtype="bfloat16",
        image_token_id=tokenizer.token_to_id("<|image_pad|>"),
        video_token_id=tokenizer.token_to_id("<|video_pad|>"),
        tie_word_embeddings=True,
        vision_config={
            "model_type": "video_llama_3_vision",
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 3,
            "patch_size": 14,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": VOCAB_SIZE,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "tie_word_embeddings": True,
            "bos_token_id": tokenizer.token_to_id("<|endoftext|>"),
            "eos_token_id": end_id,
        },
    )


def fill_weights(model: VideoLlama3ForConditionalGeneration, *, seed: int) -> None:
    """Draw every weight so that signal passes at unit scale, from numpy's stable generator.

    The usual 0.02 is made for wide networks; at this width it would leave logits that hardly
    depend on the picture. The embedding is small and the last norm makes up for it: the head is
    tied, and a token whose own row dominated its state would only ever be followed by itself.
    """
    rng = np.random.default_rng(seed)
    for name, weight in sorted(model.named_parameters()):
        if name == "model.language_model.norm.weight":
            values = np.full(weight.shape, 5.0)
        elif "norm" in name:
            values = np.full(weight.shape, 0.0 if name.endswith("bias") else 1.0)
        elif name.endswith("bias"):
            values = 0.1 * rng.standard_normal(weight.shape)
        elif "embed_tokens" in name:
            values = 0.05 * rng.standard_normal(weight.shape)
        else:
            fan_in = weight[0].numel()
            values = rng.standard_normal(weight.shape) / np.sqrt(fan_in)
        weight.data.copy_(torch.from_numpy(values))


def write_json(path: Path, value: object) -> None:
    """Write one JSON document with a stable layout."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write the tokenizer's two files and the chat template."""
    (folder / "tokenizer.json").write_text(tokenizer.to_str() + "\n", encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "add_prefix_space": False,
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 32768,
            "added_tokens_decoder": {
                str(tokenizer.token_to_id(text)): {"content": text, "special": True}
                for text in CONTROL_TOKENS
            },
        },
    )
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def write_processors(folder: Path) -> None:
    """Write how pictures are prepared: the released checkpoints' values, 28 px a token."""
    pixels = {
        "do_convert_rgb": True,
        "do_resize": True,
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "patch_size": 14,
        "temporal_patch_size": 1,
    }
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "VideoLlama3ImageProcessor",
            "processor_class": "VideoLlama3Processor",
            "merge_size": 1,
            "size": {"shortest_edge": 16 * 14**2, "longest_edge": 16384 * 14**2},
            **pixels,
        },
    )
    write_json(
        folder / "video_preprocessor_config.json",
        {
            "video_processor_type": "VideoLlama3VideoProcessor",
            "processor_class": "VideoLlama3Processor",
            "merge_size": 2,
            "size": {"shortest_edge": 16 * 28**2, "longest_edge": 16384 * 28**2},
            "use_token_compression": True,
            **pixels,
        },
    )
    write_json(folder / "processor_config.json", {"processor_class": "VideoLlama3Processor"})


def write_card(folder: Path, *, num_parameters: int, seed: int) -> None:
    """Write what the model is, and that it knows nothing."""
    (folder / "README.md").write_text(
        CARD.format(millions=num_parameters / 1e6, seed=seed), encoding="utf-8"
    )


def make_model(folder: Path, *, seed: int) -> None:
    """Write the whole model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    model = VideoLlama3ForConditionalGeneration(architecture(tokenizer)).float()
    fill_weights(model, seed=seed)
    model = model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=[tokenizer.token_to_id(text) for text in ("<|im_end|>", "<|endoftext|>")],
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
    )
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # it is written for its owner alone
    write_tokenizer(folder, tokenizer)
    write_processors(folder)
    num_parameters = sum(weight.numel() for weight in model.parameters())
    write_card(folder, num_parameters=num_parameters, seed=seed)
    print(f"{folder}: {num_parameters / 1e6:.2f} M parameters, seed {seed}, not trained")


def main() -> None:
    """Read the arguments and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make_model(arguments.folder, seed=arguments.seed)


if __name__ == "__main__":
    main()
