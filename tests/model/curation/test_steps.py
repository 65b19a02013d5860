"""The steps that ask no network, over painted pictures and over bad input."""

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from model.curation.demo import verdict
from model.curation.demo.painted import Kind, paint, painted
from model.curation.demo.shards import write_parquet, write_tar
from model.curation.parts import MAX_ATTEMPTS, ROWS_AT_ONCE, Pictures, StepFolder, counts
from model.curation.pictures import MAX_PIXELS
from model.curation.plan import STEPS, Limits, Plan
from model.curation.reasons import REASONS
from model.curation.work import PartWorker
from model.errors import DataError, InputError
from tests.model.curation.curations import LIMITS, painted_plan, plan_of, run

FIRST = ("read", "shape", "duplicates")


def dropped(plan: Plan, step: str) -> dict[str, tuple[str, str]]:
    """Id -> reason and what came."""
    found = {}
    for part in range(len(plan.shards)):
        for row in pq.read_table(plan.folder(step).dropped(part)).to_pylist():
            found[row["id"]] = (row["reason"], row["what"])
    return found


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    columns = {"id": pa.string(), "text": pa.string(), "image": pa.binary()}
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items()))), path)
    return path


def test_what_needs_no_network_is_found_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = painted_plan(tmp_path, 600, per_shard=150)
    outcomes = run(plan, *FIRST)
    assert [one["failed"] for one in outcomes] == [""] * 12
    monkeypatch.setattr(verdict, "STEPS", STEPS[:3])
    cheap = (Kind.STRETCHED, Kind.BLANK, Kind.DUPLICATE)
    found = [one for one in verdict.judged(plan, seed=3) if one.kind in cheap]
    assert len(found) == 3
    for one in found:
        assert one.num_planted >= 20
        assert one.recall >= 0.95
        assert one.precision >= 0.95


def test_every_row_is_kept_or_dropped_once_for_a_reason_of_the_table(tmp_path: Path) -> None:
    plan = painted_plan(tmp_path, 300)
    run(plan, *FIRST)
    num_in = 300
    for step in STEPS[:3]:
        kept, reasons = counts(plan.folder(step.name), range(6))
        assert kept + sum(reasons.values()) == num_in
        assert set(reasons) <= set(step.drops)
        num_in = kept
    assert {reason for step in STEPS for reason in step.drops} == set(REASONS)


def test_what_is_made_does_not_depend_on_the_order_of_work(tmp_path: Path) -> None:
    plan = painted_plan(tmp_path, 200)
    run(plan, *FIRST)
    again = Plan(plan.shards, tmp_path / "again", plan.limits, plan.networks)
    again.settle()
    for step in STEPS[:2]:
        for part in range(4):
            assert PartWorker(again, step.name).do(part).failed == ""
    run(again, "duplicates")
    for step in STEPS[:3]:
        for part in range(4):
            one, other = (each.folder(step.name).part(part) for each in (plan, again))
            assert one.read_bytes() == other.read_bytes()


