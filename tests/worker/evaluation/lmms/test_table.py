import json
from pathlib import Path

import pytest
import yaml

from pipeline.errors import ConfigError
from worker.evaluation.lmms.__main__ import main
from worker.evaluation.lmms.harness import TASKS, Outcome, Run, outcomes_of, run_lmms_eval
from worker.evaluation.lmms.rendered import render
from worker.evaluation.lmms.table import Figures, benchmarks, table
from worker.evaluation.lmms.tasks import local

RUN = Run("nano", "reference", ("local_open_answer",))
COSTS = {"num_asked": 4, "num_failed": 1, "num_kept": 50, "num_tokens": 200, "seconds": 3.0}
WRITES = """
import json, sys
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--output_path") + 1])
(out / "nano").mkdir(exist_ok=True)
found = {"results": {"local_open_answer": {"accuracy,none": 0.5, "accuracy_stderr,none": 0.1}}}
found["n-samples"] = {"local_open_answer": {"effective": 4}}
(out / "nano" / "1_results.json").write_text(json.dumps(found))
"""


def stand_in(work: Path, code: str) -> Path:
    """A package that `python -m lmms_eval` finds in the folder it is run in."""
    (work / "lmms_eval").mkdir(parents=True)
    (work / "lmms_eval" / "__main__.py").write_text(code)
    return work


def test_what_lmms_eval_wrote_is_read(tmp_path: Path) -> None:
    [found] = run_lmms_eval(RUN, work=stand_in(tmp_path, WRITES), out=tmp_path / "out")
    assert found == Outcome("local_open_answer", {"accuracy": 0.5}, 4, {})


def test_the_parts_of_ovo_benchs_forward_tasks_are_read_and_have_rows(tmp_path: Path) -> None:
    run = Run("nano", "reference", ("ovo_forward",))
    code = """
import json, sys
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--output_path") + 1])
for folder in ("nano", "submissions"):
    (out / folder).mkdir(exist_ok=True)
found = {"results": {"ovo_forward": {"forward_acc,none": 50.0}}, "n-samples": {}}
(out / "nano" / "1_results.json").write_text(json.dumps(found))
(out / "submissions" / "forward_acc_results.json").write_text("[]")
parts = {"REC": 25.0, "SSR": 60.0, "CRR": 65.0, "average": 50.0}
(out / "submissions" / "forward_acc_scores.json").write_text(json.dumps(parts))
"""
    [found] = run_lmms_eval(run, work=stand_in(tmp_path, code), out=tmp_path / "out")
    figures = Figures(tmp_path / "figures")
    figures.keep("reference", found, limit=None)
    lines = {line.split("  ")[0]: line for line in table(figures, model="nano").splitlines()}
    values = {name: line.split()[-1] for name, line in lines.items() if "forward" in name}
    assert values == {
        "OVO-Bench forward": "50.0",
        "OVO-Bench forward, REC": "25.0",
        "OVO-Bench forward, SSR": "60.0",
        "OVO-Bench forward, CRR": "65.0",
    }


def test_a_failed_evaluation_that_ends_with_status_0_is_noticed(tmp_path: Path) -> None:
    work = stand_in(tmp_path, "print('ValueError: no such task')")
    out = tmp_path / "out"
    (out / "nano").mkdir(parents=True)
    (out / "nano" / "0_results.json").write_text("{}")  # of a run before
    with pytest.raises(ConfigError, match=r"status 0 and no results.*\n.*no such task"):
        run_lmms_eval(RUN, work=work, out=out)


def test_a_task_without_a_number_is_no_result() -> None:
    with pytest.raises(ConfigError, match="ocrbench: expected a number"):
        outcomes_of({"results": {"ocrbench": {"alias": "x"}}}, {}, wanted=["ocrbench"])


def test_a_group_is_its_tasks_together() -> None:
    document = {
        "results": {"a": {"acc,none": "20.0"}, "b": {"acc,none": 40}, "both": {"alias": "both"}},
        "group_subtasks": {"both": ["a", "b"]},
        "n-samples": {"a": {"effective": 3}, "b": {"effective": 4}},
    }
    [found] = outcomes_of(document, {"a": COSTS, "b": COSTS}, wanted=["both"])
    assert (found.metrics, found.num_samples) == ({"acc": 30.0}, 7)
    assert found.costs["num_kept"] == 100


