"""Looks a little further back in a partition, for the pictures that `unchanged` records speak of.

Who takes a partition up has not seen a camera's last picture where that lies before its group's
offset. So when the first record comes that shows a picture again which nobody here has seen, the
partition is read once more from a little before: for the pictures alone, up to that record.
"""

from contextlib import suppress
from typing import Any

from kafka import TopicPartition

from pipeline.sources.broker import DRIVER_ERRORS, ms
from pipeline.sources.judge import Judge, Verdict

TIMEOUT_S = 10.0  # for the broker to find a time
_BACK_AGAIN = -1


class LookBack:
    """A judge who can look back, once in each partition. For the thread that polls."""

    def __init__(self, judge: Judge, consumer: Any, *, back_s: float) -> None:
        """Begin without having looked.

        Args:
            judge: judges what is not seen for its picture alone.
            consumer: the KafkaConsumer.
            back_s: how far; a whole picture comes as often as that.
        """
        self._judge = judge
        self._consumer = consumer
        self._back_s = back_s
        self._until: dict[int, int] = {}  # by partition: the record for which it looks back

    def glance(self, record: Any) -> bool | None:
        """Look at a record before it is judged.

        Returns:
            None where it is to be judged now; True where its picture alone was wanted; False where
            its partition is read from further back, and this one and those after it come again.
        """
        until = self._until.get(record.partition)
        if until is None:
            return False if self._judge.lacks_picture(record) and self._went_back(record) else None
        if record.offset < until:
            self._judge.saw(record)
            return True
        self._until[record.partition] = _BACK_AGAIN
        return None

    def judge(self, record: Any) -> Verdict:
        """Return what becomes of a record."""
        return self._judge.judge(record)

    def looks_back(self, partition: int) -> bool:
        """Say whether what a partition gives now is older than what was judged."""
        return self._until.get(partition, _BACK_AGAIN) != _BACK_AGAIN

    def forget(self, camera_id: str) -> None:
        """Forget a camera's time, as when another member of the group has it."""
        self._judge.forget(camera_id)

    def missed(self, partition: int) -> None:
        """Note that records of a partition will not be seen: pictures among them, perhaps."""
        self._judge.missed(partition)
        self._until.pop(partition, None)

    def _went_back(self, record: Any) -> bool:
        one = TopicPartition(record.topic, record.partition)
        self._until[record.partition] = _BACK_AGAIN
        since_ms = max(0, record.timestamp - ms(self._back_s))
        with suppress(*DRIVER_ERRORS):  # then the camera waits for its next whole picture
            found = self._consumer.offsets_for_times({one: since_ms}, timeout_ms=ms(TIMEOUT_S))
            begin = found.get(one)
            if begin is not None and begin.offset < record.offset:
                self._consumer.seek(one, begin.offset)
                self._until[record.partition] = record.offset
        return self.looks_back(record.partition)
