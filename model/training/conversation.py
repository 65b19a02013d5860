r"""Training data of one's own: the conversation files of the original, read strictly.

A file is a JSON list, or one JSON object a line where it ends in `.jsonl`. Every object is one
conversation about pictures, a video, a stream, or nothing but words:

    {"image": ["a.jpg"], "conversations": [{"from": "human", "value": "<image>\nWho is there?"},
                                           {"from": "gpt", "value": "A courier."}]}
    {"video": ["gate.mp4"], "conversations": [{"from": "human", "value": "When is the gate open?"},
                                              {"from": "gpt", "value": "1.0-4.0 s"}]}
    {"stream": true, "video": ["gate.mp4"], "start_time": 0, "end_time": 30, "conversation": [
        {"role": "user", "content": "Is the gate open?", "time": 4},
        {"role": "assistant", "content": "Yes.", "time": 4}]}

In a stream an answer without a question is what the model is to say of its own accord, at that time
and at no other.

Nothing is guessed: what does not fit is refused, or skipped and listed, with its file and line.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError
from model.training.json_rows import Row, rows

Pixels = NDArray[np.uint8]

IMAGE_TAG = "<image>"
VIDEO_TAG = "<video>"
_LEADING_TAGS = re.compile(rf"(?:\s*(?:{IMAGE_TAG}|{VIDEO_TAG}))*\s*")
_TAGS = re.compile(f"{IMAGE_TAG}|{VIDEO_TAG}")
_CONTROL = re.compile(r"<\|\w+\|>")

_PLAIN_KEYS = {"id", "image", "video", "start_time", "end_time", "conversations"}
_STREAM_KEYS = {"id", "stream", "video", "start_time", "end_time", "conversation"}


class MediaReader(Protocol):
    """Pixels of the files that a conversation names, already on the model's grid."""

    def image(self, path: Path) -> Pixels:
        """Give a picture: (H, W, 3) uint8 RGB, H and W multiples of 28 px.

        Raises:
            DataError: it is missing or corrupt.
        """
        ...

    def video(
        self, path: Path, start_s: float | None, end_s: float | None
    ) -> tuple[list[Pixels], list[float]]:
        """Give a video's pictures, one for each second, and their times in the file, in seconds.

        Args:
            path: the file.
            start_s: from here on; None for its beginning.
            end_s: until here, itself included; None for its end.

        Raises:
            DataError: it is missing or corrupt, or holds no picture in that stretch.
        """
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer.

    Attributes:
        question: without the tags that stand for pictures; in a stream empty where the answer is
            to be given unasked.
        answer: what is to be said.
        time_s: in a stream, when the answer is due: seconds in the file; None elsewhere.
    """

    question: str
    answer: str
    time_s: float | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """One object of a data file.

    Attributes:
        source: `FILE:LINE` where it begins.
        turns: in order, one at the least; a stream's in the order of their times.
        images: the pictures shown before the first question.
        video: the video shown instead of pictures.
        start_s: where in the video it begins, None for the beginning.
        end_s: where it ends, None for the end.
        is_stream: turns are put while the video goes on, each at its own time.
    """

    source: str
    turns: tuple[Turn, ...]
    images: tuple[Path, ...] = ()
    video: Path | None = None
    start_s: float | None = None
    end_s: float | None = None
    is_stream: bool = False

    @property
    def is_unasked(self) -> bool:
        """Whether it says when the model is to speak of its own accord."""
        return any(not turn.question for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Problem:
    """A conversation that was skipped.

    Attributes:
        source: `FILE:LINE` where it begins.
        message: what was expected and what came.
    """

    source: str
    message: str


@dataclass(frozen=True, slots=True)
class DataFile:
    """What a file holds.

    Attributes:
        conversations: those that are sound, in order.
        skipped: those that are not; empty unless they were to be skipped.
    """

    conversations: tuple[Conversation, ...]
    skipped: tuple[Problem, ...]


def read(
    path: Path,
    *,
    media_folder: Path | None = None,
    tried: Callable[[Conversation], object] | None = None,
    skip_bad: bool = False,
) -> DataFile:
    """Read a data file and look at everything it names.

    Args:
        path: a `.jsonl` file, or one that holds a JSON list.
        media_folder: what the file's paths are relative to; the file's own folder by default.
        tried: called with each conversation, so that a corrupt picture is found now and not in
            the middle of training; raises DataError for one that cannot be taken.
        skip_bad: pass over conversations that do not fit, and list them.

    Raises:
        DataError: the file is missing, not text, a JSON list that cannot be read on (where the
            next object begins is not known then, so it is never skipped), or, without `skip_bad`,
            the first conversation that does not fit. The message begins with `FILE:LINE`.
    """
    folder = path.parent if media_folder is None else media_folder
    conversations: list[Conversation] = []
    skipped: list[Problem] = []
    for row in rows(path):
        source = f"{path}:{row.line}"
        try:
            conversation = _conversation(row, source=source, folder=folder)
            _look(conversation)
            if tried is not None:
                tried(conversation)
        except DataError as exc:
            if not skip_bad:
                raise DataError(f"{source}: {exc}") from exc
            skipped.append(Problem(source, str(exc)))
        else:
            conversations.append(conversation)
    return DataFile(tuple(conversations), tuple(skipped))


def _conversation(row: Row, *, source: str, folder: Path) -> Conversation:
    if row.broken:
        raise DataError(f"expected JSON, got: {row.broken}")
    value = row.value
    if not isinstance(value, dict):
        raise DataError(f"expected an object, got {_shown(value)}")
    is_stream = value.get("stream", False)
    if not isinstance(is_stream, bool):
        raise DataError(f"stream: expected true or false, got {_shown(is_stream)}")
    known = _STREAM_KEYS if is_stream else _PLAIN_KEYS | {"stream"}
    unknown = sorted(value.keys() - known)
    if unknown:
        raise DataError(f"expected no key but {', '.join(sorted(known))}, got {unknown[0]!r}")
    images = _paths(value, "image", folder=folder)
    videos = _paths(value, "video", folder=folder)
    start_s, end_s = _stretch(value, has_video=bool(videos), is_required=is_stream)
    if images and videos:
        raise DataError("expected image or video, got both")
    if len(videos) > 1 or (is_stream and not videos):
        raise DataError(f"video: expected exactly one, got {len(videos)}")
    if is_stream:
        turns = _stream_turns(value, start_s=start_s or 0.0, end_s=end_s or 0.0)
    else:
        turns = _plain_turns(value, num_images=len(images), num_videos=len(videos))
    return Conversation(
        source=source,
        turns=turns,
        images=images,
        video=videos[0] if videos else None,
        start_s=start_s,
        end_s=end_s,
        is_stream=is_stream,
    )


def _plain_turns(value: Mapping[str, Any], *, num_images: int, num_videos: int) -> tuple[Turn, ...]:
    messages = _messages(value, "conversations", {"from", "value"}, speakers=("human", "gpt"))
    texts = [_words(message["value"], key="value") for message in messages]
    opening = _LEADING_TAGS.match(texts[0])
    assert opening is not None  # noqa: S101, it matches nothing as well
    tags = _TAGS.findall(opening[0])
    texts[0] = texts[0][opening.end() :]
    expected = [IMAGE_TAG] * num_images + [VIDEO_TAG] * num_videos
    if tags and tags != expected:
        raise DataError(
            f"expected {num_images} {IMAGE_TAG} and {num_videos} {VIDEO_TAG} before the first "
            f"question, or no tag, got {' '.join(tags)}"
        )
    plain = [_plain(text) for text in texts]
    return tuple(Turn(*turn) for turn in zip(plain[::2], plain[1::2], strict=True))


def _stream_turns(value: Mapping[str, Any], *, start_s: float, end_s: float) -> tuple[Turn, ...]:
    keys = {"role", "content", "time"}
    speakers = ("user", "assistant")
    messages = _messages(value, "conversation", keys, speakers=speakers, may_be_unasked=True)
    turns: list[Turn] = []
    question, last_s = "", start_s
    for message in messages:
        time_s = _seconds(message["time"], key="time")
        if not last_s <= time_s <= end_s:
            raise DataError(f"time: expected {last_s:g} to {end_s:g} s, got {time_s:g}")
        last_s = time_s
        text = _plain(_words(message["content"], key="content"))
        if message["role"] == "user":
            question = text
        else:
            turns.append(Turn(question, text, time_s))
            question = ""
    return tuple(turns)


def _messages(
    value: Mapping[str, Any],
    key: str,
    keys: set[str],
    *,
    speakers: tuple[str, str],
    may_be_unasked: bool = False,
) -> list[dict[str, Any]]:
    """Check that messages have their keys and that question and answer take turns.

    With `may_be_unasked` an answer may come without its question.
    """
    messages = value.get(key)
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{key}: expected a list of messages, got {_shown(messages)}")
    speaker_key = "from" if "from" in keys else "role"
    is_asked = False
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.keys() != keys:
            names = ", ".join(sorted(keys))
            raise DataError(f"{key}[{index}]: expected the keys {names}, got {_shown(message)}")
        speaker = message[speaker_key]
        if speaker not in speakers:
            hint = ": a system turn is not trained on, leave it out" if speaker == "system" else ""
            raise DataError(
                f"{key}[{index}]: {speaker_key}: expected {' or '.join(speakers)}, "
                f"got {_shown(speaker)}{hint}"
            )
        is_question = speaker == speakers[0]
        if is_asked == is_question and (is_question or not may_be_unasked):
            got = "an answer without a question" if index == 0 else f"a second {speaker} in a row"
            raise DataError(f"{key}[{index}]: expected {speakers[is_asked]}, got {got}")
        is_asked = is_question
    if is_asked:
        raise DataError(f"{key}: expected an answer to every question, got none to the last")
    return messages


def _plain(text: str) -> str:
    """Refuse a question or an answer that has no words, or has something else than words."""
    if not text.strip():
        raise DataError("expected words, got a question or an answer without any")
    if found := tag_in(text):
        raise DataError(
            f"expected no tag but before the first question and no control token, "
            f"got {found!r} in {_shown(text)}"
        )
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise DataError(f"expected text, got half a character: {text[exc.start]!a}") from exc
    return text


def tag_in(text: str) -> str:
    """Find what neither question nor answer may hold, a tag or a control token; empty if none."""
    found = _TAGS.search(text) or _CONTROL.search(text)
    return found[0] if found else ""


def _paths(value: Mapping[str, Any], key: str, *, folder: Path) -> tuple[Path, ...]:
    if key not in value:
        return ()
    names = value[key]
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise DataError(f"{key}: expected a list of paths, got {_shown(names)}")
    return tuple(folder / name for name in names)


def _stretch(
    value: Mapping[str, Any], *, has_video: bool, is_required: bool
) -> tuple[float | None, float | None]:
    given = [key for key in ("start_time", "end_time") if key in value]
    if given and not has_video:
        raise DataError(f"{given[0]}: expected only with video, got it without")
    if is_required and len(given) < 2:
        raise DataError("expected start_time and end_time in a stream, got not both")
    start_s, end_s = (
        _seconds(value[key], key=key) if key in value else None
        for key in ("start_time", "end_time")
    )
    if end_s is not None and end_s <= (start_s or 0.0):
        raise DataError(f"end_time: expected more than {start_s or 0.0:g} s, got {end_s:g}")
    return start_s, end_s


def _seconds(value: Any, *, key: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= sys.float_info.max:
        raise DataError(f"{key}: expected seconds from 0, got {_shown(value)}")
    return float(value)


def _words(value: Any, *, key: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{key}: expected text, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _look(conversation: Conversation) -> None:
    """Look whether what is named is there."""
    videos = (conversation.video,) if conversation.video else ()
    for path in (*conversation.images, *videos):
        try:
            is_there = path.is_file()
        except OSError as exc:  # no name of a file, but a picture's own bytes
            raise DataError(f"expected a path, got {_shown(str(path))}: {exc.strerror}") from exc
        if not is_there:
            raise DataError(f"{path}: expected this file, it is missing")
