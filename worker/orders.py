"""What commands at run time change of a worker's questions and cameras, over its environment."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from model.types import Question
from pipeline.camera_id import is_camera_id
from pipeline.control import InEffect, refusal
from pipeline.errors import ConfigError
from pipeline.questions import CAPTION_ID, StandingQuestion
from worker.environment import read_question
from worker.notation import written
from worker.questions import standing_questions
from worker.settings import Settings
from worker.site_settings import QuestionSettings

Verb = Literal["put", "change", "remove", "reset", "pause", "resume", "refresh"]
Reason = Literal[
    "malformed",
    "unknown_camera",
    "unknown_question",
    "too_many",
    "too_late",
    "too_busy",
    "other_version",
]
"""Why a command changes nothing. The run-book has a row for each."""

VERSION = "1"
MAX_QUESTIONS = 200
MAX_CHARS = 2000  # of a field
SETTINGS = tuple(QuestionSettings.model_fields)
_WITH_SETTINGS = ("put", "change")
_OF_EITHER = ("pause", "resume")
_FIELDS = ("do", "question", "camera", "version", *SETTINGS)


class CommandError(Exception):
    """That a command changes nothing: why, in a word, and what was expected and came."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it is read.

    Attributes:
        do: what.
        question_id: of which question; "" for a command about a camera.
        camera_id: of which camera; "" for one about a question.
        settings: of the question, written as in variables, by their names in small letters.
    """

    do: Verb
    question_id: str
    camera_id: str
    settings: Mapping[str, str]

    @property
    def item(self) -> str:
        """The name of what it changes."""
        kind, one = (
            ("question", self.question_id) if self.question_id else ("camera", self.camera_id)
        )
        return f"{kind}:{one}"


@dataclass(frozen=True, slots=True)
class Order:
    """What commands have made of one question or camera.

    Attributes:
        at: the id of the last of them.
        do: `put` where `settings` are all there is to a question, `change` where they are put over
            the environment's, `remove` where it is not asked.
        settings: see there.
        is_paused: it is not asked; the camera's frames are not shown.
    """

    at: str
    do: Literal["put", "change", "remove"] = "change"
    settings: Mapping[str, str] = field(default_factory=dict)
    is_paused: bool = False

    @property
    def is_nothing(self) -> bool:
        """Whether all is as in the environment."""
        return self.do == "change" and not self.settings and not self.is_paused

    def text(self) -> str:
        """Return it as it is kept."""
        return json.dumps(
            {"at": self.at, "do": self.do, "settings": self.settings, "paused": self.is_paused},
            ensure_ascii=False,
        )

    @classmethod
    def read(cls, text: str) -> "Order":
        """Read what `text` gave.

        Raises:
            ValueError: it is none.
        """
        try:
            found = json.loads(text)
            at, do, paused = found["at"], found["do"], found["paused"]
            settings = dict(found["settings"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError("expected what a command has changed") from None
        words = [at, *settings, *settings.values()]
        is_sound = all(isinstance(one, str) for one in words) and isinstance(paused, bool)
        if not is_sound or do not in ("put", "change", "remove"):
            raise ValueError("expected what a command has changed")
        return cls(at, do, settings, paused)


Orders = Mapping[str, Order]
"""By the name of what they are about: `question:ID` or `camera:ID`."""


def read_command(fields: Mapping[str, str]) -> Command:
    """Read the fields of an entry of the stream of commands.

    Raises:
        CommandError: a field is missing, unknown or wrong, or the command is of another version.
    """
    if (version := fields.get("version", VERSION)) != VERSION:
        raise CommandError("other_version", f"version: expected {VERSION}, got {_shown(version)}")
    if unknown := sorted(set(fields) - set(_FIELDS)):
        why = f"expected the fields {', '.join(_FIELDS)}, got {_shown(unknown[0])}"
        raise CommandError("malformed", f"{why}; a camera's address is the environment's alone")
    if long := [name for name, text in fields.items() if len(text) > MAX_CHARS]:
        raise CommandError("malformed", f"{long[0]}: expected at most {MAX_CHARS} characters")
    do, question_id, camera_id = (fields.get(name, "") for name in ("do", "question", "camera"))
    if do not in get_args(Verb):
        words = f"do: expected one of {', '.join(get_args(Verb))}, got {_shown(do)}"
        raise CommandError("malformed", words)
    settings = {name: text for name, text in fields.items() if name in SETTINGS}
    if settings and do not in _WITH_SETTINGS:
        raise CommandError("malformed", f"{next(iter(settings))}: expected it with put or change")
    wanted = "question or camera" if do in _OF_EITHER else "question"
    wanted = "camera" if do == "refresh" else wanted
    given = [name for name in ("question", "camera") if fields.get(name)]
    if len(given) != 1 or given[0] not in wanted:
        words = f"{do}: expected {wanted}, got {' and '.join(given) or 'neither'}"
        raise CommandError("malformed", words)
    if not is_camera_id(question_id or camera_id):
        words = f"{given[0]}: expected small letters, digits, - and _, got "
        raise CommandError("malformed", words + _shown(question_id or camera_id))
    if question_id == CAPTION_ID:
        raise CommandError("malformed", "question: expected another id, captions are built in")
    return Command(do, question_id, camera_id, settings)  # type: ignore[arg-type]  # it was compared


def order_of(
    command: Command, settings: Settings, orders: Orders, *, at: str, cameras: Collection[str]
) -> Order:
    """Return what a command makes of what it is about.

    Args:
        command: it; not `refresh`.
        settings: the environment's.
        orders: of the commands before it.
        at: its id.
        cameras: ids of all cameras that are known.

    Raises:
        CommandError: there is no such question or camera, or its settings are refused.
    """
    before = replace(orders.get(command.item, Order("")), at=at)
    known = sorted({*settings.cameras, *cameras})
    if command.camera_id and command.camera_id not in known:
        raise CommandError("unknown_camera", f"camera: expected one of {_listed(known)}")
    asked = asked_of(settings, orders)
    is_known = command.question_id in asked or command.do == "put"
    if command.question_id and not is_known and command.do != "reset":
        raise CommandError("unknown_question", f"question: expected one of {_listed(asked)}")
    if command.do in _OF_EITHER:
        return replace(before, is_paused=command.do == "pause")
    if command.do == "reset":
        return Order(at)
    if command.do == "remove":
        return Order(at, "remove")
    if command.do == "put":
        after = Order(at, "put", command.settings, before.is_paused)
    else:
        after = replace(before, settings={**before.settings, **command.settings})
    if len(asked.keys() | {command.question_id}) > MAX_QUESTIONS:
        raise CommandError("too_many", f"expected at most {MAX_QUESTIONS} questions")
    try:
        question = _question(command.question_id, after, settings)
    except ConfigError as error:
        raise CommandError("malformed", str(error)) from None
    if not set(question.cameras) <= set(known):
        words = f"cameras: expected ids of known cameras ({_listed(known)})"
        raise CommandError("unknown_camera", words)
    return after


def asked_of(settings: Settings, orders: Orders) -> dict[str, QuestionSettings]:
    """Return the questions by id that orders leave, those that are paused among them.

    An order that does not go with the environment any more is passed over: it is as if it were not.
    """
    asked = dict(settings.questions)
    for name, order in orders.items():
        kind, _, question_id = name.partition(":")
        if kind != "question":
            continue
        if order.do == "remove":
            asked.pop(question_id, None)
        elif order.do == "put" or question_id in settings.questions:
            try:
                asked[question_id] = _question(question_id, order, settings)
            except ConfigError:
                continue
    return asked


def in_effect(settings: Settings, orders: Orders) -> InEffect:
    """Return what a worker goes by."""
    asked = asked_of(settings, orders)
    paused = {name for name, order in orders.items() if order.is_paused}
    standing = standing_questions(settings.model_copy(update={"questions": asked}))
    return InEffect(
        tuple(replace(one, is_paused=f"question:{one.id}" in paused) for one in standing),
        frozenset(name.partition(":")[2] for name in paused if name.startswith("camera:")),
        {one: tuple(orders[f"question:{one}"].settings) for one in asked if _has(orders, one)},
    )


def judged(
    orders: Orders, settings: Settings, *, check: Callable[[Question], object]
) -> tuple[dict[str, Order], list[tuple[str, str]]]:
    """Return the orders that the model can be asked by, and the names of the others, with why."""
    sound, refused = dict(orders), []
    for name, order in orders.items():
        try:
            if name.startswith("question:") and order.do != "remove" and order.settings:
                _question(name.partition(":")[2], order, settings)
            why = refusal(check, questions_of(in_effect(settings, {name: order}).questions, name))
        except ConfigError as error:
            why = str(error)
        if why:
            del sound[name]
            refused.append((name, why))
    return sound, refused


def questions_of(standing: Iterable[StandingQuestion], name: str) -> list[Question]:
    """Return what the model is asked by an order of this name."""
    return [one.question for one in standing if f"question:{one.id}" == name]


def settings_of(question: QuestionSettings) -> dict[str, str]:
    """Return a question's settings as they would be written in variables."""
    fields = type(question).model_fields
    return {name: written(getattr(question, name), one) for name, one in fields.items()}


def _question(question_id: str, order: Order, settings: Settings) -> QuestionSettings:
    """Return a question as an order has it.

    Raises:
        ConfigError: its settings are refused, in the words of the environment's.
    """
    base = settings.questions.get(question_id)
    if order.do == "change" and base is not None:
        if not order.settings:
            return base
        given = {name: text for name, text in settings_of(base).items() if text}
        return read_question(question_id, {**given, **order.settings})
    return read_question(question_id, order.settings)


def _has(orders: Orders, question_id: str) -> bool:
    return bool((order := orders.get(f"question:{question_id}")) and order.settings)


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids)[:20]) or "none"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
