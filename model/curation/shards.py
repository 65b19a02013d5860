"""Shards of pictures with captions: WebDataset tar files, or parquet with COYO's columns.

In a tar file, members of one name before its first dot belong together: `000.jpg`, `000.txt`,
`000.json`. In parquet, a row is a pair. What cannot be read is a `Broken` in the row of pairs, and
never an exception: one bad shard in a hundred thousand does not stop a run.
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
import pyarrow.parquet as pq

from model.errors import DataError

MAX_IMAGE_BYTES = 64 << 20
_MAX_TEXT_BYTES = 1 << 20
_ENDINGS = (".tar", ".parquet")
_PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp")
_COLUMNS = {
    "id": ("id", "key", "__key__"),
    "text": ("text", "caption", "txt"),
    "url": ("url",),
    "image": ("image", "jpg", "image_bytes"),
}
"""What is wanted -> the columns that COYO, img2dataset and `datasets` have it in."""
_ROWS_AT_ONCE = 64


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


def shards_in(places: Sequence[Path]) -> list[Path]:
    """List the shards among files and folders, in the order of their names.

    Raises:
        DataError: one is missing, is no shard, or has no column for the pictures.
    """
    found: list[Path] = []
    for place in places:
        inside = place.rglob("*") if place.is_dir() else [place]
        ours = sorted(path for path in inside if path.suffix in _ENDINGS and not path.is_dir())
        if not ours or not place.exists():
            got = "nothing of the kind" if place.exists() else "it is missing"
            raise DataError(f"{place}: expected .tar or .parquet shards, got: {got}")
        found += ours
    return found


def pairs(shard: Path) -> Iterator[Pair | Broken]:
    """Read a shard from beginning to end, holding a few pairs at a time.

    Texts that no file could be written of, with half a character in them, have it spelled out.
    """
    return map(_writable, _of_tar(shard) if shard.suffix == ".tar" else _of_parquet(shard))


def _writable(found: Pair | Broken) -> Pair | Broken:
    if isinstance(found, Broken):
        return replace(found, id=_spelled(found.id), what=_spelled(found.what))
    return Pair(_spelled(found.id), found.image, _spelled(found.text), _spelled(found.url))


def _spelled(text: str) -> str:
    """Spell out lone surrogates: a name in a tar file that is no UTF-8 has them, JSON may."""
    return text.encode(errors="backslashreplace").decode()


def _of_tar(shard: Path) -> Iterator[Pair | Broken]:
    held = _Members("")
    try:
        with tarfile.open(shard) as tar:
            for member in filter(tarfile.TarInfo.isfile, tar):
                name, ending = _named(member.name)
                if name != held.name:
                    yield from held.pairs(shard)
                    held = _Members(name)
                held.take(tar, member, ending)
        _judge_end(shard)
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        _raise_if_out_of_reach(error)
        yield Broken(_place(shard, held.name or "start"), "truncated", str(error))
    else:
        yield from held.pairs(shard)


def _place(shard: Path, name: str | int) -> str:
    """Name a pair that has no id: shards of many folders have the same names, and so have pairs."""
    return f"{shard.parent.name}/{shard.name}#{name}"


def _raise_if_out_of_reach(error: Exception) -> None:
    """Tell a shard that cannot be had, which a later run may have, from one that is broken."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _named(path: str) -> tuple[str, str]:
    """Split a member's path before its name's first dot: pair, and what it is of the pair."""
    folder, slash, name = path.rpartition("/")
    stem, _, ending = name.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _judge_end(shard: Path) -> None:
    """Refuse a tar file that does not end in zeros; a compressed one has checked itself."""
    with shard.open("rb") as file:
        file.seek(257)
        if file.read(5) == b"ustar":
            file.seek(max(0, file.seek(0, 2) - tarfile.BLOCKSIZE))
            if any(file.read()):
                raise tarfile.ReadError("no end mark")


class _Members:
    """What has been read of one pair in a tar file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._contents: dict[str, bytes] = {}
        self._too_large_bytes = 0

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> None:
        """Read a member, unless it is larger than anything sound."""
        if member.size > (MAX_IMAGE_BYTES if ending in _PICTURES else _MAX_TEXT_BYTES):
            self._too_large_bytes = member.size
            return
        file = tar.extractfile(member)
        content = file.read() if file else b""
        if len(content) < member.size:
            raise tarfile.ReadError(f"{member.name}: {len(content)} of {member.size} bytes")
        self._contents[ending] = content

    def pairs(self, shard: Path) -> Iterator[Pair | Broken]:
        """Say what it was, if it was anything."""
        if self.name:
            place = _place(shard, self.name)
            yield _pair(place, self._contents, too_large=self._too_large_bytes)


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
    if "txt" in members:
        text = members["txt"].decode(errors="replace")
    else:
        text = _text(facts.get("caption") or facts.get("text"))
    return Pair(id_, image, text, _text(facts.get("url")))


def _of_parquet(shard: Path) -> Iterator[Pair | Broken]:
    row = 0
    try:
        file = pq.ParquetFile(shard)
        names = {
            want: next((name for name in names if name in file.schema_arrow.names), None)
            for want, names in _COLUMNS.items()
        }
        if names["image"] is None:
            asked = ", ".join(_COLUMNS["image"])
            got = ", ".join(file.schema_arrow.names)
            yield Broken(shard.name, "no_image", f"expected a column {asked}, got {got}")
            return
        used = [name for name in names.values() if name]
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=used):
            for values in _rows(batch):
                yield _row_pair(
                    shard, row, {want: values.get(name or "") for want, name in names.items()}
                )
                row += 1
    except (OSError, pa.ArrowException) as error:
        _raise_if_out_of_reach(error)
        yield Broken(_place(shard, row), "unreadable_shard", str(error))


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Give a batch's rows; text that says it is UTF-8 and is not, as bytes."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except UnicodeDecodeError:
        fields = [
            field.with_type(pa.large_binary()) if pa.types.is_string(field.type) else field
            for field in batch.schema
        ]
        rows = batch.cast(pa.schema(fields)).to_pylist()
    return rows


def _row_pair(shard: Path, row: int, values: dict[str, Any]) -> Pair | Broken:
    id_ = _place(shard, row) if values["id"] is None else _text(values["id"]) or str(values["id"])
    image = values["image"]
    if isinstance(image, dict):  # as `datasets` keeps pictures
        image = image.get("bytes")
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
