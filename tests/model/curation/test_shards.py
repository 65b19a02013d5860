import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.curation.demo.painted import paint
from model.curation.demo.shards import write, write_parquet, write_tar
from model.curation.shards import MAX_IMAGE_BYTES, Broken, Pair, pairs, shards_in
from model.errors import DataError

PICTURES = [paint(number, seed=1) for number in range(3)]


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("ending", "write"), [("tar", write_tar), ("parquet", write_parquet)])
def test_both_formats_give_the_same_pairs(ending: str, write: object, tmp_path: Path) -> None:
    shard = tmp_path / f"0.{ending}"
    assert callable(write)
    write(shard, PICTURES)
    assert list(pairs(shard)) == [
        Pair(f"p{one.number:07d}", one.image, one.caption, f"painted:{one.number}")
        for one in PICTURES
    ]


def test_a_pair_is_what_has_one_name_before_its_first_dot(tmp_path: Path) -> None:
    members = {"a/1.JPG": b"one", "a/1.txt": b"first", "b/1.seg.png": b"-", "b/1.png": b"two"}
    first, second = pairs(tar_of(tmp_path / "0.tar", members))
    assert first == Pair(f"{tmp_path.name}/0.tar#a/1", b"one", "first")
    assert second == Pair(f"{tmp_path.name}/0.tar#b/1", b"two", "")


@pytest.mark.parametrize("facts", [b"no json", b"[1]", b'{"caption": 7}', b"[" * 100_000])
def test_facts_that_are_none_leave_a_pair_without_a_caption(facts: bytes, tmp_path: Path) -> None:
    shard = tar_of(tmp_path / "0.tar", {"1.jpg": b"one", "1.json": facts})
    assert list(pairs(shard)) == [Pair(f"{tmp_path.name}/0.tar#1", b"one", "")]


def test_half_a_character_is_spelled_out(tmp_path: Path) -> None:
    facts = rb'{"id": "\ud800", "caption": "a\udfff", "url": "\ud800"}'
    shard = tar_of(tmp_path / "0.tar", {"1.jpg": b"one", "1.json": facts})
    assert list(pairs(shard)) == [Pair("\\ud800", b"one", "a\\udfff", "\\ud800")]
    names = [f"caf{chr(0xDC00 + last)}.jpg" for last in b"\xe9\xe8"]
    shard = tar_of(tmp_path / "1.tar", dict.fromkeys(names, b"one"))
    ids = [found.id for found in pairs(shard)]
    assert ids == [f"{tmp_path.name}/1.tar#caf\\udce{last}" for last in "98"]


def test_text_in_parquet_that_is_no_utf_8_costs_no_pair(tmp_path: Path) -> None:
    lengths = pa.py_buffer(np.array([0, 1, 3], dtype=np.int32))
    text = pa.Array.from_buffers(pa.string(), 2, [None, lengths, pa.py_buffer(b"a\xff.")])
    shard = tmp_path / "0.parquet"
    pq.write_table(pa.table({"id": [7, 8], "image": [b"one", b"two"], "text": text}), shard)
    assert list(pairs(shard)) == [Pair("7", b"one", "a"), Pair("8", b"two", "\\xff.")]


def test_pairs_without_an_id_differ_where_their_names_do_not(tmp_path: Path) -> None:
    shards = [tmp_path / folder / name for folder in "ab" for name in ("0.tar", "0.parquet")]
    for shard in shards:
        shard.parent.mkdir(exist_ok=True)
        if shard.suffix == ".tar":
            tar_of(shard, {"1.jpg": b"one", "1.txt": b"a"})
        else:
            pq.write_table(pa.table({"image": [b"one"], "text": ["a"]}), shard)
    assert len({found.id for shard in shards for found in pairs(shard)}) == 4


def test_a_caption_may_be_in_the_facts(tmp_path: Path) -> None:
    facts = json.dumps({"id": 712, "caption": "a red disc"}).encode()
    shard = tar_of(tmp_path / "0.tar", {"1.jpg": b"one", "1.json": facts})
    assert list(pairs(shard)) == [Pair("712", b"one", "a red disc")]


def test_a_tar_file_cut_anywhere_gives_what_is_whole_and_then_says_so(tmp_path: Path) -> None:
    whole = tmp_path / "0.tar"
    write_tar(whole, PICTURES)
    content = whole.read_bytes()
    sound = list(pairs(whole))
    for length in range(100, len(content) - 10_240, 777):  # tar's own padding may be missing
        whole.write_bytes(content[:length])
        *read, last = pairs(whole)
        assert isinstance(last, Broken)
        assert last.reason == "truncated"
        assert last.id.startswith(f"{tmp_path.name}/0.tar#")
        assert read == sound[: len(read)]


def test_a_tar_file_of_noise_is_named(tmp_path: Path) -> None:
    shard = tmp_path / "0.tar"
    shard.write_bytes(b"\x07" * 3_000)
    assert [one.reason for one in pairs(shard) if isinstance(one, Broken)] == ["truncated"]


def test_a_picture_beyond_all_measure_is_not_read(tmp_path: Path) -> None:
    shard = tmp_path / "0.tar"
    with tarfile.open(shard, "w") as tar:
        member = tarfile.TarInfo("1.jpg")
        member.size = MAX_IMAGE_BYTES + 1
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    (found,) = pairs(shard)
    assert isinstance(found, Broken)
    assert (found.reason, found.what) == ("too_large", f"{MAX_IMAGE_BYTES + 1} bytes")


def test_coyos_own_parquet_has_addresses_only_and_is_named_for_it(tmp_path: Path) -> None:
    shard = tmp_path / "0.parquet"
    pq.write_table(pa.table({"id": [1], "url": ["http://a"], "text": ["a"]}), shard)
    (found,) = pairs(shard)
    assert isinstance(found, Broken)
    assert found.reason == "no_image"
    assert "expected a column image" in found.what


def test_rows_with_nothing_in_them_are_pairs_without_a_picture(tmp_path: Path) -> None:
    shard = tmp_path / "0.parquet"
    image = pa.array([None, {"bytes": b"p"}], pa.struct([("bytes", pa.binary())]))
    pq.write_table(pa.table({"image": image, "text": [None, "a"]}), shard)
    place = f"{tmp_path.name}/0.parquet"
    assert list(pairs(shard)) == [Pair(f"{place}#0", None, ""), Pair(f"{place}#1", b"p", "a")]


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    shard = tmp_path / "0.parquet"
    write_parquet(shard, PICTURES)
    shard.write_bytes(shard.read_bytes()[:-40])
    assert [one.reason for one in pairs(shard) if isinstance(one, Broken)] == ["unreadable_shard"]


def test_what_is_no_shard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(DataError, match=r"expected \.tar or \.parquet shards, got: nothing"):
        shards_in([tmp_path])
    with pytest.raises(DataError, match="it is missing"):
        shards_in([tmp_path / "nowhere.tar"])


@pytest.mark.parametrize("name", ["00000.tar", "00001.parquet"])
def test_painted_shards_go_on_after_a_full_disk(tmp_path: Path, name: str) -> None:
    beside = tmp_path / f".{name}.new"
    beside.symlink_to("/dev/full")
    num_done = int(name[:5])
    expected = rf"{name}: .*No space left on device; {num_done} shards are done"
    with pytest.raises(OSError, match=expected):
        write(tmp_path, 12, seed=0, per_shard=4)
    assert len(list(tmp_path.iterdir())) == num_done
    assert all(path.is_file() for path in write(tmp_path, 12, seed=0, per_shard=4))
