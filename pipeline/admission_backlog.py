"""Keeps the cameras that the model has no memory for: which wait, why, and when to try again."""

from dataclasses import dataclass

RETRY_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a camera waits (for people), and when it is tried again (monotonic)."""

    why: str
    retry_at_s: float


class AdmissionBacklog:
    """The refused cameras. The inference thread writes; any may ask `why`."""

    def __init__(self, *, retry_after_s: float = RETRY_AFTER_S) -> None:
        """Begin with nobody waiting."""
        self._retry_after_s = retry_after_s
        self._refused: dict[str, Refusal] = {}

    def refuse(self, camera_id: str, why: str, *, now_s: float) -> None:
        """Let a camera wait."""
        self._refused[camera_id] = Refusal(why, now_s + self._retry_after_s)

    def leave(self, camera_id: str) -> None:
        """Note that a camera was let in, or is gone."""
        self._refused.pop(camera_id, None)

    def must_wait(self, camera_id: str, *, now_s: float) -> bool:
        """Say whether it is too early to try a camera again."""
        refusal = self._refused.get(camera_id)
        return refusal is not None and now_s < refusal.retry_at_s

    def why(self, camera_id: str) -> str | None:
        """Return why a camera waits; None where it does not."""
        refusal = self._refused.get(camera_id)
        return refusal.why if refusal else None
