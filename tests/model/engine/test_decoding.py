from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from model.engine.decoding import Capture, Work, capture_on
from model.engine.forks import Forks
from model.engine.kv_cache import KVSequence, PagePool
from model.kinds.base import Branch
from model.layers.attention import SDPA, Segments
from model.layers.backends import choose_backend, plain_attention
from model.videollama3.network import VideoLlama3
from tests.model.growing import extend, new_pool
from tests.model.nano_model import nano

LENGTHS = (5, 0, 9)  # of the prefixes; an empty one cannot be gone on from
LIMITS = (3, 6, 1, 9, 8, 2)  # tokens that each branch comes to say


def prefixes(network: VideoLlama3, pool: PagePool) -> list[KVSequence]:
    grown = []
    for seed, length in enumerate(LENGTHS):
        sequence = KVSequence(pool)
        if length:
            generator = torch.Generator().manual_seed(seed)
            ids = torch.randint(0, 300, (length,), generator=generator).to(network.device)
            with torch.inference_mode():
                extend(network, pool, sequence, network.language.embed(ids))
        grown.append(sequence)
    return [sequence for sequence in grown if sequence.length]


@cache
def repeating(penalty: float) -> VideoLlama3:
    """The bundled model under a repetition penalty."""
    config = replace(nano().config, repetition_penalty=penalty)
    network = VideoLlama3(config, backend=nano().language.backend)
    network.load_state_dict(nano().state_dict())
    return network.eval().requires_grad_(requires_grad=False)


def saying(network: VideoLlama3, capture: Capture | None) -> Iterator[list[list[int]]]:
    """Decode branches that end one after the other, greedily; give what each has said, by steps."""
    pool = new_pool(network)
    one, other = prefixes(network, pool)
    branches = [
        (
            other if n % 2 else one,
            Branch((7 + n, 11, 13)[: 1 + n % 3], max_new_tokens=limit, is_text=True),
        )
        for n, limit in enumerate(LIMITS)
    ]
    held = [(5, 300) if n % 2 else (17,) for n in range(len(LIMITS))]
    forks = Forks(network, pool, branches, held=held, capture=capture)
    found = [[int(row[-1].argmax())] for row in forks.prefill()]
    while going := {n: ids[-1] for n, ids in enumerate(found) if len(ids) < LIMITS[n]}:
        for n, (likeliest, logits) in forks.step(going).items():
            if network.config.repetition_penalty == 1.0:
                assert likeliest == int(logits.argmax())
            found[n].append(likeliest)
        yield found


def said(network: VideoLlama3, capture: Capture | None) -> list[list[int]]:
    """Give what each branch says in the end."""
    *_, found = saying(network, capture)
    return found


def said_in_turn(network: VideoLlama3, captures: Sequence[Capture | None]) -> list[list[list[int]]]:
    """Give what batches say that are decoded a step of each in turn, each begun a step later."""
    going = {n: saying(network, capture) for n, capture in enumerate(captures)}
    found: list[list[list[int]]] = [[] for _ in captures]
    turn = 0
    while going:
        for n in [n for n in going if n <= turn]:
            told = next(going[n], None)
            if told is None:
                del going[n]
            else:
                found[n] = told
        turn += 1
    return found


class Recorded:
    """A capture that does the work again by hand, and counts."""

    def __init__(self) -> None:
        self.num_rows: list[int] = []

    def __call__(self, work: Work) -> Work:
        self.num_rows.append(0)

        def replay() -> None:
            self.num_rows[-1] += 1
            work()

        return replay


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_idle_rows_change_no_answer_and_the_batch_shrinks_by_halves(penalty: float) -> None:
    capture, network = Recorded(), repeating(penalty)
    assert said(network, capture) == said(network, None)
    assert (said(network, None) == said(nano(), None)) == (penalty == 1.0)
    # Six rows until three are going, then three until one is, then one: a graph for each that
    # lives for more than a step.
    assert len(capture.num_rows) in (2, 3)
    assert all(capture.num_rows)


