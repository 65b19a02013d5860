"""A real RTSP camera in, a real Redis out, the worker a process in between."""

import re
from pathlib import Path

from tests.e2e.conftest import Inbox, StartWorker, WorkerProcess
from tests.servers.rtsp import StartCamera

CANARY = "ca:na@ry%pass"
NUM_TRIES_IN_VAIN = 6  # the pauses between the last of them are the longest there are
QUESTION = {
    "VIGIL_QUESTIONS__PERSON__ASK": "Is a person in view?",
    "VIGIL_QUESTIONS__PERSON__EVERY": "2s",
    "VIGIL_CAPTION_EVERY": "3s",
    "VIGIL_RTSP__RETRY_BASE": "250ms",
    "VIGIL_RTSP__RETRY_CAP": "1s",
}


def states(seen: Inbox, camera_id: str) -> list[str]:
    return [one["state"] for one in seen.on(f"vigil:{camera_id}:status")]


def tries_in_vain(worker: WorkerProcess) -> float:
    """How often the camera c1 could not be reached."""
    counter = r'vigil_camera_failures_total\{camera="c1",reason="unreachable"\} (\S+)'
    return sum(float(number) for number in re.findall(counter, worker.get("/metrics")))


def test_a_camera_is_watched_lost_and_watched_again(
    yard_video: Path,
    rtsp_camera: StartCamera,
    redis_url: str,
    inbox: Inbox,
    start_worker: StartWorker,
) -> None:
    camera = rtsp_camera(yard_video, user="admin", password=CANARY, gop_s=1)
    port = camera.url.split(":")[2].split("/")[0]
    worker = start_worker(
        **QUESTION,
        VIGIL_CAMERAS__C1__URL=camera.with_credentials(f"admin:{CANARY}"),
        VIGIL_REDIS__URL=redis_url,
    )
    inbox.until(
        lambda seen: len(seen.on("vigil:c1:captions")) >= 2 and seen.on("vigil:c1:answers"),
        limit_s=90,
    )
    answer = inbox.on("vigil:c1:answers")[0]
    assert answer["question_id"] == "person"
    assert answer["answer"] in ("yes", "no", "unknown")
    assert 0 <= answer["p"] <= 1
    assert answer["tokens"]["kept"] <= answer["tokens"]["total"]
    caption = inbox.on("vigil:c1:captions")[-1]
    assert caption["tokens"]["kept_ratio"] < 0.7, "the picture hardly changes: most is pruned"

    camera.kill()
    inbox.until(lambda seen: states(seen, "c1")[-1] == "offline", limit_s=30)
    inbox.until(lambda _: tries_in_vain(worker) >= NUM_TRIES_IN_VAIN, limit_s=30)
    captions = len(inbox.on("vigil:c1:captions"))
    rtsp_camera(yard_video, user="admin", password=CANARY, gop_s=1, port=port)
    inbox.until(lambda seen: states(seen, "c1")[-1] == "online", limit_s=30)
    inbox.until(lambda seen: len(seen.on("vigil:c1:captions")) >= captions + 2, limit_s=30)
    assert states(inbox, "c1")[:2] == ["connecting", "online"]
    sequence = [one["seq"] for one in inbox.on("vigil:c1:answers")]
    assert sequence == list(range(1, len(sequence) + 1))

    served = "".join(worker.get(page) for page in ("/metrics", "/status"))
    assert 'vigil_camera_failures_total{camera="c1"' in served
    assert '"demo_model": true' in served
    assert '"event": "demo_model"' in worker.log
    assert worker.stop() == 0
    for part in (CANARY, "ca%3Ana%40ry%25pass", "na@ry"):
        assert part not in worker.log
        assert part not in served
        assert part not in repr(inbox.received)


def test_bad_cameras_say_why_and_leave_a_good_one_alone(
    rtsp_camera: StartCamera,
    black_hole_port: int,
    refused_port: int,
    redis_url: str,
    inbox: Inbox,
    start_worker: StartWorker,
) -> None:
    yard = Path(__file__).resolve().parents[2] / "worker" / "demo" / "yard.mp4"
    locked = rtsp_camera(yard, codec="copy", user="admin", password=CANARY)
    start_worker(
        **QUESTION,
        VIGIL_RTSP__OPEN_TIMEOUT="3s",
        VIGIL_CAMERAS__GOOD__URL=str(yard),
        VIGIL_CAMERAS__GOOD__LOOP="true",
        VIGIL_CAMERAS__LOCKED__URL=locked.with_credentials("admin:wrong"),
        VIGIL_CAMERAS__LOST__URL=f"{locked.with_credentials(f'admin:{CANARY}')}/nowhere",
        VIGIL_CAMERAS__MUTE__URL=f"rtsp://127.0.0.1:{black_hole_port}/stream",
        VIGIL_CAMERAS__GONE__URL=f"rtsp://127.0.0.1:{refused_port}/stream",
        VIGIL_REDIS__URL=redis_url,
    )

    def reason(seen: Inbox, camera_id: str) -> str | None:
        offline = [one for one in seen.on(f"vigil:{camera_id}:status") if one["state"] == "offline"]
        return offline[0]["reason"] if offline else None

    bad = ("locked", "lost", "mute", "gone")
    inbox.until(lambda seen: all(reason(seen, one) for one in bad), limit_s=60)
    assert {one: reason(inbox, one) for one in bad} == {
        "locked": "auth_failed",
        "lost": "not_found",
        "mute": "timeout",
        "gone": "unreachable",
    }
    so_far = len(inbox.on("vigil:good:answers"))
    inbox.until(lambda seen: len(seen.on("vigil:good:answers")) >= so_far + 3, limit_s=30)
    ages = [one["frame_age_ms"] for one in inbox.on("vigil:good:answers")[-3:]]
    assert max(ages) < 2000
    assert CANARY not in repr(inbox.received)
