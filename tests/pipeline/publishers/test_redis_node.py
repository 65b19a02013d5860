"""What we publish, as a program in another language reads it."""

import json
from typing import Any

import redis

from model.kinds.base import Published
from pipeline.messages import (
    KINDS,
    Asked,
    Message,
    answer_message,
    caption_message,
    event_message,
    schema,
    status_message,
)
from pipeline.publishers.redis_keys import channel
from tests.documents.messages import CAPTURED_AT, PROVENANCE, examples
from tests.pipeline.publishers.lane import Lane, entries
from tests.servers.node import NodeReads

WORDS = 'Zwei Männer 🔥👩‍🚒\n"한국어", \\ \t \x1f \u2028 \ud83d\N{NULL}'
READ = WORDS.replace("\ud83d", "?")  # half a pair is no character


def of_every_kind() -> list[Message]:
    asked = Asked("fire", WORDS, "yes_no")
    return [
        *(example.message for example in examples()),
        caption_message(PROVENANCE, text=WORDS),
        answer_message(
            PROVENANCE,
            Asked("seen", WORDS, "text"),
            published=Published(WORDS, None),
            mass=None,
            reused=False,
        ),
        event_message(
            PROVENANCE,
            asked,
            answer="no",
            p=0.125,
            phase="end",
            event_id="e",
            started_at=CAPTURED_AT,
            ended_at=CAPTURED_AT,
            reason="camera_lost",
        ),
        status_message("gate", at=CAPTURED_AT, state="offline", reason="corrupt", detail=WORDS),
    ]


def words_of(message: dict[str, Any]) -> object:
    data = message["data"]
    return data.get("text") or data.get("question") or data.get("detail")


def test_node_hears_finds_and_understands_every_kind_of_message(
    lane: Lane, client: redis.Redis, node_reads: NodeReads
) -> None:
    sent = of_every_kind()
    channels = [channel("vigil", "gate", kind) for kind in KINDS]
    lane.put(*sent)
    read = node_reads(
        lane.drain,
        url=lane.url,
        pattern="vigil:*",
        count=len(sent),
        streams=[f"{name}:stream" for name in channels],
        state="vigil:gate:state",
        schemas=[schema(kind) for kind in KINDS],
    )
    assert {one["wrong"] for one in read.heard + read.kept + read.state} == {""}

    heard = [one["message"] for one in read.heard]
    assert [one["id"] for one in heard] == [one.id for one in sent]
    assert [words_of(one) for one in heard[-4:]] == [READ] * 4

    for name in channels:
        found = [one for one in read.kept if one["where"] == f"{name}:stream"]
        assert [one["message"] for one in read.heard if one["where"] == name] == [
            one["message"] for one in found
        ]
        assert [one["fields"] for one in found] == entries(client, f"{name}:stream")
        assert all(one["fields"]["id"] == one["message"]["id"] for one in found)

    newest = {one["where"]: one["message"] for one in read.state}
    assert newest == {
        name: json.loads(text) for name, text in client.hgetall("vigil:gate:state").items()
    }
    assert {name: one["id"] for name, one in newest.items()} == {
        "caption": sent[-4].id,
        "question:seen": sent[-3].id,
        "event:fire": sent[-2].id,
        "status": sent[-1].id,
        "question:fire": sent[1].id,
        "question:people": sent[2].id,
    }
