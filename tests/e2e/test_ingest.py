"""An RTSP camera and a file, `vigil ingest`, a real broker that goes away, a worker's source."""

import re
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline.sources.kafka import KafkaSource
from pipeline.types import Frame
from tests.e2e.conftest import StartWorker, WorkerProcess
from tests.pipeline.sources.clips import FPS, NUM_MOMENTS, clip, index_of, moment
from tests.pipeline.sources.topics import (
    config,
    dead_letters,
    source_of,
    wait_until,
)
from tests.servers.kafka import KafkaBroker, create_topic
from tests.servers.rtsp import StartCamera

SIZE_PX = (360, 640)
PASSWORD = "ca:na@ry%pass"


def still(path: Path) -> Path:
    """A file that shows one picture, each time coded by itself."""
    picture = moment(0, height_px=SIZE_PX[0], width_px=SIZE_PX[1])
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg", rate=FPS)
        stream.height, stream.width = SIZE_PX
        stream.pix_fmt = "yuvj420p"
        for _ in range(4 * FPS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def number(ingest: WorkerProcess, metric: str, **labels: str) -> float:
    """The sum of a counter's series with these labels."""
    found = re.findall(rf"^{metric}(?:_total)?(?:{{(.*)}})? (\S+)$", ingest.get("/metrics"), re.M)
    return sum(
        float(value)
        for its, value in found
        if all(f'{key}="{word}"' in its for key, word in labels.items())
    )


def seconds_of(records: list[Any], camera_id: str) -> list[float]:
    """When a camera's records were captured, each moment once, in the order of the topic."""
    moments = [
        int(dict(one.headers)["captured-at"]) / 1000
        for one in records
        if one.key == camera_id.encode()
    ]
    return list(dict.fromkeys(moments))


def until(source: KafkaSource, holds: Callable[[list[Frame]], bool]) -> list[Frame]:
    frames: list[Frame] = []
    try:
        for frame in source.frames():
            frames.append(frame)
            if holds(frames):
                break
            assert len(frames) < 200, "in vain"
    finally:
        source.close()
    return frames


def test_cameras_reach_kafka_and_nothing_sampled_is_lost(
    tmp_path: Path,
    rtsp_camera: StartCamera,
    new_kafka_broker: Callable[[], KafkaBroker],
    start_worker: StartWorker,
) -> None:
    broker = new_kafka_broker()
    topic = "frames"
    create_topic(broker.bootstrap, topic)
    create_topic(broker.bootstrap, f"{topic}-dead")
    yard = rtsp_camera(
        clip(tmp_path / "yard.mp4", seconds=8, gop_s=1, size_px=SIZE_PX),
        user="admin",
        password=PASSWORD,
        gop_s=1,
    )
    ingest = start_worker(
        "ingest",
        VIGIL_CAMERAS__YARD__URL=yard.with_credentials(f"admin:{PASSWORD}"),
        VIGIL_CAMERAS__YARD__PRIVATE="0,0,0.25,1",
        VIGIL_CAMERAS__GATE__URL=str(still(tmp_path / "gate.avi")),
        VIGIL_CAMERAS__GATE__LOOP="true",
        VIGIL_KAFKA__BOOTSTRAP_SERVERS=broker.bootstrap,
        VIGIL_KAFKA__TOPIC=topic,
        VIGIL_PRUNER__FROZEN_AFTER="4s",
        VIGIL_INGEST__WHOLE_EVERY="3s",
        VIGIL_RTSP__RETRY_CAP="1s",
    )
    told: list[tuple[str, str]] = []
    frames = until(
        source_of(
            config(broker.bootstrap, topic),
            tell=lambda camera_id, reason, detail: (
                told.append((camera_id, reason)) if detail else None
            ),
        ),
        lambda seen: (
            sum(frame.camera_id == "yard" for frame in seen) > 6
            and ("gate", "identical_frames") in told
        ),
    )
    of_yard = [frame for frame in frames if frame.camera_id == "yard"]
    assert not of_yard[0].pixels[:, : of_yard[0].grid.width_px // 5].any(), "private"
    shown = [frame.pixels[:, frame.grid.width_px // 2 :] for frame in of_yard]
    off_s = []  # by how much two pictures are further apart than their moments
    for (one, before), (other, after) in pairwise(zip(of_yard, shown, strict=True)):
        passed_s = (other.captured_at - one.captured_at).total_seconds()
        moved_s = (index_of(after) - index_of(before)) % NUM_MOMENTS / FPS
        off_s.append((moved_s - passed_s + 4) % (NUM_MOMENTS / FPS) - 4)
    # the camera's clock is learned from the first pictures, which come in a burst
    assert max(map(abs, off_s[1:])) <= 0.5, f"each is the picture of its moment: {off_s}"
    assert number(ingest, "vigil_ingest_records", camera="gate", kind="unchanged") >= 3
    assert number(ingest, "vigil_ingest_records", camera="gate", kind="picture") >= 2
    assert "libtorch" not in ingest.maps

    broker.stop()
    away_s = time.time()
    wait_until(lambda: number(ingest, "vigil_ingest_waiting") >= 8)
    wait_until(lambda: '"publishing_failed"' in ingest.log, timeout_s=40)
    sampled = number(ingest, "vigil_ingest_records", camera="yard")
    ingest.kill()
    killed_s = time.time()
    ingest.start()
    wait_until(lambda: ingest.log.count('"worker_started"') == 2)
    wait_until(lambda: number(ingest, "vigil_ingest_records", camera="yard") >= 3)
    broker.start()
    wait_until(lambda: number(ingest, "vigil_publishing_up") == 1, timeout_s=60)
    wait_until(lambda: number(ingest, "vigil_ingest_waiting") <= 3)
    assert number(ingest, "vigil_ingest_dropped") == 0
    moments = seconds_of(dead_letters(broker.bootstrap, topic), "yard")
    assert moments == sorted(moments)
    gapless = [moment for moment in moments if moment < killed_s]
    assert len(gapless) >= sampled
    gaps_s = [b - a for a, b in pairwise(gapless)]
    assert max(gaps_s) < 2.5, "the first is up to 1.5 s, to the next key frame"
    assert sorted(gaps_s)[len(gaps_s) // 2] < 1.2, "a picture a second, broker or not"
    assert [moment for moment in gapless if moment > away_s + 1]
    assert ingest.stop() == 0
    for part in (PASSWORD, "ca%3Ana%40ry%25pass", "na@ry"):
        assert part not in ingest.log


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "VIGIL_CAMERAS__<ID>__URL: expected at least one camera with an address"),
        (
            {"VIGIL_CAMERAS__GATE__URL": "gate.mp4"},
            "VIGIL_KAFKA__BOOTSTRAP_SERVERS: expected the brokers to send to",
        ),
        (
            {"VIGIL_CAMERAS__GATE__URL": "gate.mp4", "VIGIL_CAMERAS__GATE__LIVE": "false"},
            "VIGIL_CAMERAS__GATE__LIVE: expected true, since vigil ingest sends pictures when",
        ),
        ({"VIGIL_INGEST__QUALITY": "101"}, "VIGIL_INGEST__QUALITY: expected"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(
    start_worker: StartWorker, variables: dict[str, str], said: str
) -> None:
    ingest = start_worker("ingest", **variables)
    assert ingest.wait() == 2
    assert f"vigil: {said}" in ingest.log
