"""How soon the console finds and shows what lies in a long history."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from worker.benchmarks.report import Progress, Row, at_most
from worker.console.history import Cursor, History, Page
from worker.console.recall import Recall, Wanted
from worker.console.search import Query
from worker.console.told import Happening, Told

MESSAGES = 200_000
CAMERAS = 16
TIMES = 7
PAGE = 1000
BEGIN_MS = 1_790_000_000_000
STEP_MS = 400
SEARCH_MS, SHOW_MS = 50.0, 1000.0
QUERIES = (
    "person",
    "person in white",
    "forklift",
    "when did the gate open",
    "elephants at the gate",
    "pers",
)
_WHO = ("A person in white", "A person in green", "A white car", "Two people", "A cyclist")
_DOES = ("enters from the left", "waits at the gate", "leaves", "walks along the fence", "turns")
_ENDS = ("The gate opens.", "The gate is closed.", "Nobody else is there.", "It is dark.")


def measure(progress: Progress, *, num_messages: int = MESSAGES) -> list[Row]:
    """Fill a history and look into it; half of it captions, one in 800 messages an event.

    Returns:
        The slowest of the queries, and pages, each the median of seven.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "console.sqlite"
        with closing(History(path, keep_ms=1 << 40, max_bytes=1 << 40)) as history:
            begun_s = time.perf_counter()
            _fill(history, num_messages)
            filled_s = time.perf_counter() - begun_s
            progress(f"{num_messages} messages written in {filled_s:.0f} s")
            with closing(Recall(path)) as recall:
                return [
                    Row("messages", float(num_messages), "messages"),
                    Row("written", num_messages / filled_s, "1/s"),
                    Row("history", recall.standing()["bytes"] / 1e6, "MB"),
                    *_looks(recall, num_messages),
                ]


def _looks(recall: Recall, num_messages: int) -> Iterator[Row]:
    end_ms = BEGIN_MS + num_messages * STEP_MS
    for text in QUERIES:
        for camera_id in ("", "camera-3"):
            query = Query(text, camera_id)
            name = f"search_{text.replace(' ', '_')}{'_of_one_camera' if camera_id else ''}"
            yield at_most(name, _ms(lambda query=query: recall.find(query)), SEARCH_MS, unit="ms")  # type: ignore[misc] # mypy cannot infer a lambda with a default
    for name, minutes in (("15_min", 15), ("24_h", 1440)):
        start_ms = end_ms - minutes * 60_000

        def course(start_ms: int = start_ms) -> object:
            return recall.course("camera-3", start_ms=start_ms, end_ms=end_ms)

        yield at_most(f"camera_page_{name}", _ms(course), SHOW_MS, unit="ms")
    yield at_most("inbox_page", _ms(lambda: recall.events(Wanted())), SHOW_MS, unit="ms")
    everything = _ms(lambda: recall.all_events(Wanted()))
    yield at_most("export_of_all_events", everything, SHOW_MS, unit="ms")
    yield at_most("health_page", _ms(recall.standing), SHOW_MS, unit="ms")


def _ms(look: Callable[[], Any]) -> float:
    took = []
    for _ in range(TIMES):
        begun_s = time.perf_counter()
        look()
        took.append(1000 * (time.perf_counter() - begun_s))
    return median(took)


def _fill(history: History, num_messages: int) -> None:
    for first in range(0, num_messages, PAGE):
        told = [_told(n) for n in range(first, min(first + PAGE, num_messages))]
        history.take([Page(("camera-0", "answer"), told, Cursor(f"{first}-0", first))])


def _told(n: int) -> Told:
    camera_id, at_ms = f"camera-{n % CAMERAS}", BEGIN_MS + n * STEP_MS
    k = n // CAMERAS
    about = {"question_id": "open", "question": "Is the gate open?", "question_kind": "yes_no"}
    said = "yes" if k % 60 < 9 else "no"
    answer = Told("answer", camera_id, at_ms, n, said, p=0.9, mass=0.97, kept=100, total=700)
    answer = replace(answer, asked_by="standing", **about)  # type: ignore[arg-type] # all of them are words
    if n % 800 == 0:
        end_ms = at_ms + 30_000
        happening = Happening(f"event-{n}", "end", at_ms, end_ms, (), None, is_test=False)
        return replace(answer, kind="event", happening=happening)
    if k % 2:
        return answer
    who, does, ends = _WHO[k % 5], _DOES[k % 7 % 5], _ENDS[k % 11 % 4]
    text = f"{who} {does}. {ends}" if k % 997 else "A forklift crosses the yard."
    return Told("caption", camera_id, at_ms, n, text, kept=100, total=700)
