"""Pictures of every kind, as curation sees them and as training reads what it writes."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from model.curation import conversations, pictures
from model.curation.demo.painted import paint
from model.curation.parts import counts
from model.curation.pictures import for_training, opened, spread_levels
from model.curation.plan import STEPS
from model.curation.reasons import Refused
from model.training.conversation import read
from model.types import PatchGrid
from pipeline import recorded
from tests.model.curation.curations import each, plan_of, run

PAINTED = opened(paint(0, seed=3).image)
MEDIA = recorded.Media(lambda *_: PatchGrid(4, 4))


def stored(picture: Image.Image, kind: str, **more: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=kind, **more)
    return file.getvalue()


def sixteen_bits(bits: int) -> Image.Image:
    levels = np.asarray(PAINTED.convert("L"), dtype=np.float64)
    return Image.fromarray(np.rint(levels * ((1 << bits) - 1) / 255).astype(np.uint16))


def test_curation_and_training_have_one_limit() -> None:
    assert pictures.MAX_PIXELS == recorded.MAX_PIXELS


@pytest.mark.parametrize(
    "kind", ["JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "ICO", "PPM"]
)
def test_what_is_written_training_reads(kind: str, tmp_path: Path) -> None:
    image = stored(PAINTED, kind)
    written, ending = for_training(image)
    assert (written == image) == (kind in ("JPEG", "MPO", "PNG", "WEBP"))
    (tmp_path / f"0.{ending}").write_bytes(written)
    assert MEDIA.image(tmp_path / f"0.{ending}").std() > 10
    difference = np.asarray(opened(written)).astype(int) - np.asarray(opened(image))
    assert not difference.any()


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
def test_a_picture_that_lies_is_written_upright(kind: str) -> None:
    told = Image.Exif()
    told[0x112] = 6
    lying = PAINTED.resize((60, 40))
    written, _ = for_training(stored(lying, kind, exif=told))
    upright = np.asarray(lying.transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(np.asarray(opened(written)) - upright).mean() < 8


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_sixteen_bits_is_not_blank(bits: int, kind: str) -> None:
    grey = np.asarray(PAINTED.convert("L")).astype(int)
    found = opened(stored(sixteen_bits(bits), kind))
    assert spread_levels(found) == pytest.approx(spread_levels(PAINTED), abs=1)
    assert np.abs(np.asarray(found)[..., 0] - grey).max() <= 1


@pytest.mark.parametrize(
    "levels", [np.array([[0, 1]], np.float32), np.array([[0, 65_536]], np.int32)]
)
def test_levels_of_no_known_range_are_refused_for_that(levels: Any) -> None:
    with pytest.raises(Refused, match="levels of no known range") as refused:
        opened(stored(Image.fromarray(levels), "TIFF"))
    assert refused.value.reason == "not_an_image"


def test_conversations_are_written_anew_with_the_pictures_that_are_left(tmp_path: Path) -> None:
    images = [stored(PAINTED, kind) for kind in ("JPEG", "GIF", "TIFF")]
    shard = tmp_path / "0.parquet"
    pq.write_table(pa.table({"id": list("abc"), "text": list("abc"), "image": images}), shard)
    plan = plan_of([shard], tmp_path / "run")
    run(plan, "read")
    assert counts(plan.folder("read"), range(1)) == (3, {})
    last = plan.folder(STEPS[-1].name)
    (last.path / "dropped").mkdir()
    rows = pq.read_table(plan.folder("read").part(0)).drop_columns("image")
    pq.write_table(pq.read_table(plan.folder("read").dropped(0)), last.dropped(0))

    def caption(words: str, count: int) -> list[str]:
        said = pa.array([words] * count)
        some = rows.slice(0, count).append_column("short", said).append_column("detailed", said)
        pq.write_table(some, last.part(0))
        assert conversations.write(plan, each=each, num_workers=1) == count
        found = read(plan.out / "conversations" / "short.jsonl").conversations
        for one in found:
            assert MEDIA.image(one.images[0]).std() > 10
        files = list((plan.out / "conversations" / "pictures").rglob("*.*"))
        assert len(files) == len(found)
        return [one.turns[-1].answer for one in found]

    assert caption("old", 3) == ["old"] * 3
    conversations.forget(plan)
    assert caption("new", 3) == ["new"] * 3
    conversations.forget(plan)
    assert caption("new", 2) == ["new"] * 2
