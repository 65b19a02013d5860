from pipeline.freeze_watch import FrozenWatch
from tests.fakes import picture


def test_a_bit_identical_run_is_frozen_once_it_lasts() -> None:
    watch = FrozenWatch(frozen_after_s=30.0)
    said = [watch.is_frozen(picture(100), now_s=float(second)) for second in range(40)]
    assert said.index(True) == 30
    assert all(said[30:])


def test_one_changed_bit_ends_the_run() -> None:
    watch = FrozenWatch(frozen_after_s=30.0)
    for second in range(30):
        watch.is_frozen(picture(100), now_s=float(second))
    moved = picture(100)
    moved[5, 5, 1] ^= 1
    assert not watch.is_frozen(moved, now_s=30.0)
    assert not watch.is_frozen(moved.copy(), now_s=59.0)
    assert watch.is_frozen(moved.copy(), now_s=60.0)


def test_a_reset_begins_anew() -> None:
    watch = FrozenWatch(frozen_after_s=10.0)
    watch.is_frozen(picture(100), now_s=0.0)
    watch.reset()
    assert not watch.is_frozen(picture(100), now_s=20.0)


def test_another_size_is_another_picture() -> None:
    watch = FrozenWatch(frozen_after_s=10.0)
    watch.is_frozen(picture(100), now_s=0.0)
    assert not watch.is_frozen(picture(100)[:28], now_s=20.0)
