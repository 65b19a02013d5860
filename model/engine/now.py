"""What tells a fork which moment it is asked at."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Now:
    """A stream's newest sampled frame, for the forks of a context that does not have it.

    DiffFP shows a frame in which nothing changed as its stamp and its first token; so does this.

    Attributes:
        ids: the frame's stamp and, last, the id that stands for a visual token.
        features: (1, D) of the frame's first token, as the encoder gave it last.
    """

    ids: tuple[int, ...]
    features: Tensor
