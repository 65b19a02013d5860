"""What every FrameSource promises, of the fake and of all real ones, each with its real server."""

import gc
import io
import logging
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import get_args
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from model.types import PatchGrid
from pipeline.cadence import Cadence
from pipeline.clock import SystemClock
from pipeline.errors import SourceError, SourceReason
from pipeline.sources.base import FrameSource
from pipeline.sources.file import FileSource
from pipeline.sources.kafka import KafkaConfig, KafkaSource
from pipeline.sources.rtsp import RtspSource
from pipeline.types import Frame, Receipt, Wanted
from tests.fakes import SMALL, ScriptedSource, frame_at
from tests.pipeline.sources.clips import clip
from tests.recipes.mailbox import Mailbox, MailboxSource
from tests.servers.kafka import SASL_USER, KafkaBroker, Sent, create_topic, produce
from tests.servers.rtsp import StartCamera

FOREIGN = Receipt(object())
PASSWORD = "c@n:ary/%23"
PERIOD_S = 0.2  # between two sampled frames
SOON_S = 10.0


@dataclass(frozen=True)
class World:
    """What a source connects to.

    Attributes:
        connect: makes a source of the camera `yard`.
        vanish: takes away what the frames come from; a file and a script end by themselves.
        connect_to_nobody: makes a source of which no frame can come.
    """

    connect: Callable[[], FrameSource]
    vanish: Callable[[], None]
    connect_to_nobody: Callable[[], FrameSource]


def grid_of(_height_px: int, _width_px: int) -> PatchGrid:
    return SMALL


def sampler() -> Wanted:
    cadence = Cadence(PERIOD_S)
    return lambda _camera_id, pts_s: cadence.due(pts_s)


@pytest.fixture
def scripted() -> World:
    def play(num_frames: int) -> FrameSource:
        frames = [frame_at(index * PERIOD_S) for index in range(num_frames)]
        return ScriptedSource(frames, SourceError("ended", "played"))

    return World(lambda: play(100), lambda: None, lambda: play(0))


@pytest.fixture
def mailbox() -> World:
    def read(num_letters: int) -> FrameSource:
        letters = {index: ("yard", index * PERIOD_S) for index in range(num_letters)}
        return MailboxSource(Mailbox(letters), wanted=sampler())

    return World(lambda: read(100), lambda: None, lambda: read(0))


@pytest.fixture
def file(tmp_path: Path) -> World:
    def play(path: Path) -> FrameSource:
        return FileSource(
            "yard",
            path,
            wanted=sampler(),
            grid_of=grid_of,
            clock=SystemClock(),
            live=True,
            loop=False,
            sample_period_s=PERIOD_S,
        )

    path = clip(tmp_path / "clip.mp4", seconds=3, gop_s=1)
    return World(lambda: play(path), lambda: None, lambda: play(tmp_path / "nothing.mp4"))


@pytest.fixture
def rtsp(rtsp_camera: StartCamera, tmp_path: Path, refused_port: int) -> World:
    def watch(url: str) -> FrameSource:
        return RtspSource(
            "yard",
            url,
            wanted=sampler(),
            grid_of=grid_of,
            clock=SystemClock(),
            open_timeout_s=5.0,
            read_timeout_s=1.5,
            sample_period_s=PERIOD_S,
        )

    path = clip(tmp_path / "clip.mp4", seconds=3, gop_s=1)
    server = rtsp_camera(path, codec="copy", user="admin", password=PASSWORD)
    userinfo = f"admin:{quote(PASSWORD, safe='')}"
    return World(
        lambda: watch(server.with_credentials(userinfo)),
        server.kill,
        lambda: watch(f"rtsp://{userinfo}@127.0.0.1:{refused_port}/stream"),
    )


@pytest.fixture(scope="module")
def mortal_broker(new_kafka_broker: Callable[[], KafkaBroker]) -> KafkaBroker:
    return new_kafka_broker()


