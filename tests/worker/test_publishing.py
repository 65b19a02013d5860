"""How publishing stands is told whenever it becomes otherwise, and in between never."""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from threading import Event, Thread
from typing import Any

import pytest
from structlog.testing import capture_logs

from pipeline.clock import SystemClock
from pipeline.control import Control
from pipeline.errors import OutboxError, PublishError
from pipeline.messages import status_message
from pipeline.metrics import PUBLISH_FAILURES, PUBLISHING_UP
from pipeline.outbox import Outbox
from pipeline.publishers.base import PendingMessages, Publisher, nothing_new
from pipeline.publishers.redis import RedisPublisher
from pipeline.questions import CAPTION_ID
from pipeline.status import StatusBoard
from pipeline.tenures import Tenures
from tests.fakes import EPOCH, FakeClock, Recorder
from tests.servers.redis import StartRedis
from tests.worker.supervised import until
from worker import environment
from worker.publishing import KnownCameras, Publishing, questions_of_cameras
from worker.questions import standing_questions
from worker.settings import Settings

Step = Exception | float  # what a publisher ends with, or for how many seconds it works before
GATE = {"VIGIL_CAMERAS__GATE__URL": "rtsp://h/s", "VIGIL_MODEL__PATH": "nano"}


class Scripted:
    """A publisher that works and fails as it is told, and then stops the loop."""

    def __init__(self, steps: list[Step], clock: FakeClock) -> None:
        self._steps = steps
        self._clock = clock
        self.beats: list[Mapping[str, Any]] = []

    def run(
        self,
        outbox: PendingMessages,
        stop: Event,
        *,
        fields: Callable[[], Mapping[str, object]] = dict,
        works: Callable[[], bool] = nothing_new,
    ) -> None:
        del outbox  # what it delivers is no matter here
        while self._steps:
            self.beats.append(fields())
            step = self._steps.pop(0)
            if isinstance(step, Exception):
                raise step
            works()
            self._clock.wait(step, stop)
        stop.set()

    def close(self) -> None: ...


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with closing(Outbox(None, max_bytes=1 << 20)) as found:
        yield found


def told(*steps: Step) -> tuple[list[tuple[str, str]], Scripted, Publishing, Recorder]:
    """Run through the steps; return (event, reason) of the log lines, and what took part."""
    clock, observer = FakeClock(), Recorder()
    publisher = Scripted(list(steps), clock)
    with closing(Outbox(None, max_bytes=1 << 20)) as outbox, capture_logs() as logs:
        publishing = Publishing(
            lambda: publisher,
            outbox,
            clock=clock,
            observer=observer,
            rng=random.Random(1),  # noqa: S311
        )
        publishing.run(Event(), fields=lambda: {"live": True})
    return [(log["event"], log["reason"]) for log in logs], publisher, publishing, observer


def away(reason: str = "unreachable") -> PublishError:
    return PublishError(reason)


@pytest.mark.parametrize(
    ("steps", "lines"),
    [
        ([1.0], []),
        ([away()] * 5, [("publishing_failed", "unreachable")]),
        (
            [1.0, away(), 0.1, away("timeout"), 0.1],
            [
                ("publishing_failed", "unreachable"),
                ("publishing_restored", "unreachable"),
                ("publishing_failed", "timeout"),
                ("publishing_restored", "timeout"),
            ],
        ),
        (
            [away(), away("loading"), away("loading"), away("read_only"), 1.0],
            [
                ("publishing_failed", "unreachable"),
                ("publishing_failed", "loading"),
                ("publishing_failed", "read_only"),
                ("publishing_restored", "read_only"),
            ],
        ),
        (
            [OutboxError("disk"), 1.0],
            [("publishing_failed", "outbox")] * 1 + [("publishing_restored", "outbox")],
        ),
    ],
    ids=["none", "one", "a second one soon after", "its reason changes", "outbox"],
)
def test_every_outage_is_told_when_it_begins_changes_and_ends(
    steps: list[Step], lines: list[tuple[str, str]]
) -> None:
    """dragonfly-operator#278, StackExchange.Redis#2264, OpenCTI#2603: a second outage six seconds
    after the first, of another kind, was in no log."""
    assert told(*steps)[0] == lines


def test_the_end_says_how_long_it_took_and_what_waits(outbox: Outbox) -> None:
    clock = FakeClock()
    outbox.put([status_message("gate", at=EPOCH, state="online")])
    publisher = Scripted([away(), away(), 1.0], clock)
    publishing = Publishing(
        lambda: publisher,
        outbox,
        clock=clock,
        observer=Recorder(),
        rng=random.Random(1),  # noqa: S311
    )
    with capture_logs() as logs:
        publishing.run(Event(), fields=dict)
    assert (logs[-1]["event"], logs[-1]["waiting"]) == ("publishing_restored", 1)
    assert logs[-1]["duration_s"] == pytest.approx(clock.seconds - 1.0, abs=0.1)


def test_failures_are_counted_by_reason_and_how_it_stands_is_in_status_and_heartbeat() -> None:
    _, publisher, publishing, observer = told(1.0, 1.0, away(), away("cluster"))
    assert observer.totals(PUBLISH_FAILURES, by="reason") == {"unreachable": 1, "cluster": 1}
    states = [
        (beat["publishing"]["state"], beat["publishing"]["reason"]) for beat in publisher.beats
    ]
    assert states == [
        ("connecting", None),
        ("ok", None),
        ("ok", None),
        ("failing", "unreachable"),
    ]
    status = publishing.status()
    assert (status["state"], status["reason"], status["set_aside"]) == ("failing", "cluster", 0)
    assert json.dumps(status)
    assert observer.numbers(PUBLISHING_UP) == [1, 0, 0]


