from math import isfinite

from model.engine.config import EngineConfig
from model.engine.made_up_past import EngineWithMadeUpPast
from model.types import PrunedFrame, Question
from tests.model.nano_model import GRID, nano_engine, picture, pruned, some_tokens

FIRE = Question("yes_no", "Is there fire?")
CONFIG = EngineConfig(window_s=20.0)


def a_past(stream_id: str, num_seconds: int) -> list[PrunedFrame]:
    return [
        pruned(
            picture(0),
            pts_s=float(second),
            keep=some_tokens(second) if second else None,
            stream_id=stream_id,
            is_refresh=not second,
        )
        for second in range(num_seconds)
    ]


def test_a_made_up_past_has_the_windows_and_tokens_of_one_that_was_seen() -> None:
    seen = nano_engine(window_s=20.0)
    made_up = EngineWithMadeUpPast(seen.family, model_name="nano", config=CONFIG)
    for frames in zip(a_past("a", 27), a_past("b", 27), strict=True):
        seen.append(frames)
        made_up.live_through(frames)
    for stream_id in ("a", "b"):
        assert made_up.window(stream_id) == seen.window(stream_id)
    assert made_up.stats.context_bytes == seen.stats.context_bytes


def test_frames_after_a_made_up_past_are_seen_in_truth() -> None:
    engine = EngineWithMadeUpPast(nano_engine().family, model_name="nano", config=CONFIG)
    for frame in a_past("a", 12):
        engine.live_through([frame])
    assert engine.stats.vision_cache_bytes == 0
    engine.append([pruned(picture(1), pts_s=12.0, stream_id="a", is_refresh=True)])
    assert engine.stats.vision_cache_bytes > 0
    [answer] = engine.ask([("a", FIRE)])
    assert isfinite(answer.p or 0.0)
    assert answer.value in ("yes", "no")
    window = engine.window("a")
    assert window is not None
    assert (window.start_pts_s, window.end_pts_s, window.num_frames) == (0.0, 12.0, 13)
    assert GRID.num_tokens < window.num_tokens
