"""The steps that ask networks, with real ones that the tests make."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from model.curation.demo.painted import Painted, paint
from model.curation.demo.shown import networks
from model.curation.demo.small_models import DETAILED, SHORT
from model.curation.models import Captioner, Clip, LinearScorer
from model.curation.operators import Aesthetic, Captioned, Picked, Recaptioned, unusable
from model.curation.parts import features_of
from model.curation.pictures import opened
from model.curation.plan import Limits
from model.errors import CheckpointError

LOW = Limits(min_aesthetic=-1e9, min_text_similarity=-2, min_caption_similarity=-2)
PAINTED = [paint(number, seed=5) for number in range(6)]
PICTURES = [opened(one.image) for one in PAINTED]


def rows_of(painted: list[Painted]) -> pa.Table:
    return pa.table({"row": list(range(len(painted))), "text": [one.caption for one in painted]})


@pytest.fixture(scope="module")
def clip(small_networks: Path) -> Clip:
    return Clip(str(small_networks / "clip"))


@pytest.fixture(scope="module")
def scorer(small_networks: Path) -> LinearScorer:
    return LinearScorer(small_networks / "aesthetic.safetensors")


@pytest.fixture(scope="module")
def captioner(small_networks: Path) -> Captioner:
    return Captioner(str(small_networks / "blip2"), max_new_tokens=12)


def test_clip_agrees_with_its_own_forward(clip: Clip) -> None:
    pictures, texts = clip.of_pictures(PICTURES), clip.of_texts([one.caption for one in PAINTED])
    given = clip._words([one.caption for one in PAINTED], padding=True, return_tensors="pt")
    pixels = clip._pixels(images=PICTURES, return_tensors="pt")
    with torch.inference_mode():
        whole = clip._model(**given, **pixels)
    np.testing.assert_allclose(pictures, whole.image_embeds.numpy(), atol=1e-5)
    np.testing.assert_allclose(texts, whole.text_embeds.numpy(), atol=1e-5)
    assert pictures.shape == (6, clip.width)


def test_a_caption_longer_than_the_network_reads_is_cut(clip: Clip) -> None:
    assert np.isfinite(clip.of_texts(["a red disc " * 90, ""])).all()


def test_scores_and_features_are_kept_and_low_scores_dropped(
    clip: Clip, scorer: LinearScorer
) -> None:
    scores = scorer.scores(clip.of_pictures(PICTURES).astype(np.float16).astype(np.float32))
    middle = float(np.median(scores))
    judged = Aesthetic(clip, scorer, Limits(min_aesthetic=middle)).judge(rows_of(PAINTED), PICTURES)
    assert [(index, reason) for index, reason, _ in judged.drops] == [
        (index, "aesthetic_score") for index in np.flatnonzero(scores < middle).tolist()
    ]
    np.testing.assert_allclose(judged.columns["aesthetic"].to_numpy(), scores, atol=1e-5)
    kept = features_of(pa.table({"features": judged.columns["features"]}))
    np.testing.assert_allclose(kept, clip.of_pictures(PICTURES), atol=1e-3)


def test_a_network_that_gives_no_numbers_keeps_nothing(
    small_networks: Path, tmp_path: Path, scorer: LinearScorer
) -> None:
    for file in (small_networks / "clip").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights["visual_projection.weight"][0, 0] = torch.nan
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    broken = Clip(str(tmp_path))
    judged = Aesthetic(broken, scorer, LOW).judge(rows_of(PAINTED), PICTURES)
    assert [(index, reason) for index, reason, _ in judged.drops] == [
        (index, "not_finite") for index in range(6)
    ]


def test_the_dear_captioner_sees_only_pictures_that_their_own_caption_fits(
    clip: Clip, captioner: Captioner, scorer: LinearScorer
) -> None:
    rows = rows_of(PAINTED)
    first = Aesthetic(clip, scorer, LOW).judge(rows, PICTURES)
    rows = rows.append_column("features", first.columns["features"])
    own = Captioned(clip, captioner, LOW, prompt=DETAILED).judge(rows, PICTURES)
    assert own.drops == []
    fits = own.columns["text_similarity"].to_numpy()
    said = own.columns["caption"].to_pylist()
    assert said == captioner.write(PICTURES, prompt=DETAILED)
    between = float(np.sort(fits)[2:4].mean())
    limits = Limits(min_text_similarity=between, min_caption_similarity=2)
    judged = Captioned(clip, captioner, limits, prompt=DETAILED).judge(rows, PICTURES)
    reasons = {index: reason for index, reason, _ in judged.drops}
    for index, similarity in enumerate(fits):
        fit = similarity >= between
        assert reasons[index] == ("caption_similarity" if fit else "text_similarity")
        assert (judged.columns["caption"][index].as_py() is not None) == fit


def test_both_captions_are_what_the_network_says_to_each_prompt(
    captioner: Captioner, small_networks: Path
) -> None:
    judged = Recaptioned(captioner, networks(small_networks)).judge(rows_of(PAINTED), PICTURES)
    for style, prompt in (("short", SHORT), ("detailed", DETAILED)):
        alone = [captioner.write([picture], prompt=prompt)[0] for picture in PICTURES]
        assert judged.columns[style].to_pylist() == alone


def test_a_captioner_has_no_more_pictures_at_a_time_than_it_may(
    captioner: Captioner, small_networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded = Captioner(str(small_networks / "blip2"), max_new_tokens=12, batch_size=4)
    generate, sizes = bounded._model.generate, []

    def counted(**given: Any) -> torch.Tensor:
        sizes.append(len(given["input_ids"]))
        found: torch.Tensor = generate(**given)
        return found

    monkeypatch.setattr(bounded._model, "generate", counted)
    assert bounded.write(PICTURES, prompt=SHORT) == captioner.write(PICTURES, prompt=SHORT)
    assert sizes == [4, 2]


def test_captions_that_no_training_file_may_hold_are_dropped() -> None:
    drops = unusable(["a", " ", "a", "a"], ["b", "b", "see <image>", "so <|im_end|>"])
    assert drops == [
        (1, "no_words", ""),
        (2, "control_words", "<image>"),
        (3, "control_words", "<|im_end|>"),
    ]


def test_a_cluster_gives_no_more_than_its_share() -> None:
    rows = pa.table({"cluster": [0, 0, 1, 2], "rank": pa.array([5, 6, 9, 1], pa.uint64())})
    judged = Picked(np.array([5, 10, 0], np.uint64)).judge(rows, [])
    assert judged.drops == [
        (1, "cluster_full", "cluster 0"),
        (3, "cluster_full", "cluster 2"),
    ]


def test_a_file_that_holds_no_layers_is_refused(tmp_path: Path) -> None:
    save_file({"head.weight": torch.zeros(1, 2)}, tmp_path / "head.safetensors")
    with pytest.raises(CheckpointError, match=r"expected layers.N.weight .*, got head.weight"):
        LinearScorer(tmp_path / "head.safetensors")
    with pytest.raises(CheckpointError, match="expected a safetensors file"):
        LinearScorer(tmp_path / "nothing")


def test_a_picture_may_be_of_any_kind_that_pillow_reads(clip: Clip) -> None:
    kinds = [PICTURES[0].convert(mode).convert("RGB") for mode in ("L", "P", "CMYK", "RGBA")]
    assert np.isfinite(clip.of_pictures([*kinds, Image.new("RGB", (1, 1))])).all()
