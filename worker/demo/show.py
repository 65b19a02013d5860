"""`vigil demo`: a worker, a camera and a Redis on this machine, and what a subscriber receives."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import worker
from model.bundled import NANO
from pipeline.clock import SystemClock
from pipeline.errors import ConfigError
from pipeline.publishers.subscriber import Subscriber
from worker import environment
from worker.demo.child import start
from worker.demo.embedded_redis import embedded_redis, free_port
from worker.demo.timeline import Timeline
from worker.demo.verdict import Judge, Verdict
from worker.printer import Printer, Truth, say
from worker.settings import PREFIX

FOLDER = Path(__file__).resolve().parent
SETTINGS = FOLDER / "demo.env"
SCENE = FOLDER / "yard.mp4"
PACKAGES = Path(worker.__file__).resolve().parents[1]
START_LIMIT_S = 120.0
STOP_LIMIT_S = 45.0  # as compose gives it


@dataclass(slots=True)
class _Seen:
    """What the subscriber has received.

    Attributes:
        messages: how many of each kind.
        kept_ratio: the newest.
        printer: prints them.
        judge: knows what is true; None where the clip has no timeline.
    """

    judge: Judge | None
    messages: Counter[str] = field(default_factory=Counter)
    kept_ratio: float | None = None
    printer: Printer = field(default_factory=Printer)


def demo(*, seconds: float | None, video: str | None) -> int:
    """Run the main job on embedded defaults and print it as a Redis subscriber sees it.

    Beneath each caption, event and new answer stands what was true, where the clip has a timeline
    beside it: a file of the clip's name that ends in `.json`.

    Args:
        seconds: stop this long after the first message; None runs until Ctrl-C, SIGTERM or the
            terminal's end.
        video: a file to play, over and over, instead of the bundled scene.

    Returns:
        0 when captions, answers and the kept ratio were received, else 1.

    Raises:
        ConfigError: there is no such video, its timeline is none, or there is no redis-server.
    """
    clip = Path(video) if video else SCENE
    if not clip.is_file():
        raise ConfigError(f"expected a video file at {clip}, found none")
    timeline = clip.with_suffix(".json")
    seen = _Seen(Judge(Timeline.read(timeline)) if timeline.is_file() else None)
    with _told_to_stop() as stop, embedded_redis() as redis_url:
        port = free_port()
        _introduce(clip, redis_url=redis_url, port=port)
        process = start(
            [sys.executable, "-P", "-m", "worker", "run"],
            env=_environment(clip, redis_url=redis_url, port=port),
        )
        try:
            with Subscriber(redis_url) as subscriber:
                _listen(subscriber, process, stop=stop, seconds=seconds, seen=seen)
        finally:
            _stop(process)
    return _conclude(seen)


@contextmanager
def _told_to_stop() -> Iterator[Event]:
    """Yield what Ctrl-C, SIGTERM and a closed terminal (SIGHUP) set, as often as they come.

    None of them may end this process before it has ended the worker and Redis. A signal that is
    ignored from the start, such as SIGHUP under nohup, stays ignored.
    """
    stop = Event()
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _environment(clip: Path, *, redis_url: str, port: int) -> dict[str, str]:
    """Return this process's environment with the demo's settings and no other of ours.

    PYTHONPATH leads the worker to the very packages that run here, wherever they lie.
    """
    inherited = environment.without_settings()
    paths = (str(PACKAGES), inherited.get("PYTHONPATH", ""))
    lines = SETTINGS.read_text(encoding="utf-8").splitlines()
    settings = dict(line.split("=", 1) for line in lines if line.startswith(PREFIX))
    return (
        inherited
        | settings
        | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "VIGIL_CAMERAS__YARD__URL": str(clip),
            "VIGIL_CAMERAS__YARD__LOOP": "true",
            "VIGIL_REDIS__URL": redis_url,
            "VIGIL_OUTBOX__PATH": "memory",
            "VIGIL_HEALTH__PORT": str(port),
            "VIGIL_LOG_LEVEL": "warning",
            "VIGIL_LOG_FORMAT": "console",
            "VIGIL_WORKER_ID": "demo",
        }
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the worker to stop, and end it where the machine is too busy for it to do so."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listen(
    subscriber: Subscriber,
    process: subprocess.Popen[bytes],
    *,
    stop: Event,
    seconds: float | None,
    seen: _Seen,
) -> None:
    clock = SystemClock()
    until_s = clock.monotonic_s() + START_LIMIT_S
    while clock.monotonic_s() < until_s and process.poll() is None and not stop.is_set():
        for channel, message in subscriber.receive(timeout_s=0.2):
            if not seen.messages:  # the model is loaded and the camera runs: the clock starts
                until_s = clock.monotonic_s() + seconds if seconds is not None else float("inf")
            _show(channel, message, seen=seen)
            if clock.monotonic_s() >= until_s or stop.is_set():
                break


def _show(channel: str, message: dict[str, Any], *, seen: _Seen) -> None:
    said = message["data"]
    kind = message["type"].split(".")[1]
    seen.messages[kind] += 1
    if "tokens" in said and said["tokens"]["total"]:
        seen.kept_ratio = said["tokens"]["kept_ratio"]
    verdict = seen.judge.verdict(kind, said) if seen.judge else None
    truth = None if verdict is None else Truth(_truth(verdict), verdict.is_right)
    seen.printer.show(channel, message, truth=truth)


def _truth(verdict: Verdict) -> str:
    if not verdict.true:
        return f"{'right' if verdict.is_right else 'WRONG'}  {verdict.truth}"
    return f"{verdict.right} of {verdict.said} right, {verdict.true} true  {verdict.truth}"


def _introduce(clip: Path, *, redis_url: str, port: int) -> None:
    say(f"camera    {clip.name}, played over and over as if live")
    say(f"redis     {redis_url}  (try: redis-cli -u {redis_url} psubscribe 'vigil:*')")
    say(f"status    http://127.0.0.1:{port}/status, /metrics")
    say(f"model     {_about_model()}")
    say("answers   shown when they change; every one counts")
    say("loading the model ...\n")


def _about_model() -> str:
    """Return what the bundled model's card says in bold: what its words are worth."""
    card = (NANO / "README.md").read_text(encoding="utf-8")
    said = re.search(r"\*\*(.+?)\*\*", card, re.DOTALL)
    return "vigil-nano, bundled. " + (" ".join(said[1].split()) + "." if said else "")


def _conclude(seen: _Seen) -> int:
    ratio = "none" if seen.kept_ratio is None else f"{seen.kept_ratio:.1%}"
    counts = ", ".join(f"{number} {kind}" for kind, number in sorted(seen.messages.items()))
    say(f"\nreceived  {counts or 'nothing'}; kept ratio {ratio}")
    if seen.judge is not None:
        say(f"truth     {seen.judge.in_words()}")
    complete = seen.messages["caption"] and seen.messages["answer"] and seen.kept_ratio is not None
    return 0 if complete else 1
