"""What a device that decodes in the processor's place promises its cameras' readers."""

from __future__ import annotations

from typing import Protocol

from av.video.codeccontext import VideoCodecContext


class DecodingFailedError(Exception):
    """The device failed, whatever the video is like: the processor is to go on."""


class DecodingDevice(Protocol):
    """Lends decoders. Safe from any thread; each decoder is used by the thread that asked."""

    def lend(self, camera_id: str, context: VideoCodecContext) -> VideoCodecContext | None:
        """Return a decoder of the device for a stream, with nothing in it.

        Its frames may stay on the device: what scales them brings them here.

        Args:
            camera_id: whose video it is.
            context: the processor's decoder of that stream, which is not touched.

        Returns:
            None where the processor is to decode: the device cannot, has no room, or has failed
            this camera before.
        """
        ...

    def give_back(self, camera_id: str) -> None:
        """Note that a camera's decoder is used no more."""
        ...

    def failed(self, camera_id: str, words: str) -> None:
        """Note that a camera's decoder failed; from now on the camera gets none."""
        ...
