"""Many workers, one system: three of them share twelve cameras while everything around them fails.

It is run by itself, for two minutes (`tests/check`) or longer: what a takeover costs the cameras of
others can be told where nothing else takes the processors.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.chaos.faults import Timeline
from tests.chaos.monitor import Monitor
from tests.chaos.reader import Listener, StreamReader
from tests.chaos.test_chaos import SETTLED_WITHIN_S, open_events, running
from tests.chaos.truth import Span
from tests.chaos.worker_process import WorkerProcess, now_ms
from tests.servers.kafka import KafkaBroker, create_topic
from tests.servers.redis import StartRedis, free_port
from tests.workers import member
from tests.workers.judges import judge
from tests.workers.options import LONG_FROM_MINUTES
from tests.workers.plan import Plan, disturbed
from tests.workers.record import Record, Sighting
from tests.workers.site import (
    ASKED,
    CAMERAS,
    NUM_CAMERAS,
    PICTURES_A_SECOND,
    QUESTION,
    Cameras,
    scripted,
)

TOPIC = "frames"
WINDOW_S = 60.0
SHORT_SESSION_S, USUAL_SESSION_S = 6.0, 20.0
WORKERS = ("one", "two", "three")

SETTINGS = {
    "VIGIL_MODEL__PATH": "nano",
    "VIGIL_MODEL__DEVICE": "cpu",
    "VIGIL_MODEL__THREADS": "1",
    "VIGIL_MODEL__MAX_TOKENS_PER_FRAME": "72",
    "VIGIL_WINDOW": f"{WINDOW_S:g}s",
    "VIGIL_LOAD__MAX_AGE": "60s",  # a backlog after a takeover is worked off, not left out
    "VIGIL_CAPTION_EVERY": "30s",
    "VIGIL_REDIS__HEARTBEAT": "1s",
    "VIGIL_KAFKA__TOPIC": TOPIC,
    "VIGIL_RTSP__RETRY_BASE": "200ms",
    "VIGIL_RTSP__RETRY_CAP": "1s",
    f"VIGIL_QUESTIONS__{QUESTION.upper()}__EVERY": "1s",
    f"VIGIL_QUESTIONS__{QUESTION.upper()}__CONFIRM": "2/3",
    f"VIGIL_QUESTIONS__{QUESTION.upper()}__COOLDOWN": "0",
}


@pytest.mark.usefixtures("every_socket_is_closed")
def test_a_camera_keeps_its_events_numbers_and_window_whoever_watches_it(
    start_redis: StartRedis,
    new_kafka_broker: Callable[[], KafkaBroker],
    tmp_path: Path,
    workers_minutes: float,
    workers_model: member.Model,
    chaos_seed: int,
    chaos_found: list[str],
) -> None:
    chaos_found.append(f"workers: --chaos-seed {chaos_seed}, {workers_minutes:g} minutes")
    is_long = workers_minutes >= LONG_FROM_MINUTES
    session_s = USUAL_SESSION_S if is_long else SHORT_SESSION_S
    server, broker = start_redis(is_persistent=True), new_kafka_broker()
    create_topic(broker.bootstrap, TOPIC, num_partitions=NUM_CAMERAS)
    create_topic(broker.bootstrap, f"{TOPIC}-dead-letter")
    ports = {worker_id: free_port() for worker_id in WORKERS}
    workers = {
        worker_id: WorkerProcess(
            member.main,
            session_s,
            workers_model,
            {
                **SETTINGS,
                **settings_for(workers_model),
                "VIGIL_REDIS__URL": server.url,
                "VIGIL_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
                "VIGIL_WORKER_ID": worker_id,
                "VIGIL_OUTBOX__PATH": str(tmp_path / f"{worker_id}.sqlite"),
                "VIGIL_HEALTH__PORT": str(ports[worker_id]),
            },
        )
        for worker_id in WORKERS
    }
    monitors = {worker_id: Monitor(workers[worker_id], ports[worker_id]) for worker_id in WORKERS}
    reader = StreamReader(server.client, camera_ids=CAMERAS)
    listener, timeline = Listener(server.client), Timeline()
    plan = Plan(
        seconds=60 * workers_minutes,
        first=(WORKERS[0], WORKERS[1]),
        third=WORKERS[2],
        workers=workers,
        broker=broker,
        redis=server,
        timeline=timeline,
        session_s=session_s,
    )
    begin_ms = now_ms()
    try:
        with timeline.during("begin"):
            for worker_id in plan.first:
                workers[worker_id].start()
        within = Span(now_ms() + 5_000, now_ms() + 1000 * plan.seconds)
        truth = scripted(chaos_seed, within=within)
        cameras = Cameras(broker.bootstrap, TOPIC, truth=truth, model=workers_model)
        watching = [monitor.watch for monitor in monitors.values()]
        with running(reader.follow, listener.listen, cameras.send, *watching):
            plan.play()
            settle(reader, within.end_ms)
            with server.client() as client:
                shown = owners_in(client)
        for worker_id in plan.first:
            workers[worker_id].stop()
        with server.client() as client:
            reader.absorb(client)
    finally:
        chaos_found += timeline.told(begin_ms=begin_ms)
        for worker in workers.values():
            worker.close()
    record = Record(
        truth=truth,
        timeline=timeline,
        lives={worker_id: worker.lives for worker_id, worker in workers.items()},
        entries=reader.entries,
        heard=listener.heard,
        sightings=sightings_of(monitors),
        fenced={worker_id: fenced(monitor) for worker_id, monitor in monitors.items()},
        shown=shown,
        running=plan.first,
        resumed=plan.resumed,
        first_ms=cameras.first_ms,
        window_s=WINDOW_S,
        disturbed=disturbed(timeline),
        is_long=is_long,
    )
    record.keep(tmp_path)
    verdict = judge(record)
    chaos_found.append(f"workers: {verdict.figures}")
    broken = [*reader.wrong, *verdict.broken]
    assert not broken, "\n".join([f"--chaos-seed {chaos_seed}", *broken[:200]])


def settings_for(model: member.Model) -> dict[str, str]:
    return {
        f"VIGIL_QUESTIONS__{QUESTION.upper()}__ASK": ASKED[model],
        "VIGIL_SAMPLE_FPS": str(PICTURES_A_SECOND[model]),
    }


def settle(reader: StreamReader, over_ms: float) -> None:
    """Wait until what truly was is over, and told to its end; one without is for the judge."""
    end_s = time.monotonic() + SETTLED_WITHIN_S
    while time.monotonic() < end_s and (now_ms() < over_ms + 3_000 or open_events(reader)):
        time.sleep(0.2)
    time.sleep(2.0)


def owners_in(client: redis.Redis) -> dict[str, str]:
    """Return the worker whose status each camera's hash holds, where it is online."""
    found = {}
    for camera_id in CAMERAS:
        said = client.hget(f"vigil:{camera_id}:state", "status")
        data = json.loads(str(said))["data"] if said else {}
        if data.get("state") == "online":
            found[camera_id] = data["worker_id"]
    return found


def sightings_of(monitors: dict[str, Monitor]) -> list[Sighting]:
    """Return what each worker said of its cameras, whenever it was looked at."""
    return [
        Sighting(
            sample.at_ms,
            worker_id,
            {name: one["state"] for name, one in sample.status["cameras"].items()},
        )
        for worker_id, monitor in monitors.items()
        for sample in monitor.samples
    ]


def fenced(monitor: Monitor) -> float:
    """Return how often a worker was told that its term is over, in all of its lives."""
    counted: dict[int, float] = {}
    for sample in monitor.samples:
        mine = sum(value for key, value in sample.series.items() if "fenced" in " ".join(key))
        counted[sample.life] = max(mine, counted.get(sample.life, 0))
    return sum(counted.values())
