"""Through everything: a rendered camera, labelled by its truth, and the whole worker on it."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.scenes import Scene
from model.scenes.topics import TOPICS
from model.scenes.witness import Witness
from model.training.labels import Label, as_csv
from pipeline.sources.encoder import encode_clip
from worker.__main__ import main
from worker.benchmarks.report import Progress
from worker.evaluation import end_to_end
from worker.evaluation.labelled import command
from worker.evaluation.labelled.measure import Found, Wanted, measure
from worker.evaluation.labelled.suggestions import Candidate, simulated

DURATION_S, EVERY_S = 10.0, 2.0
TOPIC = "person in view"
WAYS = "reference,balanced,fast,last4"
SETTINGS = {
    "VIGIL_MODEL__MAX_TOKENS_PER_FRAME": "72",
    "VIGIL_WINDOW": "30s",
    "VIGIL_QUESTIONS__PERSON__ASK": "Is a person in view?",
    "VIGIL_QUESTIONS__PERSON__EVERY": f"{EVERY_S:g}s",
    "VIGIL_QUESTIONS__PERSON__COOLDOWN": "0s",
    "VIGIL_QUESTIONS__NOBODY__ASK": "Is a person in view?",
    "VIGIL_QUESTIONS__NOBODY__EVERY": f"{2 * EVERY_S:g}s",
    "VIGIL_QUESTIONS__NOBODY__EVENT_ON": "no",
}


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A scene in which somebody comes or goes."""
    return next(
        one
        for seed in range(10_000_000, 10_000_200)
        if (one := Scene.from_seed(seed, duration_s=DURATION_S)) and _has_both(_truth(one))
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, scene: Scene) -> Path:
    made = tmp_path_factory.mktemp("gate")
    end_to_end.film(scene, made, camera_id="gate")
    return made


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


def _truth(scene: Scene) -> list[tuple[float, str]]:
    """The right answer at every second, as `vigil eval nano` has it."""
    found = []
    for t_s in np.arange(0.0, scene.duration_s).tolist():
        told = TOPICS[TOPIC](Witness(scene, 0.0, t_s), np.random.default_rng(0))
        found.append((t_s, "unknown" if not told else "yes" if told[0][1] else "no"))
    return found


def _has_both(truth: list[tuple[float, str]]) -> bool:
    """Whether it is so for a while, and not for a while."""
    values = [value for _, value in truth]
    return min(values.count("yes"), values.count("no")) >= 3


def labels_of(scene: Scene) -> list[Label]:
    return [Label("gate", "person", t_s, t_s + 1, value) for t_s, value in _truth(scene)]


