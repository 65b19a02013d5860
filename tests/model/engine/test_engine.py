from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.engine import append
from model.engine.engine import Engine
from model.errors import DeviceMemoryError, InputError
from model.kinds.loops import looped_tail
from model.layers.attention import Attend
from model.types import PatchGrid, PrunedFrame, Question, Window
from model.videollama3.patches import patchify
from model.videollama3.prompt import HEAD, frame_stamp, question_suffix
from tests.model.growing import logits_after, used_bytes
from tests.model.nano_model import (
    GRID,
    nano,
    nano_engine,
    nano_tokenizer,
    picture,
    pruned,
    reference_nano,
    some_tokens,
)

WHAT = Question("text", "What is in the video?")
FIRE = Question("yes_no", "Is there fire?")
NOTHING = np.zeros((GRID.rows, GRID.cols), dtype=np.bool_)


def reference_inputs(frames: Sequence[PrunedFrame], text: str) -> dict[str, Tensor]:
    """What transformers is given for these frames and masks; the first frame is whole."""
    tokenizer = nano_tokenizer()
    masks = [np.ones_like(frames[0].keep_mask), *(frame.keep_mask for frame in frames[1:])]
    prompt = HEAD
    for index, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        time_s = round(frame.pts_s - frames[0].pts_s)
        prompt += frame_stamp(time_s, is_first=index == 0)
        prompt += "<|video_pad|>" * int(mask.sum())
    ids = torch.tensor([tokenizer.encode(prompt + question_suffix(text))])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values_videos": torch.cat([patchify(frame.pixels) for frame in frames]),
        "video_grid_thw": torch.tensor([[len(frames), 2 * GRID.rows, 2 * GRID.cols]]),
        "video_merge_sizes": torch.tensor([2]),
        "video_compression_mask": torch.from_numpy(np.concatenate([m.ravel() for m in masks])),
    }


def assert_answers_like_reference(engine: Engine, frames: Sequence[PrunedFrame]) -> None:
    """Same next-token logits within 1e-3, same greedy words, as one pass in transformers."""
    inputs = reference_inputs(frames, WHAT.text)
    with torch.inference_mode():
        expected = reference_nano()(**inputs).logits[0, -1]
    suffix = nano_tokenizer().encode(question_suffix(WHAT.text))
    got = logits_after(nano(), engine._pool, engine._context("gate"), suffix)
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=0)
    [answer] = engine.ask([("gate", WHAT)])
    generated = reference_nano().generate(
        **inputs, do_sample=False, repetition_penalty=1.0, max_new_tokens=answer.num_generated
    )
    said = generated[0, inputs["input_ids"].shape[1] :].tolist()
    assert answer.num_generated > 3
    assert answer.value == nano_tokenizer().decode(said[: len(said) - looped_tail(said)]).strip()


def clip(num_frames: int) -> list[PrunedFrame]:
    """Frames a second and a bit apart, each keeping some tokens."""
    return [
        pruned(picture(n), pts_s=40.0 + 1.2 * n, keep=some_tokens(n), is_refresh=n == 0)
        for n in range(num_frames)
    ]


def test_grown_frame_by_frame_equals_transformers() -> None:
    engine, frames = nano_engine(vision="full"), clip(9)
    for frame in frames:
        engine.append([frame])
    assert_answers_like_reference(engine, frames)


def test_the_younger_context_equals_transformers_on_its_own_window() -> None:
    engine, frames = nano_engine(window_s=8.0, vision="full"), clip(8)
    for frame in frames:
        engine.append([frame])
    window = engine.window("gate")
    assert window is not None
    assert window.start_pts_s == frames[4].pts_s
    assert_answers_like_reference(engine, frames[4:])


def test_all_frames_at_once_equal_one_by_one() -> None:
    frames = clip(6)
    at_once, one_by_one = nano_engine(), nano_engine()
    at_once.append(frames)
    for frame in frames:
        one_by_one.append([frame])
    assert at_once.window("gate") == one_by_one.window("gate")
    [first], [second] = at_once.ask([("gate", FIRE)]), one_by_one.ask([("gate", FIRE)])
    assert first.p == pytest.approx(second.p, abs=1e-5)


