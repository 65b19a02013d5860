"""A step's folder: one part for each shard, whole or not there.

    OUT/3-duplicates/part-00017.parquet           what is kept of shard 17
    OUT/3-duplicates/dropped/part-00017.parquet   what is dropped, and why

A part is written beside its place and renamed when it is whole, so a part that is there is done
and a killed run goes on with those that are not. Pictures are in the first step's parts alone;
the others name a picture by its row there.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.errors import DataError

Floats = NDArray[np.float32]

ROWS_AT_ONCE = 256
"""Rows of a batch and of a row group: what is held in memory at a time."""

MAX_ATTEMPTS = 3

DROPPED = pa.schema(
    [
        ("row", pa.int32()),
        ("id", pa.string()),
        ("rank", pa.uint64()),
        ("reason", pa.string()),
        ("what", pa.string()),
    ]
)
"""A dropped row: -1 for `row` where there is no picture of it."""


@dataclass(frozen=True, slots=True)
class StepFolder:
    """Where a step's parts are.

    Attributes:
        path: the step's own folder.
    """

    path: Path

    def part(self, number: int) -> Path:
        """Return where a part is."""
        return self.path / f"part-{number:05d}.parquet"

    def dropped(self, number: int) -> Path:
        """Return where what a part dropped is."""
        return self.path / "dropped" / f"part-{number:05d}.parquet"

    def attempts(self, number: int) -> Path:
        """Return where it is counted how often an unfinished part was begun."""
        return self.path / f".part-{number:05d}.begun"

    def is_done(self, number: int) -> bool:
        """Say whether a part is whole."""
        return self.part(number).exists()


class PartWriter:
    """Takes rows of one part and writes them in groups of `ROWS_AT_ONCE`."""

    def __init__(self, kept: Path, dropped: Path, schema: pa.Schema) -> None:
        self._kept = pq.ParquetWriter(kept, schema, compression="zstd")
        self._dropped = pq.ParquetWriter(dropped, DROPPED, compression="zstd")
        self._waiting: list[pa.Table] = []
        self._schema = schema
        self.num_kept = 0
        self.num_dropped = 0

    def keep(self, rows: pa.Table) -> None:
        """Add kept rows."""
        if not rows.num_rows:
            return
        self._waiting.append(rows.select(self._schema.names).cast(self._schema))
        self.num_kept += rows.num_rows
        if sum(table.num_rows for table in self._waiting) >= ROWS_AT_ONCE:
            self._write(at_end=False)

    def drop(self, rows: pa.Table) -> None:
        """Add dropped rows, with the columns of `DROPPED`."""
        if rows.num_rows:
            self._dropped.write_table(rows.select(DROPPED.names).cast(DROPPED))
            self.num_dropped += rows.num_rows

    def close(self, *, is_whole: bool) -> None:
        """Write what waits, if the part is whole, and close the files."""
        try:
            if is_whole:
                self._write(at_end=True)
        finally:
            self._kept.close()
            self._dropped.close()

    def _write(self, *, at_end: bool) -> None:
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting).combine_chunks()
        whole = rows.num_rows if at_end else rows.num_rows - rows.num_rows % ROWS_AT_ONCE
        self._kept.write_table(rows.slice(0, whole), row_group_size=ROWS_AT_ONCE)
        self._waiting = [rows.slice(whole)] if whole < rows.num_rows else []


@contextmanager
def written(folder: StepFolder, number: int, schema: pa.Schema) -> Iterator[PartWriter]:
    """Write a part: there when the block ends well, and not there when it does not.

    Raises:
        OSError: no room on the disk, say; what was written of the part is removed.
    """
    kept, dropped = folder.part(number), folder.dropped(number)
    beside = [path.with_name(f".{path.name}.new") for path in (kept, dropped)]
    dropped.parent.mkdir(parents=True, exist_ok=True)
    try:
        writer = PartWriter(beside[0], beside[1], schema)
        try:
            yield writer
        except BaseException:
            writer.close(is_whole=False)
            raise
        writer.close(is_whole=True)
        beside[1].replace(dropped)  # first: a kept part says that the whole part is done
        beside[0].replace(kept)
    finally:
        for path in beside:
            path.unlink(missing_ok=True)


def batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Read a part in batches of `ROWS_AT_ONCE`."""
    file = pq.ParquetFile(path)
    for group in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns):
        yield pa.Table.from_batches([group])


def column(path: Path, name: str) -> np.ndarray[Any, Any]:
    """Read one column whole."""
    values = pq.read_table(path, columns=[name]).column(name)
    found: np.ndarray[Any, Any] = values.to_numpy()
    return found


def features_of(rows: pa.Table) -> Floats:
    """Return the column `features`, (N, D)."""
    values = rows.column("features").combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    flat = values.flatten().to_numpy().astype(np.float32)
    found: Floats = flat.reshape(len(rows), -1) if len(rows) else flat.reshape(0, 1)
    return found


class Pictures:
    """The encoded pictures of one part of the first step, read a row group at a time."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        self._group = -1
        self._held: pa.ChunkedArray | None = None

    def take(self, rows: Sequence[int]) -> list[bytes]:
        """Return the pictures of rows that do not decrease."""
        found: list[bytes] = []
        for row in rows:
            group, place = divmod(row, ROWS_AT_ONCE)
            if group != self._group or self._held is None:
                self._held = self._file.read_row_group(group, columns=["image"]).column("image")
                self._group = group
            found.append(self._held[place].as_py())
        return found


def counts(folder: StepFolder, parts: Sequence[int]) -> tuple[int, dict[str, int]]:
    """Count rows kept, and rows dropped by reason, as the files have them.

    Raises:
        DataError: a part cannot be read: a machine that lost its power left half of it, say.
    """
    kept = 0
    reasons: dict[str, int] = {}
    for part in parts:
        try:
            kept += pq.ParquetFile(folder.part(part)).metadata.num_rows
            found = pq.read_table(folder.dropped(part), columns=["reason"]).column("reason")
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{folder.part(part)}: expected a whole part, got: {error}; delete it, and the "
                "same command does it again"
            ) from error
        for entry in pc.value_counts(found).to_pylist():
            reasons[entry["values"]] = reasons.get(entry["values"], 0) + entry["counts"]
    return kept, dict(sorted(reasons.items()))
