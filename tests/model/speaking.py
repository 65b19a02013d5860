"""What branches come to say, when nobody else decides where they end."""

from collections.abc import Sequence

from model.engine.answers import Respondent
from model.engine.decoding import Decoding
from model.engine.forks import Forks
from model.engine.kv_cache import KVSequence, PagePool
from model.engine.rolling_context import Context
from model.engine.sentences import Sentence, Sentences
from model.family import Network
from model.kinds.base import Branch, Reading, Scored
from model.types import Answer, Question

NUM_ROWS = 8


class Listener(Scored):
    """Lets a branch go on to its limit, and notes the tokens."""

    readings = (Reading(),)

    def __init__(self, branch: Branch) -> None:
        self.branches = (branch,)
        self.heard: list[int] = []

    def begin(self, found: Sequence[Sequence[float]]) -> int | None:
        return self.go_on(found[0])

    def go_on(self, found: Sequence[float]) -> int | None:
        self.heard.append(int(found[0]))
        is_over = len(self.heard) >= self.branches[0].max_new_tokens
        return None if is_over else self.heard[-1]


def begun(
    network: Network,
    pool: PagePool,
    branches: Sequence[tuple[KVSequence, Branch]],
    held: Sequence[Sequence[int]] = (),
) -> tuple[list[Listener], list[Sentence]]:
    """Put branches in one pass; give who listens, and what goes on."""
    forks = Forks(network, pool, branches, held=held)
    listeners = [Listener(branch) for _, branch in branches]
    sentences = []
    for n, (one, logits) in enumerate(zip(listeners, forks.prefill(), strict=True)):
        token = one.begin([[float(logits[-1].argmax())]])
        if token is not None:
            sentences.append(Sentence(one, forks.beginning(n), token))
    return listeners, sentences


def heard(
    decoding: Decoding,
    network: Network,
    pool: PagePool,
    branches: Sequence[tuple[KVSequence, Branch]],
    held: Sequence[Sequence[int]] = (),
) -> list[list[int]]:
    """Say branches side by side, each to its limit; give their tokens."""
    listeners, sentences = begun(network, pool, branches, held)
    going = Sentences(decoding)
    going.add(sentences)
    while going.are_any:
        going.step()
    return [one.heard for one in listeners]


def answers_of(
    respondent: Respondent,
    pool: PagePool,
    asks: Sequence[tuple[Question, Context]],
    network: Network,
) -> list[Answer]:
    """Put questions and have all answers, to the last word."""
    found = respondent.begin(pool, asks)
    going = Sentences(Decoding(network, pool, num_rows=NUM_ROWS))
    going.add(found.sentences.values())
    while going.are_any:
        going.step()
    return [reader.answer() for reader in found.readers]
