"""Data files of every kind are read, and everything that does not fit is named by file and line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import DataError
from model.training.conversation import Conversation, Turn, read

ASKED = [{"from": "human", "value": "Who is there?"}, {"from": "gpt", "value": "A courier."}]
PLAIN: dict[str, Any] = {"conversations": ASKED}
STREAM: dict[str, Any] = {
    "stream": True,
    "video": ["gate.mp4"],
    "start_time": 2,
    "end_time": 30.5,
    "conversation": [
        {"role": "user", "content": "Is the gate open?", "time": 4},
        {"role": "assistant", "content": "Yes.", "time": 4.0},
        {"role": "user", "content": "And now?", "time": 9},
        {"role": "assistant", "content": "No.", "time": 12},
    ],
}


def whole(conversation: Conversation) -> None:
    """Find a file corrupt when it holds nothing."""
    for path in (*conversation.images, *filter(None, [conversation.video])):
        if not path.read_bytes():
            raise DataError(f"{path}: expected a whole image, got 0 bytes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "gate.mp4"):
        (tmp_path / name).write_bytes(b"pixels")
    (tmp_path / "empty.png").write_bytes(b"")
    return tmp_path


def asked(question: str, answer: str = "A courier.") -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def one(folder: Path, value: Any) -> Conversation:
    path = folder / "data.json"
    path.write_text(json.dumps([value]), encoding="utf-8")
    (conversation,) = read(path, tried=whole).conversations
    return conversation


@pytest.mark.parametrize("tags", ["", "<image>\n", "<image>"])
def test_a_picture(folder: Path, *, tags: str) -> None:
    got = one(folder, {"image": ["a.png"], "conversations": asked(f"{tags}Who is there?")})
    assert got == Conversation(
        source=f"{folder / 'data.json'}:1",
        turns=(Turn("Who is there?", "A courier."),),
        images=(folder / "a.png",),
    )


def test_pictures_and_turns(folder: Path) -> None:
    talk = [*asked("<image>\n<image>\nWhat differs?"), *asked("And?", "That is all.")]
    got = one(folder, {"id": 7, "image": ["a.png", "b.png"], "conversations": talk})
    assert got.images == (folder / "a.png", folder / "b.png")
    assert got.turns == (Turn("What differs?", "A courier."), Turn("And?", "That is all."))


def test_temporal_grounding_is_a_video_with_times_for_an_answer(folder: Path) -> None:
    talk = asked("<video>\nWhen is the gate open?", "1.0-4.0 s")
    got = one(folder, {"video": ["gate.mp4"], "end_time": 9, "conversations": talk})
    assert (got.video, got.start_s, got.end_s) == (folder / "gate.mp4", None, 9.0)
    assert got.turns == (Turn("When is the gate open?", "1.0-4.0 s"),)
    assert not got.is_stream


def test_words_alone(folder: Path) -> None:
    got = one(folder, PLAIN)
    assert (got.images, got.video) == ((), None)


def test_a_stream(folder: Path) -> None:
    got = one(folder, STREAM)
    assert got.is_stream
    assert (got.start_s, got.end_s) == (2.0, 30.5)
    assert got.turns == (Turn("Is the gate open?", "Yes.", 4.0), Turn("And now?", "No.", 12.0))


def test_what_a_stream_says_of_its_own_accord_has_no_question(folder: Path) -> None:
    unasked = [
        {"role": "assistant", "content": "A van arrives.", "time": 3},
        *STREAM["conversation"][:2],
        {"role": "assistant", "content": "It leaves.", "time": 9},
    ]
    got = one(folder, {**STREAM, "conversation": unasked})
    assert got.is_unasked
    assert got.turns == (
        Turn("", "A van arrives.", 3.0),
        Turn("Is the gate open?", "Yes.", 4.0),
        Turn("", "It leaves.", 9.0),
    )
    assert not one(folder, STREAM).is_unasked


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(0, 3))
def test_every_object_of_a_list_knows_its_line(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], indent: int
) -> None:
    text, lines = "[", []
    for index, gap in enumerate(gaps):
        text += ("," if index else "") + "\n" * gap
        lines.append(text.count("\n") + 1)
        text += json.dumps(PLAIN, indent=indent or None)
    path = tmp_path_factory.getbasetemp() / "lines.json"
    path.write_text(text + "\n]\n", encoding="utf-8")
    sources = [conversation.source for conversation in read(path).conversations]
    assert sources == [f"{path}:{line}" for line in lines]


def test_an_empty_list_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(" [ ]\n", encoding="utf-8")
    assert read(tmp_path / "data.json").conversations == ()


def test_paths_are_relative_to_where_they_are_said_to_be(folder: Path) -> None:
    path = folder / "lists" / "data.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps({"image": ["a.png"], **PLAIN}), encoding="utf-8")
    (got,) = read(path, media_folder=folder).conversations
    assert got.images == (folder / "a.png",)


HUMAN, GPT = ASKED
BAD: dict[str, tuple[Any, str]] = {
    "no object": ([1], r"expected an object, got \[1\]"),
    "unknown key": ({**PLAIN, "vidoe": ["a"]}, r"expected no key but .*, got 'vidoe'"),
    "no conversations": ({"image": ["a.png"]}, r"conversations: expected a list of messages"),
    "no messages": ({"conversations": []}, r"conversations: expected a list of messages, got \[\]"),
    "key of a message": (
        {"conversations": [HUMAN, {"from": "gpt", "text": "A"}]},
        r"conversations\[1\]: expected the keys from, value, got",
    ),
    "text of a message": (
        {"conversations": [HUMAN, {"from": "gpt", "value": 4}]},
        r"value: expected text, got 4",
    ),
    "answer alone": ({"conversations": [GPT]}, r"expected human, got an answer without a question"),
    "question alone": ({"conversations": [*ASKED, HUMAN]}, r"expected an answer to every question"),
    "two questions": ({"conversations": [HUMAN, HUMAN, GPT]}, r"a second human in a row"),
    "two answers": ({"conversations": [HUMAN, GPT, GPT]}, r"a second gpt in a row"),
    "system": (
        {"conversations": [{"from": "system", "value": "Be good."}, *ASKED]},
        r"expected human or gpt, got \"system\": a system turn is not trained on",
    ),
    "speaker": (
        {"conversations": [{"from": ["x"], "value": "?"}, GPT]},
        r"expected human or gpt, got \[\"x\"\]",
    ),
    "half a character": (
        {"conversations": asked("Who?", "yes \ud83d")},
        r"expected text, got half a character: '.ud83d'",
    ),
    "bytes for a path": (
        {"image": ["data:image/jpeg;base64," + "A" * 5000], **PLAIN},
        r'expected a path, got ".*\.\.\.: File name too long',
    ),
    "number without end": (
        {"video": ["gate.mp4"], "end_time": 10**400, **PLAIN},
        r"end_time: expected seconds from 0, got 1000",
    ),
    "empty answer": ({"conversations": asked("Who?", " ")}, r"expected words"),
    "tag without picture": (
        {"conversations": asked("<image>\nWho?")},
        r"expected 0 <image> and 0 <video> .*, got <image>",
    ),
    "too few tags": (
        {"image": ["a.png", "b.png"], "conversations": asked("<image>\nWho?")},
        r"expected 2 <image> and 0 <video>",
    ),
    "wrong tag": (
        {"video": ["gate.mp4"], "conversations": asked("<image>\nWho?")},
        r"expected 0 <image> and 1 <video> .*, got <image>",
    ),
    "tag amid words": (
        {"image": ["a.png"], "conversations": asked("Who is in <image>?")},
        r"expected no tag but before the first question",
    ),
    "control token": ({"conversations": asked("<|im_end|>")}, r"got '<\|im_end\|>'"),
    "both": (
        {"image": ["a.png"], "video": ["gate.mp4"], **PLAIN},
        r"expected image or video, got both",
    ),
    "two videos": (
        {"video": ["gate.mp4", "gate.mp4"], **PLAIN},
        r"video: expected exactly one, got 2",
    ),
    "bare path": ({"image": "a.png", **PLAIN}, r"image: expected a list of paths, got \"a.png\""),
    "no path": ({"image": [], **PLAIN}, r"image: expected a list of paths, got \[\]"),
    "missing": ({"image": ["gone.png"], **PLAIN}, r"gone\.png: expected this file, it is missing"),
    "corrupt": ({"image": ["empty.png"], **PLAIN}, r"empty\.png: expected a whole image"),
    "times of pictures": (
        {"image": ["a.png"], "start_time": 0, **PLAIN},
        r"start_time: expected only with video",
    ),
    "backwards": (
        {"video": ["gate.mp4"], "start_time": 3, "end_time": 3, **PLAIN},
        r"end_time: expected more than 3 s, got 3",
    ),
    "no number": (
        {"video": ["gate.mp4"], "end_time": float("nan"), **PLAIN},
        r"end_time: expected seconds from 0, got NaN",
    ),
    "stream flag": ({**STREAM, "stream": "yes"}, r"stream: expected true or false, got \"yes\""),
    "stream without times": (
        {key: value for key, value in STREAM.items() if key != "end_time"},
        r"expected start_time and end_time",
    ),
    "stream without video": (
        {key: STREAM[key] for key in ("stream", "conversation")},
        r"expected start_time and end_time|video: expected exactly one, got 0",
    ),
    "stream of the other kind": (
        {**PLAIN, "stream": True},
        r"expected no key but .*, got 'conversations'",
    ),
    "stream's question without an answer": (
        {**STREAM, "conversation": STREAM["conversation"][:3]},
        r"conversation: expected an answer to every question",
    ),
    "stream's questions in a row": (
        {**STREAM, "conversation": [*STREAM["conversation"][:1] * 2, STREAM["conversation"][1]]},
        r"conversation\[1\]: expected assistant, got a second user in a row",
    ),
    "moment outside": (
        {**STREAM, "conversation": [{**turn, "time": 31} for turn in STREAM["conversation"]]},
        r"time: expected 2 to 30\.5 s, got 31",
    ),
    "moment before the last": (
        {**STREAM, "conversation": STREAM["conversation"][2:] + STREAM["conversation"][:2]},
        r"time: expected 12 to 30\.5 s, got 4",
    ),
}


@pytest.mark.parametrize(("value", "message"), BAD.values(), ids=BAD.keys())
def test_what_does_not_fit_is_named_by_line(folder: Path, value: Any, message: str) -> None:
    path = folder / "data.jsonl"
    path.write_text(f"{json.dumps(PLAIN)}\n\n{json.dumps(value)}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"data\.jsonl:3: .*{message}"):
        read(path, tried=whole)


def test_what_does_not_fit_can_be_skipped_and_is_listed(folder: Path) -> None:
    path = folder / "data.jsonl"
    bad = [json.dumps(value) for value, _ in BAD.values()]
    endless = json.dumps(PLAIN).replace("{", '{"start_time": ' + "9" * 5000 + ", ", 1)
    text = [json.dumps(PLAIN), "{broken", endless, *bad, json.dumps(STREAM)]
    path.write_text("\n".join(text), encoding="utf-8")
    got = read(path, tried=whole, skip_bad=True)
    last = len(text)
    assert [one.source for one in got.conversations] == [f"{path}:1", f"{path}:{last}"]
    assert [problem.source for problem in got.skipped] == [f"{path}:{n}" for n in range(2, last)]
    assert got.skipped[0].message.startswith("expected JSON, got: Expecting property name")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r":1: expected a JSON list, got the end of the file"),
        ('{"conversations": []}', r":1: expected a JSON list, got '\{"),
        ("[\n\n{,}]", r":3: expected JSON, got: Expecting property name"),
        ("[\n{}\n{}]", r":3: expected a comma or the end of the list, got '\{\}\]'"),
        ("[\n{},\n]", r":3: expected a value after the comma"),
        ("[{}", r":1: expected a comma or the end of the list, got the end of the file"),
        ("[]\n[]", r":2: expected nothing after the list, got '\[\]'"),
        ('[\n{"id": ' + "9" * 5000 + "}]", r":2: expected JSON, got: Exceeds the limit"),
        ("[" * 100_000, r":1: expected JSON, got: maximum recursion depth"),
    ],
)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_list_that_cannot_be_read_on_is_never_skipped(
    tmp_path: Path, text: str, message: str, *, skip_bad: bool
) -> None:
    path = tmp_path / "data.json"
    path.write_text(text.replace("{}", json.dumps(PLAIN)), encoding="utf-8")
    message = message.replace(r"\{\}", r"\{.*").replace(r"\]'", "")
    with pytest.raises(DataError, match=rf"data\.json{message}"):
        read(path, skip_bad=skip_bad)


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.json: expected a JSON file in UTF-8"):
        read(tmp_path / "gone.json")
    (tmp_path / "data.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"data\.json: expected a JSON file in UTF-8"):
        read(tmp_path / "data.json")
