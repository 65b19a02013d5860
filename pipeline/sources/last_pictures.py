"""Each camera's last picture, as it came by a topic: what an `unchanged` record shows again."""

from typing import Any

MAX_BYTES = 64 * 2**20  # of all cameras; the one kept longest gives way


class LastPictures:
    """Records that hold pictures, the last of each camera, whether or not anybody decoded them."""

    def __init__(self) -> None:
        """Begin without any."""
        self._records: dict[str, Any] = {}
        self._num_bytes = 0

    def keep(self, camera_id: str, record: Any) -> None:
        """Put a record in the place of the camera's last one."""
        self._forget(camera_id)
        self._records[camera_id] = record
        self._num_bytes += len(record.value or b"")
        while self._num_bytes > MAX_BYTES:
            self._forget(next(iter(self._records)))

    def of(self, camera_id: str) -> Any | None:
        """Return the camera's last one; None where it is not known."""
        return self._records.get(camera_id)

    def forget(self, partition: int) -> None:
        """Forget what came by a partition of which some records will not be seen."""
        for camera_id, record in list(self._records.items()):
            if record.partition == partition:
                self._forget(camera_id)

    def _forget(self, camera_id: str) -> None:
        record = self._records.pop(camera_id, None)
        self._num_bytes -= len(record.value or b"") if record is not None else 0
