"""`vigil erase`, over a real Redis that has pictures and messages of two cameras."""

from collections.abc import Iterator

import pytest
import redis

from pipeline.outbox import Outbox
from pipeline.publishers.redis import Keeping
from pipeline.publishers.redis_evidence import Shelf
from tests.pipeline.publishers.lane import Lane, entries, message
from tests.pipeline.publishers.test_redis_evidence import SIZE_BYTES, pictured
from tests.servers.redis import RedisServer
from worker.__main__ import main


@pytest.fixture
def client(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """Two cameras have pictures and messages; an ask about each has been put."""
    monkeypatch.setenv("VIGIL_REDIS__URL", redis_url)
    outbox = Outbox(None, max_bytes=1 << 20)
    lane = Lane(redis_url, outbox, keeping=Keeping(shelf=Shelf(60.0, 1 << 20)))
    lane.put(
        pictured("e1"),
        message("caption", "?"),
        pictured("e2", camera_id="gate-2"),  # whose name begins as the other's
        message("caption", "?", camera_id="gate-2"),
    )
    lane.deliver()
    lane.publisher.close()
    outbox.close()
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        for camera_id in ("gate", "gate-2"):
            client.xadd("vigil:asks", {"id": "i", "camera": camera_id, "question": "?"})
            client.hset("vigil:cameras", camera_id, '{"owner": "worker-a"}')
        yield client


def keys_of(client: redis.Redis, camera_id: str) -> list[str]:
    return sorted(client.scan_iter(f"vigil:{camera_id}:*"))


def test_a_cameras_pictures_and_messages_go_and_no_others(
    client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    others = keys_of(client, "gate-2")
    assert main(["erase", "--camera", "gate", "--yes"]) == 0
    assert capsys.readouterr().out == "gate: erased 2 pictures and 2 messages in 6 keys\n"
    assert keys_of(client, "gate") == []
    assert keys_of(client, "gate-2") == others
    assert client.hkeys("vigil:cameras") == ["gate-2"]
    assert [one["camera"] for one in entries(client, "vigil:asks")] == ["gate-2"]
    assert client.zrange("vigil:evidence", 0, -1) == [one for one in others if "evidence" in one]
    assert client.hget("vigil:evidence:sizes", "total") == str(2 * SIZE_BYTES)
    assert main(["erase", "--camera", "gate", "--yes"]) == 0
    assert capsys.readouterr().out == "gate: nothing is kept\n"


def test_what_its_worker_needs_to_go_on_stays_while_that_lives(
    client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    client.set("vigil:worker:worker-a", "{}")
    assert main(["erase", "--camera", "gate", "--yes"]) == 0
    assert "worker-a watches gate" in capsys.readouterr().err
    assert keys_of(client, "gate") == ["vigil:gate:carry"]
    assert client.hexists("vigil:cameras", "gate")


def test_it_asks_first(
    client: redis.Redis,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = keys_of(client, "gate")
    assert main(["erase", "--camera", "gate"]) == 2  # nobody can be asked
    assert "expected --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    asked: list[str] = []

    def declined(words: str) -> str:
        asked.append(words)
        return "n"

    monkeypatch.setattr("builtins.input", declined)
    assert main(["erase", "--camera", "gate"]) == 2
    assert asked == ["gate: erase 2 pictures and 2 messages in 6 keys? [y/N] "]
    assert keys_of(client, "gate") == there
    monkeypatch.setattr("builtins.input", lambda _words: "y")
    assert main(["erase", "--camera", "gate"]) == 0
    assert keys_of(client, "gate") == []


@pytest.mark.parametrize("camera_id", ["*", "worker", "asks", "Gate"])
def test_what_is_no_camera_is_refused(client: redis.Redis, camera_id: str) -> None:
    there = client.dbsize()
    assert main(["erase", "--camera", camera_id, "--yes"]) == 2
    assert client.dbsize() == there


def test_a_redis_that_is_away_is_told(
    shared_redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shared_redis.port
    monkeypatch.setenv("VIGIL_REDIS__URL", "redis://127.0.0.1:1/0")
    assert main(["erase", "--camera", "gate", "--yes"]) == 1
    assert "unreachable" in capsys.readouterr().err
