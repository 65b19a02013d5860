"""The settings of a site: its cameras and its questions. The worker's own are in `settings.py`."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from model.errors import InputError
from model.kinds import kind_of, standing_kinds
from model.types import Question
from worker.values import (
    Band,
    Duration,
    DurationOrZero,
    NOfM,
    Probability,
    QuestionKind,
    Regions,
    Words,
)

CameraSource = Literal["file", "rtsp"]
CAMERA_SOURCES: Mapping[str, CameraSource] = {"": "file", "rtsp": "rtsp", "rtsps": "rtsp"}
"""The scheme of a camera's address -> its source; a path has no scheme. `worker.feeds` builds each
source."""


class Part(BaseModel):
    """A group of settings refuses unknown names, cannot be changed and prints no input."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class CameraSettings(Part):
    """These settings describe one camera."""

    url: SecretStr | None = None
    """The camera's rtsp:// or rtsps:// address, or the path of a video file. Leave it out for a
    camera whose frames come through Kafka. A question can name such a camera only where another of
    its variables is set, such as IGNORE."""
    transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP video is carried over the network."""
    loop: bool = False
    """For a video file: play it again when it ends."""
    live: bool = True
    """For a video file. true: play it at its own speed, as a camera would send it. false: read it
    as fast as the model takes it."""
    ignore: Regions = ()
    """Areas whose changes are ignored, such as a clock in the picture: LEFT,TOP,RIGHT,BOTTOM as
    fractions of the picture from 0 to 1. Semicolons separate several areas."""
    damaged: Literal["hide", "show"] = "hide"
    """What the model is shown of a camera that has sent no sound picture for 10 s. hide: nothing,
    until there is one. show: the best there is; messages about it have damaged: true."""
    private: Regions = ()
    """Areas painted black before the model or anything else sees the picture; written like
    IGNORE."""


class QuestionSettings(Part):
    """These settings describe one standing question and its events."""

    ask: str = Field(min_length=1, max_length=500)
    """The question, in plain words."""
    kind: QuestionKind = Field(
        default="yes_no", description=f"Form of the answer. One of: {', '.join(standing_kinds())}."
    )
    options: Words = ()
    """For kind choice: the possible answers, separated by commas."""
    every: Duration = 5.0
    """Time after which the question is asked again."""
    cameras: Words = ()
    """Ids of the cameras that the question is asked about, in small letters, separated by commas;
    empty: all cameras."""
    unknown: Band = (0.4, 0.6)
    """For kind yes_no: while the probability of yes lies in this range, the answer is published as
    unknown."""
    events: bool = True
    """Also publish events (start, update, end) for this question, not only its answers. A question
    of kind text has no events."""
    event_on: str = ""
    """The answer that the event is about. For kind choice: one of OPTIONS. For kind count: this
    number or more. Without it, these two kinds have no events. For kind yes_no it is always yes:
    leave it empty."""
    enter: Probability = 0.7
    """An answer speaks for the start of an event when the probability of EVENT_ON's answer is at
    least this."""
    exit: Probability = 0.4
    """An answer speaks for the end of an event when the probability of EVENT_ON's answer is at most
    this."""
    confirm: NOfM = (2, 3)
    """Written N/M: an event starts or ends only when N of the last M answers speak for it (see
    ENTER and EXIT)."""
    min_duration: DurationOrZero = 0.0
    """An event does not end before it has lasted this long."""
    cooldown: DurationOrZero = 60.0
    """Shortest pause between the end of an event and the start of the next one."""

    @model_validator(mode="after")
    def _fits(self) -> "QuestionSettings":
        kind = kind_of(self.kind)
        try:
            kind.check(Question(self.kind, self.ask, self.options))
            kind.target(self.event_on, self.options)
        except InputError as error:
            name, _, expected = str(error).partition(": ")
            raise ValueError(f"{name.upper()}: {expected}") from None
        if self.exit > self.enter:
            raise ValueError("EXIT: expected at most ENTER")
        return self
