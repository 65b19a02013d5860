"""Painted pictures written as shards: WebDataset tar files and parquet, in turn."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from model.curation.demo.painted import Painted, paint

PER_SHARD = 500


def write(folder: Path, count: int, *, seed: int, per_shard: int = PER_SHARD) -> list[Path]:
    """Paint `count` pictures into shards; a shard that is there is kept.

    Args:
        folder: takes them.
        count: how many pictures.
        seed: of the pictures.
        per_shard: pictures in each.

    Raises:
        OSError: a shard cannot be written; those before it are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for place, begin in enumerate(range(0, count, per_shard)):
        numbers = range(begin, min(begin + per_shard, count))
        shard = folder / f"{place:05d}.{'parquet' if place % 2 else 'tar'}"
        if not shard.exists():
            beside = shard.with_name(f".{shard.name}.new")
            pictures = [paint(number, seed=seed) for number in numbers]
            try:
                (write_parquet if place % 2 else write_tar)(beside, pictures)
                beside.replace(shard)
            except OSError as error:
                beside.unlink(missing_ok=True)
                said = f"{shard}: {error}; {place} shards are done, the same command goes on there"
                raise OSError(said) from error
        shards.append(shard)
    return shards


def write_tar(path: Path, pictures: list[Painted]) -> None:
    """Write members as img2dataset does: `KEY.jpg`, `KEY.txt`, `KEY.json`."""
    with tarfile.open(path, "w") as tar:
        for picture in pictures:
            facts = {"id": id_of(picture.number), "url": f"painted:{picture.number}"}
            for ending, content in (
                ("jpg", picture.image),
                ("txt", picture.caption.encode()),
                ("json", json.dumps(facts).encode()),
            ):
                member = tarfile.TarInfo(f"{picture.number:08d}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def write_parquet(path: Path, pictures: list[Painted]) -> None:
    """Write COYO's columns with the pictures beside them."""
    columns = {
        "id": [id_of(picture.number) for picture in pictures],
        "url": [f"painted:{picture.number}" for picture in pictures],
        "text": [picture.caption for picture in pictures],
        "image": [picture.image for picture in pictures],
    }
    pq.write_table(pa.table(columns), path)


def id_of(number: int) -> str:
    """Give a picture's id."""
    return f"p{number:07d}"


def number_of(id_: str) -> int:
    """Give the number of a picture's id."""
    return int(id_[1:])
