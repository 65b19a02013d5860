"""What one training example is: frames, and conversations that begin after some of them."""

from dataclasses import dataclass
from typing import Literal

from model.errors import InputError
from model.training.truth import Truth
from model.types import PrunedFrame

Media = Literal["video", "images", "text"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """Questions and answers in a row, put to the model at one moment.

    Exchanges of a sample do not see each other, as the questions of a camera do not in service.

    Attributes:
        num_seen: frames of the sample that come before it.
        turns: (question, answer), in order; each sees those before it in this exchange.
        now_s: the time of the newest sampled frame, where that changed nothing and so is not among
            the frames; None where it is, or where the prompt does not show what is now.
        num_options: that its one question gives by letters; 0 for another kind.
    """

    num_seen: int
    turns: tuple[tuple[str, str], ...]
    now_s: float | None = None
    num_options: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One training example.

    Attributes:
        media: how the frames are written into the prompt: with time stamps, as single images, or
            not at all.
        frames: what the model is shown, the first of a video whole; times in its own seconds.
        exchanges: what it is asked.
        script: for `text`, words put before the exchanges in place of frames; one for each moment.
        merge_size: patches per token side, 1 or 2.
        truth: of the frames, where the sample is of a rendered scene.
        worth: of each frame whether something is worth saying after it, None where nobody knows;
            empty where that is not taught.
    """

    media: Media
    frames: tuple[PrunedFrame, ...]
    exchanges: tuple[Exchange, ...]
    script: tuple[str, ...] = ()
    merge_size: int = 2
    truth: Truth | None = None
    worth: tuple[bool | None, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an example that cannot be written out.

        Raises:
            InputError: nothing is asked, an exchange lies beyond the frames, or the first frame of
                a video is not whole; or what is worth saying is not said of each frame.
        """
        moments = len(self.script) if self.media == "text" else len(self.frames)
        if not self.exchanges or not all(exchange.turns for exchange in self.exchanges):
            raise InputError("sample: expected a question and its answer, got none")
        worst = max(exchange.num_seen for exchange in self.exchanges)
        if worst > moments or min(exchange.num_seen for exchange in self.exchanges) < 0:
            raise InputError(f"sample: expected exchanges within {moments} frames, got {worst}")
        if self.worth and (self.media != "video" or len(self.worth) != len(self.frames)):
            raise InputError(
                f"sample: expected a word on each of {len(self.frames)} frames of a video, got "
                f"{len(self.worth)}"
            )
        if any(exchange.now_s is not None and not self.frames for exchange in self.exchanges):
            raise InputError("sample: expected a time for what is now with frames alone")
        if self.media == "video" and not (self.frames and self.frames[0].keep_mask.all()):
            raise InputError("sample: expected a video that begins with a whole frame")
