from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from model.videollama3.grid import pin_grid
from pipeline.metrics import INGEST_RECORDS
from pipeline.sinks.outlet import Outlet, OutRecord, encoder
from pipeline.sources.image import decode_image
from pipeline.status import StatusBoard
from pipeline.types import Frame
from tests.fakes import FakeClock, Recorder, frame_at, picture


class Camera:
    """An outlet, and what came out of it."""

    def __init__(self) -> None:
        self.sent: list[OutRecord] = []
        self.clock, self.observer = FakeClock(), Recorder()
        self.status = StatusBoard(lambda _message: None, clock=self.clock)
        self.takes: Callable[[OutRecord], bool] = lambda _record: True
        self.outlet = Outlet(
            "yard",
            self._put,
            encode=lambda pixels: bytes([pixels[0, 0, 0]]),
            status=self.status,
            whole_every_s=15.0,
            clock=self.clock,
            observer=self.observer,
        )

    def _put(self, record: OutRecord) -> bool:
        if not self.takes(record):
            return False
        self.sent.append(record)
        return True

    def shows(self, *levels: int, since_s: float = 0.0) -> list[bytes]:
        before = len(self.sent)
        for second, level in enumerate(levels):
            self.outlet.offer(frame_at(since_s + second, picture(level)))
        return [record.value for record in self.sent[before:]]


def test_a_picture_that_is_the_last_one_bit_for_bit_is_not_sent_again() -> None:
    camera = Camera()
    assert camera.shows(1, 1, 2, 2, 2) == [b"\1", b"", b"\2", b"", b""]
    assert [one.captured_at for one in camera.sent] == [
        frame_at(second).captured_at for second in range(5)
    ]
    assert camera.observer.totals(INGEST_RECORDS, by="kind") == {"picture": 2, "unchanged": 3}


def test_one_level_of_one_pixel_is_a_change() -> None:
    """What is worth telling the model is the pruner's to say."""
    camera = Camera()
    other = picture(1)
    other[-1, -1, -1] += 1
    camera.outlet.offer(frame_at(0, picture(1)))
    camera.outlet.offer(frame_at(1, other))
    assert all(record.value for record in camera.sent)


def test_a_whole_picture_is_sent_every_fifteen_seconds_and_where_time_jumps() -> None:
    camera = Camera()
    sent = camera.shows(*[1] * 31)
    assert [second for second, value in enumerate(sent) if value] == [0, 15, 30]
    assert camera.shows(1, 1, since_s=3.0) == [b"\1", b""]


def test_after_a_lost_connection_a_whole_picture_comes_first() -> None:
    camera = Camera()
    camera.shows(1, 1)
    camera.outlet.reset()
    assert camera.shows(1, 1, since_s=2.0) == [b"\1", b""]


def test_where_the_last_picture_is_gone_from_the_buffer_it_is_sent_whole() -> None:
    camera = Camera()
    camera.shows(1)
    camera.takes = lambda record: bool(record.value)
    assert camera.shows(1, since_s=1.0) == [b"\1"]


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("online", "", "online"),
        ("frozen", "identical_frames", "frozen"),
        ("degraded", "damaged_shown", "damaged_shown"),
        ("degraded", "lagging", "lagging"),
    ],
)
def test_records_say_how_their_camera_is(state: str, reason: str, said: str) -> None:
    camera = Camera()
    camera.status.set("yard", state, reason=reason)  # type: ignore[arg-type]  # a test's own words
    camera.shows(1, 1)
    assert [record.state for record in camera.sent] == [said, said]


def test_while_no_picture_comes_for_damage_that_alone_is_sent() -> None:
    camera = Camera()
    camera.clock.seconds = 7.0
    camera.outlet.told("damaged")
    camera.outlet.told("stalled")
    assert camera.sent == [OutRecord("yard", camera.clock.now(), "damaged")]


@pytest.mark.parametrize("format_", ["jpeg", "webp"])
def test_an_encoded_picture_comes_back_on_its_own_grid(format_: str) -> None:
    grid = pin_grid(1080, 1920, max_tokens=144)
    y, x = np.mgrid[0 : grid.height_px, 0 : grid.width_px]
    pixels = np.stack([x // 2 % 256, y, (x + y) // 4], axis=2).astype(np.uint8)
    frame: Frame = replace(frame_at(0), pixels=pixels, grid=grid)
    value = encoder(format_, quality=90)(frame.pixels)  # type: ignore[arg-type]  # both there are
    image = decode_image(value, grid_of=partial(pin_grid, max_tokens=144))
    assert image.grid == grid
    assert np.abs(image.pixels.astype(int) - pixels).mean() < 2.0
