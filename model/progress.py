"""How far the loading of a model is, for whoever waits for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


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


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
