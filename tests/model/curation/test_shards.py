import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.curation.demo.painted import paint
from model.curation.demo.shards import write, write_parquet, write_tar
from model.curation.shards import MAX_IMAGE_BYTES, Broken, Pair, pairs, shards_in
from model.errors import DataError
from tests.model.curation.curations import plan_of

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
    assert first == Pair("0.tar#a/1", b"one", "first")
    assert second == Pair("0.tar#b/1", b"two", "")


@pytest.mark.parametrize("facts", [b"no json", b"[1]", b'{"caption": 7}', b"[" * 100_000])
def test_facts_that_are_none_leave_a_pair_without_a_caption(facts: bytes, tmp_path: Path) -> None:
    shard = tar_of(tmp_path / "0.tar", {"1.jpg": b"one", "1.json": facts})
    assert list(pairs(shard)) == [Pair("0.tar#1", b"one", "")]


def test_half_a_character_is_spelled_out(tmp_path: Path) -> None:
    facts = rb'{"id": "\ud800", "caption": "a\udfff", "url": "\ud800"}'
    shard = tar_of(tmp_path / "0.tar", {"1.jpg": b"one", "1.json": facts})
    assert list(pairs(shard)) == [Pair("\\ud800", b"one", "a\\udfff", "\\ud800")]
    names = [f"caf{chr(0xDC00 + last)}.jpg" for last in b"\xe9\xe8"]
    shard = tar_of(tmp_path / "1.tar", dict.fromkeys(names, b"one"))
    ids = [found.id for found in pairs(shard)]
    assert ids == [f"1.tar#caf\\udce{last}" for last in "98"]


@pytest.mark.parametrize(
    ("kind", "length"),
    [(pa.string(), np.int32), (pa.large_string(), np.int64), (pa.string_view(), np.int32)],
)
def test_text_in_parquet_that_is_no_utf_8_costs_no_pair(
    kind: pa.DataType, length: type[np.signedinteger[Any]], tmp_path: Path
) -> None:
    lengths = pa.py_buffer(np.array([0, 1, 3], dtype=length))
    long = pa.large_string() if length is np.int64 else pa.string()
    text = pa.Array.from_buffers(long, 2, [None, lengths, pa.py_buffer(b"a\xff.")]).cast(kind)
    image = pa.StructArray.from_arrays([pa.array([b"one", b"two"]), text], ["bytes", "path"])
    for number, picture in enumerate((image, pa.array([b"one", b"two"]))):
        shard = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"id": [7, 8], "image": picture, "text": text}), shard)
        assert list(pairs(shard)) == [Pair("7", b"one", "a"), Pair("8", b"two", "\\xff.")]


def test_an_empty_id_is_none(tmp_path: Path) -> None:
    shard = tmp_path / "0.parquet"
    pq.write_table(pa.table({"id": ["", "b"], "image": [b"one", b"two"]}), shard)
    assert [found.id for found in pairs(shard)] == ["0.parquet#0", "b"]


def test_pairs_without_an_id_differ_where_their_names_do_not(tmp_path: Path) -> None:
    shards = [
        tmp_path / folder / "train" / name for folder in "ab" for name in ("0.tar", "0.parquet")
    ]
    for shard in shards:
        shard.parent.mkdir(parents=True, exist_ok=True)
        if shard.suffix == ".tar":
            tar_of(shard, {"1.jpg": b"one", "1.txt": b"a"})
        else:
            pq.write_table(pa.table({"image": [b"one"], "text": ["a"]}), shard)
    root = plan_of(shards, tmp_path / "out").root()
    assert [found.id for shard in shards for found in pairs(shard, root=root)] == [
        "a/train/0.tar#1",
        "a/train/0.parquet#0",
        "b/train/0.tar#1",
        "b/train/0.parquet#0",
    ]


