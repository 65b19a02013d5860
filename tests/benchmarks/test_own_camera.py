"""The way from labels of one's own camera to a better model, all of it, in small."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from model.training.labels import UNKNOWN, read_labels
from tests.benchmarks.own_camera import Size, measure, record, scene_of

SEED = 10_000_000


def test_a_recording_has_red_and_blue_swapped_and_labels_of_what_is_there(tmp_path: Path) -> None:
    record(tmp_path, "gate", seed=SEED, duration_s=120.0)
    scene = scene_of(SEED, duration_s=120.0)
    with av.open(tmp_path / "gate.mp4") as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == 120
    for t_s in (0, 17, 119):
        true = scene.frame(float(t_s), scale=1).astype(int)
        swapped, same = (np.abs(shown[t_s] - one).mean() for one in (true[..., ::-1], true))
        assert swapped < same
    labels, problems = read_labels(tmp_path / "gate.csv")
    assert not problems
    for one in labels:
        if isinstance(one.start, float) and isinstance(one.end, float):
            for t_s in np.arange(one.start, one.end).tolist():
                seen = [each for each in scene.seen(t_s) if each.visible >= 0.5]
                people = [each.colour for each in seen if each.kind == "person"]
                if one.question == "person":
                    assert one.value == ("yes" if people else "no")
                elif one.question == "person_colour":
                    assert [one.value] == people
    told = [one for one in labels if one.question == "person" and one.start is not None]
    assert {one.value for one in told} == {"yes", "no"}
    assert UNKNOWN not in {one.value for one in told}
    assert all(one.end <= other.start for one, other in pairwise(told))  # type: ignore[operator]


@pytest.mark.timeout(400)  # a whole worker twice and a training between, on a busy machine
def test_the_commands_of_the_readme_measure_before_and_after() -> None:
    said: list[str] = []
    rows = measure(said.append, Size(40.0, 16.0, num_steps=2, batch_size=1, rank=4))
    assert [line.split()[1] for line in said if line.startswith("vigil ")] == [
        "eval",
        "train",
        "eval",
    ]
    assert {row.name: row.terms.get("before", -1) >= 0 for row in rows} == {
        "person_answers_f1": True,
        "person_colour_answers_accuracy": False,  # in 16 s nobody is there alone
        "car_colour_answers_accuracy": True,
    }
