"""A process that reads a topic and dies at one picture, as it would in a container too small.

`python -m tests.pipeline.sources.mortal BOOTSTRAP TOPIC WORKER COUNT` prints the offset of each
frame, settles it, and ends after COUNT frames.
"""

import os
import signal
import sys
from itertools import islice
from typing import Any

from pipeline.sources import topic_pictures
from pipeline.sources.image import DecodedImage, decode_image
from tests.pipeline.sources.topics import config, place_of, reading, receipt_of, source_of

DEADLY = b"deadly"


def decode_or_die(value: bytes, **options: Any) -> DecodedImage:
    """Decode a picture; no signal handler and no `finally` sees the end of a deadly one."""
    if DEADLY in value:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode_image(value, **options)


def main(bootstrap: str, topic: str, worker: str, count: int) -> None:
    topic_pictures.decode_image = decode_or_die  # type: ignore[attr-defined]  # in this process alone
    source = source_of(config(bootstrap, topic, group_instance_id=worker, session_timeout_s=1.5))
    with reading(source) as frames:
        for frame in islice(frames, count):
            print(place_of(frame).offset, flush=True)  # noqa: T201 (it is read by the test)
            source.settle(receipt_of(frame))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
