"""Decoding on NVDEC, the decoder on NVIDIA's GPUs, through libav: where there is one that is right.

A decoded picture stays on the GPU. The scaler, which is given those alone that are sampled, brings
them here. Parsing, references and what is said of missing ones are libav's own, as on a processor;
errors within a picture of which no packet is missing are covered up and not told of.

libav makes a CUDA context for every decoder, of some 400 MB, unless it is told to take the one that
is current in the thread. That is PyTorch's here, the primary one. libav's own way to share it
(`primary_ctx`) refuses where PyTorch has been at work first, as it wants other flags.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from threading import Lock

import av
import av.error
import numpy as np
import structlog
from av.codec.hwaccel import HWAccel
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from model.types import PatchGrid
from pipeline.metrics import GPU_DECODING_FAILURES
from pipeline.observer import UNOBSERVED, Observer
from pipeline.sources.encoder import as_coded
from pipeline.sources.libav_log import listening
from pipeline.sources.scaler import Scaler

log = structlog.get_logger("vigil")

ENCODERS = {"h264": "libx264", "hevc": "libx265"}
"""What is decoded here, by libav's name, and what makes the pictures that it is tried with."""
TRIED_PX, TRIED_PICTURES = 256, 8
MOST_OFF_LEVELS = 2.0  # of the mean of any picture's 7x7 px block: the planes lie otherwise here

Made = Callable[[VideoCodecContext], VideoCodecContext]
Pixels = NDArray[np.uint8]


class Nvdec:
    """A `DecodingDevice`: as many cameras as it may take, in codecs that it has shown it can."""

    def __init__(
        self,
        *,
        most: int,
        gpu: int = 0,
        observer: Observer = UNOBSERVED,
        made: Made | None = None,
        pixel_format: str = "cuda",
    ) -> None:
        """Begin with nothing tried: the first camera of each codec has it tried.

        Args:
            most: cameras at once, each of which takes memory of the GPU.
            gpu: its number, which is that of the model's.
            observer: told which it failed.
            made: makes a decoder like the processor's; by default NVDEC's.
            pixel_format: of the pictures that are on the device.
        """
        self._most = most
        self._observer = observer
        self._made = made or partial(on_nvdec, gpu=gpu)
        self._pixel_format = pixel_format
        self._lock = Lock()
        self._trying = Lock()
        self._is_sound: dict[str, bool] = {}  # by codec
        self._lent: set[str] = set()
        self._failed: set[str] = set()

    def lend(self, camera_id: str, context: VideoCodecContext) -> VideoCodecContext | None:
        """Return a decoder of NVDEC, or None: see `DecodingDevice`."""
        if camera_id in self._failed or not self._can(context.name):
            return None
        with self._lock:
            if len(self._lent) >= self._most or camera_id in self._lent:
                return None
            self._lent.add(camera_id)
        try:
            with listening():
                return self._made(context)
        except (av.FFmpegError, OSError) as error:
            self.failed(camera_id, _words(error))
            self.give_back(camera_id)
            return None

    def give_back(self, camera_id: str) -> None:
        """Note that a camera's decoder is used no more."""
        with self._lock:
            self._lent.discard(camera_id)

    def failed(self, camera_id: str, words: str) -> None:
        """Note that a camera's decoder failed; from now on the camera gets none."""
        with self._lock:
            self._failed.add(camera_id)
        self._observer.count(GPU_DECODING_FAILURES, camera=camera_id)
        log.warning("gpu_decoding_failed", camera=camera_id, detail=words)

    @property
    def num_lent(self) -> int:
        """How many cameras have one of its decoders."""
        return len(self._lent)

    @property
    def num_failed(self) -> int:
        """How many cameras it has failed."""
        return len(self._failed)

    def _can(self, codec: str) -> bool:
        if codec not in ENCODERS:
            return False
        with self._trying:
            if codec not in self._is_sound:
                trouble = tried(codec, self._made, pixel_format=self._pixel_format)
                self._is_sound[codec] = not trouble
                if trouble:
                    log.info("gpu_decoding_off", codec=codec, detail=trouble)
                else:
                    log.info("gpu_decoding_on", codec=codec)
            return self._is_sound[codec]


