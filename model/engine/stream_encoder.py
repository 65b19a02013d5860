"""Vision over many streams: only what changed goes through the encoder.

`delta` keeps every stream's keys and values (`vision_cache`): the changed patches of all frames go
through in one packed pass, are written to the cache layer by layer and attend to the whole of
their frame. What did not change is as old, there, as its last update; a whole frame is exact.
`full` encodes whole frames and then drops tokens, as the reference; `isolated` lets the kept
patches attend to each other alone. Not safe for use by two threads.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import get_args
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.engine.config import VisionMode
from model.engine.drift import Audits, Drift
from model.engine.frame_part import FramePart, check_frame
from model.engine.vision_cache import Span, VisionCache
from model.errors import InputError
from model.family import Network
from model.layers.attention import Attend, Segments, attention
from model.layers.to_device import to_device
from model.types import PatchGrid, PrunedFrame


@dataclass(frozen=True, slots=True)
class FrameTokens:
    """What a frame shows to the contexts.

    Attributes:
        features: (n, text width) in raster order, in the model's dtype.
        tokens: (n,) int64, ascending: which of the frame's tokens they are; on the host.
        is_whole: every token is there, and exact.
    """

    features: Tensor
    tokens: NDArray[np.int64]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class _Stream:
    """What is held of one stream.

    `span` is its place in the cache (delta alone), `is_filled` says that a whole frame is in it,
    `num_partial` counts the frames encoded in part, for the audits. `first` is the feature of the
    frame's first token, (1, text width), from when that was encoded last.
    """

    grid: PatchGrid
    span: Span | None
    is_filled: bool = True
    num_partial: int = 0
    first: Tensor | None = None


class StreamEncoder:
    """Frames of many streams in, tokens for their contexts out."""

    def __init__(
        self,
        model: Network,
        *,
        mode: VisionMode = "delta",
        audit_share: float = 0.0,
        max_drift: float = inf,
        keeps_first: bool = False,
    ) -> None:
        """Start with no stream.

        Args:
            model: the networks.
            mode: what goes through the encoder.
            audit_share: share of a stream's partly encoded frames that are encoded whole too.
            max_drift: mean cosine distance of an audited frame beyond which its stream's cache is
                replaced.
            keeps_first: every stream keeps the feature of its first token.

        Raises:
            InputError: another mode, a share outside 0..1, a negative drift.
        """
        if mode not in get_args(VisionMode):
            raise InputError(f"vision: expected one of {get_args(VisionMode)}, got {mode}")
        if not 0 <= audit_share <= 1 or not max_drift >= 0:
            raise InputError(
                f"vision: expected audit_share within 0..1 and max_drift from 0, "
                f"got {audit_share} and {max_drift}"
            )
        self.mode = mode
        self._model = model
        self._patches = model.patches
        self._audit_period = round(1 / audit_share) if audit_share else 0
        self._max_drift = max_drift
        self._keeps_first = keeps_first
        self._cache = VisionCache(model.config.vision, dtype=model.dtype, device=model.device)
        self._streams: dict[str, _Stream] = {}
        self._audits = Audits()
        self._saved: list[tuple[Tensor, list[Tensor]]] = []
        self._depth = 0

    @property
    def num_bytes(self) -> int:
        """Device memory held for all streams."""
        return self._cache.num_bytes

    def bytes_of(self, stream_id: str) -> int:
        """Device memory held for one stream; 0 where there is none."""
        stream = self._streams.get(stream_id)
        return stream.span.length * self._cache.bytes_per_patch if stream and stream.span else 0

    @property
    def drift(self) -> Drift | None:
        """The mean of the last 32 audits; None before the first."""
        recent = self._audits.recent
        if not recent:
            return None
        return Drift(
            cosine_distance=sum(one.cosine_distance for one in recent) / len(recent),
            relative_l2=sum(one.relative_l2 for one in recent) / len(recent),
        )

    @property
    def num_audits(self) -> int:
        """Frames encoded both ways."""
        return self._audits.num

    @property
    def num_forced_refreshes(self) -> int:
        """Audits that found too much drift."""
        return self._audits.num_forced

    def first_token(self, stream_id: str) -> Tensor | None:
        """Give a stream's first token, (1, text width), as encoded last; None for none."""
        stream = self._streams.get(stream_id)
        return stream.first if stream else None

    def reset(self, stream_id: str) -> None:
        """Forget what a stream has shown; its next frame is encoded whole."""
        if stream_id in self._streams:
            self._streams[stream_id] = replace(self._streams[stream_id], is_filled=False)

    def remove(self, stream_id: str) -> None:
        """Forget a stream and free what it holds."""
        self._streams.pop(stream_id, None)
        self._sweep()

    def rename(self, stream_id: str, new_id: str) -> None:
        """Let a stream go by another id, of which nothing is held."""
        self._streams[new_id] = self._streams.pop(stream_id)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Take back what the block encoded if it fails, so that it can be tried again."""
        streams, audits, num_saved = dict(self._streams), self._audits, len(self._saved)
        self._depth += 1
        try:
            yield
        except BaseException:
            while len(self._saved) > num_saved:
                self._cache.restore(*self._saved.pop())
            self._streams, self._audits = streams, audits
            raise
        finally:
            self._depth -= 1
            if not self._depth:
                self._saved.clear()
            self._sweep()

    @torch.inference_mode()
    def encode(self, frames: Sequence[PrunedFrame], whole: Sequence[bool]) -> list[FrameTokens]:
        """Encode frames, one packed pass over the streams; again for a stream that has several.

        A frame comes out whole where the caller wants it so, on a refresh, and where nothing is
        held of its stream on this grid. Of any other its kept tokens come out; its stale ones go
        to the cache alone. When this raises, every stream is as it was before.

        Args:
            frames: of any number of streams, each stream's in time order.
            whole: for each, whether it must come out whole.

        Returns:
            For each frame, in order, what comes out of it.

        Raises:
            InputError: a mask, or the pixels, do not fit the grid; or `whole` does not fit.
        """
        if len(whole) != len(frames):
            raise InputError(f"whole: expected one for each of {len(frames)}, got {len(whole)}")
        for frame in frames:
            check_frame(frame, token_px=self._patches.token_px)
        found: dict[int, FrameTokens] = {}
        with self.all_or_nothing():
            for turn in _turns(frames):
                batch = [frames[index] for index in turn]
                shown = self._encode(batch, [whole[index] for index in turn])
                found.update(zip(turn, shown, strict=True))
        return [found[index] for index in range(len(frames))]

    def _encode(self, frames: Sequence[PrunedFrame], whole: Sequence[bool]) -> list[FrameTokens]:
        """Encode at most one frame of each stream."""
        whole = [wanted or self._is_new(frame) for frame, wanted in zip(frames, whole, strict=True)]
        self._make_room(frames)
        parts = [
            FramePart.whole(frame) if is_whole else self._part(frame)
            for frame, is_whole in zip(frames, whole, strict=True)
        ]
        shown = [
            FrameTokens(features, part.run[part.sent], is_whole)
            for part, features, is_whole in zip(parts, self._run_anew(parts), whole, strict=True)
        ]
        for frame, is_whole in zip(frames, whole, strict=True):
            stream = self._streams[frame.stream_id]
            self._streams[frame.stream_id] = replace(
                stream,
                is_filled=stream.is_filled or is_whole,
                num_partial=stream.num_partial + (not is_whole),
            )
        return self._audited(frames, shown) if self.mode != "full" else shown

    def _audited(
        self, frames: Sequence[PrunedFrame], shown: Sequence[FrameTokens]
    ) -> list[FrameTokens]:
        """Encode the frames that are due whole, beside; show that where it differs too much."""
        due = [
            index
            for index, frame in enumerate(frames)
            if len(shown[index].tokens)
            and not shown[index].is_whole
            and self._is_audited(frame.stream_id)
        ]
        wholes = [FramePart.kept_of_whole(frames[index]) for index in due]
        drifted, result = [], list(shown)
        for index, exact in zip(due, self._run(wholes, is_cached=False), strict=True):
            drift = Drift.between(shown[index].features, exact)
            # Written so that a drift that is not a number counts as too much.
            is_forced = self.mode == "delta" and not drift.cosine_distance <= self._max_drift
            self._audits = self._audits.with_one(drift, is_forced=is_forced)
            if is_forced:
                result[index] = replace(shown[index], features=exact)
                drifted.append(FramePart.whole(frames[index]))
        self._run_anew(drifted)
        return result

    def _run_anew(self, parts: Sequence[FramePart]) -> list[Tensor]:
        """Encode parts in this encoder's way, and keep the first tokens that are among them."""
        asked = [part.with_first() for part in parts] if self._keeps_first else parts
        found = self._run(asked, is_cached=self.mode == "delta")
        for part, rows in zip(asked, found, strict=True):
            if self._keeps_first and part.has_first:  # a copy: the rows are the whole pass's
                stream = self._streams[part.frame.stream_id]
                self._streams[part.frame.stream_id] = replace(stream, first=rows[:1].clone())
        return [rows[len(rows) - len(one.sent) :] for one, rows in zip(parts, found, strict=True)]

    def _run(self, parts: Sequence[FramePart], *, is_cached: bool) -> list[Tensor]:
        """Encode parts of frames in one packed pass; give what each sends, (n, D).

        With `is_cached` a part's patches see all of their frame, by the cache; else each other.
        """
        order = [index for index, part in enumerate(parts) if len(part.run)]
        if is_cached:  # a stream's queries stand where its keys do
            order.sort(key=lambda index: self._span(parts[index]).start)
        packed = [parts[index] for index in order]
        width = self._model.config.text.hidden_size
        nothing = torch.empty((0, width), dtype=self._model.dtype, device=self._model.device)
        found = [nothing] * len(parts)
        if packed:
            attend = self._attend_cache(packed) if is_cached else self._attend_selves(packed)
            for index, features in zip(order, self._features(packed, attend), strict=True):
                found[index] = features
        return found

    def _features(self, parts: Sequence[FramePart], attend: Attend) -> Sequence[Tensor]:
        """Pass the parts through the networks; give what each sends."""
        device = self._model.device
        starts = np.cumsum([0, *(len(part.run) for part in parts)])
        # Pixels go over as bytes, and those alone that go through the encoder.
        token_px, merge_size = self._patches.token_px, self._patches.merge_size
        pixels = np.empty((starts[-1], token_px, token_px, 3), dtype=np.uint8)
        for part, start, end in zip(parts, starts[:-1], starts[1:], strict=True):
            part.cut(pixels[start:end])
        positions = np.concatenate([part.positions(merge_size) for part in parts])
        rows = self._patches.patchify(to_device(pixels, device))
        patches = self._model.vision.run(rows, to_device(positions, device), attend=attend)
        features = self._patches.merge(patches)
        sent = np.concatenate(
            [part.sent + start for part, start in zip(parts, starts[:-1], strict=True)]
        )
        if len(sent) < len(features):
            features = features[to_device(sent, device)]
        return torch.split(self._model.projector(features), [len(part.sent) for part in parts])

    def _attend_cache(self, parts: Sequence[FramePart]) -> Attend:
        """Write a pass's rows to the cache, where they see all of their frames."""
        spans = [self._span(part) for part in parts]
        merge_size = self._patches.merge_size
        places = [
            span.start + part.patches(merge_size) for span, part in zip(spans, parts, strict=True)
        ]
        rows = self._rows(places)
        segments = self._cache.segments(
            {span: part.num_patches(merge_size) for span, part in zip(spans, parts, strict=True)}
        )
        backend = self._model.vision.backend
        overwritten = [
            place
            for place, part in zip(places, parts, strict=True)
            if self._streams[part.frame.stream_id].is_filled
        ]
        if overwritten:
            old = rows if len(overwritten) == len(places) else self._rows(overwritten)
            self._saved.append((old, self._cache.read(old)))

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self._cache.write(layer, rows, k, v)
            return attention(q, keys, values, segments=segments, backend=backend)

        return attend

    def _attend_selves(self, parts: Sequence[FramePart]) -> Attend:
        """Let the rows of each part see each other."""
        lengths = [part.num_patches(self._patches.merge_size) for part in parts]
        segments = Segments.of(lengths, device=self._model.device)
        backend = self._model.vision.backend

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ARG001
            return attention(q, k, v, segments=segments, backend=backend)

        return attend

    def _rows(self, places: Sequence[NDArray[np.int64]]) -> Tensor:
        return to_device(np.concatenate(places), self._model.device)

    def _span(self, part: FramePart) -> Span:
        span = self._streams[part.frame.stream_id].span
        if span is None:  # only `delta` has a cache, and it makes room first
            raise AssertionError(part.frame.stream_id)
        return span

    def _part(self, frame: PrunedFrame) -> FramePart:
        """Say what of a frame that need not be whole goes through."""
        match self.mode:
            case "full":
                return FramePart.kept_of_whole(frame)
            case "delta":
                return FramePart.changed(frame)
            case "isolated":
                return FramePart.kept(frame)

    def _is_new(self, frame: PrunedFrame) -> bool:
        """Tell whether a frame has nothing to stand on."""
        stream = self._streams.get(frame.stream_id)
        return frame.is_refresh or not stream or not stream.is_filled or stream.grid != frame.grid

    def _is_audited(self, stream_id: str) -> bool:
        """Tell whether a stream's newest frame is due; streams take turns."""
        period = self._audit_period
        count = self._streams[stream_id].num_partial + crc32(stream_id.encode())
        return period > 0 and count % period == 0

    def _make_room(self, frames: Sequence[PrunedFrame]) -> None:
        """Hold a stream for each frame, on its grid, with a span for its patches in `delta`."""
        grids = {stream_id: stream.grid for stream_id, stream in self._streams.items()}
        new = [frame for frame in frames if grids.get(frame.stream_id) != frame.grid]
        spans: Sequence[Span | None] = [None] * len(new)
        if self.mode == "delta" and new:
            per_token = self._patches.per_token
            spans = self._cache.add([frame.grid.num_tokens * per_token for frame in new])
        for frame, span in zip(new, spans, strict=True):
            self._streams[frame.stream_id] = _Stream(frame.grid, span, is_filled=False)

    def _sweep(self) -> None:
        """Free the spans that belong to no stream any more."""
        if self._depth:
            return  # a block that fails wants them back
        used = {stream.span for stream in self._streams.values()}
        for span in self._cache.spans:
            if span not in used:
                self._cache.remove(span)


def _turns(frames: Sequence[PrunedFrame]) -> list[list[int]]:
    """Deal the frames out, in order, so that no turn has two of one stream."""
    turns: list[list[int]] = []
    num_seen: dict[str, int] = {}
    for index, frame in enumerate(frames):
        turn = num_seen.get(frame.stream_id, 0)
        num_seen[frame.stream_id] = turn + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(index)
    return turns
