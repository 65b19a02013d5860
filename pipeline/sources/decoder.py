"""Packets into pictures with PyAV: as few packets decoded and as few pictures scaled as will do."""

from __future__ import annotations  # PyAV's Packet is generic in its stub alone

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction

import av
import av.error
import numpy as np
from av.codec.context import Flags
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from model.types import PatchGrid
from pipeline.errors import SourceError
from pipeline.sources.container import Arrival, seconds
from pipeline.sources.decoding_device import DecodingDevice, DecodingFailedError
from pipeline.sources.hold_back import HoldBack
from pipeline.sources.keyframes import Decode, KeyframePolicy, begins_anew
from pipeline.sources.libav_log import Line, listening, tells_of_damage, tells_of_device
from pipeline.sources.pace import Pace
from pipeline.sources.scaler import GridOf, Scaler
from pipeline.sources.shape import AS_TOLD, Shape
from pipeline.types import Video

MAX_FRUITLESS_PACKETS = 150  # decoded in a row without one sound picture: six seconds at 25 fps
MAX_PACKETS_TO_KEY = 3000  # two minutes at 25 fps: the longest key-frame intervals are ten seconds
LATE_S = 2.0  # what is later than this is decoded by its key frames alone,
IN_TIME_S = 0.5  # until a key frame is no later than this


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded and scaled picture.

    Attributes:
        pixels: (grid.height_px, grid.width_px, 3) uint8 RGB, C-contiguous.
        grid: its token grid.
        pts_s: stream time in seconds.
        captured_at: when it was captured as far as is known, else received; aware UTC.
        video: what is known of the video.
        is_damaged: whether it shows what the camera did not see.
        is_coded_anew: whether a key frame came since the last picture.
    """

    pixels: NDArray[np.uint8]
    grid: PatchGrid
    pts_s: float
    captured_at: datetime
    video: Video
    is_damaged: bool = False
    is_coded_anew: bool = True


class PictureReader:
    """Decodes what the sampler wants of a video, and no more than that takes.

    Lives as long as its camera's connection or, for a file, over all its rounds.

    Attributes:
        policy: whether key frames alone are decoded.
    """

    def __init__(
        self,
        camera_id: str,
        *,
        wanted: Callable[[float], bool],
        grid_of: GridOf,
        sample_period_s: float,
        hold_back: HoldBack | None = None,
        shape: Shape = AS_TOLD,
        device: DecodingDevice | None = None,
    ) -> None:
        """Bind the reader to its sampler.

        Args:
            camera_id: whose video it is.
            wanted: asked once for each picture that could be had, with its stream time in seconds,
                before it is scaled, and before it is decoded where it can be decoded alone.
            grid_of: the grid for a picture's size; asked again when the size changes.
            sample_period_s: how often `wanted` will take a picture, for the key-frame policy.
            hold_back: of damaged pictures.
            shape: what the video does not say of its pictures.
            device: decodes where it can; None: the processor decodes everything.
        """
        self._camera_id = camera_id
        self._device = device
        self._lent: VideoCodecContext | None = None  # by the device
        self.policy = KeyframePolicy(sample_period_s)
        self._hold_back = hold_back or HoldBack(camera_id)
        self._wanted = wanted
        self._scaler = Scaler(grid_of, shape)
        self._aspect: Fraction | None = None
        self._backlog: list[Arrival] = []
        self._pace = Pace()
        self._is_late = False
        self._is_alone = False  # whether the decoder has nothing in it, as before a key frame alone
        self._key_s: float | None = None  # of a key frame that no picture since was given
        self._is_owed = False  # whether a picture was wanted that could not be had
        self._num_fruitless = 0

    def pictures(
        self,
        arrivals: Iterable[Arrival],
        *,
        context: VideoCodecContext,
        aspect: Fraction | None = None,
    ) -> Iterator[Picture]:
        """Yield the wanted pictures from the first key frame until the packets end.

        Args:
            arrivals: a video's packets, in the order they come.
            context: that video's decoder, for where the device lends none, or fails.
            aspect: width over height of one sample, where the container tells it; None: the codec.

        Raises:
            SourceError: `codec_unsupported`, `corrupt` when nothing can be decoded any more, and
                what iterating over `arrivals` raises.
        """
        self._backlog.clear()
        self._aspect = aspect
        last: Arrival | None = None
        self._lent = self._device.lend(self._camera_id, context) if self._device else None
        try:
            for last in arrivals:
                try:
                    yield from self._feed(self._lent or context, last)
                    if self.policy.keys_only and self._is_alone:  # cheap: the device is for others
                        self._give_back()
                    continue
                except DecodingFailedError as error:
                    self._device_failed(error)
                yield from self._in_order(context, last)
            if last is not None and not self.policy.keys_only:
                decoder = self._lent or context
                frames, _is_sound = self._decode(decoder, None)
                yield from self._wanted_of(decoder, last, frames)
        except DecodingFailedError as error:  # with the last pictures
            self._device_failed(error)
        finally:
            self._give_back()

    def _device_failed(self, error: DecodingFailedError) -> None:
        """Go on with the processor, which has seen nothing so far: from the next key frame on."""
        if self._device is not None:
            self._device.failed(self._camera_id, str(error))
        self._give_back()
        self._backlog.clear()
        self._hold_back.broke("concealed")

    def _give_back(self) -> None:
        if self._device is not None and self._lent is not None:
            self._device.give_back(self._camera_id)
        self._lent = None

    def _feed(self, context: VideoCodecContext, arrival: Arrival) -> Iterator[Picture]:
        is_key = arrival.packet.is_keyframe
        self._pace.packet(arrival.pts_s, is_key=is_key)
        if self._hurries(context, arrival):
            return
        decode = Decode.ALONE if self._is_late else self.policy.packet(arrival.pts_s, is_key=is_key)
        if is_key:
            self._backlog.clear()
            self._key_s = arrival.pts_s
        if self.policy.keys_only or decode is Decode.CATCH_UP:
            self._backlog.append(arrival)
        if decode is Decode.ALONE:
            yield from self._key_alone(context, arrival)
        elif decode is Decode.CATCH_UP:
            yield from self._catch_up(context)
        elif decode is Decode.IN_ORDER:
            yield from self._in_order(context, arrival)
        elif not self.policy.keys_only:
            self._count_fruitless(MAX_PACKETS_TO_KEY, "without a key frame")

    def _hurries(self, context: VideoCodecContext, arrival: Arrival) -> bool:
        """Say whether a packet is passed over: what comes is late, and this is no key frame."""
        is_key = arrival.packet.is_keyframe
        if arrival.lag_s > LATE_S and not self._is_late:
            context.flush_buffers()  # what is passed over is what the next would be made from
            self._backlog.clear()
            self._is_late = self._is_alone = True
        elif is_key and arrival.lag_s < IN_TIME_S:
            self._is_late = False
        return self._is_late and not is_key

    def _key_alone(self, context: VideoCodecContext, arrival: Arrival) -> Iterator[Picture]:
        if arrival.is_suspect:
            self._hold_back.broke("lost")
            self._hold(arrival)
            return
        is_wanted = self._wanted(arrival.pts_s)
        if self._is_alone and not is_wanted:
            return
        self._is_owed |= is_wanted
        is_enough, picture = self._key_picture(context, arrival, is_wanted=is_wanted)
        if is_enough is None:
            self._hold_back.broke("concealed")
            self._hold(arrival)
        elif picture is not None:
            yield picture
        elif not is_enough:
            self.policy.refuse()
            yield from (
                self._catch_up(context) if self._is_alone else self._in_order(context, arrival)
            )

    def _key_picture(
        self, context: VideoCodecContext, arrival: Arrival, *, is_wanted: bool
    ) -> tuple[bool | None, Picture | None]:
        """Return whether a key frame is decoded alone, None if it is damaged; and its picture."""
        # The first one may be that of a gradual refresh. It is tried on another decoder: pictures
        # after it are made from many before it, and the one that has them would lose them.
        is_anew = self._is_alone or begins_anew(context.name, bytes(arrival.packet))
        if is_anew and not self._is_alone:
            context.flush_buffers()
        decoder = context if is_anew else _fresh(context)
        frames, is_sound = self._decode(decoder, arrival.packet)
        # Drained at once: a decoder that reorders would hold the picture until the next key frame.
        drained, is_sound_to_the_end = self._decode(decoder, None)
        decoder.flush_buffers()
        frames += drained
        if not (is_sound and is_sound_to_the_end):
            return (None if self._is_alone else False), None  # the one that is whole will tell
        if not frames:
            return False, None
        if not self._is_alone:
            context.flush_buffers()
            self._is_alone = True
        self._hold_back.begins_anew()
        self._hold_back.clean()
        self._num_fruitless = 0
        return True, self._picture(context, frames[-1], arrival) if is_wanted else None

    def _catch_up(self, context: VideoCodecContext) -> Iterator[Picture]:
        context.flush_buffers()
        for kept in self._backlog:
            yield from self._in_order(context, kept)
        self._backlog.clear()

    def _in_order(self, context: VideoCodecContext, arrival: Arrival) -> Iterator[Picture]:
        hold_back, self._is_alone = self._hold_back, False
        if arrival.packet.is_keyframe and hold_back.cause is not None:
            context.flush_buffers()
            context.flags &= ~Flags.output_corrupt
            hold_back.begins_anew()
        if arrival.is_suspect:
            hold_back.broke("lost")
        if hold_back.cause is not None and not hold_back.goes_on:
            self._hold(arrival)
            return
        if hold_back.cause is not None:
            context.flags |= Flags.output_corrupt  # else nothing comes but what is whole
        frames, is_sound = self._decode(context, arrival.packet)
        if not is_sound and hold_back.cause is None:  # after a loss it is the loss that shows
            hold_back.broke("concealed")
        if hold_back.cause is not None and not hold_back.shows:
            self._hold(arrival)
            return
        if not frames and hold_back.cause is None:
            hold_back.look()
            self._count_fruitless(MAX_FRUITLESS_PACKETS, "in a row that gave no picture")
        yield from self._wanted_of(context, arrival, frames)

    def _hold(self, arrival: Arrival) -> None:
        self._hold_back.held()
        if self._hold_back.is_hopeless:
            raise SourceError("corrupt", "nothing could be decoded without errors for minutes")
        if arrival.packet.is_keyframe:
            self._num_fruitless = 0
        self._count_fruitless(MAX_PACKETS_TO_KEY, "without a key frame")

    def _wanted_of(
        self, context: VideoCodecContext, arrival: Arrival, frames: list[VideoFrame]
    ) -> Iterator[Picture]:
        """Yield those of `frames` that are wanted."""
        for frame in frames:
            # By the packets' time base: a drained frame's own is not set, and its time is NaN.
            ticks = frame.pts
            pts_s = arrival.pts_s if ticks is None else seconds(ticks, arrival.time_base)
            if self._hold_back.cause is not None:
                self._hold_back.look()
            else:
                self._num_fruitless = 0
                self._hold_back.clean()
            if self._wanted(pts_s) or self._is_owed:
                captured_at = arrival.captured_at - timedelta(seconds=arrival.pts_s - pts_s)
                its_own = replace(arrival, pts_s=pts_s, captured_at=captured_at)
                yield self._picture(context, frame, its_own)

    def _picture(self, context: VideoCodecContext, frame: VideoFrame, arrival: Arrival) -> Picture:
        aspect = self._aspect or context.sample_aspect_ratio
        try:
            pixels, grid = self._scaler.scaled(frame, aspect=aspect)
        except av.FFmpegError as exc:
            if context is not self._lent:
                raise
            self._is_owed = True
            raise DecodingFailedError(f"bringing a picture here: {_words(exc)}") from None
        is_anew = self._key_s is not None and arrival.pts_s >= self._key_s
        self._key_s = None if is_anew else self._key_s
        self._is_owed = False
        return Picture(
            pixels,
            grid,
            arrival.pts_s,
            arrival.captured_at,
            Video(
                context.name,
                context.width,
                context.height,
                fps=self._pace.fps,
                keyframe_every_s=self._pace.keyframe_every_s,
            ),
            is_damaged=self._hold_back.cause is not None,
            is_coded_anew=is_anew,
        )

    def _decode(
        self, context: VideoCodecContext, packet: Packet[Stream] | None
    ) -> tuple[list[VideoFrame], bool]:
        """Return the pictures that come out, and whether all went well meanwhile."""
        frames: list[VideoFrame] = []
        failure: av.FFmpegError | None = None
        with listening() as said:
            try:
                frames = context.decode(packet)
            except av.FFmpegError as exc:
                failure = exc
        if context is self._lent:
            _check_device(failure, said)
        if isinstance(failure, av.error.DecoderNotFoundError | av.error.PatchWelcomeError):
            raise SourceError("codec_unsupported", _words(failure))
        is_marked = any(frame.is_corrupt for frame in frames)
        return frames, failure is None and not is_marked and not tells_of_damage(said)

    def _count_fruitless(self, limit: int, words: str) -> None:
        self._num_fruitless += 1
        if self._num_fruitless >= limit:
            raise SourceError("corrupt", f"{self._num_fruitless} packets {words}")


def _check_device(failure: av.FFmpegError | None, said: list[Line]) -> None:
    """Refuse to go on with a device that failed, by what it raised or what libav said of it."""
    is_of_video = failure is None or isinstance(failure, av.error.InvalidDataError)
    if not is_of_video or tells_of_device(said):
        words = _words(failure) if failure is not None else "it failed to decode a picture"
        raise DecodingFailedError(words)


def _words(failure: av.FFmpegError) -> str:
    return failure.strerror or type(failure).__name__


def _fresh(context: VideoCodecContext) -> VideoCodecContext:
    """Return another decoder of the same stream, with nothing in it."""
    fresh = av.CodecContext.create(context.codec, "r")
    if not isinstance(fresh, VideoCodecContext):
        raise SourceError("codec_unsupported", f"expected a video decoder, got {fresh.type}")
    fresh.extradata = context.extradata
    fresh.thread_count = 1
    return fresh