def on_nvdec(context: VideoCodecContext, *, gpu: int = 0) -> VideoCodecContext:
    """Return a decoder of the same stream on the NVDEC of a GPU, by its number.

    What NVDEC does not know, such as 4:2:2, that decoder decodes on the processor after all.

    Raises:
        av.FFmpegError: there is no GPU or no NVDEC, or there is no room on it.
        OSError: there is no driver.
    """
    _share_primary_context(gpu)
    device = HWAccel(
        "cuda", gpu, options={"primary_ctx": "0", "current_ctx": "1"}, is_hw_owned=True
    )
    decoder = _video(av.CodecContext.create(context.codec, "r", hwaccel=device))
    decoder.extradata = context.extradata
    decoder.thread_count = 1
    return decoder


def tried(codec: str, made: Made = on_nvdec, *, pixel_format: str = "cuda") -> str:
    """Decode some pictures; return what is wrong, or nothing where they are the processor's.

    Args:
        codec: by libav's name.
        made: makes a decoder like the processor's.
        pixel_format: of the pictures that it leaves on the device, if it is the device's indeed.
    """
    try:
        with listening():
            packets = list(_encoded(codec))
            processors = _video(av.CodecContext.create(codec, "r"))
            expected = _pictures(_frames(processors, packets))
            frames = _frames(made(processors), packets)
            got = _pictures(frames)
    except (av.FFmpegError, OSError) as error:
        return _words(error)
    formats = {frame.format.name for frame in frames}
    if formats != {pixel_format}:
        return f"expected pictures in {pixel_format}, got {', '.join(sorted(formats)) or 'none'}"
    if len(got) != len(expected):
        return f"expected {len(expected)} pictures, got {len(got)}"
    off_levels = max(_off_levels(*pair) for pair in zip(expected, got, strict=True))
    if off_levels > MOST_OFF_LEVELS:
        return f"expected the processor's pictures, got some that are {off_levels:.1f} levels off"
    return ""


def _encoded(codec: str) -> Iterator[Packet[av.stream.Stream]]:
    """Encode a picture that moves."""
    encoder = _video(av.CodecContext.create(ENCODERS[codec], "w"))
    encoder.width = encoder.height = TRIED_PX
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.options = {"preset": "ultrafast", "x265-params": "log-level=none"}
    y, x = np.mgrid[0:TRIED_PX, 0:TRIED_PX]
    for index in range(TRIED_PICTURES):
        planes = (x + 8 * index, y, 255 * ((x + 8 * index) // 32 % 2))
        picture = np.stack([plane % 256 for plane in planes], axis=-1).astype(np.uint8)
        frame = as_coded(picture)
        frame.pts, frame.time_base = index, encoder.time_base
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def _frames(
    decoder: VideoCodecContext, packets: list[Packet[av.stream.Stream]]
) -> list[VideoFrame]:
    return [frame for packet in (*packets, None) for frame in decoder.decode(packet)]


def _pictures(frames: list[VideoFrame]) -> list[Pixels]:
    """Bring pictures here as the worker does."""
    scaler = Scaler(lambda _height_px, _width_px: PatchGrid(8, 8))
    return [scaler.scaled(frame, aspect=None)[0] for frame in frames]


def _off_levels(expected: Pixels, got: Pixels) -> float:
    height, width, _ = expected.shape
    change = got.astype(np.float32) - expected
    blocks = change.reshape(height // 7, 7, width // 7, 7, 3).mean(axis=(1, 3))
    return float(np.abs(blocks).max())


def _share_primary_context(gpu: int) -> None:
    """Make the CUDA context that PyTorch uses on a GPU this thread's.

    Raises:
        OSError: there is no driver, or no GPU.
    """
    cuda = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()

    def check(code: int, step: str) -> None:
        if code:
            raise OSError(f"{step}: CUDA error {code}")

    check(cuda.cuInit(0), "cuInit")
    check(cuda.cuDeviceGet(ctypes.byref(device), gpu), "cuDeviceGet")
    # Retained once for each decoder and never released: it lasts as long as the process anyway.
    check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "cuDevicePrimaryCtxRetain")
    check(cuda.cuCtxSetCurrent(context), "cuCtxSetCurrent")


def _video(context: object) -> VideoCodecContext:
    if not isinstance(context, VideoCodecContext):
        raise TypeError(f"expected the codec of a video, got {type(context).__name__}")
    return context


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
