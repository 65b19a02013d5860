"""One's own videos and labels as conversation files, and a model trained by them."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from model.bundled import NANO
from model.errors import InputError
from model.training.conversation import read
from model.training.loop import read_lines
from model.types import Question
from model.videollama3.prompt import NANO_1, VIDEOLLAMA3
from pipeline.errors import ConfigError
from worker.__main__ import main, parser
from worker.training.from_labels import Asking, Footage, write_conversations
from worker.training.own_camera import OwnCamera

CLIP = Path(__file__).resolve().parents[3] / "worker" / "demo" / "yard.mp4"
COLOUR = Question("choice", "Which colour?", ("red", "blue"))
FIRE = Question("yes_no", "Is there fire?")
COUNT = Question("count", "How many cars?")


@dataclass
class Known:
    """Right answers by a rule."""

    rule: Callable[[float], str]

    def judged_at(self, t_s: float) -> str:
        return self.rule(t_s)


def written(tmp_path: Path, *, forms: Any = NANO_1.forms, seed: int = 0, **rules: Any) -> list[Any]:
    """Write conversations about 80 s of a clip; return both files' rows."""
    questions = {"fire": FIRE, "colour": COLOUR, "cars": COUNT}
    truths = {key: Known(rule) for key, rule in rules.items()}
    footage = [Footage(tmp_path / "gate.mp4", 80.0, truths)]
    paths = write_conversations(tmp_path, footage, Asking(questions, forms, 20.0, seed))
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in paths]


def turns(rows: list[Any]) -> list[tuple[float, str, str]]:
    found = []
    for row in rows:
        messages = row["conversation"]
        for question, answer in zip(messages[::2], messages[1::2], strict=True):
            assert question["time"] == answer["time"]
            assert row["start_time"] < answer["time"] <= row["end_time"]
            found.append((answer["time"], question["content"], answer["content"]))
    return found


