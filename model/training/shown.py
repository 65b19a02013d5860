"""A conversation of a data file as a training sample: its media read, and pruned as in service."""

from bisect import bisect_right

import numpy as np

from model.errors import DataError
from model.kinds.text import CAPTION_TEXT
from model.training.conversation import Conversation, MediaReader, Pixels
from model.training.sample import Exchange, Sample
from model.training.samples import Prune
from model.training.stages import Stage
from model.types import TOKEN_PX, PrunedFrame


def sample_of(
    conversation: Conversation,
    *,
    media: MediaReader,
    prune: Prune,
    stage: Stage,
    shows_now: bool = False,
) -> Sample:
    """Read what a conversation is about and write down who is asked what, and when.

    The turns of a conversation about pictures or a video follow each other; those of a stream are
    each put to the frames up to its own time, and do not see each other. Where a stream has answers
    without a question, nothing is worth saying after its other frames, of the first nobody says.
    With `shows_now` a stream's question in a still stretch begins with what is now, as in service.

    Raises:
        DataError: a file cannot be read, or a stream is asked before its first frame.
    """
    turns = tuple((turn.question, turn.answer) for turn in conversation.turns)
    if conversation.images:
        pictures = [media.image(path) for path in conversation.images]
        frames = tuple(_whole(picture, pts_s=0.0) for picture in pictures)
        exchange = Exchange(len(frames), turns)
        return Sample("images", frames, (exchange,), merge_size=stage.image_merge)
    if conversation.video is None:
        return Sample("text", (), (Exchange(0, turns),))
    pictures, times_s = media.video(conversation.video, conversation.start_s, conversation.end_s)
    frames = tuple(_whole(one, pts_s=at) for one, at in zip(pictures, times_s, strict=True))
    if stage.has_token_compression:
        pruned = prune(zip(pictures, times_s, strict=True))
        frames = (frames[0], *(frame for frame in pruned[1:] if frame.num_kept))
    if not conversation.is_stream:
        return Sample(
            "video", frames, (Exchange(len(frames), turns),), merge_size=stage.video_merge
        )
    shown_s = [frame.pts_s for frame in frames]
    newest_s = times_s if shows_now else shown_s
    exchanges = []
    worth: list[bool | None] = [None, *[False] * (len(frames) - 1)]
    for turn in conversation.turns:
        at_s = shown_s[-1] if turn.time_s is None else turn.time_s
        num_seen = bisect_right(shown_s, at_s)
        if not num_seen:
            raise DataError(
                f"expected a question after the first frame at {shown_s[0]:.1f} s, "
                f"got one at {at_s:.1f} s"
            )
        now_s = newest_s[bisect_right(newest_s, at_s) - 1]
        asked = ((turn.question or CAPTION_TEXT, turn.answer),)
        is_still = now_s > shown_s[num_seen - 1]
        exchanges.append(Exchange(num_seen, asked, now_s=now_s if is_still else None))
        if not turn.question:
            worth[num_seen - 1] = True
    return Sample(
        "video",
        frames,
        tuple(exchanges),
        merge_size=stage.video_merge,
        worth=tuple(worth) if conversation.is_unasked else (),
    )


def _whole(pixels: Pixels, *, pts_s: float) -> PrunedFrame:
    rows, cols = pixels.shape[0] // TOKEN_PX, pixels.shape[1] // TOKEN_PX
    mask = np.ones((rows, cols), dtype=np.bool_)
    return PrunedFrame("", pixels, mask, pts_s, is_refresh=False)