def test_cameras_in_one_batch_do_not_see_each_other() -> None:
    together, alone = nano_engine(), nano_engine()
    wide = PatchGrid(rows=3, cols=7)
    yard = pruned(picture(3, grid=wide), pts_s=7.0, stream_id="yard", is_refresh=True)
    for frame in clip(4):
        together.append([frame, replace(yard, pts_s=frame.pts_s)])
        alone.append([frame])
    asked = [("gate", FIRE), ("yard", FIRE), ("gate", WHAT)]
    answers, expected = together.ask(asked), alone.ask([("gate", FIRE), ("gate", WHAT)])
    assert answers[0].p == pytest.approx(expected[0].p, abs=1e-5)
    assert answers[2] == expected[1]
    assert answers[1].p != answers[0].p


def test_a_frame_that_keeps_nothing_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = nano_engine()
    engine.append(clip(2))
    window = engine.window("gate")
    monkeypatch.setattr(nano().vision, "run", None)
    engine.append([pruned(picture(9), pts_s=50.0, keep=NOTHING)])
    assert window is not None
    assert engine.window("gate") == replace(window, end_pts_s=50.0)


def test_a_still_tick_of_many_cameras_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = nano_engine()
    first = [pruned(picture(n), pts_s=0.0, stream_id=f"c{n}", is_refresh=True) for n in range(16)]
    engine.append(first)

    def at(pts_s: float) -> list[PrunedFrame]:
        return [replace(one, keep_mask=NOTHING, pts_s=pts_s, is_refresh=False) for one in first]

    monkeypatch.setattr(nano().vision, "run", None)
    for way in ("embed", "forward", "fill"):
        monkeypatch.setattr(nano().language, way, None)
    for second in range(1, 90):
        engine.append(at(second))
    with pytest.raises(TypeError):  # half a window is over: contexts begin
        engine.append(at(90.0))
    monkeypatch.undo()
    engine.append(at(90.0))
    assert all(len(stream.contexts) == 2 for stream in engine._streams.values())
    assert engine.window("c7") == Window(0.0, 90.0, num_frames=1, num_tokens=GRID.num_tokens)


