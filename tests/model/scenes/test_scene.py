"""Rendered scenes: what is drawn, and whether the truth told about it is the truth."""

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from model.scenes import COLOURS, KINDS, Scene, Seen, downscaled
from model.scenes.scene import GATE_CLOSED, GATE_OPEN

SEEDS = range(40)
WIDTH, HEIGHT = 308, 168


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others() -> None:
    one, again, other = (Scene.from_seed(seed) for seed in (3, 3, 4))
    assert one.timeline == again.timeline
    again.frame(2.0)  # what was asked before changes nothing
    assert (one.frame(5.0) == again.frame(5.0)).all()
    assert (one.frame(5.0) != other.frame(5.0)).any()


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_picture_has_the_size_of_its_scale(scale: int) -> None:
    scene = Scene.from_seed(1)
    for picture in (scene.clean(3.0, scale=scale), scene.frame(3.0, scale=scale)):
        assert picture.shape == (HEIGHT * scale, WIDTH * scale, 3)
        assert picture.dtype == np.uint8


def test_a_scale_shows_the_same_scene() -> None:
    scene = Scene.from_seed(9)
    small = downscaled(scene.clean(8.0, scale=4), factor=4).astype(int)
    assert np.abs(small - scene.clean(8.0, scale=1)).mean() < 4.0


def test_the_sensor_stays_near_the_clean_picture() -> None:
    for seed in range(8):
        scene = Scene.from_seed(seed)
        if not scene.state(0.0).lights_on:
            continue
        off = scene.frame(0.0).astype(int) - scene.clean(0.0)
        assert np.abs(off).mean() < 7.0


def test_noise_is_new_in_every_frame_and_the_scene_is_not() -> None:
    scene = _quiet()
    assert (scene.clean(1.0) == scene.clean(1.5)).all()
    assert (scene.frame(1.0) != scene.frame(1.5)).any()


@cache
def _quiet() -> Scene:
    """A scene without a single event."""
    for seed in range(300):
        scene = Scene.from_seed(seed)
        events = [fact for fact in scene.timeline if fact.action != "is there"]
        if not events and not scene.state(0.0).smoke and not scene.state(0.0).fire:
            return scene
    raise AssertionError("every scene has an event")


def test_nothing_changes_in_a_static_span() -> None:
    scene = _quiet()
    assert (scene.clean(0.0) == scene.clean(9.0)).all()


def _walking() -> tuple[Scene, Seen, float]:
    for seed in SEEDS:
        scene = Scene.from_seed(seed)
        for t_s in range(3, 30):
            for seen in scene.seen(float(t_s)):
                moved = scene.seen(t_s - 2.0)
                ago = [one for one in moved if one.subject_id == seen.subject_id]
                if seen.is_moving and seen.visible == 1.0 and ago and ago[0].is_moving:
                    return scene, seen, float(t_s)
    raise AssertionError("nobody walks")


def test_boxes_lie_in_the_picture() -> None:
    for seed in SEEDS:
        scene = Scene.from_seed(seed)
        for t_s in range(0, 32, 3):
            for seen in scene.seen(float(t_s)):
                x0, y0, x1, y1 = seen.box
                assert 0.0 <= x0 < x1 <= WIDTH
                assert 0.0 <= y0 < y1 <= HEIGHT
                assert 0.0 < seen.visible <= 1.0 + 1e-9
                assert seen.is_moving == (seen.heading != "")


def test_an_object_is_drawn_where_its_box_says() -> None:
    scene, seen, t_s = _walking()
    x0, y0, x1, y1 = (round(2 * side) for side in seen.box)
    inside = _difference(scene, t_s)[y0:y1, x0:x1]
    assert (inside > 12).mean() > 0.25


def _difference(scene: Scene, t_s: float) -> npt.NDArray[np.int64]:
    """How far the picture is from that of five seconds later, (H, W) levels."""
    off = scene.clean(t_s).astype(np.int64) - scene.clean(t_s + 5.0)
    farthest: npt.NDArray[np.int64] = np.abs(off).max(axis=2)
    return farthest


