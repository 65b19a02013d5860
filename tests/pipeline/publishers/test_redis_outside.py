"""Redis as sites run it: a cluster, TLS, behind Sentinel, RESP3, other databases."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from pipeline.errors import ConfigError, PublishError
from pipeline.outbox import Outbox
from pipeline.publishers.redis import MAX_TRIES
from pipeline.publishers.redis_address import read_address, with_authorities
from pipeline.publishers.redis_refusals import REASONS, failure, own_fault
from pipeline.redact import redact
from tests.pipeline.publishers.lane import (
    SOON_S,
    Lane,
    events,
    ids,
    message,
    received,
    subscribed,
)
from tests.servers.certificates import Certificates
from tests.servers.redis import RedisServer, StartRedis, free_port
from tests.servers.sentinel import Watched


def reason_of(tried: Callable[[], object]) -> str:
    with pytest.raises(PublishError) as caught:
        tried()
    return caught.value.reason


def test_a_cluster_is_refused_at_the_start_and_none_of_its_refusals_held_against_a_message(
    start_redis: StartRedis, outbox: Outbox
) -> None:
    """redisson#1207, Jimdo/prometheus_client_php#110, zotero/dataserver#63."""
    server = start_redis(options={"cluster-enabled": "yes"})
    with server.client() as client:  # one node that has all slots
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        end_s = time.monotonic() + SOON_S
        while "cluster_state:ok" not in str(client.execute_command("CLUSTER", "INFO")):
            assert time.monotonic() < end_s
            time.sleep(0.05)
    lane = Lane(server.url, outbox)
    with pytest.raises(ConfigError, match="got a node of a Redis Cluster"):
        lane.publisher.check_server()
    lane.put(message("event"), message("caption"), message("status"))
    for _ in range(MAX_TRIES + 1):
        assert reason_of(lane.drain) == "cluster"
    assert (outbox.num_waiting, outbox.num_set_aside) == (3, 0)
    lane.publisher.close()


def test_a_command_that_is_renamed_away_is_waited_for(
    start_redis: StartRedis, outbox: Outbox
) -> None:
    lane = Lane(start_redis(options={"rename-command": "eval elsewhere"}).url, outbox)
    lane.put(message("event"))
    for _ in range(MAX_TRIES + 1):
        assert reason_of(lane.drain) == "unknown_command"
    assert (outbox.num_waiting, outbox.num_set_aside) == (1, 0)
    lane.publisher.close()


@pytest.mark.parametrize(
    ("said", "reason", "detail"),
    [
        ("NEWWORD what nobody thought of: s3cret", "refused", "newword"),
        ("something went wrong with s3cret", "refused", ""),
        ("CROSSSLOT Keys in request don't hash to the same slot", "cluster", None),
        ("MOVED 3999 127.0.0.1:6381", "cluster", None),
        ("CLUSTERDOWN The cluster is down", "cluster", None),
        ("Error running script (call to f_1): @user_script:3: s3cret", "script_failed", ""),
        ("unknown command 'EVAL', with args beginning with: 'WRONGTYPE'", "unknown_command", ""),
        ("max number of clients reached", "too_many_clients", ""),
        ("WRONGTYPE is the name of a key", "wrong_type", ""),
        ("NOPERM this user has no permissions to run 's3cret'", "not_permitted", ""),
        ("The user executing the script can't publish to the channel", "not_permitted", ""),
        ("ACL failure in script: User vigil has no permissions", "not_permitted", ""),
        ("Error running script: -OOM command not allowed when used memory >", "out_of_memory", ""),
    ],
)
def test_what_is_not_known_to_be_the_messages_fault_is_waited_out_and_named(
    said: str, reason: str, detail: str | None
) -> None:
    refusal = redis.ResponseError(said)
    assert own_fault(refusal) is None
    found = failure(refusal)
    assert found.reason == reason
    assert reason in REASONS
    assert "s3cret" not in str(found)
    if detail is not None:
        assert found.detail == detail


def test_the_run_book_has_every_reason_and_what_to_do() -> None:
    told = (Path(__file__).parents[3] / "deploy" / "README.md").read_text()
    assert {reason for reason in REASONS if f"`{reason}`" not in told} == set()


def test_a_name_that_does_not_resolve_is_named(outbox: Outbox) -> None:
    lane = Lane("redis://u:s3cret@redis.invalid:6379/0", outbox)
    lane.put(message("event"))
    with pytest.raises(PublishError) as caught:
        lane.drain()
    assert caught.value.reason == "unreachable"
    assert caught.value.detail.startswith("the name redis.invalid does not resolve: ")
    lane.publisher.close()


def test_a_database_that_the_server_does_not_have_is_named(
    start_redis: StartRedis, outbox: Outbox
) -> None:
    server = start_redis()
    lane = Lane(server.url.removesuffix("/0") + "/99", outbox)
    lane.put(message("event"))
    assert reason_of(lane.drain) == "no_such_database"
    lane.publisher.close()


WRONG_ADDRESSES = {
    "redis-py#4308": "redis://h:6379/1/2",
    "redis-py#728": "redis://h:6379/abc",
    "port": "redis://h:port/0",
    "port-0": "redis://h:0/0",
    "port-too-large": "redis://h:65536",
    "negative": "redis://h/-1",
    "option": "redis://h?db=x",
    "scheme": "http://h",
    "two hosts": "redis://h:1,g:2/0",
    "a host before a socket": "unix://relative/path",
    "no socket": "unix://",
    "no service": "redis+sentinel://h:26379",
    "no sentinel": "redis+sentinel:///cameras/0",
    "service's database": "redis+sentinel://h:26379/cameras/x",
}


