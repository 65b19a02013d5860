"""Commands by a real Redis: a worker's questions change while it runs, and are kept there."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from model.errors import InputError
from model.types import Answer, Question
from pipeline.clock import SystemClock
from pipeline.control import Control
from pipeline.event_machines import EventMachines
from pipeline.event_states import state_name
from pipeline.events import EventRule
from pipeline.metrics import VISITS
from pipeline.outbox import Outbox
from pipeline.publishers.redis_scripts import COMMANDS, CONTROL_COMMANDS
from pipeline.questions import StandingQuestion
from pipeline.status import StatusBoard
from pipeline.visits import Visits
from tests.fakes import Recorder, ScriptedEngine
from tests.servers.redis import RedisServer, StartRedis
from tests.worker.supervised import until
from worker import controlling, environment
from worker.controlling import BURST, Controlling
from worker.questions import standing_questions
from worker.wiring import build

CLOCK = SystemClock()
SITE = {
    "VIGIL_CAMERAS__GATE__URL": "rtsp://10.0.0.5/stream",
    "VIGIL_CAMERAS__YARD__URL": "rtsp://10.0.0.6/stream",
    "VIGIL_QUESTIONS__FIRE__ASK": "Is there fire?",
    "VIGIL_QUESTIONS__FIRE__ENTER": "0.8",
    "VIGIL_CONTROL": "on",
}


class Worker:
    """What takes commands, with a thread in the inference thread's place."""

    def __init__(
        self, url: str, *, worker_id: str = "w", cameras: str = "gate", refused: str = "<image>"
    ) -> None:
        self.settings = environment.load(
            SITE | {"VIGIL_REDIS__URL": url, "VIGIL_WORKER_ID": worker_id}
        )
        self.control = Control(standing_questions(self.settings), is_on=True)
        self.status = StatusBoard(lambda _message: None, clock=CLOCK)
        for camera_id in cameras.split():
            self.status.set(camera_id, "online")
        self.observer = Recorder()
        self.refused = refused
        self.controlling = Controlling(
            self.settings,
            self.control,
            status=self.status,
            visits=Visits(clock=CLOCK, observer=self.observer),
            clock=CLOCK,
        )
        self.refreshed: set[str] = set()

    def check(self, question: Question) -> None:
        if self.refused in question.text:
            raise InputError("text: expected words, got a control token")

    @contextmanager
    def serving(self) -> Iterator["Worker"]:
        self.controlling.begin(self.check)
        stop = Event()

        def infer() -> None:
            while not stop.wait(0.01):
                self.control.judge(self.check)
                self.refreshed |= self.control.take()[1]

        threads = [Thread(target=infer), Thread(target=lambda: self.controlling.serve(stop))]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)
                assert not thread.is_alive()

    def asked(self) -> dict[str, str]:
        return {one.id: one.question.text for one in self.control.now.questions[1:]}

    def threshold(self, question_id: str = "fire") -> float:
        rules = {one.id: one.rule for one in self.control.now.questions}
        rule = rules[question_id]
        assert rule is not None
        return rule.enter


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controlling, "WAIT_S", 0.05)


@pytest.fixture
def command(client: redis.Redis) -> Callable[..., list[dict[str, Any]]]:
    """Send a command; return what so many workers acknowledge."""

    def send(num_acks: int = 1, **fields: str) -> list[dict[str, Any]]:
        command_id: Any = client.xadd("vigil:control", fields)  # type: ignore[arg-type]  # words
        found: list[dict[str, Any]] = []

        def acks() -> bool:
            entries: Any = client.xrange("vigil:control:acks")
            told = [json.loads(entry["ack"]) for _, entry in entries]
            found[:] = [one for one in told if one["command"] == command_id]
            return len(found) >= num_acks

        until(acks)
        return found

    return send


Send = Callable[..., list[dict[str, Any]]]


def kept(client: redis.Redis) -> dict[str, Any]:
    found: Any = client.hgetall("vigil:questions")
    names = [name for name in found if ":" in name]
    return {name: json.loads(found[name]) for name in names}


