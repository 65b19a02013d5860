"""Shards of pictures with captions: WebDataset tar files, or parquet with COYO's columns.

In a tar file, members of one name before its first dot belong together: `000.jpg`, `000.txt`,
`000.json`; names that begin with a dot are no pair's, macOS adds them. In parquet, a row is a pair.
What cannot be read is a `Broken` in the row of pairs, and never an exception: one bad shard in a
hundred thousand does not stop a run.
"""

import json
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from model.errors import DataError

MAX_IMAGE_BYTES = 64 << 20
_MAX_TEXT_BYTES = 1 << 20
_ENDINGS = (".parquet", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2")
_TEXTS = ("txt", "json")
_IS_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_MALFORMED = (OSError, ValueError, OverflowError)
"""What `tarfile` and `pyarrow` raise over content besides errors of their own."""
_COLUMNS = {
    "id": ("id", "key", "__key__"),
    "text": ("text", "caption", "txt"),
    "url": ("url",),
    "image": ("image", "jpg", "image_bytes"),
}
"""What is wanted -> the columns that COYO, img2dataset and `datasets` have it in."""
_ROWS_AT_ONCE = 64
_BYTES_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and its caption, as the shard has them.

    Attributes:
        id: the pair's own, unique in all shards.
        image: the encoded picture; None where there is none.
        text: the caption; empty where there is none.
        url: where it came from; empty where that is not said.
    """

    id: str
    image: bytes | None
    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that is no pair.

    Attributes:
        id: the pair's where it is known, else the shard's name and the place in it.
        reason: a key of `REASONS`.
        what: what came, in a few words.
    """

    id: str
    reason: str
    what: str


def shards_in(places: Sequence[Path], *, out: Path | None = None) -> list[Path]:
    """List the shards among files and folders, in the order of their names.

    Args:
        places: files and folders.
        out: takes what is made of them: what is in it is no shard, unless its place is.

    Raises:
        DataError: one is missing or is no shard.
    """
    found: list[Path] = []
    for place in places:
        inside = place.rglob("*") if place.is_dir() else [place]
        ours = sorted(path for path in inside if path.name.endswith(_ENDINGS) and not path.is_dir())
        if out is not None and out.resolve() not in place.resolve().parents:
            ours = [path for path in ours if out.resolve() not in path.resolve().parents]
        if not ours or not place.exists():
            got = "nothing of the kind" if place.exists() else "it is missing"
            raise DataError(f"{place}: expected .tar or .parquet shards, got: {got}")
        found += ours
    return found


def pairs(shard: Path, *, root: Path | None = None) -> Iterator[Pair | Broken]:
    """Read a shard from beginning to end, holding a few pairs at a time.

    Texts that no file could be written of, with half a character in them, have it spelled out.

    Args:
        shard: the file.
        root: a folder above it; a pair without an id is told by the way from there. None for the
            shard's own folder.
    """
    name = shard.relative_to(root or shard.parent).as_posix()
    read = _of_parquet if shard.suffix == ".parquet" else _of_tar
    return map(_writable, read(shard, name))


def _writable(found: Pair | Broken) -> Pair | Broken:
    if isinstance(found, Broken):
        return replace(found, id=_spelled(found.id), what=_spelled(found.what))
    return Pair(_spelled(found.id), found.image, _spelled(found.text), _spelled(found.url))


def _spelled(text: str) -> str:
    """Spell out lone surrogates: a name in a tar file that is no UTF-8 has them, JSON may."""
    return text.encode(errors="backslashreplace").decode()


def _of_tar(shard: Path, name: str) -> Iterator[Pair | Broken]:
    held = _Members("")
    try:
        with tarfile.open(shard) as tar:
            for member in filter(tarfile.TarInfo.isfile, tar):
                pair, ending = _named(member.name)
                if not pair.rpartition("/")[2]:
                    continue
                if pair != held.name or ending in held.contents:  # again: another of this name
                    yield from held.pairs(name)
                    held = _Members(pair)
                held.take(tar, member, ending)
            _judge_end(tar)
    except (*_MALFORMED, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        _raise_if_out_of_reach(error)
        yield Broken(_place(name, held.name or "start"), "truncated", str(error))
    else:
        yield from held.pairs(name)


def _place(shard: str, name: str | int) -> str:
    """Name a pair that has no id: shards of many folders have the same names, and so have pairs."""
    return f"{shard}#{name}"


def _raise_if_out_of_reach(error: Exception) -> None:
    """Tell a shard that cannot be had, which a later run may have, from one that is broken."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _named(path: str) -> tuple[str, str]:
    """Split a member's path before its name's first dot: pair, and what it is of the pair."""
    folder, slash, name = path.rpartition("/")
    stem, _, ending = name.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _judge_end(tar: tarfile.TarFile) -> None:
    """Refuse a tar file that goes on after its last member, or ends there without zeros.

    `tarfile` takes a damaged header for the end. A compressed file has its checksum after all else,
    so that is compared here too.
    """
    file, is_marked = tar.fileobj, False
    assert file is not None  # noqa: S101, it is open
    file.seek(tar.offset)
    while some := file.read(_BYTES_AT_ONCE):
        if some.strip(b"\0"):
            raise tarfile.ReadError(f"expected zeros from byte {tar.offset} on, got something else")
        is_marked = True
    if not is_marked:
        raise tarfile.ReadError("no end mark")


class _Members:
    """What has been read of one pair in a tar file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.contents: dict[str, bytes] = {}
        self._too_large_bytes = 0

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> None:
        """Read a member, unless it is none of ours, or larger than anything sound."""
        self.contents[ending] = b""
        if ending not in _PICTURES + _TEXTS:
            return
        if member.size > (MAX_IMAGE_BYTES if ending in _PICTURES else _MAX_TEXT_BYTES):
            self._too_large_bytes = member.size
            return
        file = tar.extractfile(member)
        content = file.read() if file else b""
        if len(content) < member.size:
            raise tarfile.ReadError(f"{member.name}: {len(content)} of {member.size} bytes")
        self.contents[ending] = content

    def pairs(self, shard: str) -> Iterator[Pair | Broken]:
        """Say what it was, if it was anything."""
        if self.name:
            place = _place(shard, self.name)
            yield _pair(place, self.contents, too_large=self._too_large_bytes)


def _pair(place: str, members: dict[str, bytes], *, too_large: int) -> Pair | Broken:
    facts: dict[str, Any] = {}
    if "json" in members:
        try:
            read = json.loads(members["json"])
            facts = read if isinstance(read, dict) else {}
        except (ValueError, RecursionError):
            facts = {}
    id_ = str(facts.get("id") or place)
    if too_large:
        return Broken(id_, "too_large", f"{too_large} bytes")
    image = next((members[ending] for ending in _PICTURES if ending in members), None)
    if image is None:
        return Broken(id_, "no_image", f"got {', '.join(members)}")
    text = _text(members.get("txt"))
    if not text.strip():
        text = _text(facts.get("caption") or facts.get("text"))
    return Pair(id_, image, text, _text(facts.get("url")))


def _of_parquet(shard: Path, name: str) -> Iterator[Pair | Broken]:
    row = 0
    try:
        file = pq.ParquetFile(shard)
        there = file.schema_arrow.names
        named = {
            want: next((column for column in columns if column in there), "")
            for want, columns in _COLUMNS.items()
        }
        if not named["image"]:
            asked = ", ".join(_COLUMNS["image"])
            got = ", ".join(there)
            yield Broken(name, "no_image", f"expected a column {asked}, got {got}")
            return
        used = [column for column in named.values() if column]
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=used):
            columns = dict(zip(batch.schema.names, map(_values, batch.columns), strict=True))
            nothing = [None] * len(batch)
            for values in zip(*(columns.get(named[want], nothing) for want in named), strict=True):
                yield _row_pair(_place(name, row), dict(zip(named, values, strict=True)))
                row += 1
    except (*_MALFORMED, pa.ArrowException) as error:
        _raise_if_out_of_reach(error)
        yield Broken(_place(name, row), "unreadable_shard", str(error))


def _values(column: pa.Array) -> list[Any]:
    """Give a column's values, texts as bytes: one that says it is UTF-8 may be none."""
    if pa.types.is_struct(column.type):  # as `datasets` keeps pictures, a path beside their bytes
        if column.type.get_field_index("bytes") < 0:
            return [None] * len(column)
        column = pc.struct_field(column, "bytes")
    if any(is_text(column.type) for is_text in _IS_TEXT):
        column = column.cast(pa.large_binary())
    found: list[Any] = column.to_pylist()
    return found


def _row_pair(place: str, values: dict[str, Any]) -> Pair | Broken:
    id_ = _text(values["id"]) if isinstance(values["id"], bytes) else values["id"]
    id_ = place if id_ in (None, "") else str(id_)
    image = values["image"]
    if isinstance(image, bytes) and len(image) > MAX_IMAGE_BYTES:
        return Broken(id_, "too_large", f"{len(image)} bytes")
    return Pair(
        id_,
        image if isinstance(image, bytes) else None,
        _text(values["text"]),
        _text(values["url"]),
    )


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return value if isinstance(value, str) else ""
