from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.scenes import Scene
from model.scenes.quiz import true_facts
from model.training.memo import ClipMemo
from model.training.rendered import STILL, Rendered, part_of, stretch
from model.training.sample import Sample
from model.training.samples import Asked, asked_of
from model.training.stages import NANO, Kind, Stage
from model.types import PrunedFrame
from model.videollama3.prompt import NANO_1, NANO_2
from pipeline.pruner import prune_clip


def rendered(tmp_path: Path, kind: Kind = "video", *, seed: int = 0) -> Rendered:
    return Rendered(
        mix={kind: 1.0}, seed=seed, prune=prune_clip, memo=ClipMemo(tmp_path), num_scenes=3
    )


def asked(sample: Sample) -> list[tuple[int, tuple[tuple[str, str], ...]]]:
    return [(exchange.num_seen, exchange.turns) for exchange in sample.exchanges]


def test_a_sample_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    first = rendered(tmp_path / "a").sample(1)
    again = rendered(tmp_path / "b").sample(1)
    assert asked(first) == asked(again)
    for one, other in zip(first.frames, again.frames, strict=True):
        assert np.array_equal(one.keep_mask, other.keep_mask)
        assert one.pts_s == other.pts_s


def test_a_clip_that_comes_again_is_asked_anew(tmp_path: Path) -> None:
    row = rendered(tmp_path, "streaming")
    assert asked(row.sample(0)) != asked(row.sample(3))
    assert len(list(tmp_path.glob("*.npz"))) == 1


def test_choices_are_taught_by_letter_where_they_are_asked_by_letter(tmp_path: Path) -> None:
    lettered = rendered(tmp_path, "image")
    bare = replace(lettered, prompt=NANO_1)
    asks = [
        (turn, other)
        for number in range(4)
        for one, two in zip(
            bare.sample(number).exchanges, lettered.sample(number).exchanges, strict=True
        )
        for turn, other in zip(one.turns, two.turns, strict=True)
        if "\nOptions:\n" in turn[0]
    ]
    assert asks
    for (question, answer), (other_question, letter) in asks:
        assert f"\n{answer}\n" in question
        assert f"\n({letter}) {answer}\n" in other_question


def test_a_stream_says_after_which_frames_a_caption_has_something_new(tmp_path: Path) -> None:
    row = rendered(tmp_path, "streaming")
    both = set()
    for index in range(3):
        sample = row.sample(index)
        scene, _ = row.clip(index)
        times = [frame.pts_s for frame in sample.frames]
        assert sample.worth[0] is None
        assert len(sample.worth) == len(times)
        stated = [true_facts(scene, at, start_s=times[0]) for at in times]
        for before, now, is_worth in zip(stated, stated[1:], sample.worth[1:], strict=False):
            assert is_worth == (not now <= before)
        both |= set(sample.worth[1:])
    assert both == {True, False}
    assert rendered(tmp_path, "video").sample(0).worth == ()


def test_what_is_soon_learnt_is_asked_less(tmp_path: Path) -> None:
    scene, frames = rendered(tmp_path).clip(1)
    asks = {
        share: asked_of(
            scene,
            frames,
            asked=Asked(5, 20, tasks=("yes_no",), shares={"gate open": share}),
            rng=np.random.default_rng(0),
        )
        for share in (0.0, 1.0)
    }

    def of_gate(sample: Sample) -> int:
        turns = [turn for exchange in sample.exchanges for turn in exchange.turns]
        ways = ("Is the gate open", "Is the gate or")
        return sum(question.startswith(ways) for question, _ in turns)

    assert of_gate(asks[0.0]) == 0 < of_gate(asks[1.0])
    assert asks[0.0].exchanges


def test_a_memo_gives_back_what_the_model_saw(tmp_path: Path) -> None:
    row = rendered(tmp_path)
    _, made = row.clip(2)
    _, kept = row.clip(2)
    for one, other in zip(made, kept, strict=True):
        assert np.array_equal(one.keep_mask, other.keep_mask)
        shown = np.repeat(np.repeat(one.keep_mask, 28, axis=0), 28, axis=1)
        assert np.array_equal(one.pixels[shown], other.pixels[shown])


