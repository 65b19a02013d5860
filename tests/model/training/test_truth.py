from collections.abc import Sequence

import numpy as np
import pytest

from model.scenes import Scene
from model.scenes.witness import Witness
from model.training.samples import picture
from model.training.truth import (
    NAMES,
    PAST_FLAGS,
    PICTURE_FLAGS,
    RECENT_FLAGS,
    RECENT_S,
    SPANS,
    TENS,
    UNITS,
    UNSURE,
    Truth,
    truth_of,
)
from model.types import PrunedFrame

START_S, SECONDS = 4, (0, 1, 2, 5, 6, 9, 14, 15, 21, 26)
SEEDS = range(12)


def truth(seed: int, seconds: Sequence[int] = SECONDS) -> tuple[Scene, Truth]:
    scene = Scene.from_seed(seed, duration_s=44.0)
    whole = np.ones((6, 11), dtype=np.bool_)
    blank = np.zeros((168, 308, 3), dtype=np.uint8)
    times = [float(START_S + second) for second in seconds]
    return scene, truth_of(
        scene, [PrunedFrame("", blank, whole, t_s, is_refresh=False) for t_s in times]
    )


def told(row: np.ndarray, name: str) -> int | None:
    """Read a number of seconds back from its digits."""
    begin = PAST_FLAGS.index(f"{name} 00")
    digits = row[begin : begin + TENS + UNITS]
    if (digits == UNSURE).all():
        return None
    [tens], [units] = np.flatnonzero(digits[:TENS] == 1), np.flatnonzero(digits[TENS:] == 1)
    return int(10 * tens + units)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_past_is_what_a_witness_has_seen_done(seed: int) -> None:
    scene, found = truth(seed)
    for row, second in zip(found.pasts, SECONDS, strict=True):
        witness = Witness(scene, float(START_S), float(START_S + second))
        expected = {
            f"{life.colour} {life.kind} {deed}"
            for kind in ("person", "car", "bicycle", "dog", "parcel")
            for life in witness.lives(kind)
            for deed in witness.done(life)
        }
        outfits = [flag for flag in PAST_FLAGS if flag.count(" ") >= 2 and flag[0] in "rbgyopw"]
        said = {flag for flag in outfits if row[PAST_FLAGS.index(flag)] == 1} & {
            f"{colour} {kind} {deed}"
            for colour, kind, deed in (flag.split(" ", 2) for flag in outfits)
            if kind in ("person", "car", "bicycle", "dog", "parcel")
        }
        # "is there" is only said of what has done nothing else.
        assert said == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_recent_has_been_done_and_had_not_a_little_before(seed: int) -> None:
    _, found = truth(seed, range(27))
    for place, flag in enumerate(RECENT_FLAGS):
        if flag not in PAST_FLAGS:
            continue
        done = found.pasts[:, PAST_FLAGS.index(flag)] == 1
        recent = found.recents[:, place] == 1
        assert not (recent & ~done).any()
        began = np.flatnonzero(done[1:] & ~done[:-1]) + 1
        for first in began:
            assert recent[first : first + RECENT_S].all(), flag


def test_who_heads_left_is_further_left_a_moment_later() -> None:
    counted = 0
    for seed in SEEDS:
        scene, found = truth(seed)
        for row, second in zip(found.recents, SECONDS, strict=True):
            flags = dict(zip(RECENT_FLAGS, row.tolist(), strict=True))
            t_s = float(START_S + second)
            for kind in ("person", "car", "bicycle", "dog"):
                for manner in ("left", "right"):
                    moved = [
                        life.x.at(t_s + 0.2) - life.x.at(t_s - 0.2)
                        for life in scene.script.lives
                        if life.kind == kind and life.visible_at(np.array([t_s]))[0] >= 0.5
                    ]
                    has_mover = any(step < 0 if manner == "left" else step > 0 for step in moved)
                    assert has_mover or not flags[f"{kind} heads {manner}"]
                    counted += flags[f"{kind} heads {manner}"]
    assert counted > 10


@pytest.mark.parametrize("seed", SEEDS)
def test_spans_are_those_of_the_one_that_was_seen(seed: int) -> None:
    scene, found = truth(seed)
    for row, second in zip(found.pasts, SECONDS, strict=True):
        assert told(row, "now") == second
        witness = Witness(scene, float(START_S), float(START_S + second))
        for name in SPANS[:5]:
            lives = witness.lives(name)
            start, end = told(row, f"{name} from"), told(row, f"{name} to")
            if len(lives) != 1:
                assert start is None
                continue
            held = np.flatnonzero(witness.frames_of(lives[0]))
            if held[-1] - held[0] + 1 == len(held):
                assert (start, end) == (held[0], held[-1])


def test_pictures_are_told_by_what_is_in_view_now() -> None:
    counted = 0
    for seed in SEEDS:
        scene, found = truth(seed)
        for row, second in zip(found.pictures, SECONDS, strict=True):
            flags = dict(zip(PICTURE_FLAGS, row.tolist(), strict=True))
            seen = scene.seen(float(START_S + second))
            people = [one for one in seen if one.kind == "person" and one.visible >= 0.1]
            if any(one.visible < 0.5 for one in people):
                assert flags["person"] == UNSURE
                continue
            assert flags["person"] == bool(people)
            assert flags[f"{min(4, len(people))} person"] == 1
            assert all(flags[f"{one.colour} person"] == 1 for one in people)
            counted += len(people)
    assert counted > 10


def test_names_are_of_the_kept_tokens_and_within_their_range() -> None:
    scene = Scene.from_seed(1, duration_s=44.0)
    pixels = picture(scene, 6.0)
    mask = np.zeros((6, 11), dtype=np.bool_)
    mask[2, 3] = mask[5, 10] = True
    frames = [
        PrunedFrame("", pixels, np.ones_like(mask), 5.0, is_refresh=False),
        PrunedFrame("", pixels, mask, 6.0, is_refresh=False),
    ]
    found = truth_of(scene, frames)
    for name, num_names in NAMES.items():
        assert found.names[name].shape == (68,)
        assert found.names[name].min() >= 0
        assert found.names[name].max() < num_names
    assert found.names["col"][-2:].tolist() == [3, 10]
    assert found.names["row"][-2:].tolist() == [2, 5]
