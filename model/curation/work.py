"""A worker's part of a step: one part after another, from the step before to this one."""

import hashlib
import queue
import resource
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from model.curation.operators import Drop, Judged, Operator, operator_of
from model.curation.parts import (
    DROPPED,
    MAX_ATTEMPTS,
    PartWriter,
    Pictures,
    StepFolder,
    batches,
    written,
)
from model.curation.pictures import fingerprint, opened, size_of, spread_levels
from model.curation.plan import Plan
from model.curation.reasons import Refused
from model.curation.shards import Broken, Pair, pairs

READ = pa.schema(
    [
        ("row", pa.int32()),
        ("id", pa.string()),
        ("rank", pa.uint64()),
        ("text", pa.string()),
        ("url", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fingerprint", pa.uint64()),
        ("spread_levels", pa.float32()),
        ("image", pa.binary()),
    ]
)
_PER_PART = frozenset({"duplicates"})  # whose operator is built for each part
_READ_AT_ONCE = 64
_MOST_SAID = 200  # characters of what is said of a drop
_NEAR_PX = 64  # twice what fingerprints are taken of


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a part went.

    Attributes:
        part: its number.
        num_in: rows it was given.
        num_attempts: how often it was begun in this run: more than once where a worker died.
        peak_bytes: the most memory that the worker has held so far.
        failed: why it could not be done; empty if it is done.
    """

    part: int
    num_in: int
    num_attempts: int
    peak_bytes: int
    failed: str = ""


class PartWorker:
    """Does parts of one step in a process of its own; networks stay loaded from part to part."""

    def __init__(self, plan: Plan, step: str) -> None:
        """Take the step; networks are loaded with the first part."""
        self._plan, self._step = plan, step
        self._operator: Operator | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do parts, as Ray Data gives them: `number` in, the columns of `Outcome` out."""
        outcomes = [asdict(self.do(int(number))) for number in batch["number"]]
        return {name: [one[name] for one in outcomes] for name in outcomes[0]}

    def do(self, part: int) -> Outcome:
        """Do one part; one that is done stays as it is."""
        folder = self._plan.folder(self._step)
        num_in = attempts = 0
        try:
            if not folder.is_done(part):
                attempts = _begun(folder, part)
                num_in = self._done(folder, part)
                folder.attempts(part).unlink()
        except Exception as error:  # noqa: BLE001 (whatever it is: the part is named, others go on)
            why = f"{type(error).__name__}: {error}"
            return Outcome(part, num_in, attempts, _peak_bytes(), why)
        return Outcome(part, num_in, attempts, _peak_bytes())

    def _done(self, folder: StepFolder, part: int) -> int:
        if self._step == "read":
            with written(folder, part, READ) as writer:
                read(self._plan, part, writer)
        else:
            if self._operator is None or self._step in _PER_PART:
                self._operator = operator_of(self._step, self._plan, part)
            judge(self._plan, self._step, part, operator=self._operator)
            return sum(len(rows) for rows in batches(self._plan.before(self._step).part(part), []))
        return writer.num_kept + writer.num_dropped


def rank_of(id_: str) -> int:
    """Give an id's rank, 64 bits of its hash: which of two is taken first, wherever they are."""
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest(), "big")


def read(plan: Plan, part: int, writer: PartWriter) -> None:
    """Read a shard into the first step's part."""
    row = 0
    for some in _some(pairs(plan.shards[part], root=plan.root())):
        kept: list[Sequence[Any]] = []
        dropped: list[Sequence[Any]] = []
        for found in some:
            try:
                kept.append(_read_row(row, found))
                row += 1
            except Refused as refused:
                what = refused.what[:_MOST_SAID]
                dropped.append((-1, found.id, rank_of(found.id), refused.reason, what))
        writer.keep(_table(kept, READ))
        writer.drop(_table(dropped, DROPPED))


def judge(plan: Plan, step: str, part: int, *, operator: Operator) -> None:
    """Do a part of any other step with its operator."""
    before = plan.before(step).part(part)
    schema: pa.Schema | None = None
    source = plan.folder("read").part(part)
    folder = plan.folder(step)
    names = [name for name in pa.parquet.read_schema(before).names if name != "image"]
    schema = pa.schema([pa.parquet.read_schema(before).field(name) for name in names])
    schema = pa.schema([*schema, *operator.adds])
    with written(folder, part, schema) as writer:
        ready = _decoded(batches(before, names), source, near_px=operator.near_px)
        for rows, pictures, bad in _ahead(ready):
            judged = operator.judge(rows, pictures) if len(rows) else Judged([])
            sort(writer, rows, judged)
            writer.drop(bad)