def test_figures_are_those_that_the_truth_gives(
    folder: Path,
    scene: Scene,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[Found] = []

    def measured(wanted: Wanted, *, progress: Progress) -> Found:
        found.append(measure(wanted, progress=progress))
        return found[-1]

    monkeypatch.setattr(command, "measure", measured)
    nobody = [
        Label("gate", "nobody", one.start, one.end, one.value) for one in labels_of(scene)[:6]
    ]
    wrong = [
        Label("gate", "fire", 1.0, 2.0, "yes"),
        Label("gate", "person", 500.0, 600.0, "yes"),
    ]
    labels = folder / "labels.csv"
    labels.write_text(as_csv([*labels_of(scene), *nobody, *wrong]))
    page = folder / "page.html"
    words = ["eval", "nano", "--video", str(folder / "gate.mp4"), "--labels", str(labels)]
    more = ["--ask", "person=Is anybody there?", "--compare", WAYS, "--html", str(page)]
    assert main([*words, *more, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in document["rows"]}
    # nano knows this world
    assert rows["person_average_precision"]["terms"]["answers"] == DURATION_S / EVERY_S
    values = [value for t_s, value in _truth(scene) if t_s % EVERY_S == 0]
    num_judged = rows["person_average_precision"]["terms"]["judged"]
    assert len(values) - values.count("unknown") - 2 <= num_judged <= len(values)
    assert rows["person_average_precision"]["value"] > 0.95
    assert rows["person_answers_f1"]["value"] > 0.9
    assert rows["person_events_recall"]["value"] in (None, 1.0)
    assert rows["nobody_unknown"]["terms"]["answers"] == 3
    assert 0 < rows["tokens_kept"]["value"] < 1
    assert rows["person-ask-1_wording_average_precision"]["value"] > 0.9
    # frames 0, 0 to 2 and then four at every second one, whole
    assert rows["last4_tokens_kept"]["value"] == pytest.approx((1 + 3 + 4 + 4 + 4) / 10)
    kept = {way: rows[f"{way}_tokens_kept"]["value"] for way in WAYS.split(",")}
    assert kept["fast"] <= kept["balanced"] < kept["reference"]
    assert kept["fast"] == rows["tokens_kept"]["value"]
    for way in ("balanced", "fast", "last4"):  # what the cheaper ways cost, in answers
        assert rows[f"{way}_person_agreement_with_reference"]["terms"]["of"] == 5
        assert 0.8 <= rows[f"{way}_person_agreement_with_reference"]["value"] <= 1.0
        assert rows[f"{way}_person_average_precision"]["value"] > 0.9
    places = [one["place"].rpartition(":")[2] for one in document["problems"]]
    last = 1 + len(labels_of(scene)) + len(nobody)
    assert places == [str(last + 1), str(last + 2)]
    assert any("a demo model" in note for note in document["notes"])
    assert any("too little to say how far" in note for note in document["notes"])
    assert any(line.startswith("# person: ") for line in document["settings"])
    suggestion = document["suggestions"]["person"]
    assert suggestion["present_f1"] == rows["person_events_f1"]["value"]
    assert suggestion["suggested_f1"] is None  # in ten seconds there is too little to choose by
    assert page.read_text().count("<svg") >= 4
    # what settings would have given is worked out by what the worker did
    for judged in found[0].report.run.judged.values():
        present = Candidate(judged.asked.rule, judged.asked.doubt.band)
        for place, (_, outcomes) in zip(judged.places, simulated(judged, present), strict=True):
            assert tuple(outcomes) == place.found


def test_a_clip_that_cannot_be_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, labels = tmp_path / "gate.mp4", tmp_path / "gate.csv"
    video.write_bytes(b"no video" * 100)
    labels.write_text("camera,question,start,end,value\ngate,person,1,2,yes\n")
    assert main(["eval", "nano", "--video", str(video), "--labels", str(labels)]) == 2
    assert f"{video}: expected a video, got " in capsys.readouterr().err


def test_a_clip_of_another_rate_is_told_and_judged_all_the_same(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIL_SAMPLE_FPS", "2")
    pictures = [scene.frame(float(second), scale=1) for second in range(5)]
    encode_clip(tmp_path / "gate.mp4", pictures, fps=1, gop_s=2.0, bits_per_s=500_000)
    labels = tmp_path / "gate.csv"
    labels.write_text("camera,question,start,end,value\ngate,person,0,4,yes\n")
    wanted = Wanted("nano", tmp_path / "gate.mp4", labels)
    report = measure(wanted, progress=lambda _: None).report
    told = "gate.mp4: a picture every 0.9 s, where 2 a second are sampled: answers are rarer"
    assert any(note.startswith(told) for note in report.notes)
    rows = {row.name: row for row in report.rows}
    assert rows["person_average_precision"].terms["answers"] == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--video", "gate.mp4"], "expected --video and --labels together"),
        (["--ask", "Is it?"], "expected --video and --labels together"),
    ],
)
def test_options_that_lack_others_are_refused(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "nano", *options]) == 2
    assert words in capsys.readouterr().err


def test_labels_of_nothing_are_refused_with_every_reason(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("camera,question,start,end,value\ngate,fire,1,2,yes\ngate,person,9,2,yes\n")
    words = ["eval", "nano", "--video", str(folder / "gate.mp4"), "--labels", str(labels)]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert f"{labels}:2: expected a question that is asked (nobody, person), got 'fire'" in told
    assert f"{labels}:3: expected an end after the start, got 9 to 2" in told
    assert main([*words, "--compare", "slow"]) == 2
    assert "--compare: expected some of reference, balanced, fast, last4" in capsys.readouterr().err
