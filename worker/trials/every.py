"""All trials of `vigil check --connect`: at once, within a bounded time, told in order."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from queue import Empty, Queue
from threading import BoundedSemaphore, Thread

from model import Engine
from model.videollama3.grid import pin_grid
from pipeline.clock import Clock
from pipeline.redact import redact
from worker import environment
from worker.feeds import feeds_of
from worker.settings import Settings
from worker.trials.camera import WATCH_S, try_camera
from worker.trials.control import try_control
from worker.trials.found import Found, failed
from worker.trials.kafka import try_reading
from worker.trials.model import try_model
from worker.trials.redis import try_publishing

AT_ONCE = 16  # cameras that are watched at the same time
SLACK_S = 5.0  # for what drivers do beyond their own limits

Trial = Callable[[], Found]


def try_all(
    settings: Settings,
    *,
    model: tuple[Engine, int] | None,
    clock: Clock,
    say: Callable[[str], None],
) -> bool:
    """Try cameras, Redis, Kafka and the model; say a line of each. Return whether all can be used.

    Args:
        settings: sound ones.
        model: as `sketch_engine` gives it; None where it was refused.
        clock: bounds how long a camera is watched.
        say: takes each line, in the order of the settings.
    """
    trials: list[tuple[str, Trial]] = [
        (
            f"camera {feed.name}",
            partial(
                try_camera,
                feed,
                grid_of=partial(pin_grid, max_tokens=settings.model.max_tokens_per_frame),
                period_s=1.0 / settings.sample_fps,
                clock=clock,
            ),
        )
        for feed in feeds_of(settings, clock=clock)
        if feed.name in settings.cameras
    ]
    trials.append(("redis", partial(try_publishing, settings, clock=clock)))
    if settings.control == "on":
        trials.append(("control", partial(try_control, settings)))
    if settings.kafka.bootstrap_servers:
        topic = f"kafka {settings.kafka.topic}"
        trials.append((topic, partial(try_reading, settings)))
    limit_s = 2 * settings.rtsp.open_timeout + max(WATCH_S, settings.rtsp.read_timeout) + SLACK_S
    gate = BoundedSemaphore(AT_ONCE)
    begun = [(what, _begun(trial, gate)) for what, trial in trials]
    rounds = -(-len(trials) // AT_ONCE)
    until_s = clock.monotonic_s() + rounds * limit_s
    secrets = environment.secrets_of(settings)
    is_ok = True
    for found in _in_order(begun, until_s=until_s, clock=clock):
        say(redact(found.line, *secrets))
        is_ok &= found.is_ok
    if model is not None:
        engine, missing_bytes = model
        found = try_model(settings, engine, missing_bytes=missing_bytes)
        say(found.line)
        is_ok &= found.is_ok
    return is_ok


def _begun(trial: Trial, gate: BoundedSemaphore) -> "Queue[Found | Exception]":
    """Begin a trial on a thread of its own, which nobody waits for if its driver hangs."""
    answers: Queue[Found | Exception] = Queue(maxsize=1)

    def work() -> None:
        with gate:
            try:
                answers.put(trial())
            except Exception as error:  # noqa: BLE001 (it is raised again where it is waited for)
                answers.put(error)

    Thread(target=work, name="trial", daemon=True).start()
    return answers


def _in_order(
    begun: Iterable[tuple[str, "Queue[Found | Exception]"]], *, until_s: float, clock: Clock
) -> Iterator[Found]:
    for what, answers in begun:
        try:
            answer = answers.get(timeout=max(0.0, until_s - clock.monotonic_s()))
        except Empty:
            why = "timeout: the driver did not return in time"
            answer = failed(what, why, "look at the network, and at how names are resolved")
        if isinstance(answer, Exception):
            raise answer
        yield answer
