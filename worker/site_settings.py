"""The settings of a site: its cameras and its questions."""

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from model.errors import InputError
from model.kinds import kind_of, standing_kinds
from model.types import Question
from worker.values import (
    Aspect,
    Band,
    CameraAddress,
    Duration,
    DurationOrZero,
    Ids,
    NOfM,
    Probability,
    QuestionKind,
    Regions,
    Rotation,
    Words,
    scheme,
)

CameraSource = Literal["file", "rtsp"]
CAMERA_SOURCES: Mapping[str, CameraSource] = {
    "": "file",
    "file": "file",
    "rtsp": "rtsp",
    "rtsps": "rtsp",
}
"""The scheme of a camera's address -> its source; a path has no scheme. `worker.feeds` builds each
source."""


class Part(BaseModel):
    """A group of settings refuses unknown names, cannot be changed and prints no input."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class CameraSettings(Part):
    """These settings describe one camera."""

    url: CameraAddress | None = None
    """The camera's rtsp:// or rtsps:// address, or the path of a video file. A path begins with /,
    . or ~, or ends as a video file does, such as gate.mp4. Leave it out for a camera whose frames
    come through Kafka. A question can name such a camera only where another of its variables is
    set, such as IGNORE."""
    transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP video is carried over the network. With tcp, a camera that refuses TCP is asked for
    UDP, unless its address is rtsps://."""
    aspect: Aspect | None = None
    """Shape of the picture as it is to be seen, WIDTH:HEIGHT before ROTATE, such as 16:9. For a
    camera whose pictures come squeezed and that does not tell their shape; empty: as the video
    tells it, or else as many pixels wide and high as it comes."""
    rotate: Rotation = 0
    """By how many degrees the picture is turned clockwise until it is upright: 0, 90, 180 or 270.
    It comes after what the video itself tells. IGNORE and PRIVATE are areas of the turned
    picture."""
    loop: bool = False
    """For a video file: play it again when it ends."""
    live: bool = True
    """For a video file. true: play it at its own speed, as a camera would send it. false: read it
    as fast as the model takes it."""
    ignore: Regions = ()
    """Areas whose changes are ignored, such as a clock in the picture: LEFT,TOP,RIGHT,BOTTOM as
    fractions, from 0 to 1, of the picture as it is shown. Semicolons separate several areas."""
    damaged: Literal["hide", "show"] = "hide"
    """What the model is shown of a camera that has sent no sound picture for 10 s. hide: nothing,
    until there is one. show: the best there is; messages about it have damaged: true."""
    private: Regions = ()
    """Areas painted black before the model or anything else sees the picture; written like
    IGNORE."""

    @field_validator("url", mode="after")
    @classmethod
    def _has_a_source(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and scheme(url) not in CAMERA_SOURCES:
            schemes = ", ".join(f"{name}://" for name in CAMERA_SOURCES if name)
            raise ValueError(f"expected {schemes} or a file's path")
        return url


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
    cameras: Ids = ()
    """Ids of the cameras that the question is asked about, separated by commas; empty: all
    cameras."""
    unknown: Band = (0.4, 0.6)
    """For kind yes_no: while the probability of yes lies in this range, the answer is published as
    unknown."""
    events: bool = True
    """Also publish events (start, update, end) for this question, not only its answers. Questions
    of kind text or when have no events."""
    event_on: str = ""
    """The answer that the event is about. For kind yes_no: yes or no; empty: yes. Use no for what
    is missing, such as a helmet or a closed gate. For kind choice: one of OPTIONS. For kind count:
    this number or more. Without it, the kinds choice and count have no events."""
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

    @field_validator("event_on", mode="after")
    @classmethod
    def _as_the_option_is_written(cls, event_on: str, info: ValidationInfo) -> str:
        options: tuple[str, ...] = info.data.get("options") or ("yes", "no")
        alike = [option for option in options if option.casefold() == event_on.casefold()]
        return alike[0] if len(alike) == 1 else event_on

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """Yield (setting, what was expected) of what does not fit together."""
        kind = kind_of(self.kind)
        try:
            kind.check(Question(self.kind, self.ask, self.options))
            kind.target(self.event_on, self.options)
        except InputError as error:
            name, _, expected = str(error).partition(": ")
            yield name.upper(), expected
        if self.exit > self.enter:
            yield "EXIT", "expected at most ENTER"


def event_notes(questions: Mapping[str, QuestionSettings]) -> list[str]:
    """Say, a line each, which questions raise no event though they might."""
    return [
        f"question {question_id}: a {one.kind} question without EVENT_ON raises no event; set "
        f"VIGIL_QUESTIONS__{question_id.upper()}__EVENT_ON, or its EVENTS to false"
        for question_id, one in questions.items()
        if one.events and not one.event_on and one.kind in ("choice", "count")
    ]