def test_a_camera_is_asked_what_the_labels_know_and_the_end_is_kept(tmp_path: Path) -> None:
    first, last = written(
        tmp_path,
        fire=lambda t_s: "unknown" if t_s < 20 else "yes" if t_s % 10 < 2 else "no",
        cars=lambda t_s: str(int(t_s // 30)),
    )
    assert all(row["end_time"] <= 60 and row["end_time"] - row["start_time"] <= 20 for row in first)
    assert all(row["start_time"] >= 60 for row in last)
    asked = turns([*first, *last])
    fire = [(at, said) for at, question, said in asked if "fire" in question]
    assert all(said == ("yes" if at % 10 < 2 else "no") for at, said in fire)
    assert min(at for at, _ in fire) >= 20
    shares = Counter(said for _, said in fire)
    assert 0.4 < shares["yes"] / len(fire) < 0.6  # though it is so a fifth of the time
    assert all(said == str(int(at // 30)) for at, question, said in asked if "cars" in question)


def test_it_is_asked_and_taught_in_the_models_own_words(tmp_path: Path) -> None:
    for forms, question, answer in (
        (
            NANO_1.forms,
            "Which colour?\nOptions:\nred\nblue\nAnswer with one of the options.",
            "blue",
        ),
        (VIDEOLLAMA3.forms, "Question: Which colour?\nOptions:\n(A) red\n(B) blue\n", "B"),
    ):
        first, _ = written(tmp_path, forms=forms, colour=lambda _t_s: "blue")
        assert all(asked.startswith(question) and said == answer for _, asked, said in turns(first))


def test_the_same_seed_chooses_the_same_moments(tmp_path: Path) -> None:
    def rule(t_s: float) -> str:
        return "yes" if t_s % 7 < 3 else "no"

    assert written(tmp_path, fire=rule) == written(tmp_path, fire=rule)
    assert written(tmp_path, fire=rule) != written(tmp_path, fire=rule, seed=1)


def test_labels_that_tell_nothing_of_the_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected some that tell of 75% to 100% of a video"):
        written(tmp_path, fire=lambda t_s: "no" if t_s < 50 else "unknown")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that a camera is asked by."""
    monkeypatch.setenv("VIGIL_QUESTIONS__PERSON__ASK", "Is a person in view?")
    monkeypatch.setenv("VIGIL_CAMERAS__YARD__URL", str(CLIP))
    monkeypatch.setenv("VIGIL_CAMERAS__YARD__PRIVATE", "0,0,0.2,0.2")
    monkeypatch.setenv("VIGIL_WINDOW", "24s")
    monkeypatch.setenv("VIGIL_MODEL__MAX_TOKENS_PER_FRAME", "24")


@pytest.mark.usefixtures("asked")
def test_a_model_is_trained_and_measured_by_ones_own_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels" / "yard.csv"
    labels.parent.mkdir()
    labels.write_text(
        "camera,question,start,end,value\nyard,person,7.5,19.6,yes\nyard,dog,1,2,yes\n"
    )
    talk = [{"from": "human", "value": "Two and two?"}, {"from": "gpt", "value": "four"}]
    (tmp_path / "old.json").write_text(json.dumps([{"conversations": talk}]))
    given = f"train --stage 4 --from {NANO} --video {CLIP} --labels {labels.parent} --lora 4"
    more = (
        f"--steps 2 --batch 1 --workers 0 --data {tmp_path / 'old.json'}=3 --out {tmp_path / 'run'}"
    )
    assert main([*given.split(), *more.split()]) == 0
    said = capsys.readouterr().err
    assert f"{labels}:3: expected a question that is asked (person), got 'dog'" in said
    assert [row["step"] for row in read_lines(tmp_path / "run" / "measures.jsonl")] == [0, 2]
    file = read(tmp_path / "run" / "train.jsonl")
    for conversation in file.conversations:
        for turn in conversation.turns:
            assert turn.time_s is not None
            assert turn.answer == ("yes" if 7.5 <= turn.time_s < 19.6 else "no")
    card = (tmp_path / "run" / "README.md").read_text()
    assert "adapters of rank 4" in card
    assert "on old.json=3, train.jsonl=1" in card


@pytest.mark.usefixtures("asked")
def test_a_camera_and_a_time_can_be_told_where_the_files_name_does_not(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    rows = "gate,person,2026-05-01T08:00:07Z,2026-05-01T08:00:19Z,yes\n"
    labels.write_text(f"camera,question,start,end,value\n{rows}")
    words = f"train --stage 4 --out run --video {CLIP} --labels {labels} --camera gate"
    told = parser().parse_args([*words.split(), "--began", "2026-05-01T08:00:00Z"])
    train_file, _ = OwnCamera(told, say=print).write(tmp_path, forms=NANO_1.forms, seed=0)
    answers = {turn.answer for one in read(train_file).conversations for turn in one.turns}
    assert answers == {"yes", "no"}
    with pytest.raises(InputError, match="got none to be used"):
        OwnCamera(parser().parse_args(words.split()), say=print)
    with pytest.raises(ConfigError, match="--began: expected a time with a zone"):
        OwnCamera(parser().parse_args([*words.split(), "--began", "08:00"]), say=print)


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--video", str(CLIP)], "--video and --labels: expected both, got one"),
        (["--video", "gone.mp4", "--labels", "LABELS"], "expected a video file or a folder"),
        (["--video", str(CLIP), "--labels", "gone.csv"], "expected a file of labels"),
    ],
)
def test_videos_or_labels_that_are_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("camera,question,start,end,value\nyard,person,7.5,19.6,yes\n")
    given = [str(labels) if word == "LABELS" else word for word in more]
    out = ["--out", str(tmp_path / "run"), "--from", str(NANO)]
    assert main(["train", "--stage", "4", *out, *given]) == 2
    assert words in capsys.readouterr().err
