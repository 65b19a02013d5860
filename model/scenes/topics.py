"""Topics: the yes/no questions a scene can be asked, each with its answer or None if unclear."""

from collections.abc import Callable
from typing import Final

import numpy as np

from model.scenes.facts import IN_VIEW
from model.scenes.palette import KINDS, WORN
from model.scenes.witness import HARDLY, SETTLE_S, Witness
from model.scenes.wording import article

_EASY: Final = 0.7  # how many questions of a kind that was never there are not asked

Answered = list[tuple[str, bool]]  # questions with their answers, of one topic, now
Asking = Callable[[Witness, np.random.Generator], Answered]

PLURALS: Final = {
    "person": "people",
    "car": "cars",
    "bicycle": "bicycles",
    "dog": "dogs",
    "parcel": "parcels",
}


_PRESENT: Final = {
    "person": (
        "Is a person in view?",
        "Is a person in view?",
        "Is anybody there?",
        "Can you see a person?",
    ),
    "parcel": (
        "Is there a parcel on the ground?",
        "Is a parcel in view?",
        "Is there a parcel?",
    ),
}


def _present(kind: str) -> Asking:
    wordings = _PRESENT.get(
        kind, (f"Is there a {kind}?", f"Is a {kind} in view?", f"Can you see a {kind}?")
    )

    def ask(witness: Witness, rng: np.random.Generator) -> Answered:
        if not witness.sure_of(kind):
            return []
        there = any(seen.kind == kind for seen in witness.in_view())
        return [(_one(rng, wordings), there)]

    return ask


def _hazard(names: tuple[str, ...], wordings: tuple[str, ...]) -> Asking:
    def ask(witness: Witness, rng: np.random.Generator) -> Answered:
        known = [witness.steady(name) for name in names]
        if None in known:
            return []
        return [(_one(rng, wordings), any(known))]

    return ask


def _switch(name: str, wordings: tuple[str, ...], *, on: bool) -> Asking:
    def ask(witness: Witness, rng: np.random.Generator) -> Answered:
        known = witness.steady(name)
        return [] if known is None else [(_one(rng, wordings), known == on)]

    return ask


def _coloured(kind: str) -> Asking:
    """Of "Is a red car in view?" most no's are of a kind that is there in another colour."""

    def ask(witness: Witness, rng: np.random.Generator) -> Answered:
        worn = {seen.colour for seen in witness.in_view() if seen.kind == kind}
        if not witness.sure_of(kind) or (not worn and rng.random() < _EASY):
            return []
        found: Answered = []
        for colour in sorted({*worn, str(rng.choice(WORN[kind]))}):
            who = f"person in {colour}" if kind == "person" else f"{colour} {kind}"
            start = article(who)
            wordings = (f"Is {start} {who} in view?", f"Is there {start} {who}?")
            found.append((_one(rng, wordings), colour in worn))
        return found

    return ask


def _moving(witness: Witness, rng: np.random.Generator) -> Answered:
    state = witness.state
    if any(HARDLY <= seen.visible < IN_VIEW for seen in witness.now) or state.smoke or state.fire:
        return []
    if witness.steady("gate") is None:
        return []
    before = {
        seen.subject_id: seen.is_moving for seen in witness.scene.seen(witness.t_s - SETTLE_S)
    }
    if any(before.get(seen.subject_id, True) != seen.is_moving for seen in witness.in_view()):
        return []
    moving = any(seen.is_moving for seen in witness.in_view())
    return [(_one(rng, ("Is anything moving?", "Does anything move?")), moving)]


def _history(kind: str, action: str, wordings: tuple[str, ...]) -> Asking:
    """Questions of what has happened since the first frame; unclear edges are not asked."""

    def ask(witness: Witness, rng: np.random.Generator) -> Answered:
        known = [
            witness.tells(fact)
            for fact in witness.scene.timeline
            if fact.kind == kind and fact.action.startswith(action)
        ]
        if None in known and True not in known:
            return []
        if kind in KINDS and not witness.lives(kind) and rng.random() < _EASY:
            return []
        return [(_one(rng, wordings).format(kind=kind), True in known)]

    return ask


def _one(rng: np.random.Generator, wordings: tuple[str, ...]) -> str:
    return wordings[int(rng.integers(len(wordings)))]


TOPICS: Final[dict[str, Asking]] = {
    **{f"{kind} in view": _present(kind) for kind in KINDS},
    "smoke": _hazard(("smoke",), ("Is there smoke?", "Is there smoke?", "Can you see smoke?")),
    "fire": _hazard(("fire",), ("Is there fire?", "Is there a fire?", "Is anything burning?")),
    "fire or smoke": _hazard(
        ("smoke", "fire"), ("Is there fire or smoke?", "Is there smoke or fire?")
    ),
    "gate open": _switch(
        "gate", ("Is the gate open?", "Is the gate open?", "Is the gate or door open?"), on=True
    ),
    "gate closed": _switch("gate", ("Is the gate closed?", "Is the gate shut?"), on=False),
    "lights on": _switch(
        "lights", ("Are the lights on?", "Are the lights on?", "Is the light on?"), on=True
    ),
    "lights off": _switch("lights", ("Are the lights off?",), on=False),
    **{f"{kind} of a colour": _coloured(kind) for kind in KINDS},
    "moving": _moving,
    **{
        f"{kind} has left": _history(
            kind, "leaves", ("Has a {kind} left?", "Did a {kind} leave?")
        )
        for kind in KINDS[:4]
    },
    **{
        f"{kind} has entered": _history(
            kind, "enters", ("Did a {kind} enter?", "Has a {kind} come in?")
        )
        for kind in KINDS[:4]
    },
    "gate has opened": _history(
        "gate", "opens", ("Has the gate been opened?", "Did the gate open?"),
    ),
    "gate has closed": _history(
        "gate", "closes", ("Has the gate been closed?", "Did the gate close?"),
    ),
    "parcel put down": _history(
        "parcel", "is put down", ("Has a parcel been put down?", "Did somebody put a parcel down?"),
    ),
}  # fmt: skip
