import numpy as np
from numpy.typing import NDArray

from pipeline.freeze_watch import FreezeWatch
from tests.fakes import FakeClock, frame_at, picture


class Cameras:
    """What cameras show a watch, at moments of a clock that is moved by hand."""

    def __init__(self, frozen_after_s: float) -> None:
        self._clock = FakeClock()
        self.watch = FreezeWatch(frozen_after_s, clock=self._clock)

    def is_frozen(
        self, at_s: float, pixels: NDArray[np.uint8] | None = None, camera_id: str = "yard"
    ) -> bool:
        self._clock.seconds = at_s
        shown = picture(100) if pixels is None else pixels
        return self.watch.is_frozen(frame_at(at_s, shown, camera_id=camera_id))


def test_a_bit_identical_run_is_frozen_once_it_lasts() -> None:
    cameras = Cameras(frozen_after_s=30.0)
    said = [cameras.is_frozen(float(second)) for second in range(40)]
    assert said.index(True) == 30
    assert all(said[30:])


def test_one_changed_bit_ends_the_run() -> None:
    cameras = Cameras(frozen_after_s=30.0)
    for second in range(30):
        cameras.is_frozen(float(second))
    moved = picture(100)
    moved[5, 5, 1] ^= 1
    assert not cameras.is_frozen(30.0, moved)
    assert not cameras.is_frozen(59.0, moved.copy())
    assert cameras.is_frozen(60.0, moved.copy())


def test_a_reset_begins_anew() -> None:
    cameras = Cameras(frozen_after_s=10.0)
    cameras.is_frozen(0.0)
    cameras.watch.reset()
    assert not cameras.is_frozen(20.0)


def test_another_size_is_another_picture() -> None:
    cameras = Cameras(frozen_after_s=10.0)
    cameras.is_frozen(0.0)
    assert not cameras.is_frozen(20.0, picture(100)[:28])


def test_cameras_of_one_topic_are_watched_apart() -> None:
    cameras = Cameras(frozen_after_s=10.0)
    for second in range(11):
        moves = cameras.is_frozen(float(second), picture(100 + second), camera_id="gate")
        stands = cameras.is_frozen(float(second))
    assert (moves, stands) == (False, True)