def test_a_question_is_changed_over_the_environment_and_told_with_all_that_is_in_effect(
    redis_url: str, client: redis.Redis, command: Send
) -> None:
    with Worker(redis_url).serving() as worker:
        [ack] = command(do="change", question="fire", ask="Is there smoke?", enter="90%")
        assert worker.asked() == {"fire": "Is there smoke?"}
        assert worker.threshold() == 0.9
        assert (ack["worker_id"], ack["do"], ack["question"]) == ("w", "change", "fire")
        assert (ack["settings"]["ask"], ack["settings"]["enter"]) == ("Is there smoke?", "0.9")
        assert ack["settings"]["exit"] == "0.4"
        assert (ack["changed"], ack["cameras"]) == (["ask", "enter"], ["gate"])
        command(do="change", question="fire", every="10s")
        assert worker.control.now.changed == {"fire": ("ask", "enter", "every")}
        [ack] = command(do="reset", question="fire")
        assert (ack["settings"]["ask"], ack["changed"]) == ("Is there fire?", [])
        assert worker.threshold() == 0.8
        assert kept(client) == {}
        assert worker.observer.total(VISITS, what="command", outcome="done") == 3


def test_questions_come_and_go_and_are_paused(
    redis_url: str, client: redis.Redis, command: Send
) -> None:
    with Worker(redis_url).serving() as worker:
        command(do="put", question="cars", ask="How many cars?", kind="count", cameras="gate")
        assert worker.asked() == {"fire": "Is there fire?", "cars": "How many cars?"}
        command(do="pause", question="cars")
        [cars] = [one for one in worker.control.now.questions if one.id == "cars"]
        assert cars.is_paused
        command(do="remove", question="fire")
        assert worker.asked() == {"cars": "How many cars?"}
        assert set(kept(client)) == {"question:cars", "question:fire"}
        command(do="reset", question="fire")
        command(do="reset", question="cars")
        assert worker.asked() == {"fire": "Is there fire?"}


def test_a_camera_is_paused_resumed_and_refreshed_by_the_worker_that_has_it(
    redis_url: str, client: redis.Redis, command: Send
) -> None:
    for camera_id, owner in (("gate", "w"), ("yard", "v"), ("hall", "gone")):
        client.hset("vigil:cameras", camera_id, json.dumps({"owner": owner}))
    client.mset({"vigil:worker:v": "{}", "vigil:worker:w": "{}"})
    with (
        Worker(redis_url).serving() as one,
        Worker(redis_url, worker_id="v", cameras="yard").serving() as other,
    ):
        [ack] = command(do="pause", camera="yard")
        assert (ack["worker_id"], ack["camera"], ack["paused"]) == ("v", "yard", True)
        until(lambda: one.control.is_paused("yard") and other.control.is_paused("yard"))
        command(do="refresh", camera="gate")
        until(lambda: "gate" in one.refreshed)
        assert "gate" in one.refreshed
        [ack] = command(do="pause", camera="hall")
        assert ack["refused"] == "unknown_camera"
        assert ack["detail"] == "camera: expected one of gate, yard"
        [ack] = command(do="resume", camera="yard")
        assert ack["paused"] is False
        until(lambda: not one.control.is_paused("yard"))
        assert kept(client) == {}


def test_every_worker_says_what_is_in_effect_on_its_cameras(redis_url: str, command: Send) -> None:
    with (
        Worker(redis_url).serving(),
        Worker(redis_url, worker_id="v", cameras="yard hall").serving() as other,
    ):
        acks = command(2, do="change", question="fire", enter="0.6")
        assert {one["worker_id"]: one["cameras"] for one in acks} == {
            "w": ["gate"],
            "v": ["hall", "yard"],
        }
        assert other.threshold() == 0.6


def test_what_was_changed_outlives_a_restart_and_is_there_for_whoever_comes(
    redis_url: str, client: redis.Redis, command: Send
) -> None:
    with Worker(redis_url).serving():
        command(do="change", question="fire", enter="0.6")
        command(do="pause", camera="gate")
        command(do="change", question="fire", exit="-1")
    later = Worker(redis_url, worker_id="v")
    later.controlling.begin(later.check)
    assert later.threshold() == 0.6
    assert later.control.is_paused("gate")
    with later.serving():
        num_acks = client.xlen("vigil:control:acks")
        command(do="resume", camera="gate")
        assert client.xlen("vigil:control:acks") == num_acks + 1, "none is taken twice"


