"""When a camera is described: at fixed times, when enough is new, or when the model wants to."""

from typing import Literal

When = Literal["periodic", "news", "model"]

NEWS_SHARE = 1 / 8
"""Of a picture's tokens: so many were sent since the last caption, and there is news."""
ENTER, EXIT = 0.7, 0.4
"""The model speaks where its p reaches the one, and again only after it fell to the other."""


class CaptionGate:
    """Says of one camera, frame by frame, whether a caption is to be written."""

    def __init__(self, when: When) -> None:
        """Begin with nothing told: the first frame is described, whatever the way."""
        self._when = when
        self.reset()

    def reset(self) -> None:
        """Forget what was told."""
        self._num_new = 0
        self._is_owed = True
        self._is_told = False
        self._num_openings = 0

    def note(self, *, num_sent: int) -> None:
        """Note so many tokens of a frame that the model has seen."""
        self._num_new += num_sent

    def is_open(
        self, *, is_due: bool, num_tokens: int, worth: float | None, stretch: int = 1
    ) -> bool:
        """Say whether to describe the camera now; that it is described counts as done.

        Args:
            is_due: a fixed time has come.
            num_tokens: of a whole frame.
            worth: how likely the model finds something worth saying; None where it does not say.
            stretch: of so many times that the model would speak it may once, since the machine is
                too slow. Fixed times are spaced out by whoever gives them.
        """
        match self._when:
            case "periodic":
                return is_due
            case "news":
                self._is_owed |= is_due
                if not self._is_owed or self._num_new < NEWS_SHARE * num_tokens:
                    return False
                self._is_owed, self._num_new = False, 0
                return True
            case "model":
                return self._finds_worth(worth, stretch=stretch)

    def _finds_worth(self, worth: float | None, *, stretch: int) -> bool:
        is_first, self._is_owed = self._is_owed, False
        if worth is None:
            return is_first
        if self._is_told:
            self._is_told = worth > EXIT
            return is_first
        self._is_told = worth >= ENTER
        if not self._is_told:
            return is_first
        self._num_openings += 1
        return is_first or (self._num_openings - 1) % stretch == 0