def test_what_did_not_change_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, encoded = nano_engine(window_s=4.0), list[int]()
    run = nano().vision.run

    def counted(rows: Tensor, positions: Tensor, *, attend: Attend) -> Tensor:
        encoded.append(len(rows) // 4)
        return run(rows, positions, attend=attend)

    monkeypatch.setattr(nano().vision, "run", counted)
    frames = clip(10)
    for frame in frames:
        engine.append([frame])
        engine.ask([("gate", FIRE)])
    # A context opens on a whole frame every half window: 2 s, and so every second frame of 1.2 s.
    assert encoded == [
        GRID.num_tokens if index % 2 == 0 else frame.num_kept for index, frame in enumerate(frames)
    ]


def late(yard: PrunedFrame) -> list[PrunedFrame]:
    return [
        pruned(picture(5), pts_s=60.0, is_refresh=True),
        replace(yard, pts_s=62.0),
        pruned(picture(6), pts_s=0.0, stream_id="new"),
    ]


def test_a_failed_append_changes_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, real_append = nano_engine(window_s=20.0), append.append
    yard = replace(clip(1)[0], stream_id="yard")
    engine.append([*clip(3), yard])
    asks = [("gate", FIRE), ("yard", FIRE)]
    before, held = engine.ask(asks), engine.stats

    def interrupted(*args: Any, **_how: Any) -> None:
        real_append(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr("model.engine.engine.append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.append(late(yard))
    assert engine.ask(asks) == before
    assert engine.stats.num_streams == held.num_streams
    assert used_bytes(engine._pool) == sum(s.num_bytes for s in engine._streams.values())
    monkeypatch.undo()
    engine.append(late(yard))
    other = nano_engine(window_s=20.0)
    other.append([*clip(3), yard])
    other.append(late(yard))
    [got], [expected] = engine.ask([("gate", FIRE)]), other.ask([("gate", FIRE)])
    assert got.p == pytest.approx(expected.p, abs=1e-5)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_out_of_memory_drops_the_standby_contexts_and_tries_again(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    engine, real_append, failures = nano_engine(window_s=8.0), append.append, [error]
    for frame in clip(5):
        engine.append([frame])
    assert len(engine._streams["gate"].contexts) == 2

    def short_of_memory(*args: Any, **_how: Any) -> None:
        real_append(*args)
        if failures:
            raise failures.pop()

    monkeypatch.setattr("model.engine.engine.append", short_of_memory)
    frames = clip(10)
    engine.append([frames[5]])
    assert (engine.stats.num_out_of_memory, engine.stats.num_shed) == (1, 1)
    assert len(engine._streams["gate"].contexts) == 1
    assert engine.window("gate") == Window(
        40.0, frames[5].pts_s, num_frames=6, num_tokens=20 + sum(f.num_kept for f in frames[1:6])
    )
    # It rests for a quarter of the window, begins a standby one again, and that takes over.
    for frame in frames[6:]:
        engine.append([frame])
    window = engine.window("gate")
    assert window is not None
    assert window.start_pts_s == frames[6].pts_s

    failures += [error, error]
    before = engine.ask([("gate", FIRE)])
    with pytest.raises(DeviceMemoryError, match="expected room for a pass over 1 streams"):
        engine.append([pruned(picture(3), pts_s=53.0)])
    assert engine.stats.num_out_of_memory == 3
    assert engine.ask([("gate", FIRE)]) == before


def test_stats_count_what_is_held() -> None:
    engine = nano_engine()
    engine.append(clip(3))
    stats = engine.stats
    assert stats.num_streams == 1
    assert stats.context_bytes == engine._pool.num_bytes > 0
    assert stats.weight_bytes == sum(weight.nbytes for weight in nano().parameters())
    assert engine.bytes_of("gate") == used_bytes(engine._pool) + stats.vision_cache_bytes
    assert engine.bytes_of("yard") == 0


def test_a_clock_set_back_starts_anew() -> None:
    engine = nano_engine()
    engine.append(clip(3))
    engine.append([pruned(picture(4), pts_s=3.0, keep=some_tokens(4))])
    assert engine.window("gate") == Window(3.0, 3.0, num_frames=1, num_tokens=GRID.num_tokens)


def test_what_is_stale_goes_to_the_vision_cache_and_not_to_the_context() -> None:
    engine = nano_engine()
    engine.append(clip(2))
    window, before = engine.window("gate"), engine._encoder.num_bytes
    stale = np.ones_like(NOTHING)
    engine.append([replace(pruned(picture(8), pts_s=50.0, keep=NOTHING), stale_mask=stale)])
    assert window is not None
    assert engine.window("gate") == replace(window, end_pts_s=50.0)
    assert engine._encoder.num_bytes == before


def test_window_of_a_stream_that_showed_nothing_is_none() -> None:
    assert nano_engine().window("gate") is None


def test_window_tells_what_a_question_sees() -> None:
    engine = nano_engine()
    engine.append(
        [
            pruned(picture(0), pts_s=5.0, is_refresh=True),
            pruned(picture(1), pts_s=6.0, keep=NOTHING),
            pruned(picture(2), pts_s=7.0, keep=some_tokens(2)),
        ]
    )
    num_tokens = GRID.num_tokens + int(some_tokens(2).sum())
    assert engine.window("gate") == Window(5.0, 7.0, num_frames=2, num_tokens=num_tokens)


def test_reset_starts_a_stream_anew() -> None:
    engine = nano_engine()
    engine.append(clip(3))
    engine.reset("gate")
    assert engine.window("gate") is None
    with pytest.raises(InputError, match="stream gate: expected a frame before a question"):
        engine.ask([("gate", FIRE)])
    other = PatchGrid(rows=3, cols=6)
    engine.append([pruned(picture(1, grid=other), pts_s=1.0)])
    assert engine.window("gate") == Window(1.0, 1.0, num_frames=1, num_tokens=18)


def test_remove_frees_what_a_stream_held() -> None:
    engine = nano_engine()
    engine.append(clip(3))
    assert engine.bytes_of("gate") > 0
    engine.remove("gate")
    engine.remove("gate")
    assert engine.bytes_of("gate") == used_bytes(engine._pool) == engine._encoder.num_bytes == 0
    with pytest.raises(InputError, match="stream gate"):
        engine.ask([("gate", FIRE)])


def test_one_bad_question_answers_none() -> None:
    engine = nano_engine()
    engine.append(clip(1))
    with pytest.raises(InputError, match="ask: expected words"):
        engine.ask([("gate", FIRE), ("gate", Question("text", ""))])


def test_a_refresh_is_seen_whole_on_any_grid_and_the_history_stays() -> None:
    engine = nano_engine()
    engine.append(clip(2))
    before = engine.window("gate")
    assert before is not None
    other = PatchGrid(rows=3, cols=6)
    engine.append([pruned(picture(1, grid=other), pts_s=45.0, is_refresh=True)])
    assert engine.window("gate") == Window(
        before.start_pts_s, 45.0, num_frames=3, num_tokens=before.num_tokens + 18
    )


GOOD = pruned(picture(0), pts_s=60.0)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        pytest.param(
            pruned(picture(1, grid=PatchGrid(3, 6)), pts_s=60.0),
            "expected a refresh where the grid changes from 4x5 to 3x6",
            id="another grid",
        ),
        pytest.param(
            replace(GOOD, pixels=GOOD.pixels[:-1]),
            r"expected pixels of uint8 \(112, 140, 3\), got uint8 \(111, 140, 3\)",
            id="picture of another size",
        ),
        pytest.param(
            replace(GOOD, pixels=GOOD.pixels.astype(np.float32)), "got float32", id="float picture"
        ),
        pytest.param(
            replace(GOOD, keep_mask=GOOD.keep_mask.ravel()),
            r"expected a keep mask of bool \(rows, cols\), got bool \(20,\)",
            id="flat mask",
        ),
        pytest.param(
            replace(GOOD, keep_mask=GOOD.keep_mask.astype(np.uint8)), "got uint8", id="integer mask"
        ),
        pytest.param(
            replace(GOOD, pixels=np.zeros((4 * 32, 5 * 32, 3), np.uint8)),
            r"expected pixels of uint8 \(112, 140, 3\), got uint8 \(128, 160, 3\)",
            id="another family's tokens",
        ),
        pytest.param(replace(GOOD, pts_s=float("nan")), "expected a finite pts_s", id="no time"),
    ],
)
def test_a_malformed_frame_is_refused_and_nothing_is_shown(
    frame: PrunedFrame, message: str
) -> None:
    engine = nano_engine()
    engine.append(clip(1))
    window = engine.window("gate")
    with pytest.raises(InputError, match=message):
        engine.append([GOOD, frame])
    assert engine.window("gate") == window


def test_a_context_grown_beside_equals_one_grown_live_and_nothing_is_shed_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`gate` is young while `past` is shown what came before; then it goes on with that."""
    grown, live, frames = nano_engine(window_s=8.0), nano_engine(window_s=8.0), clip(12)
    yard = replace(frames[0], stream_id="yard")
    past = [replace(frame, stream_id="past") for frame in frames]
    for engine in (grown, live):
        engine.append([yard])
    grown.append([replace(frames[6], is_refresh=True)])  # young, and of its own pruner's making
    grown.append(past[:2], may_shed=False)
    for frame in past[2:7]:
        grown.append([frame], may_shed=False)
    grown.append([frames[7]])

    def short_of_memory(*_: object, **_how: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("model.engine.engine.append", short_of_memory)
        with pytest.raises(DeviceMemoryError, match="expected room for a pass over 3 streams"):
            grown.append([past[7]], may_shed=False)
    assert (grown.stats.num_out_of_memory, grown.stats.num_shed) == (1, 0)
    grown.append([past[7]], may_shed=False)
    grown.take_over("gate", "past")
    for frame in frames[:8]:
        live.append([frame])
    for frame in frames[8:]:  # a context retires, and a standby one begins
        for engine in (grown, live):
            engine.append([frame, replace(yard, pts_s=frame.pts_s)])
        assert grown.window("gate") == live.window("gate")
        got, expected = (engine.first_logits("gate", WHAT) for engine in (grown, live))
        torch.testing.assert_close(got, expected, atol=1e-3, rtol=0)
    assert grown.ask([("gate", WHAT), ("yard", FIRE)]) == live.ask([("gate", WHAT), ("yard", FIRE)])
    assert grown.bytes_of("gate") == live.bytes_of("gate")
    assert grown.stats.vision_cache_bytes == live.stats.vision_cache_bytes
    assert used_bytes(grown._pool) == used_bytes(live._pool)