def test_batches_that_are_decoded_in_turn_say_what_each_says_alone() -> None:
    network = repeating(1.5)
    assert said_in_turn(network, [Recorded() for _ in range(3)]) == 3 * [said(network, None)]


def test_a_replayed_step_finds_its_tensors_where_they_were() -> None:
    places: list[Sequence[int]] = []

    def capture(work: Work) -> Work:
        decoding = work.__self__  # type: ignore[attr-defined]
        slabs = [slab for layer in decoding._suffixes._layers for slab in layer]
        noted = (decoding._repetition._held, decoding._repetition._end)
        held = (decoding._ids, decoding._suffixes.lengths, *noted, *slabs)
        at = [tensor.data_ptr() for tensor in held]

        def replay() -> None:
            noted = (decoding._repetition._held, decoding._repetition._end)
            now = (decoding._ids, decoding._suffixes.lengths, *noted, *slabs)
            places.append(at)
            assert [tensor.data_ptr() for tensor in now] == at
            work()

        return replay

    said(repeating(1.5), capture)
    assert places


def test_what_prefixes_keep_is_not_kept_twice_once_a_batch_has_its_own() -> None:
    network = nano()
    pool = new_pool(network)
    one, other = prefixes(network, pool)
    words = Branch((7,)), Branch((7,), max_new_tokens=2)
    forks = Forks(network, pool, list(zip((one, other), words, strict=True)), capture=Recorded())
    forks.prefill()
    first = forks._prefixes
    assert first._kept
    forks.step({1: 11})
    assert not first._kept
    assert forks._decoding
    assert forks._decoding._prefixes._kept


def used_attention(q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, used: Tensor) -> Tensor:
    """What a GPU's kernel does, the slow way."""
    lengths = used.tolist()
    starts = torch.tensor(segments.key_lengths).cumsum(0) - torch.tensor(segments.key_lengths)
    rows = torch.cat([start + torch.arange(n) for start, n in zip(starts, lengths, strict=True)])
    seen = Segments.of([1] * len(lengths), lengths, device=q.device)
    return plain_attention(q, k[rows], v[rows], segments=seen, is_causal=False)


@pytest.mark.parametrize("is_captured", [False, True])
def test_branches_with_room_behind_their_prefixes_say_the_same(
    monkeypatch: pytest.MonkeyPatch,
    is_captured: bool,  # noqa: FBT001, by name
) -> None:
    network = nano()
    calls: list[int] = []

    def counted(q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, used: Tensor) -> Tensor:
        calls.append(len(q))
        return used_attention(q, k, v, segments=segments, used=used)

    capture = Recorded() if is_captured else None
    expected = said(network, capture)
    monkeypatch.setattr(network.language, "backend", replace(SDPA, used_kernel=counted))
    assert said(network, capture) == expected
    # In the end one branch of each prefix is left, and then one of one; a batch shrinks by halves.
    assert set(calls) == ({1} if is_captured else {1, 2})


def test_a_batch_whose_capture_fails_goes_on_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    def run_out(work: Work) -> Work:  # noqa: ARG001
        raise torch.OutOfMemoryError

    tried: list[Work] = []

    def failing(work: Work) -> Work:
        tried.append(work)
        raise RuntimeError("operation not permitted when stream is capturing")

    assert said(nano(), failing) == said(nano(), None)
    assert len(tried) == 1
    assert "not permitted" in caplog.text
    with pytest.raises(torch.OutOfMemoryError):
        said(nano(), run_out)


@pytest.mark.gpu
@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_a_graph_says_what_single_launches_say(penalty: float) -> None:
    device = torch.device("cuda")
    for backend in (SDPA, choose_backend(device, torch.bfloat16)):
        config = replace(nano().config, repetition_penalty=penalty)
        network = VideoLlama3(config, backend=backend).to(device, torch.bfloat16).eval()
        network.load_state_dict(nano().state_dict())
        by_hand = said(network, Recorded())
        for _ in range(3):  # the pool outlives a batch's graphs
            assert said(network, None) == by_hand
        # Their graphs share one pool: each is replayed between the replays of the others.
        assert said_in_turn(network, [None, None, None]) == 3 * [by_hand]


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
