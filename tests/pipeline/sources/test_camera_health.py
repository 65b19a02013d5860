from pipeline.metrics import CAMERA_LAG
from pipeline.sources.camera_health import Bounds, CameraHealth
from tests.fakes import FakeClock, Recorder

BOUNDS = Bounds(lagging_s=2.0, in_time_s=0.5, for_s=5.0)


class Watched:
    """A camera whose lag is noted twice a second."""

    def __init__(self) -> None:
        self.clock, self.observer = FakeClock(), Recorder()
        self.told: list[str | None] = []
        self.health = CameraHealth(
            None,
            tell=lambda _camera_id, _reason, detail: self.told.append(detail),
            clock=self.clock,
            observer=self.observer,
            bounds=BOUNDS,
        )

    def go(self, seconds: float, *, lag_s: float) -> None:
        for _ in range(round(2 * seconds)):
            self.health.lags("yard", lag_s)
            self.clock.seconds += 0.5


def test_a_camera_lags_until_it_has_been_in_time_for_a_while() -> None:
    watched = Watched()
    watched.go(5, lag_s=1.9)
    assert watched.told == []
    watched.go(0.5, lag_s=2.1)
    watched.go(0.5, lag_s=0.6)
    assert watched.told == [
        "its pictures are 2 s old when they come",
        "its pictures are 1 s old when they come",
    ]
    watched.go(5, lag_s=0.1)
    assert None not in watched.told
    watched.go(1, lag_s=0.1)
    assert watched.told[-1] is None
    assert watched.told.count(None) == 1
    assert watched.observer.numbers(CAMERA_LAG, camera="yard")[-1] == 0.1


def test_who_falls_behind_again_and_again_lags_all_the_while() -> None:
    """Decoding that is too slow falls behind, catches up by key frames, and falls behind again."""
    watched = Watched()
    for _ in range(5):
        watched.go(4, lag_s=0.2)
        watched.go(4, lag_s=1.2)
        watched.go(0.5, lag_s=2.2)
    assert None not in watched.told
