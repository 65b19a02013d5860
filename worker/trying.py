"""`vigil try`: one camera or file, with all parts of a worker and a printer in Redis' place."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from math import inf
from pathlib import Path
from queue import Full, Queue
from statistics import median
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.types import PrunedFrame
from pipeline.cadence import Cadence
from pipeline.clock import Clock, SystemClock
from pipeline.errors import ConfigError
from pipeline.overlay import Overlay, check_target, write_overlay
from pipeline.publishers.base import PendingMessages, nothing_new
from pipeline.types import PrunedSample
from pipeline.visits import Visits
from worker import environment, log
from worker.printer import Printer, say, tell
from worker.settings import Settings
from worker.site_settings import CameraSettings
from worker.supervisor import Supervisor, stop_on_signals
from worker.try_settings import CAMERA, in_our_words
from worker.values import file_path
from worker.wiring import build

TOLD_EVERY_S = 10.0
BATCH, LOOK_S = 64, 0.1
MAX_UNDRAWN = 64  # pictures that wait to be drawn; the model waits with them


def try_source(
    settings: Settings, *, out: Path | None, seconds: float | None, as_json: bool
) -> int:
    """Watch until Ctrl-C, the file's end or the time is up; print what is said, and a summary.

    Args:
        settings: of `try_settings.settings_for`.
        out: a video to write, in which what the model was sent is outlined.
        seconds: stop after so long; None runs on.
        as_json: print messages, and the summary, as JSON.

    Returns:
        0 where an answer or a caption was given, else 1.

    Raises:
        ConfigError: the model cannot be had or asked, the video cannot be written or is the source
            itself, or the time is none.
        CheckpointError: the model's folder is not usable.
    """
    if seconds is not None and not 0 < seconds < inf:
        raise ConfigError(f"try: --seconds: expected a finite time above 0, got {seconds:g}")
    if out is not None:
        check_target(out, source=_file_of(settings.cameras[CAMERA]), command="try")
    secrets = environment.secrets_of(settings)
    log.configure(level="info", style="console", secrets=secrets)  # how far the model is
    tell("loading the model ...")
    clock = SystemClock()
    is_file = not settings.cameras[CAMERA].live
    drawing = Drawing(out) if out is not None else None
    seen = Seen(clock=clock, draw=drawing.add if drawing else None)
    shown = Shown(seen, is_file=is_file, seconds=seconds, as_json=as_json)
    try:
        worker = build(settings, clock=clock, publisher=shown, visits=seen)
    except ConfigError as error:
        raise in_our_words(error) from None
    log.configure(level="error", style="console", secrets=secrets)  # the rest is printed
    supervisor = Supervisor(worker)
    shown.end = supervisor.stop
    stop_on_signals(supervisor.stop)
    try:
        supervisor.run(health_port=0)
    finally:
        if drawing is not None:
            drawing.close()
    shown.conclude()
    return 0 if shown.has_said else 1


def _file_of(camera: CameraSettings) -> Path | None:
    """Return the file that is watched; None where it is a camera."""
    if camera.url is None or camera.live:
        return None
    return file_path(camera.url.get_secret_value())


class Seen(Visits):
    """Counts what the model is shown, and has it drawn.

    Attributes:
        begun_at: when stream time was 0, by the time of capture of the first frame; None before it.
    """

    def __init__(self, *, clock: Clock, draw: Callable[[PrunedFrame], None] | None) -> None:
        """Begin with nothing shown."""
        super().__init__(clock=clock)
        self.num_frames = self.num_kept = self.num_tokens = 0
        self.stream_s = 0.0
        self.first_s: float | None = None
        self.last_s = 0.0
        self.begun_at: datetime | None = None
        self._now_s = clock.monotonic_s
        self._draw = draw
        self._pts_s: float | None = None

    def shown(self, sample: PrunedSample) -> None:
        super().shown(sample)
        pruned = sample.pruned
        self.first_s = self._now_s() if self.first_s is None else self.first_s
        self.last_s = self._now_s()
        if self.begun_at is None:
            self.begun_at = sample.frame.captured_at - timedelta(seconds=pruned.pts_s)
        self.stream_s += max(
            0.0, pruned.pts_s - (pruned.pts_s if self._pts_s is None else self._pts_s)
        )
        self._pts_s = pruned.pts_s
        self.num_frames += 1
        self.num_kept += pruned.num_kept
        self.num_tokens += pruned.grid.num_tokens
        if self._draw is not None:
            self._draw(pruned)

    def told(self, *, is_file: bool) -> str:
        """Return the share that was sent, and how fast that goes, in words."""
        spent_s = max(1e-3, self.last_s - (self.first_s or self.last_s))
        share = self.num_kept / max(1, self.num_tokens)
        pace = (
            f"{max(0, self.num_frames - 1) / spent_s:.1f} a second" if self.num_frames > 1 else ""
        )
        times = f"{self.stream_s / spent_s:.1f} times as fast as filmed" if is_file and pace else ""
        sent = f"{self.num_kept} of {self.num_tokens} tokens sent ({share:.1%})"
        return ", ".join(filter(None, (f"{self.num_frames} pictures", pace, times, sent)))


class Shown:
    """Prints what waits in the outbox; a `Publisher`.

    Attributes:
        end: called when the time is up.
        has_said: whether any answer or caption came.
    """

    def __init__(self, seen: Seen, *, is_file: bool, seconds: float | None, as_json: bool) -> None:
        """Begin with nothing printed."""
        self.end: Callable[[], None] = lambda: None
        self.has_said = False
        self._seen = seen
        self._is_file = is_file
        self._seconds = seconds
        self._as_json = as_json
        self._clock = SystemClock()
        self._printer = Printer(has_mass=True, has_all=True, as_json=as_json)
        self._answers: dict[str, Counter[str]] = defaultdict(Counter)
        self._mass: dict[str, list[float]] = defaultdict(list)
        self._ages_s: list[float] = []
        self._num_captions = 0

    def run(
        self,
        outbox: PendingMessages,
        stop: Event,
        *,
        fields: Callable[[], Mapping[str, object]] = dict,
        works: Callable[[], bool] = nothing_new,
    ) -> None:
        """Print until `stop`, and what is left then; no heartbeat, and so no `fields`."""
        del fields
        begun_s, due = self._clock.monotonic_s(), Cadence(TOLD_EVERY_S)
        due.due(begun_s)
        while True:
            is_last = stop.is_set()  # before the look: what was stored before `stop` is found
            batch = outbox.pending(BATCH) if outbox.wait(0.0 if is_last else LOOK_S) else []
            for stored in batch:
                envelope = stored.envelope(
                    prefix="vigil", worker_id="try", published_at=self._clock.now()
                )
                self._show(json.loads(envelope))
            outbox.delivered([stored.row for stored in batch])
            works()
            now_s = self._clock.monotonic_s()
            if self._seconds is not None and now_s - begun_s >= self._seconds:
                self.end()
            if due.due(now_s) and self._seen.num_frames and not self._as_json:
                say(f"          {self._seen.told(is_file=self._is_file)} so far")
            if not batch and is_last:
                return

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def conclude(self) -> None:
        """Print what it came to."""
        if self._as_json:
            say(json.dumps({"summary": self._summary()}, ensure_ascii=False))
            return
        say(f"\nwatched   {self._seen.told(is_file=self._is_file)}")
        for words, answers in self._answers.items():
            mass = self._mass[words]
            said = ", ".join(f"{answer} {number}" for answer, number in answers.most_common())
            say(f"asked     {words}  {said}" + (f"; mass {median(mass):.2f}" if mass else ""))
        say(f"captions  {self._num_captions}")
        if self._ages_s and not self._is_file:
            say(f"age       {median(self._ages_s):.1f} s from capture to answer (median)")

    def _show(self, message: dict[str, Any]) -> None:
        said, kind = message["data"], message["type"].split(".")[1]
        if kind in ("answer", "caption"):
            self.has_said |= said.get("reason") != "stalled"
            if self._is_file:
                self._printer.begin = self._seen.begun_at
        if kind == "caption":
            self._num_captions += 1
        if kind == "answer":
            self._answers[said["question"]][str(said["answer"])] += 1
            if said["mass"] is not None and not said["reused"]:
                self._mass[said["question"]].append(said["mass"])
                self._ages_s.append(said["frame_age_ms"] / 1000)
        self._printer.show(kind, message)

    def _summary(self) -> dict[str, object]:
        seen = self._seen
        return {
            "pictures": seen.num_frames,
            "stream_s": seen.stream_s,
            "spent_s": seen.last_s - (seen.first_s or seen.last_s),
            "tokens": {"kept": seen.num_kept, "total": seen.num_tokens},
            "captions": self._num_captions,
            "answers": {words: dict(answers) for words, answers in self._answers.items()},
            "mass": {words: median(mass) for words, mass in self._mass.items() if mass},
        }


class Drawing:
    """Writes what the model was sent as a video, on a thread of its own.

    A full queue holds the model back: nothing is left out.
    """

    def __init__(self, path: Path) -> None:
        """Note where; the file is begun with the first picture."""
        self._path = path
        self._frames: Queue[PrunedFrame | None] = Queue(MAX_UNDRAWN)
        self._thread: Thread | None = None
        self._error: ConfigError | None = None

    def add(self, frame: PrunedFrame) -> None:
        """Let a frame be drawn."""
        if self._thread is None:
            self._thread = Thread(target=self._write, name="overlay", daemon=True)
            self._thread.start()
        self._put(frame)

    def close(self) -> None:
        """Finish the video.

        Raises:
            ConfigError: it cannot be written.
        """
        if self._thread is not None:
            self._put(None)
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _put(self, frame: PrunedFrame | None) -> None:
        while self._thread is not None and self._thread.is_alive():
            try:
                self._frames.put(frame, timeout=0.2)
            except Full:
                continue
            return

    def _write(self) -> None:
        overlay = Overlay(title="vigil try")
        try:
            write_overlay(self._path, self._drawn(overlay), overlay, progress=_untold)
        except ConfigError as error:
            self._error = error
        else:
            tell(f"{self._path}: {overlay.num_frames} pictures")

    def _drawn(self, overlay: Overlay) -> Iterator[NDArray[np.uint8]]:
        while (frame := self._frames.get()) is not None:
            yield overlay.drawn(frame)


def _untold(_line: str) -> None:
    """Say nothing: the answers are being printed."""
