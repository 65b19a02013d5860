import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.video_utils import VideoMetadata

from model.bundled import NANO
from model.errors import CheckpointError
from model.kinds import wording
from model.kinds.text import CAPTION_TEXT
from model.types import Question
from model.videollama3.prompt import (
    HEAD,
    NANO_1,
    NANO_2,
    PROMPTS,
    VERSION_FILE,
    VIDEOLLAMA3,
    frame_stamp,
    is_demo,
    prompt_of,
    question_suffix,
)
from tests.model.nano_model import nano_tokenizer, picture, reference_processor

VISUAL = "<|video_pad|>"


def written_out(times_s: list[float], num_kept: list[int], text: str) -> str:
    """The whole prompt as one text, from the pieces."""
    frames = "".join(
        frame_stamp(time_s, is_first=index == 0) + VISUAL * count
        for index, (time_s, count) in enumerate(zip(times_s, num_kept, strict=True))
    )
    return HEAD + frames + question_suffix(text)


def test_pieces_join_to_the_reference_text() -> None:
    assert written_out([0.0, 1.0], [1, 2], "Q?") == (
        "<|im_start|>user\n"
        f"Time 0.0s:{VISUAL},Time 1.0s:{VISUAL}{VISUAL}\n"
        "Q?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_pieces_join_to_what_the_reference_processor_renders() -> None:
    still = picture(1)
    moved = still.copy()
    moved[28:56, 28:84] = 0
    processor = reference_processor()
    message = [{"type": "video"}, {"type": "text", "text": "Is there fire or smoke?"}]
    rendered = processor.apply_chat_template(
        [{"role": "user", "content": message}], add_generation_prompt=True, tokenize=False
    )
    batch = processor(
        text=[rendered],
        videos=[np.stack([still, moved, moved, still])],
        video_metadata=[VideoMetadata(total_num_frames=4, fps=2.0, frames_indices=[0, 1, 4, 25])],
        return_tensors="pt",
    )
    text = written_out([0.0, 0.5, 2.0, 12.5], [20, 2, 1, 2], "Is there fire or smoke?")
    assert processor.tokenizer.decode(batch["input_ids"][0]) == text
    assert nano_tokenizer().encode(text) == batch["input_ids"][0].tolist()


@given(
    times_s=st.lists(st.floats(0, 4000), min_size=1, max_size=4),
    text=st.text(min_size=1).filter(lambda text: "<|" not in text),
)
def test_tokenising_pieces_equals_tokenising_the_whole(times_s: list[float], text: str) -> None:
    tokenizer = nano_tokenizer()
    pieces = [HEAD + frame_stamp(times_s[0], is_first=True)]
    pieces += [frame_stamp(time_s, is_first=False) for time_s in times_s[1:]]
    ids = []
    for piece in pieces:
        ids += [*tokenizer.encode(piece), tokenizer.visual_id, tokenizer.visual_id]
    ids += tokenizer.encode(question_suffix(text))
    assert ids == tokenizer.encode(written_out(times_s, [2] * len(times_s), text))


def test_a_stamp_has_one_decimal() -> None:
    assert frame_stamp(119.96, is_first=True) == "Time 120.0s:"


@pytest.mark.parametrize(
    ("question", "words"),
    [
        pytest.param(Question("caption", ""), CAPTION_TEXT, id="caption has a text of its own"),
        pytest.param(Question("caption", "Say it."), "Say it.", id="caption may bring a text"),
        pytest.param(Question("text", "What now?"), "What now?", id="text is put as it is"),
        pytest.param(
            Question("yes_no", "Fire?"), "Fire?\nAnswer yes or no.", id="yes_no asks for yes or no"
        ),
        pytest.param(
            Question("count", "How many?"),
            "How many?\nAnswer with a number.",
            id="count asks for a number",
        ),
        pytest.param(
            Question("choice", "Colour?", ("red", "blue")),
            "Colour?\nOptions:\nred\nblue\nAnswer with one of the options.",
            id="choice lists its options",
        ),
    ],
)
def test_wording_asks_for_the_form_of_the_answer(question: Question, words: str) -> None:
    assert wording(question, NANO_1.forms) == words


def test_a_checkpoint_is_a_demonstration_where_its_folder_says_so(tmp_path: Path) -> None:
    assert is_demo(NANO)
    assert not is_demo(tmp_path)
    (tmp_path / VERSION_FILE).write_text('{"prompt": "videollama3"}')
    assert not is_demo(tmp_path)


@pytest.mark.parametrize("said", ['{"demo": "yes"}', "[]", "{", "\xff"])
def test_a_folder_that_does_not_say_whether_is_refused(said: str, tmp_path: Path) -> None:
    (tmp_path / VERSION_FILE).write_text(said, encoding="latin-1")
    with pytest.raises(CheckpointError, match='expected "demo" to be true or false'):
        is_demo(tmp_path)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        pytest.param(Question("caption", ""), CAPTION_TEXT, id="caption"),
        pytest.param(
            Question("yes_no", "Fire?"), "Fire?\nPlease answer yes or no.", id="as in mme.py"
        ),
        pytest.param(
            Question("count", "How many?"),
            "How many?\nAnswer the question using a single word or phrase.",
            id="as in chartqa.py",
        ),
        pytest.param(
            Question("choice", "Colour?", ("red", "blue")),
            "Question: Colour?\nOptions:\n(A) red\n(B) blue\nAnswer with the option's letter from "
            "the given choices directly and only give the best option.",
            id="as in mvbench.py",
        ),
        pytest.param(
            Question("text", "What now?"),
            "Question: What now?\nPlease watch the video and answer the question clearly and "
            "concisely.",
            id="as in activitynet_qa.py",
        ),
    ],
)
def test_released_checkpoints_are_asked_as_their_authors_ask(
    question: Question, words: str
) -> None:
    assert wording(question, VIDEOLLAMA3.forms) == words


def test_a_folder_names_its_prompt(tmp_path: Path) -> None:
    assert prompt_of(NANO) is NANO_2
    assert prompt_of(tmp_path) is VIDEOLLAMA3
    for prompt in PROMPTS.values():
        (tmp_path / VERSION_FILE).write_text(json.dumps({"prompt": prompt.version}))
        assert prompt_of(tmp_path) is prompt


@pytest.mark.parametrize(
    "text",
    ['{"prompt": "nano-999"}', "{}", "[]", '{"prompt": ["nano-1"]}', "nano-1", "[" * 100_000],
    ids=["unknown", "empty", "list", "no text", "no JSON", "deep"],
)
def test_a_prompt_there_is_none_of_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / VERSION_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=r"vigil\.json: expected .* videollama3, nano-1"):
        prompt_of(tmp_path)
