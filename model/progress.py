"""How far the loading of a model is, for whoever waits for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

TELL_EVERY_S = 3.0


@dataclass(frozen=True, slots=True)
class Progress:
    """One word from a model that is being loaded; `str` gives it as a line.

    Attributes:
        stage: `loading` when it begins, with the size of the weights; then how much of what is not
            here was downloaded; then how much is on the device.
        model: its path or its name on the hub.
        done_bytes: so far, in this stage.
        total_bytes: of this stage.
    """

    stage: Literal["loading", "downloaded", "loaded"]
    model: str
    done_bytes: int
    total_bytes: int

    def __str__(self) -> str:
        if self.stage == "loading":
            return f"loading {self.model} ({_size(self.total_bytes)})"
        share = min(1.0, self.done_bytes / max(1, self.total_bytes))
        return f"{self.stage} {share:.0%} of {self.model} ({_size(self.total_bytes)})"


Tell = Callable[[Progress], None]


def untold(_progress: Progress) -> None:
    """Tell nobody."""


class Telling:
    """Says how far a model is: where a stage begins, then a line every few seconds at most."""

    def __init__(self, say: Callable[[str], None], *, now_s: Callable[[], float]) -> None:
        """Begin with nothing said.

        Args:
            say: takes a line.
            now_s: a clock that does not jump.
        """
        self._say = say
        self._now_s = now_s
        self._said_s = now_s()
        self._begun = {"loaded"}  # its begin is told by `loading`

    def __call__(self, progress: Progress) -> None:
        now_s = self._now_s()
        if progress.stage in self._begun and now_s - self._said_s < TELL_EVERY_S:
            return
        self._begun.add(progress.stage)
        self._said_s = now_s
        self._say(str(progress))


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
