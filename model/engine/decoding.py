"""Decoding: a lasting batch, whose rows are joined and left as sentences begin and end.

A step's kernels are small and many: launched one by one they cost more than they compute. So where
a kernel reads pages on CUDA the step of all rows is captured once, as a graph, and replayed several
times before the host looks at what was said. That goes on beside everything else, on a stream of
its own, which comes first: a step is short, and what it waits for is not.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial

import torch
from torch import Tensor

from model.engine.kv_cache import PagePool
from model.engine.repetition import Repetition
from model.engine.rows import Beginning, CopiedRows, PagedRows, Rows
from model.family import Network
from model.layers.pages import PagedStepKernel

Work = Callable[[], None]
Capture = Callable[[Work], Work]
"""Takes work whose tensors stay where they are; gives what does it again, in their places."""

MAX_COPIES = 16
"""Rows where each has a copy of its context: as many as are asked together, for their memory."""

USUAL_QUESTION = 63  # tokens

LOOK_EVERY = 4
"""Steps of a graph between two looks: what is said past an end meanwhile is thrown away."""

log = logging.getLogger(__name__)


def capture_on(device: torch.device) -> Capture | None:
    """Give the way to capture a step on a device; None where every step is launched by hand."""
    return partial(_cuda_graph, device=device) if device.type == "cuda" else None


def stream_on(device: torch.device) -> torch.cuda.Stream | None:
    """Give a stream on which steps go on beside all else, and before it; None without CUDA."""
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]


class Decoding:
    """So many rows, each free or going on by itself: what is likeliest becomes its next token.

    Attributes:
        look_every: steps that may be launched at once.
        is_beside: what is launched goes on while the host does something else.
    """

    def __init__(
        self,
        model: Network,
        pool: PagePool,
        *,
        num_rows: int,
        max_answer: int = 0,
        kernel: PagedStepKernel | None = None,
        capture: Capture | None = None,
    ) -> None:
        """Begin with free rows.

        Args:
            model: the decoder is run.
            pool: where contexts lie.
            num_rows: how many; fewer where each has a copy of its context.
            max_answer: tokens, for which there is room in every row from the beginning, and for
                a usual question; longer ones make more.
            kernel: the attention of a step where contexts lie; by default the backend's. Without
                one every row has a copy of its context, and nothing is captured.
            capture: how the step is captured; by default as the device allows.
        """
        backend = model.language.backend
        if kernel is None and backend.paged:
            kernel = backend.paged.step
        device, penalty = model.device, model.config.repetition_penalty
        if kernel is None:
            num_rows = min(num_rows, MAX_COPIES)
        self._model = model
        self._attend: Rows = (
            PagedRows(pool, num_rows, kernel=kernel, num_own=max_answer + USUAL_QUESTION)
            if kernel
            else CopiedRows(pool, backend=backend)
        )
        self._capture = (capture or capture_on(device)) if kernel else None
        self.look_every = LOOK_EVERY if self._capture else 1
        self._repetition = (
            Repetition(
                penalty,
                num_rows=num_rows,
                vocab_size=model.config.text.vocab_size,
                device=device,
            )
            if penalty != 1.0
            else None
        )
        self._free = list(range(num_rows))[::-1]
        self._ids = torch.zeros(num_rows, dtype=torch.int64, device=device)
        self._said = self._ids.new_zeros((self.look_every, num_rows))
        self._logits = torch.empty(0, device=device)
        self._num_launched = 0
        self._is_changed = True  # what a step works on, since the last launch
        self._replay: Work | None = None
        self._is_warm = False  # the first step is by hand: kernels set themselves up
        self._captured_at = 0
        # Copied rows let go of what a step may still read: only the stream it was made on knows.
        self._stream = stream_on(device) if kernel else None
        self.is_beside = self._stream is not None
        pool.before_moving = self.wait

    @property
    def num_bytes(self) -> int:
        """Bytes of what rows hold of their own."""
        return self._attend.num_bytes

    @property
    def num_free(self) -> int:
        """Rows that something may join."""
        return len(self._free)

    def join(self, begun: Sequence[tuple[Beginning, int]]) -> list[int]:
        """Let sentences go on, each with a token of its own; give their rows.

        What was launched must be over, here and in `put`; at most `num_free` come.
        """
        self._is_changed = True
        rows = self._free[len(self._free) - len(begun) :]
        self._attend.join([(row, one) for row, (one, _) in zip(rows, begun, strict=True)])
        del self._free[len(self._free) - len(begun) :]
        for row, (one, token) in zip(rows, begun, strict=True):
            self.put(row, token)
            if self._repetition:
                self._repetition.begin(row, one.held_ids)
        return rows

    def put(self, row: int, token: int) -> None:
        """Let a row go on with a token, instead of what was likeliest."""
        self._is_changed = True
        self._ids[row] = token

    def leave(self, row: int) -> None:
        """Free a row."""
        self.wait()
        self._attend.leave(row)
        self._free.append(row)

    @torch.inference_mode()
    def launch(self, num_steps: int) -> None:
        """Append the token of each row, and so many more in all; wait for nothing.

        Steps for which there is no memory are left out, but for the first.

        Raises:
            torch.OutOfMemoryError: there is none for the first; nothing has changed.
        """
        self._num_launched = 0
        with self._beside():
            for step in range(num_steps):
                try:
                    self._step()
                except torch.OutOfMemoryError:
                    if not step:
                        raise
                    return  # the next launch meets that again, in its first
                self._said[step].copy_(self._ids)
                self._num_launched += 1

    def collect(self) -> list[list[int]]:
        """Give, by row, the likeliest tokens that have followed, under the repetition penalty."""
        # Not behind what the host has launched since, for which it would wait as well.
        with torch.cuda.stream(self._stream):
            by_row: list[list[int]] = self._said[: self._num_launched].T.tolist()
        return by_row

    def logits(self, rows: Sequence[int]) -> Tensor:
        """Give the (B, V) float32 logits after the last step, without the penalty."""
        return torch.stack([self._logits[self._attend.place(row)] for row in rows])

    def wait(self) -> None:
        """Come back when what was launched is over: what it works on may change now."""
        self._is_changed = True
        if self._stream is not None:
            self._stream.synchronize()

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """Do what is within beside all else, after what has changed the rows or moved pages.

        Nothing else matters to a step: what its rows see was written before they joined, and what
        contexts grow by lies behind that.
        """
        if self._stream is not None and self._is_changed:
            self._stream.wait_stream(torch.cuda.current_stream(self._model.device))
        self._is_changed = False
        with torch.cuda.stream(self._stream):
            yield

    def _step(self) -> None:
        if self._captured_at != self._attend.num_moves:
            self._replay = None
        if self._capture is not None and self._is_warm and self._replay is None:
            self._try_to_capture(self._capture)
        if self._replay is not None:
            self._replay()
        else:
            self._forward()
        self._is_warm = True

    def _try_to_capture(self, capture: Capture) -> None:
        """Capture the step; where that fails all goes on by hand."""
        self._captured_at = self._attend.num_moves
        try:
            self._replay = capture(self._forward)
        except torch.OutOfMemoryError:
            raise  # there is a remedy: the caller makes room
        except RuntimeError as exc:
            log.warning("a step of decoding was not captured, and is launched by hand: %s", exc)
            self._capture = None

    def _forward(self) -> None:
        language, rows = self._model.language, self._attend.at
        ids = self._ids.index_select(0, rows)
        hidden = language.forward(language.embed(ids), self._attend.positions, attend=self._attend)
        self._logits = scores = language.logits(hidden)
        if self._repetition:
            self._repetition.hold(rows, ids)
            scores = self._repetition.penalized(rows, scores)
        # Last, since what came before may be done again where memory ran out in it.
        self._ids.index_copy_(0, rows, scores.argmax(dim=-1))
        self._attend.advance()


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
        stream = torch.cuda.Stream(priority=-1)  # type: ignore[no-untyped-call]
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
