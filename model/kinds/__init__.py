"""The kinds of questions there are. Importing this loads no torch."""

from model.errors import InputError
from model.kinds.base import Forms, Kind
from model.kinds.choice import Choice
from model.kinds.count import Count
from model.kinds.text import Caption, Text
from model.kinds.when import When
from model.kinds.yes_no import YesNo
from model.types import Question

CAPTION = Caption.name

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (Caption(), YesNo(), Choice(), Count(), When(), Text())
}
"""By name; a new kind is a file of this folder and an entry here."""


def kind_of(name: str) -> Kind:
    """Return a kind by its name.

    Raises:
        InputError: there is no such kind.
    """
    if name not in KINDS:
        raise InputError(f"kind: expected one of {', '.join(KINDS)}, got {name!r}")
    return KINDS[name]


def wording(question: Question, forms: Forms) -> str:
    """Return the words put to the model: the question, and the form its answer should take."""
    return kind_of(question.kind).wording(question, forms)


def standing_kinds() -> tuple[str, ...]:
    """Return the kinds a standing question may have: all but the caption, which is built in."""
    return tuple(name for name in KINDS if name != CAPTION)
