"""Captions read back: what is stated, and what is left alone."""

import pytest

from model.scenes.wording import NOTHING, stated_facts


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
