"""Who is let in, by the shape of the 2B model: nothing is computed, and no weight is held."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch

from model.engine.admission import Admission
from model.engine.config import EngineConfig
from model.engine.kv_cache import PagePool
from model.engine.rolling_context import Context, RollingContext
from model.errors import AdmissionError
from model.family import Family
from model.types import PatchGrid
from model.videollama3.config import PRESETS
from model.videollama3.family import family_of
from model.videollama3.network import VideoLlama3
from model.videollama3.prompt import NANO_2
from tests.model.nano_model import nano_tokenizer

GRID = PatchGrid(9, 16)
VISION_BYTES = 576 * 27 * 2 * 1152 * 2
PAGE_BYTES = 256 * 28 * 1024
WEIGHT_BYTES = 4_000_000_000


@cache
def family() -> Family:
    with torch.device("meta"):
        network = VideoLlama3(PRESETS["2b"]).to(torch.bfloat16)
    return family_of(network, nano_tokenizer(), prompt=NANO_2)


def admission(budget_bytes: int | None, **limits: Any) -> Admission:
    config = EngineConfig(memory_budget_bytes=budget_bytes, **limits)
    pool = PagePool(PRESETS["2b"].text, dtype=torch.bfloat16, device="meta")
    return Admission(family(), config, pool=pool, fixed_bytes=WEIGHT_BYTES)


def stream(one: Admission, *, ages_s: Sequence[float], tokens_per_s: int) -> RollingContext:
    """A stream whose contexts have got so many tokens in every second of their lives."""
    found = RollingContext(one._pool, family(), window_s=180.0, max_context_tokens=16_384)
    contexts = []
    for age_s in ages_s:
        context = Context(one._pool, family(), start_pts_s=0.0)
        context.show(0, num_tokens=GRID.num_tokens, is_whole=True, pts_s=0.0)
        context.show(1, num_tokens=int(age_s) * tokens_per_s, is_whole=False, pts_s=age_s)
        contexts.append(context)
    found._active, found._standby = contexts
    return found


def test_a_camera_of_the_2b_model_by_hand() -> None:
    one = admission(None)
    assert one.bytes_at_most(GRID) == VISION_BYTES + 2 * 64 * PAGE_BYTES
    usual = one.bytes_usual(GRID)
    # A fifth of 144 tokens and a stamp each second: 180 s and 90 s of it, whole frames and pages.
    assert VISION_BYTES + 1.5 * 180 * 30 * 28 * 1024 < usual < one.bytes_at_most(GRID) / 2
    assert admission(None, vision="full").bytes_usual(GRID) == usual - VISION_BYTES


def test_new_cameras_are_let_in_as_usual_ones_until_the_budget_is_spent() -> None:
    usual = admission(None).bytes_usual(GRID)
    one = admission(WEIGHT_BYTES + 3 * usual + usual // 2)
    for name in ("gate", "yard", "door"):
        one.admit(name, GRID, {})
    with pytest.raises(
        AdmissionError, match=rf"stream roof: .* {usual // 2} bytes.* may need {usual}"
    ) as refused:
        one.admit("roof", GRID, {})
    assert (refused.value.needed_bytes, refused.value.left_bytes) == (usual, usual // 2)
    one.admit("gate", GRID, {})  # it is in
    one.rename("yard", "gate")
    one.admit("roof", GRID, {})
    one.release("door")
    one.release("door")
    one.admit("barn", GRID, {})
    with pytest.raises(AdmissionError):
        one.admit("gate", PatchGrid(18, 32), {})
    one.admit("gate", PatchGrid(4, 5), {})


@pytest.mark.parametrize(("tokens_per_s", "num_more"), [(0, 8), (39, 8), (45, 4), (60, 0)])
def test_a_camera_is_let_in_beside_what_the_others_hold_and_will_hold(
    tokens_per_s: int, num_more: int
) -> None:
    """Forty cameras at different times of their windows leave room; busier ones leave none.

    A still one is taken for a usual one, since it may wake.
    """
    one = admission(WEIGHT_BYTES + 40 * admission(None).bytes_usual(GRID))
    streams = {}
    for n in range(40):
        one.admit(f"camera-{n}", GRID, {})
        ages_s = (90.0 + 2.25 * n, 2.25 * n)
        streams[f"camera-{n}"] = stream(one, ages_s=ages_s, tokens_per_s=tokens_per_s)
    for n in range(num_more):
        one.admit(f"more-{n}", GRID, streams)
    with pytest.raises(AdmissionError):
        one.admit("one too many", GRID, streams)


def test_pages_that_were_made_count_until_they_are_given_back() -> None:
    usual = admission(None).bytes_usual(GRID)
    one = admission(WEIGHT_BYTES + 2 * usual)
    one.admit("gate", GRID, {})
    most = (2 * usual - VISION_BYTES) // PAGE_BYTES
    pages = one._pool.take(most)
    with pytest.raises(MemoryError, match=f"at most {most} pages"):
        one._pool.take(1)
    with pytest.raises(AdmissionError):  # there are pages for it, and no room for its pictures
        one.admit("yard", GRID, {})
    one._pool.give_back(pages)
    one.admit("yard", GRID, {})
    assert one._pool.num_bytes == 0
    one._pool.take(1)
    assert one._pool.num_bytes == 2 * (usual - VISION_BYTES), "as many as will be needed, at once"


def test_what_is_said_gives_way_where_its_pages_leave_a_camera_no_room() -> None:
    usual = admission(None).bytes_usual(GRID)
    one = admission(WEIGHT_BYTES + 2 * usual)
    one.admit("gate", GRID, {})
    spoken = [one._pool.take((2 * usual - VISION_BYTES) // PAGE_BYTES)]

    def hush() -> bool:
        if spoken:
            one._pool.give_back(spoken.pop())
            return True
        return False

    one._hush = hush
    with pytest.raises(AdmissionError):
        one.admit("wall", PatchGrid(90, 160), {})
    assert spoken, "it would not have helped"
    one.admit("yard", GRID, {})
    assert not spoken


def test_a_budget_smaller_than_the_weights_lets_nobody_in() -> None:
    with pytest.raises(AdmissionError, match="at most 0 bytes"):
        admission(WEIGHT_BYTES // 2).admit("gate", GRID, {})


def test_without_a_limit_everybody_is_let_in() -> None:
    one = admission(None)
    for n in range(1_000):
        one.admit(str(n), GRID, {})
    assert one._pool.take(1)
    assert one.total_bytes is None