def test_the_table_has_ours_beside_the_published_and_says_how_to_get_the_rest(
    tmp_path: Path,
) -> None:
    figures = Figures(tmp_path)
    figures.keep("fast", Outcome("ocrbench", {"ocrbench_accuracy": 0.5}, 4, COSTS), limit=4)
    figures.keep("fast", Outcome("local_grounding", {"mean_iou": 0.25}, 4, COSTS), limit=None)
    lines = {line.split("  ")[0]: line for line in table(figures, model="nano").splitlines()}
    ocr, grounding, mmmu = lines["OCRBench"], lines["local_grounding"], lines["MMMU"]
    assert ocr.split()[1:6] == ["779", "828", "500.0", "25%", "3"]
    assert "the first 4 documents alone" in ocr
    assert "1 answered with nothing" in ocr
    assert " 25.0 " in grounding
    assert mmmu.split()[1:3] == ["45.3", "48.8"]
    assert "--tasks mmmu_val fetches lmms-lab-encoder/MMMU" in mmmu


def test_the_reviews_benchmarks_are_all_there() -> None:
    names = {one.name.partition(" with")[0] for one in benchmarks() if one.published[0]}
    assert len(names) == 18
    assert any(one.name.startswith("OVO-Bench") for one in benchmarks())


def test_every_task_file_finds_its_functions_and_its_documents(tmp_path: Path) -> None:
    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types here
        pass

    def function(loader: yaml.Loader, node: yaml.ScalarNode) -> str:
        name = str(loader.construct_scalar(node)).removeprefix("local.")
        assert callable(getattr(local, name))
        return name

    Loader.add_constructor("!function", function)
    rendered = render(tmp_path, num_scenes=1, progress=lambda _: None)
    for path in TASKS.glob("local_*.yaml"):
        task = yaml.load(path.read_text(), Loader)  # noqa: S506 (a safe loader, and one tag more)
        assert task["task"] == path.stem
        assert task["dataset_kwargs"]["data_files"] == {"test": f"{path.stem}.jsonl"}
    assert set(rendered) <= {path.stem for path in TASKS.glob("local_*.yaml")}
    [row, *_] = (tmp_path / "local_multi_round.jsonl").read_text().splitlines()
    document = json.loads(row)
    said, number, told = [], 0, local.rounds(document, round_idx=0)
    while not told[2]:
        [shown], words, *_ = told
        assert shown["video_end"] == document["until"][number]
        assert words == document["prompt"]
        said.append(document["answers"][number].upper() + ".")
        number += 1
        told = local.rounds(document, round_idx=number, previous_output=said)
    assert local.is_said_in_rounds(document, [said]) == {"accuracy": 1.0}


def test_answers_are_judged_by_what_they_say() -> None:
    assert local.is_said({"answer": "Red"}, ["red."]) == {"accuracy": 1.0}
    assert local.is_said({"answer": "red"}, ["blue"]) == {"accuracy": 0.0}
    assert local.overlap({"answer": "2.0-6.0 s"}, ["4.0-8.0 s"]) == {"mean_iou": 1 / 3}
    assert local.overlap({"answer": "2.0-6.0 s"}, ["never"]) == {"mean_iou": 0.0}
    weighed = [(-3.0, False), (-1.0, True)]
    assert local.likeliest({"options": ["a", "b"], "answer": "b"}, weighed) == {"accuracy": 1.0}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--mode", "slow"], "expected some of reference, balanced, fast, last4"),
        (["--tasks", "local_nothing*"], "expected some of local_grounding"),
    ],
)
def test_what_cannot_be_run_is_refused(
    options: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, "--work", str(tmp_path)]) == 2
    assert expected in capsys.readouterr().err


def test_without_tasks_the_table_alone_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--work", str(tmp_path)]) == 0
    assert "Charades-STA" in capsys.readouterr().out
    assert main(["--work", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bench"] == "lmms-eval"