def test_a_redis_that_was_emptied_is_given_back_what_was_changed(
    redis_url: str, client: redis.Redis, command: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controlling, "LOOK_EVERY_S", 0.2)
    with Worker(redis_url).serving() as worker:
        command(do="change", question="fire", enter="0.6")
        before = kept(client)
        client.flushall()
        until(lambda: kept(client) == before)
        assert worker.threshold() == 0.6
        [ack] = command(do="change", question="fire", exit="0.3")
        assert ack["changed"] == ["enter", "exit"]


@pytest.mark.parametrize(
    ("fields", "reason", "words"),
    [
        ({"do": "explode"}, "malformed", "do: expected one of put, change, remove, reset, pause"),
        ({"do": "change", "question": "fire", "enter": "high"}, "malformed", "enter: expected"),
        (
            {"do": "change", "question": "fire", "exit": "0.9"},
            "malformed",
            "exit: expected at most",
        ),
        ({"do": "change", "question": "smoke", "enter": "1"}, "unknown_question", "one of fire"),
        ({"do": "put", "question": "smoke"}, "malformed", "ask: expected the question in plain"),
        ({"do": "put", "question": "a__b", "ask": "?"}, "malformed", "no such setting"),
        ({"do": "put", "question": "caption", "ask": "?"}, "malformed", "captions are built in"),
        (
            {"do": "put", "question": "smoke", "ask": "?", "cameras": "gate,nowhere"},
            "unknown_camera",
            "cameras: expected ids of known cameras (gate, yard)",
        ),
        ({"do": "pause", "camera": "nowhere"}, "unknown_camera", "camera: expected one of gate"),
        ({"do": "pause", "camera": "gate", "question": "fire"}, "malformed", "got question and"),
        ({"do": "refresh", "question": "fire"}, "malformed", "refresh: expected camera"),
        ({"do": "put", "question": "x", "ask": "<image>?"}, "malformed", "ask: expected words"),
        ({"do": "put", "question": "x", "ask": "y" * 2001}, "malformed", "at most 2000 char"),
        ({"do": "pause", "camera": "gate", "version": "2"}, "other_version", "expected 1, got '2'"),
        (
            {"do": "put", "camera": "gate", "url": "rtsp://user:s3cret@10.0.0.9/"},
            "malformed",
            "got 'url'; a camera's address is the environment's alone",
        ),
    ],
)
def test_bad_input_is_answered_in_words_and_nothing_changes(
    fields: dict[str, str],
    reason: str,
    words: str,
    redis_url: str,
    client: redis.Redis,
    command: Send,
) -> None:
    with capture_logs() as lines, Worker(redis_url).serving() as worker:
        before = worker.control.now
        [ack] = command(**fields)
        assert ack["refused"] == reason
        assert words in ack["detail"]
        assert worker.control.now is before
        assert kept(client) == {}
    assert "s3cret" not in f"{lines} {ack}"


def test_an_old_command_is_refused(redis_url: str, client: redis.Redis) -> None:
    client.xadd("vigil:control", {"do": "remove", "question": "fire"}, id="1700000000000-0")
    with Worker(redis_url).serving() as worker:
        until(lambda: client.xlen("vigil:control:acks"))
        found: Any = client.xrange("vigil:control:acks")
        [(_, entry)] = found
        assert json.loads(entry["ack"])["refused"] == "too_late"
        assert worker.asked() == {"fire": "Is there fire?"}


def test_a_flood_is_refused_by_rate_and_told(redis_url: str, client: redis.Redis) -> None:
    num_sent = 3 * BURST
    with Worker(redis_url).serving() as worker:
        pipe = client.pipeline()
        for _ in range(num_sent):
            pipe.xadd("vigil:control", {"do": "refresh", "camera": "gate"})
        pipe.execute()
        until(lambda: client.xlen("vigil:control:acks") == num_sent)
        refused = worker.observer.total(VISITS, what="command", outcome="too_many")
        done = worker.observer.total(VISITS, what="command", outcome="done")
        assert done + refused == num_sent
        assert BURST <= done <= BURST + 10


def test_what_another_version_has_kept_is_left_alone_and_nothing_is_changed_there(
    redis_url: str, client: redis.Redis, command: Send
) -> None:
    theirs: dict[Any, Any] = {"format": "7", "question:fire": "?"}
    client.hset("vigil:questions", mapping=theirs)
    with Worker(redis_url).serving() as worker:
        [ack] = command(do="remove", question="fire")
        assert ack["refused"] == "other_version"
        assert worker.asked() == {"fire": "Is there fire?"}
    assert client.hgetall("vigil:questions") == theirs


