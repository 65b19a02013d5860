"""Which clips there are, whose they are, and the settings that play them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from worker import environment
from worker.evaluation.labelled.footage import find_clips, questions_of, settings_for


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def test_a_clips_camera_is_told_by_its_name_by_labels_or_by_an_option(tmp_path: Path) -> None:
    path = touched(tmp_path, "Gate North.mp4") / "Gate North.mp4"
    [named] = find_clips(path, camera="", began=None, labelled=())
    assert (named.name, named.camera, named.began) == ("gate-north", "gate-north", None)
    [labelled] = find_clips(path, camera="", began=None, labelled=["gate"])
    assert (labelled.name, labelled.camera) == ("gate-north", "gate")
    [told] = find_clips(path, camera="yard", began=None, labelled=["gate"])
    assert told.camera == "yard"
    [itself] = find_clips(path, camera="", began=None, labelled=["gate north"])
    assert itself.camera == "gate-north"


def test_names_with_a_time_say_when_a_clip_began(tmp_path: Path) -> None:
    folder = touched(
        tmp_path, "gate_20260501T080000Z.mp4", "gate_20260501T090000Z.mkv", "labels.csv", "a.txt"
    )
    clips = find_clips(folder, camera="", began=None, labelled=["gate", "yard"])
    assert [(one.camera, one.began) for one in clips] == [
        ("gate", datetime(2026, 5, 1, hour, tzinfo=UTC)) for hour in (8, 9)
    ]


@pytest.mark.parametrize("told", ["20261301T080000Z", "20260501T250000Z"])
def test_a_name_with_what_is_no_time_is_a_name(told: str, tmp_path: Path) -> None:
    path = touched(tmp_path, f"gate_{told}.mp4") / f"gate_{told}.mp4"
    [clip] = find_clips(path, camera="", began=None, labelled=())
    assert (clip.camera, clip.began) == (f"gate_{told.lower()}", None)


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--video: expected a video file or a folder"):
        find_clips(tmp_path / "none.mp4", camera="", began=None, labelled=())
    folder = touched(tmp_path, "a.mp4", "a.mkv")
    with pytest.raises(ConfigError, match="different names, got a twice"):
        find_clips(folder, camera="", began=None, labelled=())
    with pytest.raises(ConfigError, match="--began: expected one clip, got 2"):
        find_clips(folder, camera="", began=datetime.now(UTC), labelled=())


def test_a_clip_is_played_with_its_cameras_masks_and_nothing_of_the_sites_servers(
    tmp_path: Path,
) -> None:
    settings = environment.load(
        {
            "VIGIL_CAMERAS__GATE__URL": "rtsp://user:secret@camera/1",
            "VIGIL_CAMERAS__GATE__PRIVATE": "0,0,0.5,1",
            "VIGIL_CAMERAS__GATE__LOOP": "true",
            "VIGIL_CAMERAS__YARD__URL": "rtsp://camera/2",
            "VIGIL_QUESTIONS__PERSON__ASK": "Is a person in view?",
            "VIGIL_QUESTIONS__CARS__ASK": "Is a car in view?",
            "VIGIL_QUESTIONS__CARS__CAMERAS": "yard",
            "VIGIL_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
            "VIGIL_REDIS__URL": "redis://:password@redis:6379/0",
        }
    )
    path = touched(tmp_path, "gate.mp4") / "gate.mp4"
    [clip] = find_clips(path, camera="", began=None, labelled=())
    questions = questions_of(settings, clip)
    assert list(questions) == ["person"]
    playing = settings_for(settings, clip, questions=questions)
    assert list(playing.cameras) == ["gate"]
    camera = playing.cameras["gate"]
    assert camera.url is not None
    assert camera.url.get_secret_value() == str(path)
    assert (camera.live, camera.loop) == (False, False)
    assert camera.private == settings.cameras["gate"].private
    assert playing.kafka.bootstrap_servers == ""
    assert "password" not in playing.redis.url.get_secret_value()
    assert playing.outbox.path == "memory"
    assert list(playing.mistakes()) == []
