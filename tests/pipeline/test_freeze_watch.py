from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.freeze_watch import FreezeWatch
from pipeline.regions import Region
from tests.fakes import FakeClock, frame_at, picture


class Cameras:
    """What cameras show a watch, at moments of a clock that is moved by hand."""

    def __init__(
        self, frozen_after_s: float, ignore: Mapping[str, Sequence[Region]] | None = None
    ) -> None:
        self._clock = FakeClock()
        self.watch = FreezeWatch(frozen_after_s, clock=self._clock, ignore=ignore)

    def is_frozen(
        self,
        at_s: float,
        pixels: NDArray[np.uint8] | None = None,
        camera_id: str = "yard",
        *,
        is_coded_anew: bool = True,
    ) -> bool:
        self._clock.seconds = at_s
        shown = picture(100) if pixels is None else pixels
        frame = frame_at(at_s, shown, camera_id=camera_id)
        return self.watch.is_frozen(replace(frame, is_coded_anew=is_coded_anew))


def test_a_bit_identical_run_is_frozen_once_it_lasts() -> None:
    cameras = Cameras(frozen_after_s=30.0)
    said = [cameras.is_frozen(float(second)) for second in range(40)]
    assert said.index(True) == 30
    assert all(said[30:])


def test_a_change_that_no_coding_makes_ends_the_run() -> None:
    cameras = Cameras(frozen_after_s=30.0)
    for second in range(30):
        cameras.is_frozen(float(second))
    moved = picture(100)
    moved[10:20, 10:20] += 40
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


def test_a_clock_in_an_ignored_region_does_not_keep_a_dead_picture_alive() -> None:
    """frigate#22321, screenpipe#4399."""
    cameras = Cameras(frozen_after_s=30.0, ignore={"yard": (Region(0.0, 0.0, 1.0, 0.2),)})
    for second in range(31):
        shown = picture(100)
        shown[2, 2] = second
        yard = cameras.is_frozen(float(second), shown)
        gate = cameras.is_frozen(float(second), shown, camera_id="gate")
    assert (yard, gate) == (True, False)


def test_a_quiet_scene_between_two_key_frames_is_not_frozen() -> None:
    """Where nothing moves a codec repeats the picture, bit for bit, until the next key frame."""
    cameras = Cameras(frozen_after_s=30.0)
    for second in range(120):
        is_key = second % 60 == 0
        shown = picture(100)
        shown[0, 0] = second // 60  # each key frame codes the noise of its moment
        assert not cameras.is_frozen(float(second), shown, is_coded_anew=is_key)


def test_a_dead_picture_whose_coding_goes_to_and_fro_is_frozen() -> None:
    """frigate#22321: the running clock changes how the rest of the picture is coded."""
    cameras = Cameras(frozen_after_s=30.0)
    said = [
        cameras.is_frozen(float(second), picture(100 + second // 2 % 2)) for second in range(40)
    ]
    assert said.index(True) == 30


def test_a_clip_played_round_and_round_is_not_frozen_where_something_moves() -> None:
    cameras = Cameras(frozen_after_s=10.0)
    for second in range(40):
        shown = picture(100)
        shown[10:20, 10 * (second % 5) :][:, :10] += 40
        assert not cameras.is_frozen(float(second), shown)


def test_a_quiet_scene_whose_noise_is_seen_is_not_frozen() -> None:
    cameras = Cameras(frozen_after_s=10.0)
    sensor = np.random.default_rng(0)
    for second in range(40):
        shown = (picture(100) + sensor.integers(0, 3, picture().shape)).astype(np.uint8)
        assert not cameras.is_frozen(float(second), shown)
