from pathlib import Path

import numpy as np
import pytest

from model.errors import DataError
from model.kinds.text import CAPTION_TEXT
from model.training.conversation import Conversation, Pixels, Turn
from model.training.sample import Sample
from model.training.shown import sample_of
from model.training.stages import NANO, PAPER
from pipeline.pruner import prune_clip

STILL = np.full((56, 84, 3), 90, dtype=np.uint8)


class Frames:
    """Media held in memory: a picture, and a video in which one token changes at 3 s."""

    def image(self, path: Path) -> Pixels:
        del path
        return STILL

    def video(
        self, path: Path, start_s: float | None, end_s: float | None
    ) -> tuple[list[Pixels], list[float]]:
        del path
        changed = STILL.copy()
        changed[28:, 28:56] = 220
        pictures = [STILL, STILL, STILL, changed, changed]
        times_s = [0.0, 1.0, 2.0, 3.0, 4.0]
        kept = [i for i, at in enumerate(times_s) if (start_s or 0) <= at <= (end_s or 9)]
        return [pictures[i] for i in kept], [times_s[i] for i in kept]


def conversation(**changes: object) -> Conversation:
    turns = (Turn("Who?", "nobody"), Turn("Sure?", "yes"))
    values = {"source": "data.json:3", "turns": turns, "video": Path("a.mp4"), **changes}
    return Conversation(**values)  # type: ignore[arg-type]


def sample(one: Conversation, *, number: int = 4) -> Sample:
    return sample_of(one, media=Frames(), prune=prune_clip, stage=NANO[number - 1])


def test_a_video_is_pruned_from_stage_three_on() -> None:
    pruned = sample(conversation(), number=3)
    assert [frame.num_kept for frame in pruned.frames] == [6, 1]
    assert [frame.pts_s for frame in pruned.frames] == [0.0, 3.0]
    whole = sample(conversation(), number=2)
    assert [frame.num_kept for frame in whole.frames] == [6] * 5


def test_the_turns_of_a_video_follow_each_other() -> None:
    exchanges = sample(conversation()).exchanges
    assert [(one.num_seen, len(one.turns)) for one in exchanges] == [(2, 2)]


def test_a_stream_is_asked_while_it_grows() -> None:
    turns = (Turn("Now?", "no", 1.5), Turn("Now?", "yes", 3.0))
    exchanges = sample(conversation(turns=turns, is_stream=True)).exchanges
    assert [(one.num_seen, one.turns[0][1]) for one in exchanges] == [(1, "no"), (2, "yes")]


def test_a_question_in_a_still_stretch_begins_with_what_is_now_where_the_prompt_shows_it() -> None:
    turns = (Turn("Now?", "no", 0.5), Turn("Now?", "no", 2.5), Turn("Now?", "yes", 3.0))
    stream = conversation(turns=turns, is_stream=True)
    shown = {
        shows_now: sample_of(
            stream, media=Frames(), prune=prune_clip, stage=NANO[3], shows_now=shows_now
        )
        for shows_now in (False, True)
    }
    assert [one.now_s for one in shown[True].exchanges] == [None, 2.0, None]
    assert [one.now_s for one in shown[False].exchanges] == [None] * 3


def test_what_is_said_unasked_is_a_caption_at_its_frame_and_silence_at_the_others() -> None:
    turns = (Turn("Now?", "no", 1.5), Turn("", "A lamp goes on.", 3.5))
    one = sample(conversation(turns=turns, is_stream=True), number=2)  # every frame is shown
    assert one.worth == (None, False, False, True, False)
    assert [each.turns[0] for each in one.exchanges] == [
        ("Now?", "no"),
        (CAPTION_TEXT, "A lamp goes on."),
    ]
    assert sample(conversation(turns=turns[:1], is_stream=True)).worth == ()


def test_a_stream_that_is_asked_before_it_begins_is_refused() -> None:
    one = conversation(turns=(Turn("Now?", "no", 0.5),), is_stream=True, start_s=1.0)
    with pytest.raises(DataError, match=r"^expected a question after .* 1.0 s"):
        sample(one)


def test_pictures_take_the_stages_merge_size() -> None:
    one = conversation(video=None, images=(Path("a.png"), Path("b.png")))
    shown = sample_of(one, media=Frames(), prune=prune_clip, stage=PAPER[0])
    assert (shown.media, shown.merge_size, len(shown.frames)) == ("images", 1, 2)


def test_words_alone_are_a_sample_too() -> None:
    assert sample(conversation(video=None)).media == "text"
