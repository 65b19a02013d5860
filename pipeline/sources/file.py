"""Frames from a video file, as if it were a camera or as fast as they can be had."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event

from pipeline.clock import Clock
from pipeline.errors import SourceError
from pipeline.observer import UNOBSERVED, Observer
from pipeline.sources.container import Arrival, Video, open_video
from pipeline.sources.decoder import PictureReader
from pipeline.sources.decoding_device import DecodingDevice
from pipeline.sources.hold_back import Damaged, HoldBack
from pipeline.sources.scaler import GridOf
from pipeline.sources.shape import AS_TOLD, Shape
from pipeline.types import Frame, Receipt, Tell, Wanted, tell_nobody

# A play list inside a "video" file must not make the worker fetch things from the network.
LOCAL_FILES_ONLY = {"protocol_whitelist": "file"}
TIMEOUT_S = 30.0  # a network share that hangs
ALIVE_S = 1.0  # while it waits for the next packet's moment it says so often that it does not hang


class FileSource:
    """A file played once or for ever; a `FrameSource`.

    Stream time is 0 where the file starts, as players count: the first picture is later where
    another track begins before the video. It goes on over the rounds of a loop. captured_at is the
    wall-clock time at which play started plus the stream time, so that it is no later than now when
    `live` and may lie in the future when not.
    """

    def __init__(  # noqa: PLR0913 - each is a separate fact about the file and how it is played
        self,
        camera_id: str,
        path: Path,
        *,
        wanted: Wanted,
        grid_of: GridOf,
        clock: Clock,
        live: bool,
        loop: bool,
        sample_period_s: float = 1.0,
        observer: Observer = UNOBSERVED,
        tell: Tell = tell_nobody,
        shape: Shape = AS_TOLD,
        damaged: Damaged = "hide",
        device: DecodingDevice | None = None,
    ) -> None:
        """Note which file; nothing is opened before `frames`.

        Args:
            camera_id: lower-case slug.
            path: a file in any container and codec libav reads.
            wanted: the sampler; asked before a picture is scaled.
            grid_of: the token grid for a picture's (height_px, width_px).
            clock: for the start of play and, when live, for its pace.
            live: play at the pace of the stream, else as fast as frames are taken.
            loop: start again at the end, else raise `ended` there.
            sample_period_s: how often `wanted` takes a frame, which says if key frames are enough.
            observer: told of damaged pictures.
            tell: told of damage that lasts, and, while a hole in a live file is waited out, that
                nothing is wrong.
            shape: what the video does not say of its pictures.
            damaged: whether damaged pictures are shown when there are no others.
            device: decodes where it can; None: the processor does.
        """
        self.camera_id = camera_id
        self._path = path
        self._wanted = wanted
        self._grid_of = grid_of
        self._clock = clock
        self._live = live
        self._loop = loop
        self._sample_period_s = sample_period_s
        self._tell = tell
        self._shape = shape
        self._hold_back = HoldBack(
            camera_id,
            clock=clock,
            observer=observer,
            tell=partial(tell, camera_id),
            damaged=damaged,
        )
        self._device = device
        self._closed = Event()
        self._offset_s = 0.0  # from the file's own time to stream time

    def frames(self) -> Iterator[Frame]:
        """Play the file and yield sampled frames.

        Raises:
            SourceError: `not_found`, `ended` at the end of a file that is not looped, or what is
                wrong with it.
        """
        reader = PictureReader(
            self.camera_id,
            wanted=lambda pts_s: self._wanted(self.camera_id, self._stream_s(pts_s)),
            grid_of=self._grid_of,
            sample_period_s=self._sample_period_s,
            shape=self._shape,
            hold_back=self._hold_back,
            device=self._device,
        )
        started_s, started_at = self._clock.monotonic_s(), self._clock.now()
        round_s = 0.0
        while not self._closed.is_set():
            with self.open() as video:
                arrivals = self._paced(video, round_s=round_s, started_s=started_s)
                for picture in reader.pictures(
                    arrivals, context=video.codec_context, aspect=video.aspect
                ):
                    pts_s = self._stream_s(picture.pts_s)
                    captured_at = started_at + timedelta(seconds=pts_s)
                    yield Frame(
                        self.camera_id,
                        picture.pixels,
                        picture.grid,
                        pts_s,
                        captured_at,
                        video=picture.video,
                        is_damaged=picture.is_damaged,
                        is_coded_anew=picture.is_coded_anew,
                    )
                if self._closed.is_set():
                    return
                if video.end_s is None:
                    raise SourceError("corrupt", "the file holds no packets")
                round_s = self._stream_s(video.end_s)
            if not self._loop:
                raise SourceError("ended", "the file is over")

    def open(self) -> Video:
        """Open the file, as `frames` does first.

        Raises:
            SourceError: `not_found`, or what is wrong with it.
        """
        if not self._path.is_file():
            raise SourceError("not_found", f"expected a video file, got {self._path}")
        return open_video(
            str(self._path.absolute()),
            options=LOCAL_FILES_ONLY,
            open_timeout_s=TIMEOUT_S,
            read_timeout_s=TIMEOUT_S,
            clock=self._clock,
        )

    def settle(self, receipt: Receipt) -> None:
        """Do nothing: a file's frames carry no receipts."""

    def close(self) -> None:
        """End `frames`. Any thread, any time."""
        self._closed.set()

    def _stream_s(self, file_s: float) -> float:
        return file_s + self._offset_s

    def _paced(self, video: Video, *, round_s: float, started_s: float) -> Iterator[Arrival]:
        """Yield a round's packets, each at its moment when live, until closed."""
        for num_before, arrival in enumerate(video.packets()):
            if num_before == 0:
                first_s = arrival.pts_s
                if video.start_s is not None and not round_s:  # a loop goes on without a gap
                    first_s = min(first_s, video.start_s)
                self._offset_s = round_s - first_s
            due_s = started_s + self._stream_s(arrival.pts_s)
            if not self._is_time(due_s):
                return
            yield arrival

    def _is_time(self, due_s: float) -> bool:
        """Wait for a packet's moment when live; False where the file is closed before."""
        while not self._closed.is_set():
            pause_s = due_s - self._clock.monotonic_s() if self._live else 0.0
            if pause_s <= 0:
                return True
            self._tell(self.camera_id, "stalled", None)
            self._clock.wait(min(pause_s, ALIVE_S), self._closed)
        return False
