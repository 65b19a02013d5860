"""Wording: captions in varied words, and back from the words to the facts they state."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from model.scenes.palette import COLOURS, KINDS

Stated = tuple[str, str, str]  # kind, colour, canonical action

NOTHING: Final = "Nothing happens."

_NOTHINGS: Final = (NOTHING, "Nothing happens.", "Nothing moves and nobody is there.")
_LINES: Final[dict[str, tuple[str, ...]]] = {  # canonical action: how it is said
    "enters from the left": (
        "enters from the left", "comes in from the left", "arrives from the left",
    ),
    "enters from the right": (
        "enters from the right", "comes in from the right", "arrives from the right",
    ),
    "leaves to the left": ("leaves to the left", "goes off to the left", "exits to the left"),
    "leaves to the right": ("leaves to the right", "goes off to the right", "exits to the right"),
    "stops": ("stops", "comes to a stop", "halts"),
    "is there": ("is there", "is in view"),
    "is put down": ("is put down", "is set down"),
    "is taken": ("is taken", "is picked up"),
    "opens": ("opens", "is opened"),
    "closes": ("closes", "is closed"),
    "go on": ("go on", "are switched on"),
    "go off": ("go off", "are switched off"),
    "starts": ("starts", "appears"),
    "ends": ("ends", "is gone"),
}  # fmt: skip
_CROSSINGS: Final[dict[str, tuple[str, ...]]] = {  # where from: how a crossing is said
    "left": ("crosses from left to right", "passes from left to right"),
    "right": ("crosses from right to left", "passes from right to left"),
}
_PEOPLE: Final = ("a person", "a person", "somebody")
_PUTS: Final = ("puts down", "sets down")
_TAKES: Final = ("takes", "picks up")
_OTHER: Final = {"left": "right", "right": "left"}
_FIXTURES: Final = ("gate", "lights", "smoke", "fire")


def named(kind: str, colour: str, rng: np.random.Generator | None) -> str:
    """An object as a caption introduces it: "a person in red", "an orange car"."""
    if kind != "person":
        return f"{article(colour)} {colour} {kind}"
    return f"{_one_of(_PEOPLE, rng)} in {colour}"


def article(word: str) -> str:
    """The article that ``word`` wants: a or an."""
    return "an" if word[0] in "aeiou" else "a"


def told(
    events: Sequence[tuple[str, str, Sequence[str]]],
    handed: dict[tuple[str, str], tuple[str, str, str]],
    rng: np.random.Generator | None,
) -> str:
    """A caption of these events.

    In plain words the first sentence is of who comes and goes, the second of what else changes:
    where a sentence ends is known without counting what is still to be told.

    Args:
        events: kind, colour and canonical actions in order of time, one entry per subject.
        handed: for a parcel's (colour, action): kind, colour of whoever did it and "" or
            "leaves ...", the action it is told before.
        rng: chooses the words; None: the plain ones.
    """
    if not events:
        return _one_of(_NOTHINGS, rng)
    spoken: set[Stated] = set()
    movers: list[str] = []
    others: list[str] = []
    for kind, colour, actions in events:
        clause = _clause(kind, colour, actions, handed, spoken, rng)
        if clause:
            (movers if kind in KINDS[:-1] else others).append(clause)
    if rng is None:
        return _sentences(movers, others)
    clauses = movers + others
    half = (len(clauses) + 1) // 2 if rng.random() < 0.7 else len(clauses)
    return _sentences(clauses[:half], clauses[half:])


def _clause(
    kind: str,
    colour: str,
    actions: Sequence[str],
    handed: dict[tuple[str, str], tuple[str, str, str]],
    spoken: set[Stated],
    rng: np.random.Generator | None,
) -> str:
    given = [
        (parcel, action)
        for (parcel, action), (who_kind, who_colour, _) in handed.items()
        if (who_kind, who_colour) == (kind, colour)
    ]
    left = [action for action in actions if (kind, colour, action) not in spoken]
    if given:  # a parcel is handled after coming and before going
        going = [action for action in left if action.startswith("leaves")]
        parts = [_said(action, rng) for action in left if action not in going]
        parts += [_handing(*one, spoken, rng) for one in given]
        parts += [_said(action, rng) for action in going]
    else:
        parts = [_said(action, rng) for action in _crossed(left)]
    if not parts:
        return ""
    subject = f"the {kind}" if kind in ("gate", "lights") else kind
    if kind in KINDS:
        subject = named(kind, colour, rng)
    return f"{subject} {_list(parts)}"


def _handing(parcel: str, action: str, spoken: set[Stated], rng: np.random.Generator | None) -> str:
    spoken.add(("parcel", parcel, action))
    verbs = _PUTS if action == "is put down" else _TAKES
    return f"{_one_of(verbs, rng)} {article(parcel)} {parcel} parcel"


def _crossed(actions: Sequence[str]) -> list[str]:
    """Entering and leaving on the other side, with nothing between, is crossing."""
    for side, other in _OTHER.items():
        if list(actions) == [f"enters from the {side}", f"leaves to the {other}"]:
            return [f"crosses {side}"]
    return list(actions)


def _one_of(words: Sequence[str], rng: np.random.Generator | None) -> str:
    return words[0] if rng is None else words[int(rng.integers(len(words)))]


def _said(action: str, rng: np.random.Generator | None) -> str:
    if action.startswith("crosses "):
        words = _CROSSINGS[action.removeprefix("crosses ")]
    else:
        words = _LINES[action]
    return _one_of(words, None if rng is None or rng.random() < 0.6 else rng)


def _list(parts: Sequence[str]) -> str:
    if len(parts) < 3:
        return " and ".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]


def _sentences(*groups: Sequence[str]) -> str:
    """A sentence of each group of clauses that has any, fused by commas or by "and"."""
    sentences = []
    for group in filter(None, groups):
        text = group[0] if len(group) == 1 else ", ".join(group[:-1]) + ", and " + group[-1]
        sentences.append(text[0].upper() + text[1:] + ".")
    return " ".join(sentences)


# ---------------------------------------------------------------- and back


def _alternatives(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(set(words), key=len, reverse=True))


_COLOUR: Final = _alternatives(COLOURS)
_ACTIONS: Final = {said: action for action, lines in _LINES.items() for said in lines}
_WAYS: Final = {said: side for side, lines in _CROSSINGS.items() for said in lines}
_TOKEN: Final = re.compile(
    rf"\b(?:(?:person|somebody) in (?P<worn>{_COLOUR})"
    rf"|(?P<colour>{_COLOUR}) (?P<kind>{_alternatives(KINDS[1:])})"
    rf"|(?P<fixture>{_alternatives(_FIXTURES)})"
    rf"|(?P<way>{_alternatives(_WAYS)})"
    rf"|(?P<put>{_alternatives(_PUTS)})"
    rf"|(?P<take>{_alternatives(_TAKES)})"
    rf"|(?P<action>{_alternatives(_ACTIONS)}))\b",
    re.IGNORECASE,
)


def stated_facts(text: str) -> frozenset[Stated]:
    """The facts ``text`` states: (kind, colour, canonical action); what it cannot read is left."""
    found: set[Stated] = set()
    who: tuple[str, str] | None = None
    passive = ""  # what the subject does to the next one named
    for match in _TOKEN.finditer(text.lower()):
        named_now = _subject(match)
        if named_now is not None:
            if passive:
                found.add((*named_now, passive))
                passive = ""
            else:
                who = named_now
        elif match["put"] or match["take"]:
            passive = "is put down" if match["put"] else "is taken"
        elif who is not None and match["way"]:
            side = _WAYS[match["way"]]
            found |= {
                (*who, f"enters from the {side}"),
                (*who, f"leaves to the {_OTHER[side]}"),
            }
        elif who is not None and match["action"]:
            found.add((*who, _ACTIONS[match["action"]]))
    return frozenset(found)


def _subject(match: re.Match[str]) -> tuple[str, str] | None:
    if match["worn"]:
        return "person", match["worn"]
    if match["kind"]:
        return match["kind"], match["colour"]
    if match["fixture"]:
        return match["fixture"], ""
    return None
