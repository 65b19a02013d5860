"""What a question sees of the moment it is asked at, against transformers' own processor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.video_utils import VideoMetadata

from model.engine import append
from model.engine.answers import Respondent
from model.engine.config import EngineConfig, VisionMode
from model.engine.engine import Engine
from model.engine.forks import Forks
from model.errors import InputError
from model.family import Family
from model.kinds import wording
from model.patch_diff import paper_mask
from model.types import Answer, PrunedFrame, Question
from model.videollama3.prompt import VIDEOLLAMA3
from tests.model.nano_model import (
    GRID,
    nano,
    nano_family,
    nano_tokenizer,
    picture,
    pruned,
    reference_nano,
    reference_processor,
    some_tokens,
)

FIRE = Question("yes_no", "Is there fire?")
WHAT = Question("text", "What is in the video?")
COLOUR = Question("choice", "What colour is the car?", ("red", "dark red", "blue"))
CARS = Question("count", "How many cars are there?")
EVERY_KIND = (Question("caption", ""), FIRE, COLOUR, CARS, WHAT)
NOTHING = np.zeros((GRID.rows, GRID.cols), dtype=np.bool_)
JITTER_S = (0.0, -0.08, 0.05, -0.1, 0.02, 0.11, -0.03, 0.0)

Pixels = NDArray[np.uint8]


def new_engine(*, vision: VisionMode = "full", window_s: float = 180.0) -> Engine:
    """The bundled weights, asked in the words of the released checkpoints."""
    return Engine(
        replace(nano_family(), prompt=VIDEOLLAMA3),
        model_name="nano",
        config=EngineConfig(
            window_s=window_s,
            vision=vision,
            audit_share=0.0,
            max_caption_tokens=12,
            max_answer_tokens=12,
        ),
    )


@dataclass
class Spy:
    """What was written to the only context of an engine, and behind it."""

    ids: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    found, visual_id, real_append = Spy(), nano_tokenizer().visual_id, append.append

    def noted(*args: Any, **how: Any) -> None:
        [context] = args[2]
        for piece in context.unread:
            found.ids += [*piece.stamp_ids, *[visual_id] * piece.num_tokens]
        real_append(*args, **how)

    class Noted(Forks):
        def prefill(self) -> list[Tensor]:
            found.asked = list(self._branches[0].ids)
            found.logits = super().prefill()
            return found.logits

    monkeypatch.setattr("model.engine.engine.append", noted)
    monkeypatch.setattr("model.engine.answers.Forks", Noted)
    return found


def scene(seed: int, num_frames: int = 8) -> list[Pixels]:
    """Pictures of which some are exactly the one before."""
    rng = np.random.default_rng(seed)
    pictures = [picture(seed)]
    for index in range(1, num_frames):
        now = pictures[-1].copy()
        if rng.random() < 0.5:
            mask = some_tokens(seed + index, share=0.2).repeat(28, 0).repeat(28, 1)
            now[mask] = picture(seed + 100 + index)[mask]
        pictures.append(now)
    return pictures


def reference(
    pictures: Sequence[Pixels], seconds: Sequence[int], question: Question
) -> tuple[list[int], Tensor]:
    """The ids that transformers makes of pictures and a question, and the next token's logits."""
    processor = reference_processor()
    words = wording(question, VIDEOLLAMA3.forms)
    message = [{"type": "video"}, {"type": "text", "text": words}]
    rendered = processor.apply_chat_template(
        [{"role": "user", "content": message}], add_generation_prompt=True, tokenize=False
    )
    metadata = VideoMetadata(
        total_num_frames=seconds[-1] + 1, fps=1.0, frames_indices=list(seconds)
    )
    batch = processor(
        text=[rendered],
        videos=[np.stack(pictures)],
        video_metadata=[metadata],
        return_tensors="pt",
    )
    with torch.inference_mode():
        logits = reference_nano()(**batch).logits[0, -1]
    return batch["input_ids"][0].tolist(), logits


def by_paper(pictures: Sequence[Pixels]) -> list[PrunedFrame]:
    """Every frame, kept as DiffFP keeps it: an unchanged one brings its first token."""
    frames = []
    for index, pixels in enumerate(pictures):
        keep = paper_mask(pixels, pictures[index - 1]) if index else None
        pts_s = 3.0 + index + JITTER_S[index]
        frames.append(pruned(pixels, pts_s=pts_s, keep=keep, is_refresh=not index))
    return frames


def without_still(pictures: Sequence[Pixels]) -> list[PrunedFrame]:
    """Every frame, of which an unchanged one brings nothing."""
    frames = by_paper(pictures)
    for index in range(1, len(frames)):
        if np.array_equal(pictures[index], pictures[index - 1]):
            frames[index] = replace(frames[index], keep_mask=NOTHING)
    return frames


@pytest.mark.parametrize("question", [FIRE, WHAT], ids=lambda one: one.kind)
@pytest.mark.parametrize("seed", range(4))
def test_a_prompt_by_the_papers_rule_is_the_references(
    spy: Spy, seed: int, question: Question
) -> None:
    engine, pictures = new_engine(), scene(seed)
    for frame in by_paper(pictures):
        engine.append([frame])
    engine.ask([("gate", question)])
    ids, logits = reference(pictures, range(len(pictures)), question)
    assert spy.ids + spy.asked == ids
    torch.testing.assert_close(spy.logits[0][-1], logits, atol=1e-3, rtol=0)


