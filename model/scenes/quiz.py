"""Quiz: questions of every kind about a scene at a moment, with answers, and its captions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from model.scenes.balance import ODDS
from model.scenes.canvas import WIDTH_UNITS
from model.scenes.facts import IN_VIEW, subject
from model.scenes.palette import KINDS, WORN
from model.scenes.scene import Scene, Seen
from model.scenes.script import Life
from model.scenes.topics import PLURALS, TOPICS
from model.scenes.witness import Flags, Witness
from model.scenes.wording import Stated, article, told

TASKS: Final = ("yes_no", "choice", "count", "text", "grounding", "caption")
_TRIES: Final = 40
_WHOLE: Final = 0.6  # how many questions of when, answered by the whole time, are not asked
_STILL: Final = 2.0  # slower than this, in units/s, is standing
_NUM_OPTIONS: Final = (3, 9)  # fewest and most of a choice, as far as there are so many
_PLAIN_SHARE: Final = 0.9  # of captions, those in plain words
_NAMES: Final = tuple(TOPICS)
_ODDS: Final = {want: np.asarray([ODDS[name][want] for name in _NAMES]) for want in (False, True)}
_FIXTURES: Final = ("gate", "lights", "smoke", "fire")


@dataclass(frozen=True, slots=True)
class Quiz:
    """One question asked of a context, and its answer."""

    task: str  # one of TASKS
    question: str
    options: tuple[str, ...]  # of a choice, in the order shown; else empty
    answer: str
    topic: str  # what it is about, for balancing: "person in view"


Ask = Callable[[Witness, np.random.Generator], Quiz | None]


def quizzes(
    scene: Scene,
    t_s: float,
    *,
    start_s: float,
    rng: np.random.Generator,
    num: int,
    tasks: Sequence[str] | None = None,
) -> list[Quiz]:
    """Questions asked at ``t_s`` of a viewer who has watched since ``start_s``, a frame a second.

    Nothing is asked that the frames leave open. Fewer than ``num`` come back where a scene has
    no more to ask of these tasks.

    Raises:
        ValueError: a task that is none, or ``t_s`` before ``start_s``.
    """
    wanted = tuple(tasks or TASKS)
    if unknown := sorted(set(wanted) - set(TASKS)):
        raise ValueError(f"expected tasks of {', '.join(TASKS)}, came {', '.join(unknown)}")
    if t_s < start_s:
        raise ValueError(f"expected t_s of at least start_s {start_s}, came {t_s}")
    witness = Witness(scene, start_s, t_s)
    found: list[Quiz] = []
    for _ in range(num):
        for _ in range(_TRIES):
            quiz = _ASK[wanted[int(rng.integers(len(wanted)))]](witness, rng)
            if quiz is not None and quiz.question not in witness.asked:
                witness.asked.add(quiz.question)
                found.append(quiz)
                break
    return found


def caption(scene: Scene, t_s: float, *, start_s: float, rng: np.random.Generator) -> str:
    """One or two sentences of all that matters from ``start_s`` to ``t_s``, mostly in plain words.

    What varies at will can't be learnt, and drowns what can.
    """
    is_plain = rng.random() < _PLAIN_SHARE
    witness = Witness(scene, start_s, t_s)
    events = _events(witness)
    here = {(kind, colour): actions for kind, colour, actions in events}
    handed: dict[tuple[str, str], tuple[str, str, str]] = {}
    by_id = {life.subject_id: life for life in scene.script.lives}
    for life in witness.lives("parcel"):
        for action, subject_id in (("is put down", life.putter), ("is taken", life.taker)):
            doer = by_id.get(subject_id)
            if doer is None or action not in here.get(("parcel", life.colour), ()):
                continue
            if (doer.kind, doer.colour) in here and (is_plain or rng.random() < 0.6):
                handed[life.colour, action] = (doer.kind, doer.colour, "")
    return told(events, handed, None if is_plain else rng)


def true_facts(scene: Scene, t_s: float, *, start_s: float) -> frozenset[Stated]:
    """What a caption of ``start_s`` to ``t_s`` should state: (kind, colour, canonical action)."""
    events = _events(Witness(scene, start_s, t_s))
    return frozenset((kind, colour, action) for kind, colour, each in events for action in each)


def _events(witness: Witness) -> list[tuple[str, str, list[str]]]:
    """Kind, colour and what each is seen to do: people and things first in, then the fixtures."""
    lives = [life for kind in KINDS for life in witness.lives(kind)]
    lives.sort(key=lambda life: (KINDS.index(life.kind), life.colour))
    lives.sort(key=lambda life: (life.kind == "parcel", int(witness.frames_of(life).argmax())))
    merged: dict[tuple[str, str], list[str]] = {}
    for life in lives:
        actions = merged.setdefault((life.kind, life.colour), [])
        actions += [action for action in witness.done(life) if action not in actions]
    found = [(kind, colour, actions) for (kind, colour), actions in merged.items()]
    for name in _FIXTURES:
        actions = list(dict.fromkeys(witness.switched(name)))
        if actions:
            found.append((name, "", actions))
    return found


# ---------------------------------------------------------------- yes or no


def _yes_no(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    """The answer is drawn first, then a topic that has it: half of the answers are yes."""
    want = bool(rng.random() < 0.5)
    # by exponential clocks: a random order in which the likelier topics come first
    order = np.argsort(rng.exponential(size=len(_NAMES)) / _ODDS[want])
    for topic in (_NAMES[int(index)] for index in order):
        fitting = [
            question
            for question, answer in TOPICS[topic](witness, rng)
            if answer == want and question not in witness.asked
        ]
        if fitting:
            return Quiz("yes_no", _one(rng, fitting), (), "yes" if want else "no", topic)
    return None


# ---------------------------------------------------------------- the others


def _first(
    asks: Sequence[tuple[Ask, float]], witness: Witness, rng: np.random.Generator
) -> Quiz | None:
    """The first of ``asks`` that has a question, in a random order that follows their odds."""
    clocks = rng.exponential(size=len(asks)) / np.asarray([odds for _, odds in asks])
    for index in np.argsort(clocks):
        quiz = asks[int(index)][0](witness, rng)
        if quiz is not None:
            return quiz
    return None


def _choice(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    return _first(((_colour_choice, 2.0), (_way_choice, 3.0), (_kind_choice, 0.7)), witness, rng)


def _plain(witness: Witness, rng: np.random.Generator) -> tuple[Seen, str] | None:
    """An object plainly in view, and words that mean no other: "car", else "red car"."""
    seen = [one for one in witness.in_view() if witness.sure_of(one.kind)]
    if not seen:
        return None
    one = seen[int(rng.integers(len(seen)))]
    if sum(other.kind == one.kind for other in seen) == 1:
        return one, one.kind
    if sum((other.kind, other.colour) == (one.kind, one.colour) for other in seen) > 1:
        return None
    return one, subject(one.kind, one.colour)


def _shuffled(rng: np.random.Generator, answer: str, others: Sequence[str]) -> tuple[str, ...]:
    fewest, most = _NUM_OPTIONS
    num = int(rng.integers(fewest, most + 1, size=2).max())  # rather many: late letters are rare
    wrong = [str(one) for one in rng.permutation([o for o in others if o != answer])[: num - 1]]
    return tuple(str(one) for one in rng.permutation([answer, *wrong]))


def _colour_choice(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    plain = _plain(witness, rng)
    if plain is None or plain[1] != plain[0].kind:
        return None
    seen = plain[0]
    options = _shuffled(rng, seen.colour, sorted(set(WORN[seen.kind])))
    return Quiz("choice", _colour_question(seen.kind, rng), options, seen.colour, "colour")


def _colour_question(kind: str, rng: np.random.Generator) -> str:
    if kind == "person":
        return _one(rng, ("What colour is the person's top?", "What colour does the person wear?"))
    return f"What colour is the {kind}?"


def _way_choice(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    movers = [life for kind in KINDS[:4] for life in witness.lives(kind)]
    gone = [life for life in movers if _left_for(witness, life)]
    if not gone:
        return None
    life = gone[int(rng.integers(len(gone)))]
    name = _telling(life, movers)
    if name is None:
        return None
    answer = _left_for(witness, life)
    question = _one(rng, (f"Which way did the {name} go?", f"To which side did the {name} leave?"))
    return Quiz("choice", question, _shuffled(rng, answer, ("left", "right")), answer, "way")


def _left_for(witness: Witness, life: Life) -> str:
    """The side ``life`` is plainly seen to leave to; "" where it is not."""
    for fact in witness.scene.timeline:
        mine = (fact.kind, fact.colour) == (life.kind, life.colour)
        if mine and fact.action.startswith("leaves") and witness.tells(fact):
            return fact.action.removeprefix("leaves to the ")
    return ""


def _telling(life: Life, others: Sequence[Life]) -> str | None:
    """Words for ``life`` that mean none of ``others``: "car", else "red car", else None."""
    alike = [other for other in others if other.kind == life.kind]
    if len(alike) == 1:
        return life.kind
    return (
        None if sum(o.colour == life.colour for o in alike) > 1 else subject(life.kind, life.colour)
    )


def _kind_choice(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    if not all(witness.sure_of(kind) for kind in KINDS):
        return None
    there = {seen.kind for seen in witness.in_view()}
    if not there:
        return None
    answer = _one(rng, sorted(there))
    others = [kind for kind in KINDS if kind not in there]
    options = _shuffled(rng, answer, others)
    if len(options) < 3:
        return None
    question = _one(rng, ("Which of these is in view?", "What is in view?"))
    return Quiz("choice", question, options, answer, "kind")


_COUNT_KEEP: Final = {0: 0.14, 1: 0.22, 2: 0.40, 3: 0.75, 4: 1.0}  # of the moments, by answer


def _count(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    """How many; at many moments a small count is not asked: answers spread over 0 to 4."""
    kinds = ((("person",), 0.6), (("car",), 0.2), (("person", "car"), 0.2))
    draw = float(rng.random())
    asked = kinds[0][0] if draw < 0.6 else kinds[1][0] if draw < 0.8 else kinds[2][0]
    if not all(witness.sure_of(kind) for kind in asked):
        return None
    number = sum(seen.kind in asked for seen in witness.in_view())
    lot = np.random.default_rng([witness.scene.seed, round(witness.t_s * 1000), number])
    if number > 4 or lot.random() > _COUNT_KEEP[number]:
        return None
    noun = " and ".join(PLURALS[kind] for kind in asked)
    end = " together" if len(asked) > 1 else ""
    question = _one(rng, (f"How many {noun} are there{end}?", f"How many {noun} are in view{end}?"))
    return Quiz("count", question, (), str(number), f"count of {noun}")


def _text(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    asks = ((_text_colour, 2.0), (_text_who, 1.5), (_text_where, 2.0), (_text_gate, 0.3))
    return _first(asks, witness, rng)


def _text_colour(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    plain = _plain(witness, rng)
    if plain is None or plain[1] != plain[0].kind:
        return None
    seen = plain[0]
    return Quiz("text", _colour_question(seen.kind, rng), (), seen.colour, "colour")


def _text_who(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    if not all(witness.sure_of(kind) for kind in KINDS) or len(witness.in_view()) > 3:
        return None
    seen = sorted(witness.in_view(), key=lambda one: one.box[0] + one.box[2])
    names = [
        f"a person in {one.colour}"
        if one.kind == "person"
        else f"{article(one.colour)} {one.colour} {one.kind}"
        for one in seen
    ]
    if not names and rng.random() < 0.7:
        return None
    answer = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    question = _one(rng, ("Who or what is in view?", "Who is in view?", "What do you see?"))
    return Quiz("text", question, (), answer or "nobody", "who")


def _text_where(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    plain = _plain(witness, rng)
    if plain is None:
        return None
    seen, name = plain
    share = (seen.box[0] + seen.box[2]) / 2 / WIDTH_UNITS
    if min(abs(share - 1 / 3), abs(share - 2 / 3)) < 0.04:
        return None
    answer = ("on the left", "in the middle", "on the right")[int(share * 3)]
    return Quiz("text", f"Where is the {name}?", (), answer, "where")


def _text_gate(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    known = witness.steady("gate")
    if known is None:
        return None
    noun = "gate" if rng.random() < 0.7 else "gate or door"
    return Quiz("text", f"Is the {noun} open or closed?", (), "open" if known else "closed", "gate")


def _grounding(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    asks: list[tuple[Ask, float]] = [(_when_in_view, 2.0), (_when_still, 1.5)]
    for name, odds in (("smoke", 1.2), ("fire", 1.2), ("gate", 0.5), ("lights", 0.5)):
        asks.append((_when(name), odds))
    return _first(asks, witness, rng)


def _spanned(
    witness: Witness, rng: np.random.Generator, question: str, held: Flags, topic: str
) -> Quiz | None:
    """A question of when, unless its span is broken, too short, or (mostly) all there is."""
    span = witness.span(held)
    if span is None or (bool(held.all()) and rng.random() < _WHOLE):
        return None
    return Quiz("grounding", question, (), f"{span[0]:.1f}-{span[1]:.1f} s", topic)


def _someone(witness: Witness, rng: np.random.Generator) -> tuple[Life, str] | None:
    kind = _one(rng, KINDS)
    lives = witness.lives(kind)
    if not lives:
        return None
    life = lives[int(rng.integers(len(lives)))]
    name = _telling(life, lives)
    return None if name is None else (life, name)


def _when_in_view(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    someone = _someone(witness, rng)
    if someone is None:
        return None
    life, name = someone
    question = f"When was the {name} in view?"
    return _spanned(witness, rng, question, witness.frames_of(life), "when in view")


def _when_still(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    someone = _someone(witness, rng)
    if someone is None or someone[0].kind == "parcel":
        return None
    life, name = someone
    still = np.asarray(
        [max(abs(life.speed(t_s + ago)) for ago in (-0.3, 0.3)) < _STILL for t_s in witness.times_s]
    )
    question = f"When did the {name} stand still?"
    return _spanned(witness, rng, question, witness.frames_of(life) & still, "when still")


def _when(name: str) -> Ask:
    question = {
        "smoke": "When was there smoke?",
        "fire": "When was there fire?",
        "gate": "When was the gate open?",
        "lights": "When were the lights on?",
    }[name]

    def ask(witness: Witness, rng: np.random.Generator) -> Quiz | None:
        track = getattr(witness.scene.script, name)
        held = np.interp(witness.times_s, track.times_s, track.values) > IN_VIEW
        return _spanned(witness, rng, question, held, f"when {name}")

    return ask


def _caption(witness: Witness, rng: np.random.Generator) -> Quiz | None:
    question = _one(
        rng, ("What happens?", "Describe what happens.", "Describe what the camera sees.")
    )
    text = caption(witness.scene, witness.t_s, start_s=witness.start_s, rng=rng)
    return Quiz("caption", question, (), text, "caption")


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


_ASK: Final[dict[str, Ask]] = {
    "yes_no": _yes_no,
    "choice": _choice,
    "count": _count,
    "text": _text,
    "grounding": _grounding,
    "caption": _caption,
}
