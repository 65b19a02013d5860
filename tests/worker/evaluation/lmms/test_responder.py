from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.errors import DataError
from model.types import Question
from pipeline.clock import SystemClock
from pipeline.errors import ConfigError
from pipeline.sources.encoder import encode_clip
from worker.evaluation.labelled.playing import engine_for
from worker.evaluation.lmms.media import frames_of, picture_of
from worker.evaluation.lmms.requests import user_turn
from worker.evaluation.lmms.responder import MODES, Costs, Mode, Responder, settings_of
from worker.loading import load_engine
from worker.wiring import new_pruner

ASK = "Is a person in view?\nAnswer yes or no."
NUM_FRAMES = 8


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds, a picture each, in which a square moves over noise."""
    rng = np.random.default_rng(0)
    ground = rng.integers(90, 130, (168, 308, 3), dtype=np.uint8)

    def pictures() -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
        found = []
        for number in range(NUM_FRAMES):
            picture = ground.copy()
            picture[60:116, 30 * number : 30 * number + 56] = (200, 40, 40)
            found.append(picture)
        return found

    path = tmp_path_factory.mktemp("lmms") / "square.mp4"
    return encode_clip(path, pictures(), fps=1, gop_s=2.0, bits_per_s=400_000)


def test_a_video_is_taken_by_the_second(video: Path) -> None:
    assert [round(one.pts_s) for one in frames_of(video)] == list(range(NUM_FRAMES))
    part = frames_of(video, start_s=2.0, end_s=5.0)
    assert [round(one.pts_s) for one in part] == [2, 3, 4, 5]


def test_a_long_video_is_taken_evenly(video: Path) -> None:
    assert [round(one.pts_s) for one in frames_of(video, max_frames=3)] == [0, 3, 7]


def test_the_budget_is_shared_out_among_the_frames(video: Path) -> None:
    grids = {one.grid for one in frames_of(video, max_frame_tokens=20)}
    assert len(grids) == 1
    assert grids.pop().num_tokens <= 20


def test_a_missing_video_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.mp4"):
        frames_of(tmp_path / "missing.mp4")


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
def test_a_picture_is_shown_at_its_own_resolution(mode: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 200), (10, 200, 30)).convert(mode)
    shown = picture_of(image)
    assert shown.pixels.shape == (14 * 14, 21 * 14, 3)
    if mode == "RGB":
        path = tmp_path / "picture.png"
        image.save(path)
        assert np.array_equal(picture_of(path).pixels, shown.pixels)


def test_a_mode_there_is_none_of_is_refused() -> None:
    with pytest.raises(ConfigError, match="last4"):
        Responder("nano", "slow", clock=SystemClock())  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_a_video_is_answered_as_a_camera_would_be(mode: Mode, video: Path) -> None:
    responder, costs = Responder("nano", mode, clock=SystemClock()), Costs()
    said = responder.reply(user_turn([str(video)], ASK), max_new_tokens=8, costs=costs)
    settings = settings_of("nano", mode)
    engine = engine_for(load_engine(settings), settings, mode)
    pruner = new_pruner(settings)
    frames = frames_of(video, max_frame_tokens=72)
    for frame in frames:
        pruned = pruner.prune(frame)
        engine.append([pruned])
        pruner.sent(pruned)
    [answer] = engine.ask([(frames[0].camera_id, Question("caption", ASK))])
    assert said == answer.value
    grid = frames[0].grid.num_tokens
    assert costs.num_tokens == NUM_FRAMES * grid
    if mode == "last4":
        assert costs.num_kept == 4 * grid
    else:
        assert grid < costs.num_kept <= NUM_FRAMES * grid
    assert costs.seconds > 0


def test_another_question_about_the_same_video_costs_the_same_tokens(video: Path) -> None:
    responder, first, second = Responder("nano", "fast", clock=SystemClock()), Costs(), Costs()
    for costs in (first, second):
        asked = user_turn([{"type": "video", "url": str(video), "video_end": 4.0}], ASK)
        asked[0]["content"][0]["url"] = {"url": str(video), "video_end": 4.0}
        responder.reply(asked, max_new_tokens=8, costs=costs)
    assert (first.num_kept, first.num_tokens) == (second.num_kept, second.num_tokens)
    assert first.num_tokens < NUM_FRAMES * 72


def test_likelihoods_agree_with_what_is_said(video: Path) -> None:
    responder, costs = Responder("nano", "reference", clock=SystemClock()), Costs()
    asked = user_turn([str(video)], ASK)
    said = responder.reply(asked, max_new_tokens=8, costs=costs)
    likelihood, is_likeliest = responder.likelihood(asked, said, costs=costs)
    assert is_likeliest
    assert likelihood < 0
    assert costs.num_asked == 2
