"""A model as it is served, asked what benchmarks ask; what that costs is counted."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from model.evaluation.prompted import Clip, Part, Picture, Prompted, Turn
from model.types import PrunedFrame
from model.videollama3.config import PATCH_PX
from pipeline.clock import Clock
from pipeline.errors import ConfigError
from pipeline.types import Frame
from worker import environment
from worker.evaluation.lmms.media import MAX_TOKENS, frames_of, picture_of
from worker.fidelity import Fidelity
from worker.loading import load_engine
from worker.settings import Settings
from worker.wiring import new_pruner

Mode = Fidelity | Literal["last4"]
MODES: tuple[Mode, ...] = (*get_args(Fidelity), "last4")
NUM_LAST = 4
DEMO_FRAME_TOKENS = 72  # what the bundled model was trained on
_ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
}


@dataclass(slots=True)
class Costs:
    """What a task has cost so far.

    Attributes:
        num_asked: prompts.
        num_failed: of them, how many could not be put, and were answered with nothing.
        num_kept: visual tokens that the model was given.
        num_tokens: visual tokens that whole pictures and frames would have had.
        seconds: for reading, pruning, encoding and answering.
    """

    num_asked: int = 0
    num_failed: int = 0
    num_kept: int = 0
    num_tokens: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, float]:
        """Give the numbers by name."""
        return asdict(self)


class Responder:
    """Puts conversations, in lmms-eval's form, to a model in one of the modes."""

    def __init__(self, path: str, mode: Mode, *, clock: Clock, device: str = "auto") -> None:
        """Load a model.

        Args:
            path: `nano`, a folder, or a repository on the hub.
            mode: how frames are pruned and encoded; `last4` shows a video's last four, whole.
            clock: for what is measured.
            device: of the model.

        Raises:
            ConfigError: a mode there is none of, or a setting is wrong.
            CheckpointError: the model cannot be loaded.
        """
        if mode not in MODES:
            raise ConfigError(f"mode: expected one of {', '.join(MODES)}, got {mode}")
        self.mode: Mode = mode
        self._settings = settings_of(path, mode, device=device)
        engine = load_engine(self._settings)
        self.model_name, self._clock = engine.model_name, clock
        self._prompted = Prompted(engine.family, vision=self._settings.model.vision)
        self._clip, self._clip_tokens = Clip(()), 0
        self._asked: tuple[str, float, float] | None = None
        self._max_frame_tokens = DEMO_FRAME_TOKENS if engine.is_demo_model else MAX_TOKENS

    def reply(
        self, messages: Sequence[Mapping[str, Any]], *, max_new_tokens: int, costs: Costs
    ) -> str:
        """Give what the model says next.

        Raises:
            InputError, DataError, SourceError, FrameError, OSError: of what it is shown or asked.
        """
        with self._measured(costs):
            turns = [self._turn(message, costs) for message in messages]
            return self._prompted.reply(turns, max_new_tokens=max_new_tokens).text

    def likelihood(
        self, messages: Sequence[Mapping[str, Any]], continuation: str, *, costs: Costs
    ) -> tuple[float, bool]:
        """Give how likely the model is to say just this, as `Prompted.likelihood` does.

        Raises:
            InputError, DataError, SourceError, FrameError, OSError: as `reply`.
        """
        with self._measured(costs):
            turns = [self._turn(message, costs) for message in messages]
            return self._prompted.likelihood(turns, continuation)

    @contextmanager
    def _measured(self, costs: Costs) -> Iterator[None]:
        begun_s = self._clock.monotonic_s()
        costs.num_asked += 1
        try:
            yield
        finally:
            costs.seconds += self._clock.monotonic_s() - begun_s

    def _turn(self, message: Mapping[str, Any], costs: Costs) -> Turn:
        content = message["content"]
        given = [{"type": "text", "text": content}] if isinstance(content, str) else content
        return Turn(_ROLES[message["role"]], tuple(self._part(one, costs) for one in given))

    def _part(self, given: Mapping[str, Any], costs: Costs) -> Part:
        match given["type"]:
            case "text":
                return str(given["text"])
            case "image":
                return self._picture(given["url"], costs)
            case "video":
                return self._clip_of(given, costs)
            case other:
                raise ConfigError(f"message: expected text, image or video, got {other}")

    def _picture(self, given: Any, costs: Costs) -> Picture:
        picture = picture_of(given)
        num_tokens = picture.pixels.shape[0] * picture.pixels.shape[1] // PATCH_PX**2
        costs.num_kept += num_tokens
        costs.num_tokens += num_tokens
        return picture

    def _clip_of(self, given: Mapping[str, Any], costs: Costs) -> Clip:
        """Read a video, or take the one that was asked about before."""
        url, wanted = given["url"], dict(given)
        if isinstance(url, Mapping):  # a task's own way to name a stretch
            wanted |= {"start_time": url.get("video_start"), "end_time": url.get("video_end")}
            url = url.get("url") or url.get("path") or url.get("video")
        start_s, end_s = wanted.get("start_time"), wanted.get("end_time")
        asked = (
            str(url).removeprefix("file://"),
            float(start_s or 0.0),
            inf if end_s is None else float(end_s),
        )
        if asked != self._asked:  # benchmarks ask several things of a video, one after the other
            path, begin_s, until_s = asked
            frames = frames_of(
                Path(path),
                start_s=begin_s,
                end_s=until_s,
                max_frame_tokens=self._max_frame_tokens,
            )
            self._clip_tokens = sum(frame.grid.num_tokens for frame in frames)
            self._clip, self._asked = Clip(self._pruned(frames)), asked
        costs.num_tokens += self._clip_tokens
        costs.num_kept += sum(frame.num_kept for frame in self._clip.frames)
        return self._clip

    def _pruned(self, frames: Sequence[Frame]) -> tuple[PrunedFrame, ...]:
        """Prune a clip as its camera's frames would be; its first frame is whole."""
        if self.mode == "last4":
            return tuple(_whole(frame) for frame in frames[-NUM_LAST:])
        pruner = new_pruner(self._settings)
        shown = []
        for frame in frames:
            pruned = pruner.prune(frame)
            pruner.sent(pruned)
            shown.append(pruned)
        return tuple(shown)


def settings_of(path: str, mode: Mode, *, device: str = "auto") -> Settings:
    """Return the settings of a worker with this model in this mode, and nothing else said.

    Raises:
        ConfigError: one of them is wrong.
    """
    fidelity = "reference" if mode == "last4" else mode
    given = {
        "VIGIL_MODEL__PATH": path,
        "VIGIL_MODEL__DEVICE": device,
        "VIGIL_FIDELITY": fidelity,
    }
    return environment.load(given)


def _whole(frame: Frame) -> PrunedFrame:
    mask = np.ones((frame.grid.rows, frame.grid.cols), dtype=np.bool_)
    return PrunedFrame(frame.camera_id, frame.pixels, mask, frame.pts_s, is_refresh=True)