def _read_row(row: int, found: Pair | Broken) -> list[Any]:
    if isinstance(found, Broken):
        raise Refused(found.reason, found.what)
    if not found.image:
        raise Refused("no_image", "")
    width, height = size_of(found.image)
    picture = opened(found.image, near_px=_NEAR_PX)
    if not found.text.strip():
        raise Refused("no_caption", "")
    values: list[Any] = [
        row,
        found.id,
        rank_of(found.id),
        found.text.strip(),
        found.url,
        width,
        height,
    ]
    return [*values, fingerprint(picture), spread_levels(picture), found.image]


def _some(found: Iterator[Pair | Broken]) -> Iterator[list[Pair | Broken]]:
    """Take a few at a time: their pictures are all in memory."""
    while some := list(islice(found, _READ_AT_ONCE)):
        yield some


def _table(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table(
        [pa.array(one, field.type) for one, field in zip(columns, schema, strict=True)],
        schema=schema,
    )


def sort(writer: PartWriter, rows: pa.Table, judged: Judged) -> None:
    """Keep and drop rows; the first reason counts."""
    why: dict[int, Drop] = {}
    for drop in judged.drops:
        why.setdefault(drop[0], drop)
    for name, values in judged.columns.items():
        rows = rows.append_column(name, values)
    out = sorted(why)
    is_kept = np.ones(len(rows), dtype=np.bool_)
    is_kept[out] = False
    writer.keep(rows.filter(pa.array(is_kept)))
    writer.drop(_dropped(rows.take(pa.array(out, pa.int64())), [why[index] for index in out]))


def _dropped(rows: pa.Table, why: list[Drop]) -> pa.Table:
    rows = rows.select(["row", "id", "rank"])
    rows = rows.append_column("reason", pa.array([reason for _, reason, _ in why], pa.string()))
    return rows.append_column(
        "what", pa.array([what[:_MOST_SAID] for _, _, what in why], pa.string())
    )


Ready = tuple[pa.Table, list[Image.Image], pa.Table]


def _decoded(tables: Iterator[pa.Table], source: Any, *, near_px: int | None) -> Iterator[Ready]:
    """Give rows with their pictures; those that cannot be decoded in full stand apart."""
    stored = Pictures(source) if near_px is not None else None
    for rows in tables:
        pictures: list[Image.Image] = []
        bad: list[Drop] = []
        if stored is not None:
            for index, image in enumerate(stored.take(rows.column("row").to_pylist())):
                try:
                    pictures.append(opened(image, near_px=near_px))
                except Refused as refused:
                    bad.append((index, refused.reason, refused.what))
        apart = _dropped(rows.take(pa.array([index for index, _, _ in bad], pa.int64())), bad)
        if bad:
            is_good = np.ones(len(rows), dtype=np.bool_)
            is_good[[index for index, _, _ in bad]] = False
            rows = rows.filter(pa.array(is_good))
        yield rows, pictures, apart


def _ahead(batches_: Iterator[Ready]) -> Iterator[Ready]:
    """Decode one batch ahead on a thread, while the network has the one before."""
    ready: queue.Queue[Ready | BaseException | None] = queue.Queue(maxsize=1)
    is_over = threading.Event()

    def put(value: Ready | BaseException | None) -> None:
        while not is_over.is_set():
            with suppress(queue.Full):
                ready.put(value, timeout=0.1)
                return

    def decode() -> None:
        try:
            for batch in batches_:
                put(batch)
                if is_over.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
            put(error)

    thread = threading.Thread(target=decode, name="decode", daemon=True)
    thread.start()
    try:
        while (batch := ready.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            yield batch
    finally:
        is_over.set()
        thread.join()


def _begun(folder: StepFolder, part: int) -> int:
    """Count that a part is begun; one that workers keep dying of is given up.

    Raises:
        RuntimeError: it was begun `MAX_ATTEMPTS` times before.
    """
    file = folder.attempts(part)
    before = int(file.read_text() or 0) if file.exists() else 0
    if before >= MAX_ATTEMPTS:
        raise RuntimeError(f"a worker died of it {before} times: out of memory, most likely")
    file.write_text(str(before + 1))
    return before + 1


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
