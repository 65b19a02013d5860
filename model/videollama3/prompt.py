"""VideoLLaMA3's video prompt, in the pieces a growing context is built from.

The reference text is one user turn: every frame's time stamp and visual tokens, a line break, the
question, and the opening of the assistant's turn. Each piece begins and ends where the tokenizer
splits anyway (a line break or a control token), so tokenising the pieces equals tokenising the
whole.

Source: `DEFAULT_CHAT_TEMPLATE` of DAMO-NLP-SG/VideoLLaMA3; `VideoLlama3Processor` of transformers.
"""

import json
from dataclasses import replace
from pathlib import Path

from model.errors import CheckpointError
from model.family import Prompt
from model.kinds.base import Forms

VERSION_FILE = "vigil.json"
HEAD = "<|im_start|>user\n"


def frame_stamp(time_s: float, *, is_first: bool) -> str:
    """Give the text before a frame's visual tokens.

    Args:
        time_s: seconds since the context's first frame.
        is_first: the frame opens the context; every later one is set off by a comma.
    """
    stamp = f"Time {time_s:.1f}s:"
    return stamp if is_first else f",{stamp}"


def question_suffix(text: str) -> str:
    """Give everything after the last visual token: the question and the assistant's opening."""
    return f"\n{text}<|im_end|>\n<|im_start|>assistant\n"


VIDEOLLAMA3 = Prompt(
    version="videollama3",
    head=HEAD,
    frame_stamp=frame_stamp,
    question_suffix=question_suffix,
    # The authors' own, from `evaluation/benchmarks` of DAMO-NLP-SG/VideoLLaMA3.
    forms=Forms(
        {
            "yes_no": "Please answer yes or no.",  # mme.py
            # mvbench.py, mlvu.py, nextqa.py and perception_test.py, with "Question: " before it.
            "choice": "Answer with the option's letter from the given choices directly and only "
            "give the best option.",
            # No benchmark of theirs counts and nothing else; this is chartqa.py's, whose answers
            # are numbers or single words.
            "count": "Answer the question using a single word or phrase.",
            # activitynet_qa.py, with "Question: " before it, and less the line break behind it.
            "text": "Please watch the video and answer the question clearly and concisely.",
        },
        openings={"choice": "Question: ", "text": "Question: "},
    ),
    has_whole_stamps=True,
    shows_now=True,
)
"""What the released checkpoints were trained and evaluated on."""

NANO_1 = Prompt(
    version="nano-1",
    head=HEAD,
    frame_stamp=frame_stamp,
    question_suffix=question_suffix,
    forms=Forms(
        {
            "yes_no": "Answer yes or no.",
            "choice": "Answer with one of the options.",
            "count": "Answer with a number.",
            "when": "",
        },
        has_letters=False,
    ),
    has_whole_stamps=False,
    shows_now=False,
)
"""What nano was trained on first."""

NANO_2 = replace(
    NANO_1,
    version="nano-2",
    forms=Forms({**NANO_1.forms.closings, "choice": "Answer with a letter."}),
    has_whole_stamps=True,
    shows_now=True,
)
"""What nano is trained on: options by letter, whole stamps, and what is now."""

PROMPTS = {prompt.version: prompt for prompt in (VIDEOLLAMA3, NANO_1, NANO_2)}


def prompt_of(folder: Path) -> Prompt:
    """Return the prompt that a checkpoint's folder names in vigil.json; without one, VideoLLaMA3's.

    Raises:
        CheckpointError: the file is not readable, or names a prompt that there is none of.
    """
    file = folder / VERSION_FILE
    if not file.exists():
        return VIDEOLLAMA3
    try:
        version = json.loads(file.read_text(encoding="utf-8"))["prompt"]
        return PROMPTS[version]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(
            f'{file}: expected {{"prompt": VERSION}} with one of {", ".join(PROMPTS)}'
        ) from None


def is_demo(folder: Path) -> bool:
    """Say whether a checkpoint's folder calls it a demonstration: `"demo": true` in vigil.json.

    Raises:
        CheckpointError: the file is not readable, or says neither true nor false.
    """
    return _is_said(folder, "demo")


def speaks(folder: Path) -> bool:
    """Say whether a checkpoint learnt when to speak: `"speaks": true` in vigil.json.

    Raises:
        CheckpointError: the file is not readable, or says neither true nor false.
    """
    return _is_said(folder, "speaks")


def _is_said(folder: Path, name: str) -> bool:
    file = folder / VERSION_FILE
    if not file.exists():
        return False
    try:
        said = json.loads(file.read_text(encoding="utf-8")).get(name, False)
    except (OSError, ValueError, AttributeError, RecursionError):
        said = None
    if not isinstance(said, bool):
        raise CheckpointError(f'{file}: expected "{name}" to be true or false')
    return said
