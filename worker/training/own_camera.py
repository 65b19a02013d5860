"""`vigil train --video --labels`: the settings' questions, one's own video, and what labels say."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from model.errors import InputError
from model.kinds.base import Forms
from model.training.labels import read_labels, told
from model.types import Question
from pipeline.recorded import duration_s
from pipeline.regions import Region
from worker import environment
from worker.evaluation.labelled.footage import began_at, find_clips
from worker.evaluation.labelled.truth import beyond, truths_of
from worker.settings import Settings
from worker.training.from_labels import Asking, Footage, write_conversations

Say = Callable[[str], None]


class OwnCamera:
    """Videos with labels, by the settings in effect.

    Attributes:
        settings: say what is asked, and of a camera what is masked.
        private: areas that are blacked out, by video.
    """

    def __init__(self, arguments: argparse.Namespace, *, say: Say) -> None:
        """Read the labels and find the videos.

        Raises:
            InputError: one of --video and --labels is missing, or no label can be used.
            ConfigError: a setting is wrong, or there is no video.
            DataError: the labels or a video cannot be read.
        """
        if arguments.video is None or arguments.labels is None:
            raise InputError("--video and --labels: expected both, got one")
        self.settings: Settings = environment.load()
        labels, problems = read_labels(arguments.labels)
        cameras = {label.camera for label in labels if label.camera}
        clips = find_clips(
            arguments.video,
            camera=arguments.camera or "",
            began=began_at(arguments.began or ""),
            labelled=cameras,
        )
        truths = truths_of(labels, clips, self.settings.questions)
        self.private: dict[Path, tuple[Region, ...]] = {}
        self._footage: list[Footage] = []
        for clip in clips:
            length_s = duration_s(clip.path)
            problems += beyond(truths, clip, until_s=length_s)
            camera = self.settings.cameras.get(clip.camera)
            self.private[clip.path.absolute()] = camera.private if camera else ()
            mine = {key: truth for (name, key), truth in truths.of.items() if name == clip.name}
            self._footage += [Footage(clip.path, length_s, mine)] if mine else []
        for line in told([*problems, *truths.problems]):
            say(line)
        if not self._footage:
            raise InputError(f"--labels: expected some of {arguments.video}, got none to be used")

    def write(self, out: Path, *, forms: Forms, seed: int) -> tuple[Path, Path]:
        """Write the conversation files to train on and to measure by; say where they are."""
        questions = {
            key: Question(one.kind, one.ask, one.options)
            for key, one in self.settings.questions.items()
        }
        window_s = math.floor(self.settings.window)
        return write_conversations(out, self._footage, Asking(questions, forms, window_s, seed))
