"""VideoLLaMA3's video prompt, in the pieces a growing context is built from.

The reference text is one user turn: every frame's time stamp and visual tokens, a line break, the
question, and the opening of the assistant's turn. Each piece begins and ends where the tokenizer
splits anyway (a line break or a control token), so tokenising the pieces equals tokenising the
whole.

Source: `DEFAULT_CHAT_TEMPLATE` of DAMO-NLP-SG/VideoLLaMA3; `VideoLlama3Processor` of transformers.
"""

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