def test_bad_pictures_and_captions_are_counted_and_the_others_stay(tmp_path: Path) -> None:
    good = paint(0, seed=3)
    cut, huge = good.image[: len(good.image) // 2], io.BytesIO()
    Image.new("1", (20_000, MAX_PIXELS // 20_000 + 1)).save(huge, format="PNG")
    rows: list[dict[str, Any]] = [
        {"id": "good", "text": "a", "image": good.image},
        {"id": "cut", "text": "a", "image": cut},
        {"id": "words", "text": "a", "image": b"no picture"},
        {"id": "empty", "text": "a", "image": b""},
        {"id": "none", "text": "a", "image": None},
        {"id": "huge", "text": "a", "image": huge.getvalue()},
        {"id": "wordless", "text": None, "image": good.image},
        {"id": "blank", "text": " \n", "image": good.image},
    ]
    plan = plan_of([parquet(tmp_path / "0.parquet", rows)], tmp_path / "run")
    (outcome,) = run(plan, "read")
    assert (outcome["failed"], outcome["num_in"]) == ("", 8)
    kept = pq.read_table(plan.folder("read").part(0)).to_pylist()
    assert [row["id"] for row in kept] == ["good"]
    reasons = {id_: reason for id_, (reason, _) in dropped(plan, "read").items()}
    assert reasons == {
        "cut": "not_an_image",
        "words": "not_an_image",
        "empty": "no_image",
        "none": "no_image",
        "huge": "too_large",
        "wordless": "no_caption",
        "blank": "no_caption",
    }


def test_a_truncated_shard_is_counted_and_the_others_are_read(tmp_path: Path) -> None:
    pictures = [paint(number, seed=3) for number in range(10)]
    write_tar(tmp_path / "0.tar", pictures[:5])
    write_parquet(tmp_path / "1.parquet", pictures[5:])
    content = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(content[: len(content) // 2])
    plan = plan_of([tmp_path / "0.tar", tmp_path / "1.parquet"], tmp_path / "run")
    run(plan, *FIRST)
    kept, reasons = counts(plan.folder("read"), range(2))
    assert reasons == {"truncated": 1}
    assert 5 < kept < 10


def test_an_id_that_is_there_twice_is_kept_once(tmp_path: Path) -> None:
    sound = [one.image for one in painted(20, seed=3) if one.kind is Kind.SOUND][:2]
    rows = [{"id": "same", "text": "a", "image": image} for image in sound]
    shards = [parquet(tmp_path / f"{n}.parquet", [row]) for n, row in enumerate(rows)]
    plan = plan_of(shards, tmp_path / "run")
    run(plan, *FIRST)
    assert counts(plan.folder("duplicates"), range(2)) == (1, {"same_id": 1})
    assert pq.read_table(plan.folder("duplicates").part(0)).num_rows == 1


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    shards = []
    for number, folder in enumerate("xy"):
        shard = tmp_path / folder / "train" / "0.parquet"
        shard.parent.mkdir(parents=True)
        sound = [one.image for one in painted(40, seed=3) if one.kind is Kind.SOUND][number]
        shards.append(parquet(shard, [{"id": None, "text": "a", "image": sound}]))
    plan = plan_of(shards, tmp_path / "run")
    run(plan, *FIRST)
    assert counts(plan.folder("duplicates"), range(2)) == (2, {})
    moved = [shutil.copytree(tmp_path / folder, tmp_path / "far" / folder) for folder in "xy"]
    other = plan_of([path / "train" / "0.parquet" for path in moved], tmp_path / "other")
    run(other, "read")
    for part in range(2):
        one, same = (each.folder("read").part(part) for each in (plan, other))
        assert one.read_bytes() == same.read_bytes()


def test_a_shard_without_anything_in_it_goes_through(tmp_path: Path) -> None:
    plan = plan_of([parquet(tmp_path / "0.parquet", [])], tmp_path / "run")
    assert {one["failed"] for one in run(plan, *FIRST)} == {""}
    assert counts(plan.folder("duplicates"), range(1)) == (0, {})


def test_a_full_disk_fails_its_part_and_leaves_what_is_done(tmp_path: Path) -> None:
    plan = painted_plan(tmp_path, 100)
    folder = plan.folder("read")
    plan.settle()
    (folder.path / "dropped").mkdir()
    (folder.path / ".part-00001.parquet.new").symlink_to("/dev/full")
    outcomes = [PartWorker(plan, "read").do(part) for part in (0, 1)]
    assert outcomes[0].failed == ""
    assert "No space left on device" in outcomes[1].failed
    assert [folder.is_done(part) for part in (0, 1)] == [True, False]
    assert not (folder.path / ".part-00001.parquet.new").is_symlink()
    before = folder.part(0).read_bytes()
    assert [PartWorker(plan, "read").do(part).failed for part in (0, 1)] == ["", ""]
    assert folder.part(0).read_bytes() == before


def test_a_part_that_workers_die_of_is_given_up(tmp_path: Path) -> None:
    plan = painted_plan(tmp_path, 50)
    plan.settle()
    plan.folder("read").attempts(0).write_text(str(MAX_ATTEMPTS))
    assert f"a worker died of it {MAX_ATTEMPTS} times" in PartWorker(plan, "read").do(0).failed


def test_a_shard_that_cannot_be_reached_fails_its_part_and_is_not_counted_as_bad(
    tmp_path: Path,
) -> None:
    plan = painted_plan(tmp_path, 100)
    plan.settle()
    plan.shards[1].unlink()
    outcomes = [PartWorker(plan, "read").do(part) for part in (0, 1)]
    assert outcomes[0].failed == ""
    assert "No such file" in outcomes[1].failed
    assert not plan.folder("read").is_done(1)


def test_other_settings_are_refused_with_what_to_delete(tmp_path: Path) -> None:
    plan = painted_plan(tmp_path, 50)
    run(plan, *FIRST)
    other = Plan(plan.shards, plan.out, replace(LIMITS, max_aspect_ratio=2), plan.networks)
    for step in ("shape", "duplicates"):  # which goes by what the steps before it go by
        asked = rf"max_aspect_ratio: expected 3.0, which .*-{step} was made by, got 2; to make it"
        with pytest.raises(InputError, match=asked):
            other.settle()
        shutil.rmtree(plan.folder(step).path)
    other.settle()
    assert [one["failed"] for one in run(other, *FIRST)] == [""] * 3


def test_settings_of_a_step_without_a_part_are_corrected(tmp_path: Path) -> None:
    plan = painted_plan(tmp_path, 50)
    run(plan, "read", "shape")
    prepared = plan.folder("duplicates").path / "copies.npy"
    prepared.touch()
    plan.settle()
    assert prepared.exists()
    other = Plan(plan.shards, plan.out, replace(LIMITS, max_differing_bits=3), plan.networks)
    other.settle()
    assert not prepared.exists()
    assert plan.folder("shape").is_done(0)
    with pytest.raises(InputError, match=r"min_side_px: expected 40, .*got 41"):
        Plan(plan.shards, plan.out, replace(LIMITS, min_side_px=41), plan.networks).settle()


def test_half_a_part_is_named_with_what_to_do(tmp_path: Path) -> None:
    plan = painted_plan(tmp_path, 100)
    run(plan, "read")
    part = plan.folder("read").part(1)
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"part-00001.parquet: expected a whole part, .*delete it"):
        counts(plan.folder("read"), range(2))
    part.unlink()
    run(plan, "read")
    assert part.read_bytes() == whole


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nothing=1", "--limit nothing: expected one of max_aspect_ratio, "),
        ("min_side_px=wide", "--limit min_side_px: expected a number, got 'wide'"),
        ("num_clusters=0", "--limit num_clusters: expected 1 or more, got 0"),
        ("max_differing_bits=9", "--limit max_differing_bits: expected 0 to 8, got 9"),
        ("min_aesthetic=nan", "--limit min_aesthetic: expected a number, got 'nan'"),
    ],
)
def test_limits_that_are_none_are_refused(given: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        Limits.given([given])
    assert message in str(refused.value)


def test_pictures_are_found_by_their_row_over_row_groups(tmp_path: Path) -> None:
    picture = paint(0, seed=3)
    count = 2 * ROWS_AT_ONCE + 7
    rows = [{"id": str(n), "text": str(n), "image": picture.image} for n in range(count)]
    plan = plan_of([parquet(tmp_path / "0.parquet", rows)], tmp_path / "run", LIMITS)
    run(plan, "read")
    folder: StepFolder = plan.folder("read")
    groups = pq.ParquetFile(folder.part(0)).metadata
    sizes = [groups.row_group(n).num_rows for n in range(groups.num_row_groups)]
    assert sizes == [ROWS_AT_ONCE, ROWS_AT_ONCE, 7]
    assert Pictures(folder.part(0)).take([0, 255, 256, count - 1]) == [picture.image] * 4
