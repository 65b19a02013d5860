"""A real Sentinel over a real master and its replica."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers.redis import RedisServer, StartRedis, free_port

SOON_S = 20.0
SERVICE = "cameras"


@dataclass(frozen=True)
class Watched:
    """Two servers, one after the other the master, and the sentinel that says which.

    Attributes:
        url: as Vigil writes it, with the password of the servers.
        master: the one that is the master at first.
        replica: the one that is to follow it.
    """

    url: str
    master: RedisServer
    replica: RedisServer
    sentinel: redis.Redis

    def fail_over(self) -> None:
        """Kill the master; return once the sentinel names the other one."""
        self.master.kill()
        end_s = time.monotonic() + SOON_S
        named: Any = None
        while named is None or int(named[1]) != self.replica.port:
            named = self.sentinel.sentinel_get_master_addr_by_name(SERVICE)
            assert time.monotonic() < end_s, "the sentinel does not fail over"
            time.sleep(0.05)


@pytest.fixture
def watched_redis(
    start_redis: StartRedis, redis_executable: str, tmp_path: Path
) -> Iterator[Watched]:
    """Start a master, a replica and a sentinel that asks for a password too."""
    master = start_redis(password="p")
    of = {"replicaof": f"127.0.0.1 {master.port}", "masterauth": "p"}
    replica = start_redis(password="p", options=of)
    port = free_port()
    settings = tmp_path / "sentinel.conf"
    settings.write_text(
        f"port {port}\nbind 127.0.0.1\nrequirepass of-sentinel\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 1\n"
        f"sentinel auth-pass {SERVICE} p\n"
        f"sentinel down-after-milliseconds {SERVICE} 300\n"
        f"sentinel failover-timeout {SERVICE} 2000\n"
    )
    running = subprocess.Popen(
        [redis_executable, str(settings), "--sentinel"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    sentinel = redis.Redis(port=port, password="of-sentinel", decode_responses=True)
    url = f"redis+sentinel://:p@127.0.0.1:1,127.0.0.1:{port}/{SERVICE}/0"
    try:
        _until(lambda: sentinel.sentinel_slaves(SERVICE))
        with replica.client() as client:
            _until(lambda: client.info("replication")["master_link_status"] == "up")
        yield Watched(f"{url}?sentinel_password=of-sentinel", master, replica, sentinel)
    finally:
        sentinel.close()
        running.kill()
        running.wait()


def _until(holds: Callable[[], object]) -> None:
    end_s = time.monotonic() + SOON_S
    while time.monotonic() < end_s:
        with suppress(redis.RedisError, KeyError):
            if holds():
                return
        time.sleep(0.05)
    raise AssertionError("sentinel and replica do not find their master")
