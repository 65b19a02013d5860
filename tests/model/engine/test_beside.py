"""Steps that go on beside other work: what they wait for, and what a lack of memory leaves."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
import torch
from torch import Tensor

from model.engine import decoding
from model.engine.decoding import Decoding, Work, stream_on
from model.engine.kv_cache import KVSequence, PagePool
from model.engine.rows import OWN_TOKENS
from model.engine.sentences import Sentences
from model.kinds.base import Branch
from model.layers.paged import plain_step
from model.layers.pages import PagedStepKernel
from model.videollama3.language import Decoder
from tests.model.engine.test_decoding import (
    LIMITS,
    branches,
    cannot,
    contexts,
    expected,
    held,
    repeating,
)
from tests.model.growing import new_pool
from tests.model.speaking import begun, heard

CUDA = torch.device("cuda")


class Noted:
    """A stream that notes what is asked of it, and that something is done on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        monkeypatch.setattr(decoding, "stream_on", lambda _device: self)
        monkeypatch.setattr(torch.cuda, "stream", self._within)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: None)

    @contextmanager
    def _within(self, stream: object) -> Iterator[None]:
        if stream is self:
            self.asked.append("within")
        yield

    def wait_stream(self, _other: object) -> None:
        self.asked.append("wait")

    def synchronize(self) -> None:
        self.asked.append("synchronize")

    def told(self) -> list[str]:
        asked, self.asked = self.asked, []
        return asked


def joined(
    kernel: PagedStepKernel | None, *, num_rows: int = 3
) -> tuple[PagePool, Decoding, list[int]]:
    """Two sentences in a batch of rows."""
    network = repeating(1.5)
    pool = new_pool(network)
    places = contexts(network, pool)
    going = Decoding(network, pool, num_rows=num_rows, kernel=kernel)
    branch = Branch((7,), max_new_tokens=9)
    _, sentences = begun(network, pool, [(places[0], branch), (places[1], branch)])
    return pool, going, going.join([(one.begun, one.token) for one in sentences])


def test_a_step_waits_for_what_changed_its_rows_and_for_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Noted(monkeypatch)
    pool, going, rows = joined(plain_step)
    stream.told()

    def launched() -> list[str]:
        going.launch(1)
        return stream.told()

    assert launched() == ["wait", "within"]
    going.collect()
    assert stream.told() == ["within"]
    assert launched() == ["within"]
    going.put(rows[0], 7)
    assert launched() == ["wait", "within"]
    KVSequence(pool).reserve(pool.num_bytes // pool.page_bytes * pool.page_tokens + 1)
    assert stream.told() == ["synchronize"]  # before the pages move
    assert launched() == ["wait", "within"]
    going.leave(rows[0])
    assert stream.told() == ["synchronize"]
    assert launched() == ["wait", "within"]
    assert launched() == ["within"]


def test_rows_with_copies_go_on_where_these_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Noted(monkeypatch)
    for kernel, is_beside in ((None, False), (plain_step, True)):
        _, going, _ = joined(kernel)
        assert going.is_beside == is_beside
        going.launch(1)
        going.collect()
        assert bool(stream.told()) == is_beside


def test_a_processor_has_no_other_stream() -> None:
    assert stream_on(torch.device("cpu")) is None


@pytest.mark.gpu
def test_steps_come_before_what_has_no_priority_captured_or_not() -> None:
    own, (capturing, _) = stream_on(CUDA), decoding._place_to_capture(CUDA)
    assert own is not None
    assert (own.priority, capturing.priority) == (-1, -1)


@pytest.mark.parametrize("period", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("is_captured", [False, True])
def test_no_word_is_lost_where_memory_runs_out_within_a_launch(
    monkeypatch: pytest.MonkeyPatch, period: int, *, is_captured: bool
) -> None:
    """It runs out every so many times: in a capture, or in a step, which has then done a part."""
    right, network, times = expected(1.5), repeating(1.5), count(1)
    logits = Decoder.logits

    def spend() -> None:
        if not next(times) % period:
            raise torch.OutOfMemoryError

    def capture(work: Work) -> Work:
        spend()
        return work if is_captured else cannot(work)

    def short_of_memory(self: Decoder, hidden: Tensor) -> Tensor:
        spend()
        return logits(self, hidden)

    pool = new_pool(network)
    places = contexts(network, pool)
    listeners, sentences = begun(network, pool, branches(LIMITS, places), held(len(LIMITS)))
    monkeypatch.setattr(Decoder, "logits", short_of_memory)
    going = Decoding(network, pool, num_rows=8, kernel=plain_step, capture=capture)
    going.is_beside = True
    said = Sentences(going)
    said.add(sentences)
    while said.are_any:
        said.step()
    assert [one.heard for one in listeners] == right
    assert next(times) > period


def test_rows_that_found_no_memory_for_longer_words_have_it_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = repeating(1.5)
    pool = new_pool(network)
    [context, _] = contexts(network, pool)
    long = [(context, Branch(tuple(range(5, 5 + OWN_TOKENS)), max_new_tokens=3))]
    right = heard(Decoding(network, pool, num_rows=1, kernel=plain_step), network, pool, long)
    going = Decoding(network, pool, num_rows=1, kernel=plain_step)

    def run_out(*_: int) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr(pool, "new_suffixes", run_out)
        with pytest.raises(torch.OutOfMemoryError):
            heard(going, network, pool, long)
    assert heard(going, network, pool, long) == right
