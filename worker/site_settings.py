"""The settings of a site: its cameras and its questions. The worker's own are in `settings.py`."""

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
    Band,
    Duration,
    DurationOrZero,
    Ids,
    NOfM,
    Probability,
    QuestionKind,
    Regions,
    Words,
    is_like_an_address,
    require_host,
    scheme,
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
    private: Regions = ()
    """Areas painted black before the model or anything else sees the picture; written like
    IGNORE."""

    @field_validator("url", mode="after")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        source = CAMERA_SOURCES.get(scheme(url))
        if source is None or (source == "file" and is_like_an_address(url.get_secret_value())):
            schemes = " or ".join(f"{name}://HOST/..." for name in CAMERA_SOURCES if name)
            raise ValueError(
                f"expected {schemes}, or the path of a video file that begins with / or ./"
            )
        if source != "file":
            require_host(url, form=f"{scheme(url)}://HOST:PORT/... with a host and a valid port")
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
