"""Rendered clips in the layout of public sets, their annotation by the truth."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.errors import DataError
from model.scenes import Scene
from model.scenes.topics import TOPICS
from model.scenes.witness import Witness
from worker.evaluation import end_to_end
from worker.evaluation.labelled.measure import Wanted, measure
from worker.evaluation.labelled.public_sets import read_public_set

DURATION_S = 10.0
SETTINGS = {"VIGIL_MODEL__MAX_TOKENS_PER_FRAME": "72", "VIGIL_WINDOW": "30s"}


def is_seen(scene: Scene) -> list[bool | None]:
    """Whether a person is in view, second by second; None where nobody can tell."""
    found: list[bool | None] = []
    for t_s in np.arange(0.0, DURATION_S).tolist():
        told = TOPICS["person in view"](Witness(scene, 0.0, t_s), np.random.default_rng(0))
        found.append(told[0][1] if told else None)
    return found


def is_coming(seen: list[bool | None]) -> bool:
    """Whether nobody is there for three seconds and more, and then somebody to the end."""
    first = seen.index(True) if True in seen else 0
    return first >= 3 and not any(seen[:first]) and seen[first:].count(True) >= 4


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A scene in which somebody comes."""
    return next(
        one
        for seed in range(10_000_000, 10_000_400)
        if is_coming(is_seen(one := Scene.from_seed(seed, duration_s=DURATION_S)))
    )


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory, scene: Scene) -> Path:
    made = tmp_path_factory.mktemp("set") / "Videos"
    (made / "Burglary").mkdir(parents=True)
    end_to_end.film(scene, made / "Burglary", camera_id="Burglary001_x264")
    return made


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


def figures(footage: Path, annotation: Path) -> dict[str, float | None]:
    found = measure(Wanted("nano", footage, annotation), progress=lambda _: None)
    return {row.name: row.value for row in found.report.rows}