def test_at_most_four_people_two_cars_and_one_of_the_others() -> None:
    most = {"person": 4, "car": 2, "bicycle": 1, "dog": 1, "parcel": 1}
    for seed in SEEDS:
        scene = Scene.from_seed(seed)
        for t_s in range(0, 32, 2):
            kinds = [seen.kind for seen in scene.seen(float(t_s))]
            assert all(kinds.count(kind) <= most[kind] for kind in KINDS), (seed, t_s, kinds)


def test_nobody_stands_hidden() -> None:
    covered = [
        seen.hidden > 0.5
        for seed in range(40)
        for scene in [Scene.from_seed(seed)]
        for t_s in range(0, 32, 2)
        for seen in scene.seen(float(t_s))
    ]
    assert np.mean(covered) < 0.02


def test_presence_is_what_is_seen() -> None:
    for seed in range(12):
        scene = Scene.from_seed(seed)
        spans = scene.presence()
        for t_s in np.arange(0.0, 31.0, 2.5):
            seen = {(one.kind, one.colour) for one in scene.seen(t_s) if one.visible >= 0.5}
            told = {(span.kind, span.colour) for span in spans if span.start_s <= t_s <= span.end_s}
            assert {pair for pair in told if pair[0] in KINDS} == seen
            assert (("smoke", "") in told) == (scene.state(t_s).smoke > 0.5)


def test_labels_name_what_is_there() -> None:
    for seed in range(12):
        scene = Scene.from_seed(seed)
        labels = scene.token_labels(10.0)
        seen = [one for one in scene.seen(10.0) if one.visible > 0.9 and one.hidden < 0.1]
        for one in seen:
            found = labels.colour[labels.kind == 1 + KINDS.index(one.kind)]
            assert 1 + COLOURS.index(one.colour) in found
        assert labels.part.sum() <= len(scene.seen(10.0))
        gate = GATE_OPEN if scene.state(10.0).gate_open > 0.5 else GATE_CLOSED
        assert (labels.kind == gate).any()
        assert labels.kind.shape == labels.colour.shape == labels.part.shape == (6, 11)


def test_half_an_hour_has_quiet_in_it_and_events_to_the_end() -> None:
    scene = Scene.from_seed(7, duration_s=1800.0)
    starts = np.asarray([fact.start_s for fact in scene.timeline])
    assert (np.diff(starts) >= 0).all()
    assert starts[-1] > 1600
    views = [any(one.kind == "person" for one in scene.seen(t_s)) for t_s in range(0, 1800, 2)]
    assert 0.1 < np.mean(views) < 0.6
    assert scene.frame(1234.0).shape == (336, 616, 3)


def test_the_lights_go_off_and_the_scene_stays_visible() -> None:
    for seed in range(60):
        scene = Scene.from_seed(seed)
        if scene.state(0.0).lights_on:
            off = [fact for fact in scene.timeline if fact.action == "go off"]
            if off and not scene.state(off[0].end_s).fire:
                before = scene.clean(off[0].start_s).mean()
                after = scene.clean(off[0].end_s).mean()
                assert 0.2 < after / before < 0.5
                return
    raise AssertionError("no lights went off")


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"positive, came -1\.0"):
        Scene.from_seed(1, duration_s=-1.0)
    with pytest.raises(ValueError, match="divisible by 3, came 4 x 6"):
        downscaled(np.zeros((4, 6, 3), dtype=np.uint8), factor=3)


def test_downscaling_is_the_area_mean() -> None:
    pixels = np.asarray([[10, 20, 0, 0], [30, 40, 0, 3]], dtype=np.uint8)[:, :, None].repeat(3, 2)
    assert downscaled(pixels, factor=2)[0, :, 0].tolist() == [25, 1]