def test_a_caption_may_be_in_the_facts(tmp_path: Path) -> None:
    facts = json.dumps({"id": 712, "caption": "a red disc"}).encode()
    for number, empty in enumerate(({}, {"1.txt": b" "})):
        members = {"1.jpg": b"one", "1.json": facts} | empty
        shard = tar_of(tmp_path / f"{number}.tar", members)
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
        assert last.id.startswith("0.tar#")
        assert read == sound[: len(read)]


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tar, header: flipped(tar, header + 150),
        lambda tar, header: tar[:header] + bytes(512) + tar[header + 512 :],
        lambda tar, _: tar + tar,
        lambda tar, _: flipped(gzip.compress(tar, mtime=0), -6),
    ],
    ids=["a header's checksum", "a header of zeros", "two in one", "gzip's checksum"],
)
def test_a_tar_file_damaged_anywhere_says_so_after_what_is_whole(
    spoil: Callable[[bytes, int], bytes], tmp_path: Path
) -> None:
    shard = tmp_path / "0.tar"
    write_tar(shard, PICTURES)
    sound = list(pairs(shard))
    with tarfile.open(shard) as tar:
        header = tar.getmember("00000001.txt").offset
    shard.write_bytes(spoil(shard.read_bytes(), header))
    *read, last = pairs(shard)
    assert isinstance(last, Broken)
    assert last.reason == "truncated"
    assert read == sound[: len(read)]
    assert 1 <= len(read) < 3


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "a,b", "GNU.sparse.size": "q"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "q"},
    ],
)
def test_headers_that_hold_no_numbers_are_damage(headers: dict[str, str], tmp_path: Path) -> None:
    shard = tmp_path / "0.tar"
    write_tar(shard, PICTURES[:1])
    with tarfile.open(shard, "a", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("1.jpg")
        member.pax_headers = headers
        tar.addfile(member)
    (found,) = pairs(shard)
    assert isinstance(found, Broken)
    assert found.reason == "truncated"


def test_members_that_are_none_of_a_pairs_cost_nothing(tmp_path: Path) -> None:
    members = {"._1.jpg": b"-", "1.jpg": b"one", "._1.txt": b"-", "1.txt": b"first"}
    members |= {"1.depth.png": bytes(2 << 20), "2.txt": b"second", "2.seg.png": b"-"}
    first, second = pairs(tar_of(tmp_path / "0.tar", members))
    assert first == Pair("0.tar#1", b"one", "first")
    assert second == Broken("0.tar#2", "no_image", "got txt, seg.png")


def test_pairs_under_one_name_are_as_many_as_there_are(tmp_path: Path) -> None:
    shard = tmp_path / "0.tar"
    with tarfile.open(shard, "w") as tar:
        for number in range(3):
            for ending in ("jpg", "txt"):
                member = tarfile.TarInfo(f"same.{ending}")
                member.size = 1
                tar.addfile(member, io.BytesIO(str(number).encode()))
    assert list(pairs(shard)) == [Pair("0.tar#same", b"%d" % n, str(n)) for n in range(3)]


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_compressed_tar_files_are_shards(ending: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", PICTURES)
    sound = list(pairs(tmp_path / "0.tar"))
    (folder := tmp_path / "folder").mkdir()
    compress = gzip.compress if "g" in ending else bz2.compress if "b" in ending else lzma.compress
    (folder / f"0.{ending}").write_bytes(compress((tmp_path / "0.tar").read_bytes()))
    (shard,) = shards_in([folder])
    assert list(pairs(shard)) == sound


def test_what_curation_makes_is_no_shard_unless_it_is_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "data" / "curated"
    shards = [tmp_path / "data" / "0.tar", out / "1-read" / "part-00000.parquet"]
    for shard in shards:
        shard.parent.mkdir(parents=True, exist_ok=True)
        shard.touch()
    assert shards_in([tmp_path / "data"]) == shards
    assert shards_in([tmp_path / "data"], out=out) == shards[:1]
    assert shards_in([out / "1-read"], out=out) == shards[1:]
    with pytest.raises(DataError, match="got: nothing"):
        shards_in([out], out=out)


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
    assert list(pairs(shard)) == [Pair("0.parquet#0", None, ""), Pair("0.parquet#1", b"p", "a")]


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
