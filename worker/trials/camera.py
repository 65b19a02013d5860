"""One camera: connected to as the worker does, and watched until it is known."""

from collections.abc import Iterator

from pipeline.clock import Clock
from pipeline.errors import SourceError
from pipeline.sources.container import Arrival, Video, VideoSource
from pipeline.sources.decoder import Picture, PictureReader
from pipeline.sources.keyframes import KeyframePolicy
from pipeline.sources.scaler import GridOf
from pipeline.types import tell_nobody
from worker.parts import Feed
from worker.trials.found import Found, source_failed

WATCH_S = 12.0  # cameras send a key frame every ten seconds or oftener
NUM_KEYS = 3  # two intervals


def try_camera(feed: Feed, *, grid_of: GridOf, period_s: float, clock: Clock) -> Found:
    """Connect to a camera or open a file, decode one picture, and measure its key frames.

    Args:
        feed: of this camera alone.
        grid_of: the token grid for a picture's (height_px, width_px).
        period_s: time between two pictures that are taken.
        clock: bounds how long it is watched.
    """
    subject = f"camera {feed.name}"
    source = feed.build(lambda _camera_id, _pts_s: True, tell_nobody)
    if not isinstance(source, VideoSource):
        raise TypeError(f"expected a source of one video, got {type(source).__name__}")
    reader = PictureReader(
        feed.name, wanted=lambda _: True, grid_of=grid_of, sample_period_s=period_s
    )
    try:
        with source.open() as video:
            return Found(subject, _watch(video, reader, period_s=period_s, clock=clock))
    except SourceError as error:
        return source_failed(subject, error)
    finally:
        source.close()


def _watch(video: Video, reader: PictureReader, *, period_s: float, clock: Clock) -> str:
    packets = _Packets(video, clock=clock)
    arrivals = packets.arrivals()
    # The first picture alone is decoded: a hundred cameras may be tried at once.
    picture = next(
        reader.pictures(arrivals, context=video.codec_context, aspect=video.aspect), None
    )
    if picture is None:
        raise SourceError("corrupt", "no picture could be decoded")
    for _ in arrivals:
        pass
    return _told(video, picture, packets, period_s=period_s)


class _Packets:
    """Passes a video's packets on, and remembers when they and the key frames were shown."""

    def __init__(self, video: Video, *, clock: Clock) -> None:
        self._video = video
        self._clock = clock
        self._shown_s: list[float] = []
        self._keys_s: list[float] = []

    @property
    def fps(self) -> float | None:
        if len(self._shown_s) < 2:
            return None
        span_s = max(self._shown_s) - min(self._shown_s)
        return (len(self._shown_s) - 1) / span_s if span_s > 0 else None

    @property
    def longest_key_interval_s(self) -> float | None:
        """The longest time between two key frames; None where fewer than two came."""
        pairs = zip(self._keys_s, self._keys_s[1:], strict=False)
        return max((after - before for before, after in pairs), default=None)

    @property
    def watched_s(self) -> float:
        return max(self._shown_s, default=0.0) - min(self._shown_s, default=0.0)

    def arrivals(self) -> Iterator[Arrival]:
        until_s = self._clock.monotonic_s() + WATCH_S
        for arrival in self._video.packets():
            self._shown_s.append(arrival.pts_s)
            if arrival.packet.is_keyframe:
                self._keys_s.append(arrival.pts_s)
            yield arrival
            if len(self._keys_s) >= NUM_KEYS or self._clock.monotonic_s() > until_s:
                return


def _told(video: Video, picture: Picture, packets: _Packets, *, period_s: float) -> str:
    context, grid = video.codec_context, picture.grid
    fps, every_s = packets.fps, packets.longest_key_interval_s
    if every_s is None:
        keys = f"one key frame in {packets.watched_s:.0f} s"
    else:
        keys = f"a key frame every {every_s:.1f} s"
    is_enough = every_s is not None and every_s <= period_s * (1 + KeyframePolicy.TOLERANCE_RATIO)
    decoded = (
        "key frames alone are decoded"
        if is_enough
        else f"every frame is decoded, since key frames come more rarely than every {period_s:g} s"
    )
    return (
        f"{context.name} {context.width}x{context.height}"
        f"{f', {fps:.0f} fps' if fps else ''}, {keys}; grid {grid.cols}x{grid.rows}, "
        f"{grid.num_tokens} tokens in a whole picture; {decoded}"
    )
