"""`vigil try` watches one camera or file and prints what the model says of it."""

import argparse
from pathlib import Path

from worker.try_settings import settings_for

SUMMARY = (
    "watch one camera or video file, and print captions, answers and what was sent to the model; "
    "needs no settings and no Redis (Ctrl-C ends it with a summary)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="rtsp:// address of a camera, which is watched live, or a video file, which is read "
        "as fast as the model takes it",
    )
    parser.add_argument(
        "--ask",
        action="append",
        default=[],
        metavar="QUESTION",
        help="a question to be answered with yes or no; may be given several times",
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="folder of the model, or its name on Hugging Face such as DAMO-NLP-SG/VideoLLaMA3-2B",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="also write a video (.mp4, .mkv or .mov) with the parts marked that were sent to the "
        "model",
    )
    parser.add_argument(
        "--seconds", type=float, default=None, help="stop after so long (default: run on)"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print each message, and the summary, as JSON on a line of its own",
    )


def run(arguments: argparse.Namespace) -> int:
    """Watch, print, and return 0 where anything was said.

    Raises:
        ConfigError: the source, a question, the model or the video's name is refused.
        CheckpointError: the model's folder is not usable.
    """
    settings = settings_for(arguments.source, asks=arguments.ask, model=arguments.model)
    from worker.trying import try_source  # torch takes seconds to load

    return try_source(
        settings, out=arguments.out, seconds=arguments.seconds, as_json=arguments.json
    )
