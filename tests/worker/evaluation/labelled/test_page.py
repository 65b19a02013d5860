"""The page stands alone, shows what it says, and shows nothing that is masked."""

import re
from base64 import b64decode
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image

from model.training.labels import Problem
from pipeline.clock import SystemClock
from pipeline.sources.encoder import encode_clip
from tests.worker.evaluation.labelled.series import clip, judged
from worker import environment
from worker.evaluation.labelled.drawing import clock, reliability, timeline
from worker.evaluation.labelled.footage import Clip
from worker.evaluation.labelled.page import page
from worker.evaluation.labelled.pictures import pictures, worst
from worker.evaluation.labelled.playing import Told
from worker.evaluation.labelled.report import Report
from worker.evaluation.labelled.suggestions import suggest
from worker.evaluation.labelled.ways import Run

SPANS = [(57.0, 88.0), (147.0, 178.0)]
PS = [*[0.1] * 5, 0.97, *[0.1] * 6, *[0.9] * 6, *[0.1] * 12, *[0.2] * 6, *[0.1] * 12]
EVENTS = [Told("person", 25.0, 30.0, 35.0), Told("person", 60.0, 65.0, 90.0)]


def classes(drawing: str) -> list[str]:
    """The kinds of what is drawn."""
    root = ET.fromstring(drawing)  # noqa: S314 (our own)
    return [one.get("class", "") for one in root]


def test_a_timeline_shows_thresholds_truth_and_what_became_of_events() -> None:
    one = judged(PS, SPANS, events=EVENTS)
    drawn = classes(timeline(one, one.places[0], EVENTS))
    assert drawn.count("dot") == len(PS)
    assert {"enter", "exit", "doubt", "p"} <= set(drawn)
    assert (drawn.count("so"), drawn.count("missed")) == (1, 1)
    assert (drawn.count("event"), drawn.count("false")) == (1, 1)
    assert drawn.count("behind so") == 2


def test_long_clips_are_drawn_in_rows() -> None:
    one = judged([0.1] * 800, SPANS)
    drawn = timeline(one, one.places[0], [])
    assert drawn.count("<svg") == 2
    assert clock(3725.0) == "1:02:05"
    assert clock(65.5) == "1:05.5"


def test_reliability_has_a_point_for_every_tenth_that_was_said() -> None:
    one = judged(PS, SPANS)
    assert classes(reliability(one.bins)).count("bin") == len(one.bins) == 3


def test_the_worst_moments_are_apart_and_the_worst_comes_first() -> None:
    one = judged(PS, SPANS)
    mistakes = worst(one)
    assert mistakes[0].moment.t_s == 25.0
    times_s = sorted(mistake.moment.t_s for mistake in mistakes)
    assert all(after - before >= 10.0 for before, after in pairwise(times_s))
    assert [t_s for t_s in times_s if 147 <= t_s <= 178]


def test_pictures_are_those_of_their_moments_with_masks(tmp_path: Path) -> None:
    levels = [40, 90, 140, 190, 240]
    frames = [np.full((168, 308, 3), level, dtype=np.uint8) for level in levels for _ in range(5)]
    path = encode_clip(tmp_path / "gate.mp4", frames, fps=5, gop_s=2.0, bits_per_s=500_000)
    settings = environment.load(
        {"VIGIL_CAMERAS__GATE__URL": "rtsp://camera", "VIGIL_CAMERAS__GATE__PRIVATE": "0,0,0.5,1"}
    )
    mine = Clip("gate", path, "gate")
    at = [("gate", 3.0), ("gate", 1.0), ("yard", 0.0)]
    shown = pictures(settings, [mine], at, clock=SystemClock())
    assert set(shown) == {("gate", 3.0), ("gate", 1.0)}
    for (_, t_s), source in shown.items():
        raw = b64decode(source.removeprefix("data:image/jpeg;base64,"))
        seen = np.asarray(Image.open(BytesIO(raw)), dtype=int)
        half = seen.shape[1] // 2
        assert seen[:, : half - 8].max() < 12
        assert abs(seen[:, half + 8 :].mean() - levels[int(t_s)]) < 6
    lost = Clip("gate", tmp_path / "gone.mp4", "gate")
    assert pictures(settings, [lost], at, clock=SystemClock()) == {}


def test_the_page_stands_alone_and_writes_out_what_it_was_given() -> None:
    one = judged(PS, SPANS, events=EVENTS)
    report = Report(
        Run("", one.played, {"person": one}),
        suggestions={"person": suggest(one)},
        problems=[Problem("gate.csv:3", "expected <b>, got &")],
        notes=["a note"],
    )
    settings = environment.load({"VIGIL_MODEL__PATH": "a<b"})
    text = page(report, settings, command="vigil eval a --ask '<script>'")
    assert "<script" not in text
    assert "gate.csv:3: expected &lt;b&gt;, got &amp;" in text
    assert "a&lt;b: how right" in text
    assert "1 of 2 true events found, 1 false" in text
    assert "<li>a note</li>" in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "2 true event(s) are too few to choose by" in text
    assert clip().path.name in text
    assert '<div class="wide"><svg class="line"' in text  # a telephone scrolls it: it stays legible
