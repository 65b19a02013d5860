"""At which record a process died, kept where the next one sees it: in the group's own offsets.

A commit in Kafka carries a text beside its offset. While a process is at work on a partition it
says so there, and takes it back when it ends in good order. Whoever finds it succeeds one that
died. It then names each record before it decodes it, one at a time, for as many as may have been in
that one's hands; so a record that takes the process with it is known by name at its second death,
also when that was another worker's. A process that has lost its brokers cannot take anything back:
what it finds of its own when they are there again is nobody's death.
"""

import re
import secrets

MAX_DEATHS = 2  # a record at which so many processes died is not decoded again
CAUTIOUS_RECORDS = 256  # decoded one at a time after a death: more than a process holds at once

IN_GOOD_ORDER = ""  # the text of a commit behind which nobody is at work
_AT_WORK = re.compile(r"vigil:at-work(?::(\w+))?", re.ASCII)
_TRYING = re.compile(r"vigil:trying:(\d{1,18}):(\d{1,9})(?::(\w+))?", re.ASCII)

THIS_PROCESS = secrets.token_hex(8)


class Attempts:
    """One partition's deaths, from its assignment on."""

    def __init__(self, metadata: str, *, position: int, process: str) -> None:
        """Read what the process before left beside the group's offset.

        Args:
            metadata: the commit's text; one that is not ours means nothing.
            position: where the group stands.
            process: tells this one from others; of letters and digits.
        """
        self._process = process
        trying, at_work = _TRYING.fullmatch(metadata), _AT_WORK.fullmatch(metadata)
        self._blamed: tuple[int, int] | None = None
        if trying and (num_deaths := int(trying[2]) - (trying[3] == process)):
            self._blamed = int(trying[1]), num_deaths
        # deaths at records that were not named
        self._num_others = int(at_work is not None and at_work[1] != process)
        self._num_cautious = CAUTIOUS_RECORDS if trying or self._num_others else 0
        # Fetching it may be what kills: from here on it counts as tried.
        self._trying = position if self.deaths(position) else None

    @property
    def is_cautious(self) -> bool:
        """Whether records are named and decoded one at a time."""
        return self._num_cautious > 0

    @property
    def is_trying(self) -> bool:
        """Whether `metadata` names a record that is decoded now."""
        return self._trying is not None

    def deaths(self, offset: int) -> int:
        """Return how many processes died at a record before this one."""
        if self._blamed is not None and self._blamed[0] == offset:
            return self._blamed[1]
        return self._num_others

    def begin(self, offset: int) -> None:
        """Note that a record is decoded from now on; `metadata` names it."""
        self._trying = offset
        self._num_cautious = max(0, self._num_cautious - 1)

    def end(self, offset: int) -> None:
        """Note that a record was decoded, or passed over, and nobody died of it."""
        if self._blamed is not None and self._blamed[0] <= offset:
            self._blamed = None
        if self._trying == offset:
            self._trying = None
        if not self._num_cautious:
            self._num_others = 0

    @property
    def metadata(self) -> str:
        """What a commit says while this process is at work."""
        if self._trying is not None:
            num_deaths = self.deaths(self._trying) + 1  # if this process dies now
            return f"vigil:trying:{self._trying}:{num_deaths}:{self._process}"
        if self._blamed is not None:
            return f"vigil:trying:{self._blamed[0]}:{self._blamed[1]}"
        return f"vigil:at-work:{self._process}"