def test_a_clip_begins_whole_and_shows_no_empty_frame(tmp_path: Path) -> None:
    _, frames = rendered(tmp_path).clip(0)
    assert frames[0].keep_mask.all()
    assert all(frame.num_kept for frame in frames)
    later, until_s = part_of(frames, num_frames=2, rng=np.random.default_rng(3))
    assert later[0].keep_mask.all()
    assert len(later) <= 2
    following = [frame.pts_s for frame in frames if frame.pts_s > later[-1].pts_s]
    assert until_s == (following or [later[-1].pts_s])[0]


@pytest.mark.parametrize("stage", NANO, ids=lambda stage: stage.name)
def test_every_kind_of_a_stage_can_be_made(stage: Stage, tmp_path: Path) -> None:
    for kind in stage.mix:
        sample = rendered(tmp_path, kind).sample(0)
        assert (sample.media == "images") == (kind == "image")
        assert (sample.media == "text") == (kind == "text")
        if kind == "streaming":
            assert len({exchange.num_seen for exchange in sample.exchanges}) > 1
        if kind == "grounding":
            answers = [answer for one in sample.exchanges for _, answer in one.turns]
            assert any(answer.endswith(" s") for answer in answers)


def test_scenes_of_another_seed_differ() -> None:
    assert Scene.from_seed(0).timeline != Scene.from_seed(1).timeline


def test_contexts_grow_as_long_as_told_and_a_memo_tells_them_apart(tmp_path: Path) -> None:
    usual = rendered(tmp_path)
    other = replace(usual, longest_frames=60, busy_share=1.0)
    scene, frames = other.clip(0)
    assert scene.duration_s == 76.0
    assert sum(life.kind != "parcel" for life in scene.script.lives) >= 5
    assert len(usual.clip(0)[1]) <= 28
    assert {path.name for path in tmp_path.glob("*.npz")} == {"0.npz", "0-60-busy.npz"}
    longest = max(stretch(np.random.default_rng(seed), longest_frames=60)[1] for seed in range(200))
    assert longest == 60
    assert len(frames) <= 60


def test_whether_anything_is_moving_is_asked_as_often_where_it_is_not() -> None:
    answers: list[str] = []
    only = Asked(20, 1, tasks=("grounding",), also=STILL)
    for seed in range(12):
        scene = Scene.from_seed(seed, duration_s=44.0)
        mask, pixels = np.ones((6, 11), np.bool_), np.zeros((168, 308, 3), np.uint8)
        frames = [
            PrunedFrame("", pixels, mask, float(at_s), is_refresh=False) for at_s in range(30)
        ]
        sample = asked_of(scene, frames, asked=only, rng=np.random.default_rng(seed))
        turns = [turn for exchange in sample.exchanges for turn in exchange.turns]
        answers += [
            answer for question, answer in turns if "moving" in question or "move?" in question
        ]
    assert len(answers) > 30
    assert answers.count("no") > answers.count("yes") > 0  # of frames that nothing changed in too


def test_some_questions_are_put_in_a_still_stretch_and_none_where_now_is_not_shown() -> None:
    scene = Scene.from_seed(3, duration_s=44.0)
    mask, pixels = np.ones((6, 11), np.bool_), np.zeros((168, 308, 3), np.uint8)
    shown_s = (4.0, 5.0, 9.0, 10.0)
    frames = [PrunedFrame("", pixels, mask, at_s, is_refresh=False) for at_s in shown_s]
    still: set[tuple[int, float]] = set()
    for seed in range(30):
        asks = Asked(4, 1, tasks=("yes_no",))
        for prompt in (NANO_1, NANO_2):
            one = asked_of(
                scene,
                frames,
                asked=replace(asks, prompt=prompt),
                rng=np.random.default_rng(seed),
                until_s=13.0,
            )
            found = {(each.num_seen, each.now_s) for each in one.exchanges if each.now_s}
            assert not found or prompt is NANO_2
            still |= found
    assert still == {(2, 6.0), (2, 7.0), (2, 8.0), (4, 11.0), (4, 12.0)}