@pytest.mark.parametrize("seed", range(6))
def test_a_prompt_in_a_still_moment_is_the_references_of_the_frames_in_it(
    spy: Spy, seed: int
) -> None:
    engine, pictures = new_engine(), scene(seed)
    frames = without_still(pictures)
    shown: list[int] = []
    for second, frame in enumerate(frames):
        engine.append([frame])
        if frame.num_kept:
            shown.append(second)
        engine.ask([("gate", FIRE)])
        seconds = shown if frame.num_kept else [*shown, second]
        ids, logits = reference([pictures[one] for one in seconds], seconds, FIRE)
        assert spy.ids + spy.asked == ids, second
        torch.testing.assert_close(spy.logits[0][-1], logits, atol=1e-3, rtol=0)
    assert len(shown) < len(frames)


def alike(got: Answer, expected: Answer) -> bool:
    return got.value == expected.value and got.p == pytest.approx(expected.p, abs=1e-3)


@pytest.mark.parametrize("vision", ["delta", "full"])
def test_all_questions_in_one_pass_equal_each_asked_alone(vision: VisionMode) -> None:
    engine = new_engine(vision=vision)
    frames = without_still(scene(1))
    still = next(n for n, frame in enumerate(frames) if n and not frame.num_kept)
    for frame in frames[: still + 1]:
        yard = replace(frame, stream_id="yard", pixels=frame.pixels[::-1].copy())
        engine.append([frame, replace(yard, keep_mask=some_tokens(still))])
    asks = [(stream, question) for question in EVERY_KIND for stream in ("gate", "yard")]
    alone = [engine.ask([ask])[0] for ask in asks]
    together = engine.ask(asks)
    assert all(alike(one, other) for one, other in zip(together, alone, strict=True))


def test_now_is_neither_encoded_nor_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = new_engine(vision="delta")
    engine.append([pruned(picture(1), pts_s=0.0, is_refresh=True)])
    before, length = engine.window("gate"), engine._context("gate").length
    [told] = engine.ask([("gate", FIRE)])
    monkeypatch.setattr(nano().vision, "run", None)
    engine.append([pruned(picture(1), pts_s=20.0, keep=NOTHING)])
    [later] = engine.ask([("gate", FIRE)])
    assert later.p != told.p
    assert engine._context("gate").length == engine._context("gate").sequence.length == length
    assert before is not None
    assert engine.window("gate") == replace(before, end_pts_s=20.0)
    assert engine.ask([("gate", FIRE)]) == [later]


def first_of(mode: VisionMode, *frames: PrunedFrame) -> tuple[Engine, Tensor]:
    engine = new_engine(vision=mode)
    for frame in frames:
        engine.append([frame])
    first = engine._encoder.first_token("gate")
    assert first is not None
    return engine, first


ONLY_FIRST, NOT_FIRST = NOTHING.copy(), ~NOTHING
ONLY_FIRST[0, 0], NOT_FIRST[0, 0] = True, False


@pytest.mark.parametrize(
    ("mode", "second", "moves"),
    [
        pytest.param("delta", pruned(picture(2), pts_s=1.0, keep=ONLY_FIRST), True, id="kept"),
        pytest.param("delta", pruned(picture(2), pts_s=1.0, keep=NOT_FIRST), False, id="not kept"),
        pytest.param(
            "delta",
            replace(pruned(picture(2), pts_s=1.0, keep=NOTHING), stale_mask=ONLY_FIRST),
            True,
            id="stale",
        ),
        pytest.param("full", pruned(picture(2), pts_s=1.0, keep=NOT_FIRST), True, id="full"),
        pytest.param("isolated", pruned(picture(2), pts_s=1.0, keep=NOT_FIRST), False, id="alone"),
        pytest.param("delta", pruned(picture(2), pts_s=1.0, keep=NOTHING), False, id="still"),
    ],
)
def test_the_first_token_is_as_it_was_encoded_last(
    mode: VisionMode, second: PrunedFrame, *, moves: bool
) -> None:
    start = pruned(picture(1), pts_s=0.0, is_refresh=True)
    _, before = first_of(mode, start)
    engine, after = first_of(mode, start, second)
    assert (not torch.equal(before, after)) == moves
    assert engine._context("gate").window.num_tokens == GRID.num_tokens + second.num_kept


def test_what_fails_takes_the_first_token_back(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, before = first_of("delta", pruned(picture(1), pts_s=0.0, is_refresh=True))
    real_append: Callable[..., None] = append.append

    def interrupted(*args: Any, **_how: Any) -> None:
        real_append(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr("model.engine.engine.append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.append([pruned(picture(2), pts_s=1.0)])
    after = engine._encoder.first_token("gate")
    assert after is not None
    assert torch.equal(before, after)


def test_a_context_that_takes_over_in_a_still_moment_knows_what_time_it_is() -> None:
    engine, still = new_engine(window_s=10.0), picture(4)
    for second in range(13):
        engine.append([pruned(still, pts_s=second, keep=NOTHING, is_refresh=second == 0)])
    context = engine._context("gate")
    said = nano_tokenizer().decode(context.now_ids)
    assert (context.window.start_pts_s, said) == (5.0, ",Time 7.0s:")


def test_a_question_has_room_with_what_it_begins_with() -> None:
    limits = {"max_caption_tokens": 12, "max_answer_tokens": 12}
    family = nano_family()
    assert family.prompt.shows_now
    without = replace(family, prompt=replace(family.prompt, shows_now=False))
    most = family.network.config.text.max_positions
    fits = next(
        number for number in range(most, 0, -1) if _has_room(without, limits, num_before=number)
    )
    stamp = family.tokenizer.encode(family.prompt.frame_stamp(180.0, is_first=False))
    assert not _has_room(family, limits, num_before=fits - len(stamp))
    assert _has_room(family, limits, num_before=fits - len(stamp) - 1)


def _has_room(family: Family, limits: dict[str, int], *, num_before: int) -> bool:
    try:
        Respondent(family, **limits).check_length(FIRE, num_before=num_before, window_s=180.0)
    except InputError:
        return False
    return True
