"""Which pictures the model may see: none from damage on until a clean key frame was decoded."""

from collections.abc import Callable
from typing import Literal, get_args

from pipeline.clock import Clock, SystemClock
from pipeline.metrics import PICTURES_HELD_BACK
from pipeline.observer import UNOBSERVED, Observer
from pipeline.types import StatusReason

Cause = Literal["lost", "concealed"]
"""Packets of a picture are missing; the decoder fell over what came, and covered it up."""

WORDS: dict[Cause, str] = {
    "lost": "packets of its video are lost on the way",
    "concealed": "its video cannot be decoded without errors",
}
DAMAGED_AFTER_S = 10.0
HOPELESS_AFTER_S = 120.0

Damaged = Literal["hide", "show"]
"""What becomes of damaged pictures when there are no others."""


class HoldBack:
    """The state of one camera's chain of pictures, each of which is made from those before it.

    A broken chain is begun anew by a key frame of which nothing is missing. Where none has come for
    `DAMAGED_AFTER_S` the camera is damaged, which is told, and taken back with the next picture.

    Attributes:
        cause: what has broken the chain; None while it is whole.
    """

    def __init__(
        self,
        camera_id: str,
        *,
        clock: Clock | None = None,
        observer: Observer = UNOBSERVED,
        tell: Callable[[StatusReason, str | None], None] = lambda _reason, _detail: None,
        damaged: Damaged = "hide",
    ) -> None:
        """Begin with a whole chain.

        Args:
            camera_id: whose pictures these are.
            clock: what the seconds without a picture are counted on.
            observer: told how many pictures are held back.
            tell: (reason of the camera's status, what was seen; None once it is over).
            damaged: whether a damaged camera's pictures are shown after all, marked.
        """
        self.cause: Cause | None = None
        self._camera_id = camera_id
        self._clock = clock or SystemClock()
        self._observer = observer
        self._tell = tell
        self._is_shown = damaged == "show"
        self._since_s: float | None = None  # when the first picture after a clean one was held
        self._told_s: float | None = None
        self._num_held = 0
        for cause in get_args(Cause):  # so that the first one is a growth
            observer.count(PICTURES_HELD_BACK, 0, camera=camera_id, reason=cause)

    @property
    def goes_on(self) -> bool:
        """Whether a broken chain is decoded on all the same, to have something to show."""
        return self._is_shown

    @property
    def shows(self) -> bool:
        """Whether pictures of a broken chain are shown now, marked."""
        return self._is_shown and self._told_s is not None

    @property
    def is_hopeless(self) -> bool:
        """Whether a new connection may help: nothing is lost, and yet nothing is clean for long."""
        if self.cause != "concealed" or self._since_s is None:
            return False
        return self._clock.monotonic_s() - self._since_s >= HOPELESS_AFTER_S

    def broke(self, cause: Cause) -> None:
        """Note damage: from here on pictures are held back."""
        self.cause = cause
        self._since_s = self._clock.monotonic_s() if self._since_s is None else self._since_s

    def begins_anew(self) -> None:
        """Note a clean key frame, from which a fresh decoder goes on."""
        self.cause = None

    def clean(self) -> None:
        """Note that a clean picture was decoded."""
        if self._since_s is None:
            return
        self._since_s, self._num_held = None, 0
        if self._told_s is not None:
            self._told_s = None
            self._tell(self._reason, None)

    def held(self, number: int = 1) -> None:
        """Count pictures that are held back; say so once it has lasted."""
        cause = self.cause or "lost"
        self._num_held += number
        self._observer.count(PICTURES_HELD_BACK, number, camera=self._camera_id, reason=cause)
        self.look(cause)

    def look(self, cause: Cause = "lost") -> None:
        """Say that the camera is damaged, each time there was no clean picture for so long."""
        if self._since_s is None:
            return
        now_s = self._clock.monotonic_s()
        if now_s - (self._told_s or self._since_s) >= DAMAGED_AFTER_S:
            self._told_s = now_s
            words = WORDS[self.cause or cause]
            self._tell(self._reason, f"{words}: {self._num_held} pictures held back so far")

    @property
    def _reason(self) -> StatusReason:
        return "damaged_shown" if self._is_shown else "damaged"
