from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.scenes import Scene
from model.scenes.quiz import true_facts
from pipeline.errors import ConfigError
from worker.demo.timeline import Stay, Timeline

SCENE_S = 100.0
SCENES = [Scene.from_seed(seed, duration_s=SCENE_S) for seed in (10_000_000, 10_000_001)]
WHOLE = [Timeline.of(scene, start_s=0.0, duration_s=SCENE_S) for scene in SCENES]

VISIT = Stay(
    "person in red", "person", "red", 2.0, 7.0, "enters from the left", (4.0,), "leaves to the left"
)
LIGHTS = Stay("lights", "lights", "", 0.0, 10.0, "", (), "")
LOOP = Timeline(10.0, (LIGHTS, VISIT))


@settings(max_examples=30)
@given(st.integers(0, 1), st.integers(0, 70), st.integers(1, 29))
def test_a_caption_should_state_what_a_watcher_of_the_scene_would(
    index: int, start_s: int, seconds: int
) -> None:
    end_s = start_s + seconds
    expected = true_facts(SCENES[index], end_s, start_s=start_s)
    assert WHOLE[index].stated(start_s, end_s) == expected


@settings(max_examples=30)
@given(st.integers(0, 1), st.integers(0, 99))
def test_what_is_there_is_what_the_scene_shows(index: int, time_s: int) -> None:
    scene = SCENES[index]
    seen = sorted((one.kind, one.colour) for one in scene.seen(time_s) if one.visible >= 0.5)
    there = [stay for stay in WHOLE[index].at(time_s) if stay.colour]
    assert sorted((stay.kind, stay.colour) for stay in there) == seen


def test_a_stretch_counts_from_its_own_start_and_ends_with_what_is_there() -> None:
    whole = next(stay for stay in WHOLE[0].stays if stay.comes and stay.goes)
    middle_s = (whole.start_s + whole.end_s) / 2
    part = Timeline.of(SCENES[0], start_s=middle_s, duration_s=SCENE_S - middle_s)
    (cut,) = [stay for stay in part.at(0.0) if stay.subject == whole.subject]
    assert (cut.start_s, cut.comes, cut.goes) == (0.0, "", whole.goes)
    assert cut.end_s == pytest.approx(whole.end_s - middle_s, abs=0.01)


def test_a_stretch_beyond_the_scene_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a stretch within 0-100 s, got 60-120 s"):
        Timeline.of(SCENES[0], start_s=60.0, duration_s=60.0)


@pytest.mark.parametrize("round_s", [0.0, 10.0, 1230.0])
def test_a_loop_goes_on_for_ever(round_s: float) -> None:
    assert LOOP.at(round_s + 5.0) == [LIGHTS.moved(round_s), VISIT.moved(round_s)]
    assert LOOP.at(round_s + 8.0) == [LIGHTS.moved(round_s)]
    assert LOOP.stated(round_s, round_s + 9.0) == {
        ("person", "red", "enters from the left"),
        ("person", "red", "stops"),
        ("person", "red", "leaves to the left"),
    }


def test_a_window_over_the_seam_tells_the_end_and_the_beginning() -> None:
    assert LOOP.stated(6.0, 13.0) == {
        ("person", "red", "leaves to the left"),
        ("person", "red", "enters from the left"),
    }
    assert LOOP.stated(8.0, 11.0) == frozenset()


def test_a_stay_is_told_in_words() -> None:
    ((later, actions),) = LOOP.seen(1236.0, 1239.0)
    assert LOOP.in_clip(later).in_words(actions) == "person in red leaves to the left, 2.0-7.0 s"
    assert LIGHTS.in_words() == "lights 0.0-10.0 s"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "clip.json"
    path.write_text(LOOP.written(clip="clip.mp4", scene_seed=3))
    assert Timeline.read(path) == LOOP


@pytest.mark.parametrize(
    "text", ["", "[]", '{"duration_s": 3}', '{"duration_s": 3, "stays": [{}]}']
)
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "clip.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"expected a clip's timeline in .*clip\.json"):
        Timeline.read(path)
