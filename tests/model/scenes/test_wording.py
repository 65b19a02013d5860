"""Captions read back: what is stated, and what is left alone."""

import pytest

from model.scenes.wording import NOTHING, stated_facts, told


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        (NOTHING, set()),
        ("The weather is fine.", set()),
        ("", set()),
        (
            "A person in red enters from the left and stops.",
            {("person", "red", "enters from the left"), ("person", "red", "stops")},
        ),
        (
            "An orange car crosses from right to left, and smoke starts.",
            {
                ("car", "orange", "enters from the right"),
                ("car", "orange", "leaves to the left"),
                ("smoke", "", "starts"),
            },
        ),
        (
            "Somebody in blue comes in from the left, puts down a brown parcel and goes off to the "
            "left.",
            {
                ("person", "blue", "enters from the left"),
                ("parcel", "brown", "is put down"),
                ("person", "blue", "leaves to the left"),
            },
        ),
        (
            "The gate opens and is closed. The lights are switched off.",
            {("gate", "", "opens"), ("gate", "", "closes"), ("lights", "", "go off")},
        ),
        ("a white dog is in view", {("dog", "white", "is there")}),
        ("enters from the left", set()),
    ],
)
def test_what_a_caption_states(text: str, facts: set[tuple[str, str, str]]) -> None:
    assert stated_facts(text) == facts


def test_plain_words_tell_who_comes_and_goes_and_then_what_else_changes() -> None:
    events = [
        ("person", "red", ["enters from the left", "leaves to the right"]),
        ("dog", "grey", ["enters from the right", "leaves to the left"]),
        ("parcel", "brown", ["is put down"]),
        ("gate", "", ["opens", "closes"]),
    ]
    handed = {("brown", "is put down"): ("person", "red", "")}

    assert told(events, {}, None) == (
        "A person in red crosses from left to right, and a grey dog crosses from right to left. "
        "A brown parcel is put down, and the gate opens and closes."
    )
    assert told(events, handed, None) == (
        "A person in red enters from the left, puts down a brown parcel and leaves to the right, "
        "and a grey dog crosses from right to left. The gate opens and closes."
    )
    assert told([], {}, None) == NOTHING