@pytest.mark.parametrize("why", WRONG_ADDRESSES)
def test_an_address_that_the_driver_would_guess_at_is_refused(why: str) -> None:
    with pytest.raises(ConfigError, match="expected") as caught:
        read_address(WRONG_ADDRESSES[why])
    assert "h:6379" not in str(caught.value)


def test_addresses_are_read_as_they_are_written() -> None:
    assert read_address("REDIS://u:p%40@h:1/2?protocol=3").url == (
        "redis://u:p%40@h:1/2?protocol=3"
    )
    assert read_address("redis://[::1]:6379/0").url == "redis://[::1]:6379/0"
    assert read_address("unix://:p@/run/redis.sock?db=1").url == "unix://:p@/run/redis.sock?db=1"
    found = read_address("rediss+sentinel://u:p@a,b:2/cameras/3?sentinel_password=s&ssl_ca_certs=c")
    assert found.url == "rediss://u:p@/3?ssl_ca_certs=c"
    assert found.sentinels == (("a", 26379), ("b", 2))
    assert (found.service, found.sentinel_login) == ("cameras", {"password": "s"})
    assert "=s&" not in redact("redis+sentinel://u:p@a/cameras?sentinel_password=s&db=1")


@pytest.fixture
def tls_redis(
    start_redis: StartRedis, redis_executable: str, certificates: Certificates
) -> RedisServer:
    """A server that takes TLS on `tls_port`, and asks for no certificate."""
    if b"tls-cert-file" not in Path(redis_executable).read_bytes():
        pytest.skip("this server was built without TLS")
    return start_redis(
        options={
            "tls-port": str(free_port()),
            "tls-cert-file": str(certificates.certificate),
            "tls-key-file": str(certificates.key),
            "tls-ca-cert-file": str(certificates.ca),
            "tls-auth-clients": "no",
        }
    )


def tls_url(server: RedisServer, ca_file: Path | None, host: str = "127.0.0.1") -> str:
    with server.client() as client:
        url = f"rediss://{host}:{client.config_get('tls-port')['tls-port']}/0"
    return url if ca_file is None else with_authorities(url, str(ca_file))


def test_a_server_with_a_certificate_of_ones_own_authority_is_published_to(
    tls_redis: RedisServer, certificates: Certificates, outbox: Outbox
) -> None:
    lane = Lane(tls_url(tls_redis, certificates.ca), outbox)
    sent = lane.put(message("event"))
    lane.publisher.check_server()
    lane.drain()
    with tls_redis.client() as client:
        assert ids(events(client, "vigil:gate:events:stream")) == sent
    lane.publisher.close()


def test_a_certificate_of_another_authority_is_refused_and_named(
    tls_redis: RedisServer, certificates: Certificates, outbox: Outbox
) -> None:
    """mozilla/bugbug#4028, redis-py#2066."""
    for ca_file in (certificates.wrong_ca, None):
        lane = Lane(tls_url(tls_redis, ca_file), outbox)
        lane.put(message("event"))
        with pytest.raises(PublishError) as caught:
            lane.drain()
        assert caught.value.reason == "tls_refused"
        assert "certificate" in caught.value.detail
        lane.publisher.close()


def test_a_file_of_authorities_that_is_missing_is_refused_at_the_start_and_named_later(
    tls_redis: RedisServer, certificates: Certificates, outbox: Outbox, tmp_path: Path
) -> None:
    """redis-py#2066: the driver says it of each connection, as if nobody answered."""
    for path, reason in ((tmp_path / "none.pem", "No such file"), (certificates.key, "PEM")):
        lane = Lane(tls_url(tls_redis, path), outbox)
        with pytest.raises(ConfigError, match=reason):
            lane.publisher.check_server()
        lane.put(message("event"))
        assert reason_of(lane.drain) == "tls_refused"
        lane.publisher.close()


def test_sentinels_name_the_server_and_a_failover_is_followed(
    watched_redis: Watched, outbox: Outbox
) -> None:
    port = watched_redis.sentinel.connection_pool.connection_kwargs["port"]
    taken_for_a_server = Lane(f"redis://:of-sentinel@127.0.0.1:{port}/0", outbox)
    with pytest.raises(ConfigError, match="sentinel://HOST:PORT/SERVICE"):
        taken_for_a_server.publisher.check_server()
    taken_for_a_server.publisher.close()
    lane = Lane(watched_redis.url, outbox)
    lane.publisher.check_server()
    sent = lane.put(message("event"), message("caption"))
    lane.drain()
    with watched_redis.master.client() as client:
        assert client.wait(1, 5000) == 1
    watched_redis.fail_over()
    sent += lane.put(message("event"))
    end_s = time.monotonic() + SOON_S
    while outbox.num_waiting:
        assert time.monotonic() < end_s, "the new master is not found"
        try:
            lane.drain()
        except PublishError:
            time.sleep(0.1)
        lane.rebuild()
    with watched_redis.replica.client() as client:
        assert ids(events(client, "vigil:gate:events:stream")) == [sent[0], sent[2]]
    lane.publisher.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_publisher_and_subscriber_may_speak_either_protocol(
    protocol: int, redis_url: str, outbox: Outbox
) -> None:
    lane = Lane(f"{redis_url}?protocol={5 - protocol}", outbox)
    client = redis.Redis.from_url(redis_url, protocol=protocol, decode_responses=True)
    with client, subscribed(client, "vigil:*:events") as subscription:
        lane.publisher.check_server()
        sent = lane.put(message("event"), message("event"))
        lane.drain()
        assert ids(received(subscription, 2)) == sent
        assert ids(events(client, "vigil:gate:events:stream")) == sent
    lane.publisher.close()
