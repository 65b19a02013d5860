"""Nano's own tokenizer: byte-level BPE as Qwen2.5's, trained on what is said of camera scenes."""

import itertools
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from model.errors import InputError

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


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """Train a byte-level BPE with Qwen2.5's normaliser, splitting rule and control tokens.

    Args:
        texts: what the model will read and say; the general sentences of this file are added, so
            that questions of one's own have words too.
        vocab_size: tokens in all.

    Raises:
        InputError: there is too little text for so many tokens.
    """
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
        itertools.chain(texts, _general()),
        BpeTrainer(
            vocab_size=vocab_size - len(CONTROL_TOKENS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in CONTROL_TOKENS]
    )
    if tokenizer.get_vocab_size() != vocab_size:
        raise InputError(
            f"vocabulary: expected text for {vocab_size} tokens, got {tokenizer.get_vocab_size()}"
        )
    return tokenizer


def _general() -> Iterator[str]:
    """Give sentences about cameras in general, the same every time."""
    things, actions, places = THINGS.split(), _phrases(ACTIONS), _phrases(PLACES)
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


def _phrases(text: str) -> list[str]:
    """Split a comma-separated text."""
    return [phrase.strip() for phrase in text.replace("\n", " ").split(",")]
