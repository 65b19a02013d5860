"""Decoding: one token of every branch at a time, as a CUDA graph where there is CUDA.

A step's kernels are small and many: launched one by one they cost more than they compute. So after
one step by hand the next is captured, and from then on replayed; only the token ids change. The
graph belongs to a batch of rows. A branch that ends leaves its row idle until half of the rows are
idle; then the batch shrinks to its next bucket and a new graph is captured.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor

from model.engine.prefixes import SharedPrefixes
from model.engine.repetition import Repetition
from model.engine.step import Suffixes, step_of
from model.family import Network

Work = Callable[[], None]
Capture = Callable[[Work], Work]
"""Takes work whose tensors stay where they are; gives what does it again, in their places."""

log = logging.getLogger(__name__)


def capture_on(device: torch.device) -> Capture | None:
    """Give the way to capture a step on a device; None where every step is launched by hand."""
    return partial(_cuda_graph, device=device) if device.type == "cuda" else None


class Decoding:
    """Branches that are decoded side by side, one row each."""

    def __init__(
        self,
        model: Network,
        prefixes: SharedPrefixes,
        suffixes: Suffixes,
        *,
        families: Sequence[int],
        capture: Capture | None,
        repetition: Repetition | None = None,
    ) -> None:
        """Begin with a row for each branch.

        Args:
            model: the decoder is run.
            prefixes: what the branches go on from, laid out for keeps.
            suffixes: the branches so far, in the order of the rows.
            families: for each row the index of its prefix, ascending.
            capture: see `capture_on`.
            repetition: what each row has held, where that is penalised.
        """
        self._model = model
        self._prefixes = prefixes
        self._suffixes = suffixes
        self._families = list(families)
        self._members = list(range(len(families)))
        self._capture = capture
        self._repetition = repetition
        self._replay: Work | None = None
        self._num_moves = 0  # of what a captured step reads
        self._is_warm = False  # a batch's first step is by hand: kernels set themselves up
        self._lay_out()

    def step(self, tokens: dict[int, int]) -> dict[int, tuple[int, Tensor]]:
        """Append one token to each of some branches, in one pass; the others are over.

        Args:
            tokens: branch, by its place at the beginning -> token; each was in the last step.

        Returns:
            For each of them the likeliest token that follows, under the repetition penalty, and
            the (V,) float32 logits without it, which the next step may overwrite.
        """
        if self._is_to_shrink(len(tokens)):
            self._keep([row for row, member in enumerate(self._members) if member in tokens])
        ids = [tokens.get(member, 0) for member in self._members]
        self._ids.copy_(torch.tensor(ids), non_blocking=True)
        if self._num_moves != self._attend.num_moves:
            self._replay, self._num_moves = None, self._attend.num_moves
        if self._capture is not None and self._is_warm and self._replay is None:
            self._try_to_capture(self._capture)
        if self._replay is not None:
            self._replay()
        else:
            self._forward()
        self._is_warm = True
        likeliest = self._likeliest.tolist()  # waits for the device, once a step
        return {
            member: (likeliest[row], self._logits[row])
            for row, member in enumerate(self._members)
            if member in tokens
        }

    def _try_to_capture(self, capture: Capture) -> None:
        """Capture the step; where that fails this batch goes on by hand."""
        try:
            self._replay = capture(self._forward)
        except torch.OutOfMemoryError:
            raise  # there is a remedy: the caller makes room
        except RuntimeError as exc:
            log.warning("a step of decoding was not captured, and is launched by hand: %s", exc)
            self._capture = None

    def _is_to_shrink(self, num_going: int) -> bool:
        num_rows = len(self._members)
        return 2 * num_going <= num_rows if self._capture else num_going < num_rows

    def _keep(self, rows: Sequence[int]) -> None:
        self._attend.settle()
        self._suffixes.keep(rows)
        if self._repetition:
            self._repetition.keep(rows)
        self._families = [self._families[row] for row in rows]
        self._members = [self._members[row] for row in rows]
        self._lay_out()

    def _lay_out(self) -> None:
        """Make what a step works on, in places that stay."""
        device = self._model.device
        going = sorted(set(self._families))
        backend = self._model.language.backend
        is_narrowed = self._capture or backend.used_kernel
        if is_narrowed and len(going) < len(self._prefixes.lengths):
            # A GPU's kernels share out a long prefix only where every one is gone on from.
            self._prefixes = self._prefixes.only(going)
            self._families = [going.index(family) for family in self._families]
        self._attend = step_of(self._prefixes, self._families, self._suffixes, backend=backend)
        self._ids = torch.zeros(len(self._members), dtype=torch.int64, device=device)
        self._likeliest = torch.zeros_like(self._ids)
        self._logits = torch.empty(0, device=device)
        self._replay = None
        self._is_warm = False

    def _forward(self) -> None:
        language = self._model.language
        embeds = language.embed(self._ids)
        hidden = language.forward(embeds, self._attend.positions, attend=self._attend)
        self._suffixes.advance()
        self._logits = scores = language.logits(hidden)
        if self._repetition:
            self._repetition.hold(self._ids)
            scores = self._repetition.penalized(scores)
        self._likeliest = scores.argmax(dim=-1)


def _cuda_graph(work: Work, *, device: torch.device) -> Work:
    """Capture work; nothing of it is done before the replay.

    By hand, since `torch.cuda.graph` first empties the allocator's cache, which costs more than
    the steps of one batch have to save.

    Raises:
        RuntimeError: it cannot be captured; another capture may well be.
    """
    stream, first = _place_to_capture(device)
    graph = torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream(device))
    try:
        with torch.cuda.stream(stream):
            graph.capture_begin(pool=first.pool(), capture_error_mode="thread_local")
            try:
                work()
            finally:
                graph.capture_end()
    except torch.OutOfMemoryError:
        raise  # the capture has come to its end all the same
    except RuntimeError:
        _forget_capture(device)
        raise
    torch.cuda.current_stream(device).wait_stream(stream)
    return graph.replay


@cache
def _place_to_capture(device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.CUDAGraph]:
    """Give the one stream of all graphs of a device, and a graph in whose memory they are.

    A graph lives for one batch. With a stream and a pool of its own each would leave behind, in the
    allocator, a workspace of the matrix library and what its kernels had passed to each other. A
    pool ends with its last graph, so this first one, which is never replayed, stays.
    """
    # Not as inference: what the first graph makes of the generator's state, all others write to.
    with torch.cuda.device(device), torch.inference_mode(mode=False):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        first = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            first.capture_begin(capture_error_mode="thread_local")
            torch.zeros(1, device=device)  # an empty graph is warned of
            first.capture_end()
        return stream, first


def _forget_capture(device: torch.device) -> None:
    """Leave a failed capture behind, whose pool and random generator may still believe in it.

    The next capture has another stream and pool; the generator goes on from a copy of its state.
    """
    _place_to_capture.cache_clear()
    generator = torch.cuda.default_generators[device.index or 0]
    generator.graphsafe_set_state(generator.clone_state())
