"""Videos that many contexts are cut from: decoded once, and kept as long as there is room."""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path

from model.training.conversation import MediaReader, Pixels

MOST_BYTES = 2**30
"""Of pictures kept in a process; the videos that were asked for longest ago are given up first."""
EARLY_S = 0.1  # a picture is taken up to so much before its second

Video = tuple[list[Pixels], list[float]]


class Remembered:
    """A reader that keeps the pictures of some videos."""

    def __init__(
        self, media: MediaReader, *, paths: Collection[Path], most_bytes: int = MOST_BYTES
    ) -> None:
        """Keep the pictures of these videos, by absolute path; others are read as they come."""
        self._media, self._paths, self._most_bytes = media, frozenset(paths), most_bytes
        self._videos: OrderedDict[Path, Video] = OrderedDict()

    def image(self, path: Path) -> Pixels:
        """Give a picture: see `MediaReader`."""
        return self._media.image(path)

    def video(self, path: Path, start_s: float | None, end_s: float | None) -> Video:
        """Give a stretch of a video: see `MediaReader`."""
        if path.absolute() not in self._paths:
            return self._media.video(path, start_s, end_s)
        pictures, times_s = self._whole(path.absolute())
        first = 0 if start_s is None else bisect_left(times_s, start_s - EARLY_S)
        last = len(times_s) if end_s is None else bisect_right(times_s, end_s)
        if first >= last:
            return self._media.video(path, start_s, end_s)  # which says what is wrong
        return pictures[first:last], times_s[first:last]

    def _whole(self, path: Path) -> Video:
        if path not in self._videos:
            self._videos[path] = self._media.video(path, None, None)
            while len(self._videos) > 1 and self._num_bytes() > self._most_bytes:
                self._videos.popitem(last=False)
        self._videos.move_to_end(path)
        return self._videos[path]

    def _num_bytes(self) -> int:
        return sum(one.nbytes for pictures, _ in self._videos.values() for one in pictures)
