"""Opening and reading video with PyAV: packets out, `SourceError`s for whatever goes wrong.

No driver exception is chained: the text of PyAV's holds the URL with its password.
"""

from __future__ import annotations  # PyAV's Packet is generic in its stub alone

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from pipeline.clock import Clock
from pipeline.errors import SourceError, SourceReason
from pipeline.redact import encode_credentials, redact, url_secrets
from pipeline.sources.libav_log import Line, listening, tells_of_loss
from pipeline.sources.stream_clock import Mend, StreamClock, told
from pipeline.sources.whole_pictures import Received, whole

RTP_CLOCK = Fraction(1, 90_000)
DEFAULT_FRAME_S = 1 / 25
WAITED_S = 0.02  # a packet that was waited for so long had not come with those before it
MAX_BURST = 250  # packets that came while the video was opened, at the most
GIVES_UP_WITHIN_S = 1.0  # libav, after its time-out
NUM_AROUND_LOSS = 2  # packets that may lack something: parts of one are with the parser

# Tracks that are there beside a video: covers, previews. Muxers do not always mark them.
_NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_COVER_CODECS = {"mjpeg", "png", "bmp", "gif", "webp", "tiff"}


def seconds(ticks: int, time_base: Fraction) -> float:
    """Return `float(ticks * time_base)`, at a tenth of its cost: it is asked of every packet."""
    return ticks * time_base.numerator / time_base.denominator


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet of the video stream.

    Attributes:
        packet: what was received; never empty.
        pts_s: its presentation time in the stream, in seconds; never NaN.
        time_base: seconds per tick of its own time stamps, and of the frames made of it.
        captured_at: wall-clock time of capture where a stream clock tells it, else of receipt;
            aware UTC.
        lag_s: how long it waited in buffers; 0 without a stream clock.
        is_suspect: whether parts of it may be missing, as packets were lost around it.
    """

    packet: Packet[Stream]
    pts_s: float
    time_base: Fraction
    captured_at: datetime
    lag_s: float = 0.0
    is_suspect: bool = False


class Video:
    """An opened stream. Used by one thread: libav's contexts are not shared, `close` included.

    Attributes:
        aspect: width over height of one sample where the container tells it, else None.
        start_s: stream time of the first packet of any track, or None.
        end_s: stream time at which the latest packet so far has been shown, or None; not told of a
            live stream.
    """

    def __init__(
        self,
        container: InputContainer,
        *,
        clock: Clock,
        read_timeout_s: float,
        stream_clock: StreamClock | None = None,
        is_lossy: bool = False,
    ) -> None:
        """Take over an opened container.

        Args:
            container: with what was read to learn of its streams.
            clock: for time-outs and times of arrival.
            read_timeout_s: longest silence between two video packets.
            stream_clock: judges the stamps of a live stream; None where they are believed.
            is_lossy: whether packets were missing in what was read.

        Raises:
            SourceError: it has no video, or video in a codec that is not known here.
        """
        self._container = container
        self._stream = _best_video(container)
        start_us: int | None = container.start_time  # PyAV's stub knows no none
        self.start_s = None if start_us is None else start_us / av.time_base
        for other in container.streams:
            if other is not self._stream:
                other.discard = Discard.all
        self._clock = clock
        self._read_timeout_s = read_timeout_s
        self._stream_clock = stream_clock
        # A stream of an unknown codec has no context, whatever its stub says.
        context: VideoCodecContext | None = self._stream.codec_context
        if context is None:
            raise SourceError("codec_unsupported", "no decoder is known for the video stream")
        # Threads hold frames back and cost memory; one core decodes 200 1080p frames a second.
        context.thread_count = 1
        self.codec_context: VideoCodecContext = context
        # libav answers with the codec's where the container tells none; that one may change.
        told = self._stream.sample_aspect_ratio
        self.aspect = None if told == context.sample_aspect_ratio else told
        self._num_suspect = MAX_BURST if is_lossy else 0
        # Of all its packets. Asked of each, these took half the time that reading takes.
        self._time_base = self._stream.time_base or RTP_CLOCK
        rate = self._stream.average_rate
        self._frame_s = float(1 / rate) if rate else DEFAULT_FRAME_S
        self.end_s: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _exc: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._container.close()

    @property
    def mended(self) -> Mapping[Mend, int]:
        """How often each kind of wrong time stamp was put right so far."""
        return self._stream_clock.mended if self._stream_clock else {}

    @property
    def clock_remark(self) -> str:
        """The same, for people; nothing where nothing was."""
        words = told(self.mended)
        return words and f"its time stamps are put right: {words}"

    def packets(self) -> Iterator[Arrival]:
        """Yield the video packets until the stream ends.

        Of a live stream those that came at once, while it was opened, are looked at together: the
        newest of them is as young as can be, and tells how old the others are.

        Raises:
            SourceError: `stalled` when none came within the read time-out, `ended` when the
                connection broke, `corrupt` when the container cannot be read on.
        """
        read = whole(self._read(), codec=self.codec_context.name)
        if self._stream_clock is not None:
            burst = []
            for one in read:
                burst.append(one)
                if one.waited_s >= WAITED_S or len(burst) == MAX_BURST:
                    break
            stamps_s = [self._stamp_s(one.packet) for one in burst]
            self._stream_clock.begin(stamps_s, now_s=self._clock.monotonic_s())
            for one in burst:
                yield self._arrival(replace(one, waited_s=0.0))
        for one in read:
            yield self._arrival(one)

    def _read(self) -> Iterator[Received]:
        """Yield the video packets."""
        demuxed = self._container.demux()
        limit_s = self._read_timeout_s
        # Spent waiting in here, not what the caller does between two packets; and what of it
        # counts as silence: libav gives up by itself, in time, unless this process was halted.
        waited_s = silent_s = 0.0
        while True:
            asked_s = self._clock.monotonic_s()
            with listening() as said:
                packet = self._next(demuxed)
            passed_s = self._clock.monotonic_s() - asked_s
            waited_s += passed_s
            silent_s += 0.0 if passed_s > limit_s + GIVES_UP_WITHIN_S else passed_s
            # By the clock, not the exception: after a time-out libav first hands out a left-over
            # packet, and audio goes on when the picture has stopped.
            if silent_s >= limit_s:
                raise SourceError("stalled", f"no video for {silent_s:.1f} s")
            if isinstance(packet, SourceError):
                raise packet
            if packet is None:
                return
            if packet.stream is self._stream and packet.size:
                if self.codec_context.name == "vp9":  # which nobody marks when it comes over RTP
                    packet.is_keyframe = packet.is_keyframe or _is_vp9_key(packet)
                is_suspect = self._lacks(packet, said, waited_s=waited_s)
                yield Received(packet, waited_s, is_suspect)
                waited_s = silent_s = 0.0

    def _lacks(self, packet: Packet[Stream], said: list[Line], *, waited_s: float) -> bool:
        """Say whether parts of a packet may be missing, by what was said while it was read."""
        if waited_s >= WAITED_S:  # what was read while opening is used up
            self._num_suspect = min(self._num_suspect, NUM_AROUND_LOSS)
        if packet.is_corrupt or tells_of_loss(said):
            self._num_suspect = max(self._num_suspect, NUM_AROUND_LOSS)
        is_suspect = self._num_suspect > 0
        self._num_suspect -= is_suspect
        return is_suspect

    def _next(self, demuxed: Iterator[Packet[Stream]]) -> Packet[Stream] | SourceError | None:
        try:
            return next(demuxed, None)
        except av.FFmpegError as exc:
            return SourceError(_read_reason(exc), exc.strerror or type(exc).__name__)

    def _stamp_s(self, packet: Packet[Stream]) -> float | None:
        ticks = packet.pts if packet.pts is not None else packet.dts
        return None if ticks is None else seconds(ticks, self._time_base)

    def _arrival(self, received: Received) -> Arrival:
        packet, is_suspect = received.packet, received.is_suspect
        stamp_s, time_base = self._stamp_s(packet), self._time_base
        if self._stream_clock is None:
            pts_s = self._by_stamp_s(stamp_s)
            return Arrival(packet, pts_s, time_base, self._clock.now(), is_suspect=is_suspect)
        now_s = self._clock.monotonic_s()
        moment = self._stream_clock.judge(stamp_s, now_s=now_s, waited_s=received.waited_s)
        # The pictures made of a packet have its time.
        packet.pts, packet.dts = round(moment.taken_s / time_base), None
        captured_at = self._clock.now() - timedelta(seconds=moment.lag_s)
        return Arrival(
            packet, moment.taken_s, time_base, captured_at, moment.lag_s, is_suspect=is_suspect
        )

    def _by_stamp_s(self, stamp_s: float | None) -> float:
        # Raw streams have no times.
        pts_s = stamp_s if stamp_s is not None else self.end_s or 0.0
        end_s = pts_s + self._frame_s
        self.end_s = end_s if self.end_s is None else max(self.end_s, end_s)
        return pts_s


@runtime_checkable
class VideoSource(Protocol):
    """A source that is one video, and can be looked at without being watched."""

    def open(self) -> Video:
        """Connect, as `frames` does first.

        Raises:
            SourceError: with the reason, and without the URL.
        """
        ...


def open_video(
    url: str,
    *,
    options: dict[str, str],
    open_timeout_s: float,
    read_timeout_s: float,
    clock: Clock,
    stream_clock: StreamClock | None = None,
) -> Video:
    """Open a stream or file.

    Args:
        url: with its credentials, percent-encoded or not; or a path.
        options: libav's, for the protocol and the demultiplexer. A remote stream's have its own
            time-out: PyAV's would end a stream that waits to be read after the process was halted.
        open_timeout_s: limit for connecting, and again for the first packets. Resolving a host's
            name is not covered: the system's resolver cannot be interrupted.
        read_timeout_s: longest silence between two video packets.
        clock: tells a time-out from other failures, which libav does not.
        stream_clock: judges the stamps of a live stream; None where they are believed.

    Raises:
        SourceError: with the reason, and without the URL.
    """
    started_s = clock.monotonic_s()
    try:
        with listening() as said:
            container = av.open(
                encode_credentials(url),
                mode="r",
                options=options,
                timeout=(open_timeout_s, None),
                metadata_errors="replace",  # a name or title may be in any encoding
            )
    except av.FFmpegError as exc:
        elapsed_s = clock.monotonic_s() - started_s
        is_late = elapsed_s >= 0.9 * open_timeout_s
        reason = _open_reason(exc, is_remote="://" in url, is_late=is_late)
        words = redact(exc.strerror or type(exc).__name__, *url_secrets(url))
        failure = SourceError(reason, f"{words}, after {elapsed_s:.1f} s")
    else:
        try:
            return Video(
                container,
                clock=clock,
                read_timeout_s=read_timeout_s,
                stream_clock=stream_clock,
                is_lossy=tells_of_loss(said),
            )
        except SourceError:
            container.close()
            raise
    raise failure  # out here, where the driver's exception is not chained to it


_OPEN_REASONS: tuple[tuple[type[av.FFmpegError], SourceReason], ...] = (
    (av.error.HTTPUnauthorizedError, "auth_failed"),
    (av.error.HTTPForbiddenError, "auth_failed"),
    (av.error.HTTPNotFoundError, "not_found"),
    (av.error.HTTPOtherClientError, "refused"),
    (av.error.HTTPServerError, "refused"),
    (av.error.FileNotFoundError, "not_found"),
    (av.error.DecoderNotFoundError, "codec_unsupported"),
    (av.error.ConnectionRefusedError, "unreachable"),
    (av.error.ExitError, "timeout"),
    (av.error.TimeoutError, "timeout"),
)


def _open_reason(exc: av.FFmpegError, *, is_remote: bool, is_late: bool) -> SourceReason:
    for kind, reason in _OPEN_REASONS:
        if isinstance(exc, kind):
            return reason
    if exc.errno == errno.EPROTONOSUPPORT:  # 461 to SETUP
        return "transport_refused"
    if is_remote:  # a peer that never answers surfaces as "invalid data", once the time is up
        return "timeout" if is_late else "unreachable"
    return "corrupt"


def _read_reason(exc: av.FFmpegError) -> SourceReason:
    if isinstance(exc, av.error.ExitError | av.error.TimeoutError):
        return "stalled"
    return "corrupt" if isinstance(exc, av.error.InvalidDataError) else "ended"


def _best_video(container: InputContainer) -> VideoStream:
    """Return the largest video track that is no cover or preview, whichever comes first."""
    videos = [s for s in container.streams.video if not s.disposition & _NO_VIDEO]
    if not videos:
        raise SourceError("no_video", f"expected a video stream, got {_kinds(container)}")
    return max(videos, key=_worth)


def _is_vp9_key(packet: Packet[Stream]) -> bool:
    """Read a VP9 frame's type from its header: marker, profile, "shown before", type (0: key)."""
    first = bytes(packet)[0]
    profile = first >> 5 & 1 | first >> 3 & 2
    return profile < 3 and not first & 0b1100  # profile 3 has one bit more


def _worth(stream: VideoStream) -> tuple[bool, int, bool]:
    # A stream of an unknown codec has no context, whatever its stub says.
    context: VideoCodecContext | None = stream.codec_context
    if context is None:
        return (False, 0, False)
    is_default = bool(stream.disposition & Disposition.default)
    return (context.name not in _COVER_CODECS, context.width * context.height, is_default)


def _kinds(container: InputContainer) -> str:
    return " and ".join(sorted({str(stream.type) for stream in container.streams})) or "nothing"
