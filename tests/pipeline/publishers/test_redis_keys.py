from pipeline.messages import KINDS
from pipeline.publishers.redis_keys import channel, heartbeat_key, state_key, stream_key


def test_names_in_redis() -> None:
    assert [channel("vigil", "gate", kind) for kind in KINDS] == [
        "vigil:gate:captions",
        "vigil:gate:answers",
        "vigil:gate:events",
        "vigil:gate:status",
    ]
    assert stream_key("vigil", "gate", "caption") == "vigil:gate:captions:stream"
    assert state_key("vigil", "gate") == "vigil:gate:state"
    assert heartbeat_key("vigil", "a") == "vigil:worker:a"
