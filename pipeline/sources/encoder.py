"""Pictures into a video file, for benchmarks that make their own clips."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

PIXEL_FORMAT = "yuv420p"  # all that cameras and browsers agree on

VideoCodec = Literal["libx264", "libx265"]


def encode_clip(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    *,
    fps: int,
    gop_s: float,
    bits_per_s: int,
    codec: VideoCodec = "libx264",
    preset: str = "veryfast",
    num_b_frames: int = 0,
) -> Path:
    """Encode pictures as a camera would: fixed key-frame interval, no scene cuts, 4:2:0.

    Args:
        path: the file to write; its suffix names the container (.mp4, .mkv).
        pictures: (H, W, 3) uint8 RGB each, H and W even, all of one size.
        fps: pictures per second.
        gop_s: seconds between two key frames.
        bits_per_s: the rate aimed at.
        codec: H.264 or H.265.
        preset: the encoder's, fastest `ultrafast`.
        num_b_frames: pictures coded out of order between two others; cameras use none.

    Returns:
        `path`.

    Raises:
        ValueError: there are no pictures.
    """
    gop = max(1, round(gop_s * fps))
    tuning = {
        "libx264": ("x264-params", "scenecut=0:open-gop=0"),
        "libx265": ("x265-params", f"scenecut=0:open-gop=0:min-keyint={gop}:log-level=none"),
    }
    stream = None
    with av.open(path, "w") as container:
        for picture in pictures:
            if stream is None:
                stream = container.add_stream(codec, rate=fps)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = PIXEL_FORMAT
                stream.bit_rate = bits_per_s
                stream.time_base = Fraction(1, fps)
                context = stream.codec_context
                context.gop_size = gop
                context.max_b_frames = num_b_frames
                context.options = dict([("preset", preset), tuning[codec]])
            container.mux(stream.encode(as_coded(picture)))
        if stream is None:
            raise ValueError("expected at least one picture, got none")
        container.mux(stream.encode(None))
    return path


def as_coded(picture: NDArray[np.uint8]) -> VideoFrame:
    """Return the picture as an encoder gets it, in 4:2:0: what a codec without loss would decode.

    Args:
        picture: (H, W, 3) uint8 RGB, H and W even.
    """
    return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=PIXEL_FORMAT)