def test_a_redis_that_was_restarted_empty_is_told_every_status_again(
    start_redis: StartRedis, outbox: Outbox
) -> None:
    """Tried on the product: `status` was missing from hash and stream until it next changed."""
    server = start_redis()
    clock = SystemClock()
    board = StatusBoard(lambda message: outbox.put([message]), clock=clock)
    board.set("gate", "offline", reason="timeout", detail="no packet")

    def publisher() -> Publisher:
        known = KnownCameras(board, dict, Tenures(clock=clock))
        return RedisPublisher(
            server.url,
            prefix="vigil",
            worker_id="w",
            clock=clock,
            run_id=outbox.origin,
            heartbeat_s=0.1,
            cameras=known,
        )

    with _running(publisher, outbox), server.client() as client:

        def shown() -> Any:
            found = client.hget("vigil:gate:state", "status")
            return json.loads(str(found)) if found else None

        until(lambda: shown())
        first = shown()
        server.restart()
        until(lambda: shown() is not None and shown()["id"] != first["id"])
        again = shown()
        assert again["data"]["since"] == first["data"]["since"]
        assert again["data"]["detail"] == "no packet"
        assert again["data"]["seq"] == 2
        server.client().flushall()
        until(lambda: shown() is not None and shown()["data"]["seq"] == 3)
        time.sleep(0.3)
        assert shown()["data"]["seq"] == 3, "said again although it is there"


def test_a_user_without_channels_is_told_until_the_right_is_given(
    start_redis: StartRedis, outbox: Outbox
) -> None:
    """redis#12418, as an operator sees it: heartbeat and log, and once mended all arrives."""
    server = start_redis()
    outbox.put([status_message("gate", at=EPOCH, state="online")])
    url = f"redis://vigil:secret@127.0.0.1:{server.port}/0"

    def publisher() -> Publisher:
        clock = SystemClock()
        return RedisPublisher(url, prefix="vigil", worker_id="w", clock=clock, heartbeat_s=60.0)

    with server.client() as client, capture_logs() as logs:
        # a heartbeat is due much later: that it works again is told at once
        user = ("ACL", "SETUSER", "vigil", "on", ">secret", "~*", "+@all", "resetchannels")
        client.execute_command(*user)

        def beat() -> Any:
            found = client.get("vigil:worker:w")
            return json.loads(str(found))["publishing"] if found else {}

        with _running(publisher, outbox):
            until(lambda: beat().get("reason") == "not_permitted")
            client.execute_command("ACL", "SETUSER", "vigil", "&*")
            until(lambda: beat().get("state") == "ok")
        assert client.xlen("vigil:gate:status:stream") == 1
    told = [(log["event"], log["reason"]) for log in logs if log["event"].startswith("publishing")]
    assert told == [
        ("publishing_failed", "not_permitted"),
        ("publishing_restored", "not_permitted"),
    ]


@contextmanager
def _running(publisher: Callable[[], Publisher], outbox: Outbox) -> Iterator[None]:
    publishing = Publishing(
        publisher,
        outbox,
        clock=SystemClock(),
        observer=Recorder(),
        rng=random.Random(1),  # noqa: S311
    )
    stop = Event()
    thread = Thread(target=lambda: publishing.run(stop, fields=dict))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def _questions(settings: Settings, outbox: Outbox) -> dict[str, frozenset[str] | None]:
    return questions_of_cameras(settings, outbox, Control(standing_questions(settings)))


def test_a_camera_without_settings_is_gone_unless_kafka_may_bring_it(outbox: Outbox) -> None:
    outbox.put([status_message(one, at=EPOCH, state="online") for one in ("gate", "yard")])
    asked = GATE | {
        "VIGIL_QUESTIONS__FIRE__ASK": "Fire?",
        "VIGIL_QUESTIONS__DOOR__ASK": "Open?",
        "VIGIL_QUESTIONS__DOOR__CAMERAS": "gate",
    }
    both, fire = frozenset({"fire", "door", CAPTION_ID}), frozenset({"fire", CAPTION_ID})
    found = _questions(environment.load(asked), outbox)
    assert found == {"gate": both, "yard": None}
    kafka = {"VIGIL_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092"}
    found = _questions(environment.load(asked | kafka), outbox)
    assert found == {"gate": both, "yard": fire}


@pytest.mark.parametrize("url", ["redis://h/abc", "redis://h/1/2", "redis://:s3cret@h:port/0"])
def test_an_address_of_no_database_is_refused_by_the_settings_without_its_value(url: str) -> None:
    """redis-py#4308, redis-py#728: database 12 for /1/2, and `check` found nothing."""
    with pytest.raises(Exception, match=r"^VIGIL_REDIS__URL: expected") as caught:
        environment.load(GATE | {"VIGIL_REDIS__URL": url})
    assert "s3cret" not in str(caught.value)
    assert url not in str(caught.value)


def test_authorities_are_refused_where_there_is_no_tls() -> None:
    with pytest.raises(Exception, match="VIGIL_REDIS__CA_FILE: expected rediss://"):
        environment.load(GATE | {"VIGIL_REDIS__CA_FILE": "/ca.pem"})