def test_what_cannot_be_read_or_asked_is_passed_over_and_the_rest_holds(
    redis_url: str, client: redis.Redis
) -> None:
    order = {"at": "1-1", "do": "put", "paused": False}
    client.hset(
        "vigil:questions",
        mapping={
            "format": "1",
            "question:fire": "{broken",
            "question:smoke": json.dumps(order | {"settings": {"ask": "<image>?"}}),
            "question:cars": json.dumps(order | {"settings": {"ask": "Any cars?"}}),
            "question:dogs": json.dumps(order | {"settings": {"ask": "Dogs?", "enter": "7"}}),
        },
    )
    with capture_logs() as lines:
        worker = Worker(redis_url)
        worker.controlling.begin(worker.check)
    assert worker.asked() == {"fire": "Is there fire?", "cars": "Any cars?"}
    told = {one["item"] for one in lines if one["event"] == "control_passed_over"}
    assert told == {"question:fire", "question:smoke", "question:dogs"}


def test_without_redis_the_environment_is_asked_and_that_is_told_until_it_is_back(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controlling, "START_S", 0.1)
    monkeypatch.setattr(controlling, "LOOK_EVERY_S", 0.2)
    server = start_redis(is_persistent=True)
    with redis.Redis(port=server.port, decode_responses=True) as client:
        order = {"at": "1-1", "do": "change", "settings": {"enter": "0.6"}, "paused": False}
        client.hset("vigil:questions", mapping={"format": "1", "question:fire": json.dumps(order)})
    server.kill()
    worker = Worker(server.url)
    with capture_logs() as lines, worker.serving():
        assert worker.threshold() == 0.8
        assert "control_unknown" in [one["event"] for one in lines]
        server.start()
        until(lambda: worker.threshold() == 0.6, limit_s=20)


def test_the_rights_that_are_listed_are_enough(
    start_redis: StartRedis,
) -> None:
    server: RedisServer = start_redis()
    with redis.Redis(port=server.port, decode_responses=True) as client:
        rights = {*COMMANDS, *CONTROL_COMMANDS}
        client.acl_setuser(
            "vigil",
            enabled=True,
            passwords=["+pw"],
            keys=["vigil:*"],
            commands=[f"+{name}" for name in sorted(rights)],
        )
        url = f"redis://vigil:pw@127.0.0.1:{server.port}/0"
        with Worker(url).serving() as worker:
            client.xadd("vigil:control", {"do": "change", "question": "fire", "enter": "0.6"})
            until(lambda: worker.threshold() == 0.6)
            until(lambda: client.xlen("vigil:control:acks") == 1)


class OnCpu(ScriptedEngine):
    """A script where a worker's model would be."""

    is_on_cpu = True


def test_a_worker_begins_with_what_was_changed_and_its_open_event_goes_on(
    redis_url: str, command: Send, tmp_path: Path
) -> None:
    with Worker(redis_url, cameras="gate yard").serving():
        command(do="change", question="fire", ask="Is there smoke?")
        command(do="pause", camera="yard")
    settings = environment.load(
        SITE
        | {"VIGIL_REDIS__URL": redis_url, "VIGIL_OUTBOX__PATH": str(tmp_path / "outbox.sqlite")}
    )
    rule = EventRule(confirm_n=1, confirm_m=1)
    smoke = StandingQuestion("fire", Question("yes_no", "Is there smoke?"), 5.0, rule=rule)
    machines = EventMachines(
        [smoke], states={}, may_come=lambda _one: True, forget_after_s=600.0, clock=CLOCK
    )
    machines.step("gate", smoke, p=0.9, answer="yes", at=CLOCK.now(), stream_s=0.0)
    outbox = Outbox(tmp_path / "outbox.sqlite", max_bytes=1 << 20)
    outbox.put([], states=machines.take_changes())
    outbox.close()
    worker = build(settings, clock=CLOCK, engine=OnCpu(lambda _c, q: Answer(q.kind, "no", 0.1, 0)))
    try:
        runner = worker.new_runner()
        runner.step()
        assert list(worker.outbox.load_states()) == [state_name("gate", smoke)]
        assert worker.serve.keys() == {"visits", "control"}
    finally:
        worker.outbox.close()
    asked = [one.question.text for one in runner._control.now.questions]
    assert asked == ["", "Is there smoke?"]
    assert runner._control.is_paused("yard")