@pytest.fixture
def kafka(
    mortal_broker: KafkaBroker, refused_port: int, caplog: pytest.LogCaptureFixture
) -> Iterator[World]:
    caplog.set_level(logging.CRITICAL, logger="kafka")  # a log record would hold on to a socket
    mortal_broker.start()  # where the test before has stopped it
    topic = f"frames-{uuid.uuid4().hex[:12]}"
    create_topic(mortal_broker.bootstrap, topic)
    file = io.BytesIO()
    Image.new("RGB", (160, 120), (90, 90, 90)).save(file, "JPEG")
    produce(mortal_broker.bootstrap, topic, [Sent(file.getvalue(), key=b"yard")] * 10)

    def consume(bootstrap: str, **security: str) -> FrameSource:
        config = KafkaConfig(
            bootstrap_servers=bootstrap,
            topic=topic,
            group_id=f"vigil-{topic}",
            dead_letter_topic=f"{topic}-dead",
            connect_timeout_s=1.5,
            session_timeout_s=3.0,
            **security,  # type: ignore[arg-type]  # literals
        )
        return KafkaSource(
            config=config,
            wanted=lambda _camera_id, _pts_s: True,
            grid_of=grid_of,
            clock=SystemClock(),
        )

    yield World(
        lambda: consume(mortal_broker.bootstrap),
        mortal_broker.stop,
        lambda: consume(
            f"127.0.0.1:{refused_port}",
            security_protocol="SASL_PLAINTEXT",
            sasl_username=SASL_USER,
            sasl_password=PASSWORD,
        ),
    )
    gc.collect()


@pytest.fixture(params=["scripted", "mailbox", "file", "rtsp", "kafka"])
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(request.param)
    return found


def test_frames_come_oldest_first_on_their_grid_with_both_clocks(world: World) -> None:
    source = world.connect()
    seen = list(islice(source.frames(), 5))
    source.close()
    assert len(seen) == 5
    assert [frame.pts_s for frame in seen] == sorted(frame.pts_s for frame in seen)
    assert [frame.captured_at for frame in seen] == sorted(frame.captured_at for frame in seen)
    for frame in seen:
        assert frame.camera_id == "yard"
        assert frame.grid == SMALL
        assert frame.pixels.shape == (frame.grid.height_px, frame.grid.width_px, 3)
        assert frame.pixels.dtype == np.uint8
        assert frame.pixels.flags.c_contiguous
        assert frame.captured_at.tzinfo is not None


def test_close_from_another_thread_ends_frames_soon_without_an_error(world: World) -> None:
    source = world.connect()
    seen: SimpleQueue[Frame] = SimpleQueue()

    def watch() -> None:
        for frame in source.frames():
            seen.put(frame)
            time.sleep(0.02)  # or a script would be over before it is closed

    with ThreadPoolExecutor() as threads:
        watching = threads.submit(watch)
        seen.get(timeout=SOON_S)
        source.close()
        watching.result(timeout=SOON_S)


def test_a_closed_source_gives_no_frames_and_may_be_closed_again(world: World) -> None:
    source = world.connect()
    source.close()
    source.close()
    assert list(source.frames()) == []
    source.close()


def test_settle_is_harmless_with_any_receipt_at_any_time(world: World) -> None:
    source = world.connect()
    source.settle(FOREIGN)
    frames = source.frames()
    receipts = [FOREIGN, FOREIGN]
    receipts += [frame.receipt for frame in islice(frames, 2) if frame.receipt is not None]
    for receipt in receipts * 2:
        source.settle(receipt)
    assert next(frames).pixels.any()
    source.close()
    for receipt in receipts:
        source.settle(receipt)


def test_without_anybody_to_connect_to_the_error_says_why(world: World) -> None:
    with pytest.raises(SourceError) as failed:
        next(world.connect_to_nobody().frames())
    assert_tells_why_and_no_password(failed.value)


def test_frames_whose_origin_is_gone_end_with_an_error_that_says_why(world: World) -> None:
    source = world.connect()
    frames = source.frames()
    next(frames)
    world.vanish()
    with pytest.raises(SourceError) as failed:
        deque(frames, maxlen=0)
    assert_tells_why_and_no_password(failed.value)
    source.close()


def assert_tells_why_and_no_password(error: SourceError) -> None:
    assert error.reason in get_args(SourceReason)
    told = "".join(traceback.format_exception(error)) + repr(error)
    assert f"{error.reason}: " in told
    for password in (PASSWORD, quote(PASSWORD, safe="")):
        assert password not in told
