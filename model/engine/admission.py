"""Which streams are let in: as many as stay within the memory budget together.

A stream is taken for what it holds and for what it will hold within its window at the rate that it
has shown, a new one for a usual one. Where streams turn out busier than that, contexts end early
(`Engine.append`); the budget is not passed, and nobody is sent away.
"""

from collections.abc import Callable, Mapping, Sequence

from model.engine.config import EngineConfig
from model.engine.kv_cache import PagePool
from model.engine.outlook import Growth, pages_ahead
from model.engine.rolling_context import RollingContext
from model.engine.vision_cache import patch_bytes
from model.errors import AdmissionError
from model.family import Family
from model.types import PatchGrid

USUAL_SHARE = 0.2
"""Of its tokens a usual camera sends so many. None is taken for less: a still one may wake."""
NUM_CONTEXTS = 2  # of a stream: active and standby
YOUNG = 1 / 8  # of a window: what a younger context has got is taken for what it gets in so long


class Admission:
    """Lets streams in, and says how many pages there may be.

    Attributes:
        total_bytes: all there is; None for no limit.
        grids: of the streams that were let in; without a limit nobody is noted.
    """

    def __init__(
        self,
        family: Family,
        config: EngineConfig,
        *,
        pool: PagePool,
        fixed_bytes: int,
        hush: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin without a stream.

        Args:
            family: the model.
            config: the budget and what contexts may come to.
            pool: where contexts lie; it is told how large it may and should be.
            fixed_bytes: of the budget, what is taken already.
            hush: lets sentences give way for which pages are held; says whether there were any.
        """
        self.total_bytes = config.memory_budget_bytes
        self.grids: dict[str, PatchGrid] = {}
        self._family = family
        self._config = config
        self._pool = pool
        self._taken_bytes = fixed_bytes
        self._hush = hush

    def bytes_at_most(self, grid: PatchGrid) -> int:
        """Count the bytes that a stream may come to hold: its vision cache and two full contexts.

        After a quiet half window both contexts can grow to the limit.
        """
        num_tokens = self._pool.whole_pages(self._config.max_context_tokens)
        num_pages = NUM_CONTEXTS * num_tokens // self._pool.page_tokens
        return self._vision_bytes(grid) + num_pages * self._pool.page_bytes

    def bytes_usual(self, grid: PatchGrid) -> int:
        """Count the bytes that a new stream is taken for: what a usual one holds at its most."""
        num_pages = self._pages_ahead([self._usual(grid)])
        return self._vision_bytes(grid) + num_pages * self._pool.page_bytes

    def admit(self, stream_id: str, grid: PatchGrid, streams: Mapping[str, RollingContext]) -> None:
        """Let a stream in, or let it go on with another grid.

        Args:
            stream_id: which.
            grid: of its frames.
            streams: all that have contexts.

        Raises:
            AdmissionError: with it all streams would hold more than there is; nothing has changed.
        """
        if self.total_bytes is None or self.grids.get(stream_id) == grid:
            return
        grids = self.grids | {stream_id: grid}
        ahead = self._pages_ahead([self._growth(one, grids[one], streams) for one in grids])
        left_bytes = self.total_bytes - self._fixed_bytes(grids)
        ahead_bytes = ahead * self._pool.page_bytes
        if ahead_bytes <= left_bytes < self._pool.num_bytes:
            self._pool.trim()
            while left_bytes < self._pool.num_bytes and self._hush():
                self._pool.trim()
        # Pages that were made stay, and so they count whether they are held or not.
        over_bytes = max(ahead_bytes, self._pool.num_bytes) - left_bytes
        if over_bytes > 0:
            needed_bytes = self.bytes_usual(grid)
            left_bytes = max(0, needed_bytes - over_bytes)
            raise AdmissionError(
                f"stream {stream_id}: expected at most {left_bytes} bytes, which is what the "
                f"memory budget of {self.total_bytes} has left; it may need {needed_bytes}",
                needed_bytes=needed_bytes,
                left_bytes=left_bytes,
            )
        self.grids = grids
        self._pool.expect(ahead, at_most=self._most_pages())

    def release(self, stream_id: str) -> None:
        """Take back what a stream was let in for."""
        if self.grids.pop(stream_id, None) is not None:
            self._pool.expect(0, at_most=self._most_pages())

    def rename(self, stream_id: str, new_id: str) -> None:
        """Let another have the room of a stream, instead of what it had itself."""
        if stream_id in self.grids:
            self.grids[new_id] = self.grids.pop(stream_id)

    def _most_pages(self) -> int | None:
        """Count the pages that there may be."""
        if self.total_bytes is None:
            return None
        return max(0, self.total_bytes - self._fixed_bytes(self.grids)) // self._pool.page_bytes

    def _fixed_bytes(self, grids: Mapping[str, PatchGrid]) -> int:
        return self._taken_bytes + sum(map(self._vision_bytes, grids.values()))

    def _vision_bytes(self, grid: PatchGrid) -> int:
        if self._config.vision != "delta":
            return 0
        network = self._family.network
        num_patches = grid.num_tokens * network.patches.per_token
        return num_patches * patch_bytes(network.config.vision, network.dtype)

    def _pages_ahead(self, streams: Sequence[Growth]) -> int:
        """Count the pages that streams hold together when that is most."""
        return pages_ahead(
            streams,
            window_s=self._config.window_s,
            max_context_tokens=self._config.max_context_tokens,
            page_tokens=self._pool.page_tokens,
        )

    def _usual(self, grid: PatchGrid) -> Growth:
        """Say how the contexts of a usual stream grow."""
        encode, prompt = self._family.tokenizer.encode, self._family.prompt
        first = len(encode(prompt.head + prompt.frame_stamp(0.0, is_first=True)))
        stamp = len(encode(prompt.frame_stamp(self._config.window_s, is_first=False)))
        kept = USUAL_SHARE * grid.num_tokens
        return Growth(first + grid.num_tokens, (stamp + kept) / self._config.sample_period_s)

    def _growth(
        self, stream_id: str, grid: PatchGrid, streams: Mapping[str, RollingContext]
    ) -> Growth:
        """Say how the contexts of a stream stand and grow, a usual one's where it has none."""
        usual = self._usual(grid)
        if stream_id not in streams:
            return usual
        contexts = []
        for context in streams[stream_id].contexts:
            window = context.window
            contexts.append((window.end_pts_s - window.start_pts_s, context.length))
        young_s = YOUNG * self._config.window_s
        shown = [(tokens - usual.begin_tokens) / max(age_s, young_s) for age_s, tokens in contexts]
        return Growth(usual.begin_tokens, max(usual.tokens_per_s, *shown, 0.0), tuple(contexts))