def test_ucf_crimes_layout_gives_the_frame_level_auc(
    footage: Path, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIL_QUESTIONS__ANOMALY__ASK", "Is a person in view?")
    monkeypatch.setenv("VIGIL_QUESTIONS__ANOMALY__EVERY", "1s")
    first = is_seen(scene).index(True)
    annotation = tmp_path / "Temporal_Anomaly_Annotation.txt"
    annotation.write_text(
        f"Burglary001_x264.mp4  Burglary  {30 * first}  {30 * int(DURATION_S)}  -1  -1\n"
        "Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1\n"
    )
    found = figures(footage, annotation)
    auc = found["anomaly_frame_auc"]
    assert auc is not None
    assert auc > 0.9


def test_one_question_with_an_answer_over_time_is_told_in_time(
    footage: Path, scene: Scene, tmp_path: Path
) -> None:
    row = {
        "id": "Burglary001_x264",
        "question": [{"text": "Is a person in view?", "time": 0}],
        "answer": [{"trigger_time": is_seen(scene).index(True), "text": "A person has come."}],
    }
    annotation = tmp_path / "PM.json"
    annotation.write_text(json.dumps([row]))
    found = figures(footage, annotation)
    assert found["proactive-1_events_recall"] == 1.0
    assert found["proactive-1_events_precision"] == 1.0
    delay_s = found["proactive-1_events_median_delay"]
    assert delay_s is not None
    assert 0 <= delay_s <= 3


def test_the_answers_at_all_test_times_are_judged(footage: Path, tmp_path: Path) -> None:
    told = {"video": "Burglary001_x264.mp4"}
    tests = [{"realtime": at, "type": int(at > 4), "count": 1} for at in (3, 7.2)]
    rows = [
        {**told, "question": "Is a person in view?", "test_info": tests},
        {**told, "activity": "enter", "test_info": tests},
    ]
    annotation = tmp_path / "forward.json"
    annotation.write_text(json.dumps(rows))
    report = measure(Wanted("nano", footage, annotation), progress=lambda _: None).report
    assert not report.problems
    assert {key: len(one.known) for key, one in report.run.judged.items()} == {
        "proactive-1": len(tests),
        "proactive-2": len(tests),
    }


def test_ucf_crimes_frames_are_seconds_of_its_rate(tmp_path: Path) -> None:
    annotation = tmp_path / "test.txt"
    annotation.write_text(
        "Abuse028_x264.mp4  Abuse  165  240  300  330\nbroken line\n"
        "Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1\nx.mp4 Fire 9 3 -1 -1\n"
    )
    found = read_public_set(annotation)
    assert found is not None
    rows = [(one.camera, one.start, one.end, one.value) for one in found.labels]
    assert rows[:3] == [
        ("abuse028_x264", None, None, "no"),
        ("abuse028_x264", 5.5, 8.0, "yes"),
        ("abuse028_x264", 10.0, 11.0, "yes"),
    ]
    assert rows[3:] == [("normal_videos_003_x264", None, None, "no")]  # of x.mp4 nothing is known
    assert [one.place.rpartition(":")[2] for one in found.problems] == ["2", "4"]


def test_ovo_benchs_forward_rows_are_known_at_their_test_times(tmp_path: Path) -> None:
    annotation = tmp_path / "forward.json"
    tests = [{"realtime": 4, "type": 0}, {"realtime": 9, "type": 1}]
    row = {"id": 7, "video": "a/clip-7.mp4", "question": "What did he cook?", "test_info": tests}
    annotation.write_text(json.dumps([row, {"id": 8, "video": "b.mp4"}]))
    found = read_public_set(annotation)
    assert found is not None
    rows = [(one.camera, one.question, one.start, one.end, one.value) for one in found.labels]
    assert rows == [
        ("clip-7", "proactive-1", None, None, "unknown"),
        ("clip-7", "proactive-1", 2.5, 5.5, "no"),
        ("clip-7", "proactive-1", 7.5, 10.5, "yes"),
    ]
    assert found.questions["proactive-1"].cameras == ("clip-7",)
    assert len(found.problems) == 1


def test_ovo_benchs_counts_and_steps_are_questions_of_their_own(tmp_path: Path) -> None:
    annotation = tmp_path / "forward.json"
    counted = {
        "task": "REC",
        "video": "rope.mp4",
        "activity": "jump over the rope",
        "test_info": [{"realtime": 9, "count": 2}, {"realtime": 4, "count": 0}],
    }
    steps = [("cut the bread", 3, 1), ("toast it", 3, 0), ("toast it", 8, 1)]
    followed = {
        "task": "SSR",
        "video": "toast.mp4",
        "tutorial": "make toast",
        "test_info": [{"step": step, "realtime": at, "type": so} for step, at, so in steps],
    }
    annotation.write_text(json.dumps([counted, followed]))
    found = read_public_set(annotation)
    assert found is not None
    assert not found.problems
    rows = [(one.question, one.start, one.end, one.value) for one in found.labels]
    assert rows == [
        ("proactive-1", None, None, "unknown"),
        ("proactive-1", 2.5, 5.5, "0"),
        ("proactive-1", 7.5, 10.5, "2"),
        ("proactive-2-1", None, None, "unknown"),
        ("proactive-2-1", 1.5, 4.5, "yes"),
        ("proactive-2-2", None, None, "unknown"),
        ("proactive-2-2", 1.5, 4.5, "no"),
        ("proactive-2-2", 6.5, 9.5, "yes"),
    ]
    asked = {key: (one.kind, one.ask) for key, one in found.questions.items()}
    assert asked["proactive-1"] == ("count", "How many times did they jump over the rope?")
    assert asked["proactive-2-2"] == ("yes_no", "Is somebody doing this step now: toast it")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"activity": "jump", "test_info": [{"realtime": 4}]}, "got no 'count'"),
        ({"activity": "jump", "test_info": [{"realtime": 4, "count": 1.5}]}, "1.5 where a whole"),
        ({"question": "What?", "test_info": []}, "got no 'realtime'"),
        ({"question": "What?", "test_info": [{"realtime": -4, "type": 1}]}, "-4 where seconds"),
        ({"question": "What?", "test_info": [{"realtime": "soon", "type": 1}]}, "'soon'"),
        ({"question": "What?", "test_info": [7]}, "expected a video, a question and times"),
        ({"question": "What?", "answer": []}, "got no 'trigger_time'"),
    ],
)
def test_a_proactive_row_that_says_too_little_is_told_by_its_place(
    row: dict[str, object], told: str, tmp_path: Path
) -> None:
    annotation = tmp_path / "forward.json"
    annotation.write_text(json.dumps([{"video": "a.mp4", **row}], indent=1))
    with pytest.raises(DataError, match=told) as caught:
        read_public_set(annotation)
    assert f"{annotation}:2: " in str(caught.value)  # the line that the row begins in


def test_labels_of_ours_are_no_public_set(tmp_path: Path) -> None:
    ours = tmp_path / "labels.json"
    ours.write_text('[{"question": "person", "start": 1, "end": 2, "value": "yes"}]')
    assert read_public_set(ours) is None
    assert read_public_set(tmp_path / "missing.csv") is None


def test_an_annotation_without_one_sound_row_is_refused(tmp_path: Path) -> None:
    annotation = tmp_path / "test.txt"
    annotation.write_text("nothing of the kind\n")
    with pytest.raises(DataError, match="expected NAME CLASS"):
        read_public_set(annotation)
