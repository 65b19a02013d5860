"""How words are told from tokens: the token that a spelling of an answer begins with."""

from collections.abc import Iterator

from model.kinds.base import Vocabulary

PART_OF_A_CHARACTER = "\ufffd"


def written(word: str) -> Iterator[str]:
    """Yield the ways to write a word at the beginning of an answer.

    Small and with a capital, each after a space as well; a word given in capitals stays so. A word
    whose script has no capitals is written one way, since such an answer begins with no space.
    """
    if not has_capitals(word):
        yield word
        return
    for way in (word,) if word.isupper() else (word, word.capitalize()):
        yield way
        yield f" {way}"


def beginning(vocabulary: Vocabulary, spelling: str) -> tuple[int, ...]:
    """Encode a spelling whose first token tells something.

    Returns:
        Its tokens; none where the first is a blank, a single letter of a longer word or a part of a
        character, as in a vocabulary of bytes: it begins too many other words.
    """
    ids = tuple(vocabulary.encode(spelling))
    begun = vocabulary.decode(ids[:1]).strip()
    is_letter = len(begun) == 1 and has_capitals(begun)
    if not begun or PART_OF_A_CHARACTER in begun or (is_letter and len(ids) > 1):
        return ()
    return ids


def has_capitals(word: str) -> bool:
    """Tell whether a word's script has capitals."""
    return word.lower() != word.upper()
