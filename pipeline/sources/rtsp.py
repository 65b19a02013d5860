"""Frames from an RTSP camera."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import takewhile
from math import inf
from threading import Event
from typing import Literal

import structlog

from pipeline.clock import Clock
from pipeline.errors import SourceError
from pipeline.metrics import STAMPS_MENDED
from pipeline.observer import UNOBSERVED, Observer
from pipeline.sources.camera_health import LOOK_S, Bounds, CameraHealth
from pipeline.sources.container import Arrival, Video, open_video
from pipeline.sources.decoder import IN_TIME_S, LATE_S, PictureReader
from pipeline.sources.decoding_device import DecodingDevice
from pipeline.sources.hold_back import Damaged, HoldBack
from pipeline.sources.rtsp_refusal import VERIFIED, Tls, no_such_host, refusal
from pipeline.sources.scaler import GridOf
from pipeline.sources.shape import AS_TOLD, Shape
from pipeline.sources.stream_clock import MENDS, Mend, StreamClock
from pipeline.types import Frame, Receipt, Tell, Wanted, tell_nobody

log = structlog.get_logger("vigil")

# Decoding that is too slow falls behind, catches up by key frames, and falls behind again.
OF_A_CAMERA = Bounds(lagging_s=LATE_S, in_time_s=IN_TIME_S, for_s=5.0)
# One second is enough to see the codec, and the frame rate, which libav would watch for two seconds
# more, is not asked for.
PROBE = {"analyzeduration": "1000000", "fpsprobesize": "0"}
# Sound and metadata are not asked for. Several video tracks are: libav has no way to leave one out.
VIDEO_ONLY = {"allowed_media_types": "video"}
# Over TCP libav neither puts packets in order nor misses any, unless it may keep some for a while.
IN_ORDER = {"reorder_queue_size": "5"}

Received = Callable[[Arrival, Video], None]
Transport = Literal["tcp", "udp"]
_TRANSPORTS = {
    # Over UDP where the camera refuses TCP (461), as VLC's own server does.
    "tcp": {"rtsp_transport": "tcp+udp", "rtsp_flags": "prefer_tcp"},
    "udp": {"rtsp_transport": "udp"},
}


class RtspSource:
    """One connection to a camera; a `FrameSource`.

    `close` lets go of the camera within one packet, or at worst within the read time-out.
    """

    def __init__(  # noqa: PLR0913 - each is a separate fact about the camera
        self,
        camera_id: str,
        url: str,
        *,
        wanted: Wanted,
        grid_of: GridOf,
        clock: Clock,
        open_timeout_s: float,
        read_timeout_s: float,
        transport: Transport = "tcp",
        sample_period_s: float = 1.0,
        observer: Observer = UNOBSERVED,
        shape: Shape = AS_TOLD,
        tls: Tls = VERIFIED,
        tell: Tell = tell_nobody,
        damaged: Damaged = "hide",
        device: DecodingDevice | None = None,
        received: Received | None = None,
    ) -> None:
        """Note where the camera is; nothing is opened before `frames`.

        Args:
            camera_id: lower-case slug.
            url: rtsp:// or rtsps://, with credentials if it needs any.
            wanted: the sampler; asked before a picture is scaled.
            grid_of: the token grid for a picture's (height_px, width_px).
            clock: for time-outs and `captured_at`.
            open_timeout_s: limit for connecting, and again for the first packets.
            read_timeout_s: longest silence between two video packets.
            transport: RTP over TCP unless the network asks for UDP, which loses packets; a camera
                that refuses TCP is asked for UDP.
            sample_period_s: how often `wanted` takes a frame, which says if key frames are enough.
            observer: told of damaged pictures, of lag, and of time stamps that are put right.
            shape: what the video does not say of its pictures.
            tls: how the certificate of an rtsps:// camera is judged.
            tell: told of damage that lasts, of lag, and, while packets come, that nothing hangs.
            damaged: whether damaged pictures are shown when there are no others.
            device: decodes where it can; None: the processor does.
            received: given every packet before it is decoded, and the video it is of.
        """
        self.camera_id = camera_id
        self._url = url
        self._wanted = wanted
        self._grid_of = grid_of
        self._clock = clock
        self._open_timeout_s = open_timeout_s
        self._read_timeout_s = read_timeout_s
        self._transport = transport
        self._sample_period_s = sample_period_s
        self._shape = shape
        self._tls = tls
        self._tell = tell
        self._hold_back = HoldBack(
            camera_id,
            clock=clock,
            observer=observer,
            tell=partial(tell, camera_id),
            damaged=damaged,
        )
        self._health = CameraHealth(
            None, tell=tell, clock=clock, observer=observer, bounds=OF_A_CAMERA
        )
        self._observer = observer
        self._received = received
        for kind in MENDS:
            observer.count(STAMPS_MENDED, 0, camera=camera_id, kind=kind)
        self._device = device
        self._closed = Event()
        self._taken_s = -inf  # stream time of the last picture
        self._lag_s = 0.0  # the longest since then

    def frames(self) -> Iterator[Frame]:
        """Connect and yield sampled frames, whose stream time is that of the monotonic clock.

        Raises:
            SourceError: with its reason; `ended` when the camera hangs up.
        """
        reader = PictureReader(
            self.camera_id,
            wanted=self._is_wanted,
            grid_of=self._grid_of,
            sample_period_s=self._sample_period_s,
            shape=self._shape,
            hold_back=self._hold_back,
            device=self._device,
        )
        try:
            yield from self._frames(reader)
        except SourceError:
            if not self._closed.is_set():
                raise

    def open(self) -> Video:
        """Connect, as `frames` does first.

        Raises:
            SourceError: with its reason.
        """
        is_secure = self._url.startswith("rtsps:")
        in_order = IN_ORDER if self._transport == "tcp" else {}
        silence = {"timeout": str(round(self._read_timeout_s * 1e6))}
        options = PROBE | _TRANSPORTS[self._transport] | in_order | silence
        if is_secure:  # and no fall-back to UDP, which would carry the pictures in the clear
            options |= {"rtsp_transport": self._transport} | self._tls.options()
        try:
            return self._tried(options | VIDEO_ONLY)
        except SourceError as error:
            failure = error
        if failure.reason == "refused":  # as of a camera without a picture, which then says so
            return self._tried(options)
        if failure.reason == "auth_failed" or (is_secure and failure.reason == "unreachable"):
            failure = refusal(self._url, tls=self._tls, timeout_s=self._open_timeout_s) or failure
        if failure.reason in ("unreachable", "timeout"):
            failure = no_such_host(self._url, timeout_s=self._open_timeout_s) or failure
        raise failure  # out here, where nothing is chained to it

    def settle(self, receipt: Receipt) -> None:
        """Do nothing: a camera's frames carry no receipts."""

    def close(self) -> None:
        """End `frames`. Any thread, any time."""
        self._closed.set()

    def _is_wanted(self, pts_s: float) -> bool:
        # Where stamps jitter, a picture may seem older than the one before it.
        is_wanted = pts_s > self._taken_s and self._wanted(self.camera_id, pts_s)
        self._taken_s = pts_s if is_wanted else self._taken_s
        return is_wanted

    def _frames(self, reader: PictureReader) -> Iterator[Frame]:
        if self._closed.is_set():
            return
        with self.open() as video:
            live = self._watched(video)
            for picture in reader.pictures(live, context=video.codec_context, aspect=video.aspect):
                lag_s, self._lag_s = self._lag_s, 0.0
                yield Frame(
                    self.camera_id,
                    picture.pixels,
                    picture.grid,
                    picture.pts_s,
                    picture.captured_at,
                    video=replace(picture.video, remark=video.clock_remark),
                    is_damaged=picture.is_damaged,
                    is_coded_anew=picture.is_coded_anew,
                    lag_s=lag_s,
                )
        raise SourceError("ended", "the camera closed the stream")

    def _watched(self, video: Video) -> Iterator[Arrival]:
        """Yield the packets until closed; say now and then how late they are, and how stamped."""
        mended: Counter[Mend] = Counter()
        looked_s = -inf
        for arrival in takewhile(lambda _: not self._closed.is_set(), video.packets()):
            now_s = arrival.pts_s + arrival.lag_s
            self._lag_s = max(self._lag_s, arrival.lag_s)
            if now_s - looked_s >= LOOK_S:
                looked_s = now_s
                self._tell(self.camera_id, "stalled", None)  # none may be wanted for long
                self._health.lags(self.camera_id, arrival.lag_s)
                self._mended(video, before=mended)
            if self._received is not None:
                self._received(arrival, video)
            yield arrival

    def _mended(self, video: Video, *, before: Counter[Mend]) -> None:
        """Count what was mended since `before`, which is brought up to date; log what is new."""
        for kind, number in (Counter(video.mended) - before).items():
            self._observer.count(STAMPS_MENDED, number, camera=self.camera_id, kind=kind)
            if not before[kind]:
                detail = video.clock_remark
                log.warning("camera_clock_mended", camera=self.camera_id, kind=kind, detail=detail)
            before[kind] += number

    def _tried(self, options: dict[str, str]) -> Video:
        return open_video(
            self._url,
            options=options,
            open_timeout_s=self._open_timeout_s,
            read_timeout_s=self._read_timeout_s,
            clock=self._clock,
            stream_clock=StreamClock(),
        )
