"""Frames from an RTSP camera."""

from collections.abc import Iterator
from functools import partial
from itertools import takewhile
from threading import Event
from typing import Literal

from pipeline.clock import Clock
from pipeline.errors import SourceError
from pipeline.observer import UNOBSERVED, Observer
from pipeline.sources.container import open_video
from pipeline.sources.decoder import GridOf, PictureReader
from pipeline.sources.hold_back import Damaged, HoldBack
from pipeline.types import Frame, Receipt, Tell, Wanted, tell_nobody

# One second is enough to see the codec, and the frame rate, which libav would watch for two seconds
# more, is not asked for.
PROBE = {"analyzeduration": "1000000", "fpsprobesize": "0"}
# Over TCP libav neither puts packets in order nor misses any, unless it may keep some for a while.
IN_ORDER = {"reorder_queue_size": "5"}

Transport = Literal["tcp", "udp"]


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
        tell: Tell = tell_nobody,
        damaged: Damaged = "hide",
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
            transport: RTP over TCP unless the network asks for UDP, which loses packets.
            sample_period_s: how often `wanted` takes a frame, which says if key frames are enough.
            observer: told of damaged pictures.
            tell: told of damage that lasts.
            damaged: whether damaged pictures are shown when there are no others.
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
        self._hold_back = HoldBack(
            camera_id,
            clock=clock,
            observer=observer,
            tell=partial(tell, camera_id),
            damaged=damaged,
        )
        self._closed = Event()

    def frames(self) -> Iterator[Frame]:
        """Connect and yield sampled frames; captured_at is their time of arrival.

        Raises:
            SourceError: with its reason; `ended` when the camera hangs up.
        """
        reader = PictureReader(
            self.camera_id,
            wanted=lambda pts_s: self._wanted(self.camera_id, pts_s),
            grid_of=self._grid_of,
            sample_period_s=self._sample_period_s,
            hold_back=self._hold_back,
        )
        try:
            yield from self._frames(reader)
        except SourceError:
            if not self._closed.is_set():
                raise

    def settle(self, receipt: Receipt) -> None:
        """Do nothing: a camera's frames carry no receipts."""

    def close(self) -> None:
        """End `frames`. Any thread, any time."""
        self._closed.set()

    def _frames(self, reader: PictureReader) -> Iterator[Frame]:
        if self._closed.is_set():
            return
        in_order = IN_ORDER if self._transport == "tcp" else {}
        with open_video(
            self._url,
            options={"rtsp_transport": self._transport, **PROBE, **in_order},
            open_timeout_s=self._open_timeout_s,
            read_timeout_s=self._read_timeout_s,
            clock=self._clock,
        ) as video:
            live = takewhile(lambda _: not self._closed.is_set(), video.packets())
            for picture in reader.pictures(live, context=video.codec_context):
                yield Frame(
                    self.camera_id,
                    picture.pixels,
                    picture.grid,
                    picture.pts_s,
                    picture.arrived_at,
                    is_damaged=picture.is_damaged,
                    is_coded_anew=picture.is_coded_anew,
                )
        raise SourceError("ended", "the camera closed the stream")
