"""A lasting batch: what a row says hangs neither on the others nor on how the step is computed."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import count

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine.decoding import LOOK_EVERY, Capture, Decoding, Work, capture_on
from model.engine.kv_cache import KVSequence, PagePool
from model.engine.rows import OWN_TOKENS
from model.engine.sentences import Sentences
from model.kinds.base import Branch
from model.layers.paged import plain_step
from model.videollama3.network import VideoLlama3
from tests.model.growing import extend, new_pool, used_bytes
from tests.model.nano_model import nano
from tests.model.speaking import Listener, begun, heard

LENGTHS = (5, 9)  # of the contexts
LIMITS = (3, 6, 1, 9, 8, 2)  # tokens that each branch comes to say
WAYS = ("copied", "paged", "captured", "beside")


def contexts(network: VideoLlama3, pool: PagePool) -> list[KVSequence]:
    grown = []
    for seed, length in enumerate(LENGTHS):
        sequence = KVSequence(pool)
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, 300, (length,), generator=generator).to(network.device)
        with torch.inference_mode():
            extend(network, pool, sequence, network.language.embed(ids))
        grown.append(sequence)
    return grown


@cache
def repeating(penalty: float) -> VideoLlama3:
    """The bundled model under a repetition penalty."""
    config = replace(nano().config, repetition_penalty=penalty)
    network = VideoLlama3(config, backend=nano().language.backend)
    network.load_state_dict(nano().state_dict())
    return network.eval().requires_grad_(requires_grad=False)


class Recorded:
    """A capture that does the work again by hand, and counts."""

    def __init__(self) -> None:
        self.num_steps: list[int] = []

    def __call__(self, work: Work) -> Work:
        self.num_steps.append(0)

        def replay() -> None:
            self.num_steps[-1] += 1
            work()

        return replay


def cannot(_work: Work) -> Work:
    raise RuntimeError("operation not permitted when stream is capturing")


def decoding_by(
    way: str, network: VideoLlama3, pool: PagePool, *, num_rows: int, capture: Capture | None = None
) -> Decoding:
    """Rows with copies; rows on pages, a step at a time; as a graph; and one step ahead."""
    kernel = None if way == "copied" else plain_step
    capture = capture or (Recorded() if way in ("captured", "beside") else None)
    decoding = Decoding(network, pool, num_rows=num_rows, kernel=kernel, capture=capture)
    decoding.is_beside = way == "beside"
    return decoding


def branches(
    limits: Sequence[int], places: Sequence[KVSequence]
) -> list[tuple[KVSequence, Branch]]:
    return [
        (
            places[n % 2],
            Branch((7 + n, 11, 13)[: 1 + n % 3], max_new_tokens=limit, is_text=True),
        )
        for n, limit in enumerate(limits)
    ]


def held(num: int) -> list[tuple[int, ...]]:
    return [(5, 300) if n % 2 else (17,) for n in range(num)]


@cache
def expected(penalty: float, limits: tuple[int, ...] = LIMITS) -> list[list[int]]:
    """What each branch says on its own, each token by a pass over all that was said before."""
    network = repeating(penalty)
    pool = new_pool(network)
    found = []
    for (context, branch), ids in zip(
        branches(limits, contexts(network, pool)), held(len(limits)), strict=True
    ):
        said: list[int] = []
        while len(said) < branch.max_new_tokens:
            longer = replace(branch, ids=(*branch.ids, *said))
            [listener], _ = begun(network, pool, [(context, longer)], [ids])
            said.append(listener.heard[0])
        found.append(said)
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("num_rows", [1, 3, 8])
@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_sentences_say_what_each_says_alone(way: str, num_rows: int, penalty: float) -> None:
    network = repeating(penalty)
    pool = new_pool(network)
    decoding = decoding_by(way, network, pool, num_rows=num_rows)
    places = contexts(network, pool)
    for _ in range(2):
        said = heard(decoding, network, pool, branches(LIMITS, places), held(len(LIMITS)))
        assert said == expected(penalty)
        assert decoding.num_free == num_rows
    assert (expected(1.0) == expected(1.5)) is False


@settings(max_examples=15, deadline=None)
@given(
    way=st.sampled_from(WAYS),
    num_rows=st.integers(1, 4),
    schedule=st.lists(
        st.lists(st.tuples(st.sampled_from(range(len(LIMITS))), st.booleans()), max_size=4),
        max_size=8,
    ),
)
def test_what_joins_and_leaves_in_between_changes_no_word(
    way: str, num_rows: int, schedule: list[list[tuple[int, bool]]]
) -> None:
    """Each step some begin, in one pass, of which some are given up at once or three steps on."""
    network = repeating(1.5)
    pool = new_pool(network)
    places = contexts(network, pool)
    before = used_bytes(pool)
    going = Sentences(decoding_by(way, network, pool, num_rows=num_rows))
    asked: list[tuple[int, Listener, bool]] = []
    dropped = []
    for step in range(len(schedule) + 3):
        new = schedule[step] if step < len(schedule) else []
        if new:
            all_branches, all_held = branches(LIMITS, places), held(len(LIMITS))
            numbers = [number for number, _ in new]
            listeners, sentences = begun(
                network, pool, [all_branches[n] for n in numbers], [all_held[n] for n in numbers]
            )
            going.add(sentences)
            lost = {id(one) for one, (_, is_lost) in zip(listeners, new, strict=True) if is_lost}
            dropped.append((step + 3, [one for one in sentences if id(one.reader) in lost]))
            asked += [
                (number, one, id(one) not in lost)
                for number, one in zip(numbers, listeners, strict=True)
            ]
        whole = going.step()
        for due, sentences in dropped:
            sentences[:] = [one for one in sentences if one not in whole]
            if due == step:
                for one in sentences:
                    going.drop(one)
    while going.are_any:
        going.step()
    for number, listener, is_whole in asked:
        all_of_it = expected(1.5)[number]
        assert listener.heard == (all_of_it if is_whole else all_of_it[: len(listener.heard)])
    assert used_bytes(pool) == before


def test_a_step_of_all_rows_is_captured_once_and_replayed_for_good() -> None:
    network, capture = repeating(1.5), Recorded()
    pool = new_pool(network)
    places = contexts(network, pool)
    decoding = decoding_by("captured", network, pool, num_rows=3, capture=capture)
    for _ in range(3):
        said = heard(decoding, network, pool, branches(LIMITS, places), held(len(LIMITS)))
        assert said == expected(1.5)
    assert len(capture.num_steps) == 1
    assert capture.num_steps[0] % LOOK_EVERY == LOOK_EVERY - 1, "the first was by hand"


def test_a_captured_step_finds_its_tensors_where_they_were() -> None:
    network, num_captured = repeating(1.5), count()

    def capture(work: Work) -> Work:
        next(num_captured)
        decoding = work.__self__  # type: ignore[attr-defined]

        def places() -> list[int]:
            rows = decoding._attend
            segments = rows._segments
            slabs = [slab for layer in rows._own for slab in layer]
            pages = [slab for n in range(pool.num_layers) for slab in pool.slabs(n)[:2]]
            held = (decoding._ids, decoding._repetition._held, rows._lengths, rows.at)
            seen = (segments.table, segments.key_lengths, segments.longest_first)
            return [one.data_ptr() for one in (*held, *seen, *slabs, *pages)]

        at = places()

        def replay() -> None:
            assert places() == at
            work()

        return replay

    pool = new_pool(network)
    where = contexts(network, pool)
    decoding = decoding_by("captured", network, pool, num_rows=3, capture=capture)
    heard(decoding, network, pool, branches(LIMITS, where), held(len(LIMITS)))
    assert next(num_captured) == 1
    # Where pages move, and where longer words come, it is captured anew.
    KVSequence(pool).reserve(pool.num_bytes // pool.page_bytes * pool.page_tokens + 1)
    said = heard(decoding, network, pool, branches(LIMITS, where), held(len(LIMITS)))
    assert said == expected(1.5)
    assert next(num_captured) == 3
    long = Branch(tuple(range(5, 5 + OWN_TOKENS)), max_new_tokens=3)
    heard(decoding, network, pool, [(where[0], long)])
    assert next(num_captured) == 5


def test_pages_do_not_move_beneath_a_step() -> None:
    network = nano()
    pool = new_pool(network)
    decoding = decoding_by("paged", network, pool, num_rows=1)
    waits: list[int] = []
    assert pool.before_moving == decoding.wait
    pool.before_moving = lambda: waits.append(pool.num_bytes)
    KVSequence(pool).reserve(1)
    assert waits == [0]


def test_rows_whose_step_cannot_be_captured_go_on_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    def run_out(_work: Work) -> Work:
        raise torch.OutOfMemoryError

    def said(capture: Capture) -> list[list[int]]:
        network = nano()
        pool = new_pool(network)
        decoding = decoding_by("captured", network, pool, num_rows=3, capture=capture)
        return heard(decoding, network, pool, branches(LIMITS, contexts(network, pool)))

    assert said(cannot) == said(Recorded())
    assert caplog.text.count("not permitted") == 1
    with pytest.raises(torch.OutOfMemoryError):
        said(run_out)


def test_what_finds_no_row_waits_and_holds_its_context() -> None:
    network = nano()
    pool = new_pool(network)
    [context, _] = contexts(network, pool)
    branch = Branch((7,), max_new_tokens=3)
    listeners, sentences = begun(network, pool, [(context, branch)] * 2)
    going = Sentences(Decoding(network, pool, num_rows=1))
    going.add(sentences)
    going.step()
    assert [len(one.heard) for one in listeners] == [2, 1]
    context.truncate(0)
    assert sentences[1].begun.context.length == LENGTHS[0]
    while going.are_any:
        going.step()
    assert [len(one.heard) for one in listeners] == [3, 3]
    assert listeners[0].heard == listeners[1].heard


@pytest.mark.gpu
def test_a_capture_that_fails_leaves_the_next_one_alone() -> None:
    device = torch.device("cuda")
    capture = capture_on(device)
    assert capture
    number = torch.ones(1, device=device)

    def add() -> None:
        number.add_(1)

    with pytest.raises(RuntimeError):
        capture(lambda: torch.cuda.synchronize(device))  # no capture can hold a wait
    torch.randn(1, device=device)
    capture(add)()
    assert number.item() == 2
