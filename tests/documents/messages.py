"""deploy/MESSAGES.md: channels and keys, an example of each kind, and what its fields mean.

The code that makes messages makes the examples; the schemas have them too.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from model.kinds.base import Published
from pipeline.messages import (
    KINDS,
    Asked,
    Message,
    MessageKind,
    Provenance,
    answer_message,
    caption_message,
    event_message,
    schema,
    status_message,
)
from pipeline.publishers.redis import _state_field
from pipeline.publishers.redis_keys import (
    acks_key,
    asks_key,
    cameras_key,
    carry_key,
    channel,
    control_key,
    evidence_index_key,
    evidence_sizes_key,
    heartbeat_key,
    picture_key,
    questions_key,
    state_key,
    stream_key,
    watched_key,
)
from pipeline.publishers.redis_scripts import (
    COMMANDS,
    CONTROL_COMMANDS,
    EVIDENCE_COMMANDS,
    VISITING_COMMANDS,
)
from pipeline.rehearsal import QUESTION_ID
from pipeline.stored import Stored
from pipeline.visits import MAX_WAITING, PER_S
from worker.controlling import MAX_AGE_S
from worker.controlling import PER_S as COMMANDS_PER_S
from worker.orders import MAX_QUESTIONS, SETTINGS, VERSION

PREFIX, CAMERA, WORKER = "vigil", "gate", "worker-1"
CAPTURED_AT = datetime(2026, 1, 2, 3, 4, 5, 468_000, tzinfo=UTC)
INFERRED_AT = CAPTURED_AT + timedelta(milliseconds=210)
PUBLISHED_AT = INFERRED_AT + timedelta(milliseconds=12)
PROVENANCE = Provenance(
    camera_id=CAMERA,
    captured_at=CAPTURED_AT,
    inferred_at=INFERRED_AT,
    window_start=CAPTURED_AT - timedelta(seconds=120),
    window_end=CAPTURED_AT,
    window_frames=121,
    tokens_kept=2614,
    tokens_total=17_424,
    model="VideoLLaMA3-2B",
    demo_model=False,
    degraded=False,
)
HEAD = f"""\
# Messages

Vigil publishes four kinds of messages in Redis, each a CloudEvents 1.0 event in JSON. In the
tables, `{PREFIX}` is the prefix (`VIGIL_REDIS__PREFIX`), `{CAMERA}` is a camera's id and `{WORKER}`
is a worker's id (`VIGIL_WORKER_ID`). A channel is for those who are connected; the stream beside it
keeps the last `VIGIL_REDIS__STREAM_MAX_LEN` messages for those who were not. An entry of a stream
has two fields: `event`, the message as its channel brought it, and `id`, the message's own id.

| kind | channel (pub/sub) | stream |
|---|---|---|
"""
KEYS = """
| key | what it holds |
|---|---|
| `{state}` | a hash with the last message of each field, for a reader that starts later: {held} |
| `{carry}` | a hash that workers use; not for readers |
| `{heartbeat}` | JSON about a worker that runs, see below |
| `{cameras}` | a hash, camera to JSON: which worker has it, its state, its questions; see below |
| `{watched}`, `{picture}` | somebody looks at the camera; its last picture, while they do |
| `{asks}`, `{reply}` | a stream of one-off questions; a list with the reply to one |
| `{control}`, `{acks}` | streams of commands, with `VIGIL_CONTROL=on`, and of what came of them |
| `{questions}` | a hash with what commands have changed; workers write it, others only read |

A message is published once: it stands in its stream once, in the order of `seq`, is the newest of
its field in the hash, and its channel reaches the subscribers that are connected at that moment.
Where one of these is refused, none is done, and the message waits. A message that Redis refused for
its own sake (its key had another type) is tried again when the worker starts: it then comes later
than its `seq` says. A status may be said again, with a new `id` and the same `since`, where Redis
had lost it.

The hash tells of no question and no camera that is gone. A camera's streams and hashes expire a
week after its worker last ran.

The heartbeat has `publishing` (`state`, `reason`, `set_aside`), `outbox_depth`, `load` (`level`, 0
where all is done, and `reason`), `frames_dropped`, `memory_bytes`, `model`, `demo_model`, and
`run`, which tells the worker from another of the same id. The key is gone when the worker stops,
and expires soon after it was killed.

The register `{cameras}` names every camera, so that no reader needs to scan: `owner` (the worker
that has it; it lives while its heartbeat is there), `term`, `state`, `reason`, `since`, `grid`
(`rows`, `cols`, `token_px`; null before the first picture), and `questions` by id: `question`,
`kind`, `options`, `every_s`, and where answers become events `target` (the answer that the event is
about), `enter`, `exit`, else null; `paused`, and `changed`, the names of the settings that commands
have given. `control` says whether commands are taken, `paused` whether the camera is. Its owner
writes an entry when it changes and with every heartbeat, and takes it away when the camera is gone.

**Live pictures.** While the key `{watched}` is there (a reader sets it to anything, expiring in
10 s, again and again while somebody looks), the hash `{picture}` has the last picture that the
model was shown, at most one a second: `jpeg` (areas of `PRIVATE` are black), `captured_at`, `grid`
(as in the register) and `sent`, a 0 or 1 for each token, row by row: whether it was sent to the
model. The hash expires in 10 s.

**One-off questions.** `XADD {asks} MAXLEN ~ 1000 * id ID camera {camera} question "Is it open?"`
asks the worker that has the camera. `id` is up to 64 letters, digits, `-` and `_`, new each time.
Further fields: `kind` (default `yes_no`; `choice`, `count`, `when`, `text`), `options` (for
`choice`: a JSON array of words), `deadline` (a time; default in 10 s, at most in a minute) and
`asked_by`. `BLPOP {reply} 10` waits for the reply: an answer message with `asked_by` `ask`,
`question_id` `ask` and `seq` 1, which is published nowhere else; or `id`, `worker_id`, `refused`
and `detail`, which says what was expected and came. Nobody replies after the deadline, or where no
worker that runs has the camera. The list expires in a minute.

| `refused` | meaning |
|---|---|
| `malformed` | a field is missing, unknown or wrong, or the model cannot be asked that |
| `unknown_camera` | no worker has such a camera |
| `too_many` | a worker takes {per_s:g} asks a second in the long run, and lets {waiting} wait |
| `too_busy` | until its deadline the worker was late with its standing questions, which go first |

`kind` `test_event` instead of a question makes a test event: the reply has its `event_id`, and its
`start` and `end` are published as any event's, with `test` true. Its question is `{rehearsal}`, so
that in `{state}` it takes no other's place; it is gone there within a heartbeat.

**Pictures of events.** What an event's `pictures` name is there when the message is, as JPEG, with
areas of `PRIVATE` black, for `VIGIL_EVIDENCE__KEEP`: the very frames that the model saw. `at` is
that of `started_at`, `before` the one that the model saw before it, `latest` the newest, `strip`
six side by side, from `before` to `latest`; its `captured_at` is that of the last. A `start` and an
`end` name all four and an `update` the `latest` alone, under the same keys, so the newer ones take
the place of the older. An event that began in another process ends with `latest` and `strip` alone;
a test event, and one whose camera has no frame at hand, has none. `{evidence}` and `{sizes}` list
all, and bound them to `VIGIL_EVIDENCE__MAX_BYTES`: the oldest give way. So a key may be gone before
it expires, or, where the outbox was full or Redis refused the picture, never be there: a reader
takes both the same way.

With `VIGIL_EVIDENCE__CLIPS=on` a `start` and an `end` name a `clip` too: an MP4 of H.264, from the
key frame at or before 5 s before `at` (or the earliest that the worker still has) to 5 s after. So
its key is there some seconds after the `start`. What an RTSP camera sends in H.264 is in it as it
came. Of one with areas of `PRIVATE`, with another codec, from Kafka or from a file it has the
pictures that the model saw, one a second. One that Redis did not take is lost, and counted.

**Commands.** `XADD {control} MAXLEN ~ 1000 * do change question fire enter 0.8` changes a question
while workers run with `VIGIL_CONTROL=on`. Every worker takes every command, between two looks at
the cameras.

| `do` | with | what happens |
|---|---|---|
| `put` | `question`, its settings | the question is what is given, the rest at its defaults |
| `change` | `question`, settings | these settings change, the others stay |
| `remove` | `question` | it is not asked any more |
| `reset` | `question` | it is as in the environment again: as there, or gone |
| `pause`, `resume` | `question` or `camera` | it is not asked; the model is shown nothing of it |
| `refresh` | `camera` | its next picture is sent whole |

A question's settings are {settings}, written as in `VIGIL_QUESTIONS__<ID>__...`. No other field is
taken but `version` (`{version}`, the default); a camera's address is none of them.

`XREAD BLOCK 10000 STREAMS {acks} ID` brings what came of it. An entry's field `ack` is JSON:
`command` (the id that XADD gave), `worker_id`, and either `refused` and `detail`, or `do` and what
is in effect now: of a question `question`, `settings` (all of them; null where it is not asked),
`changed` (the names of those that commands gave), `paused`, `cameras` (the worker's own that it is
asked of); of a camera `camera` and `paused`. About a question every worker says so, about a camera
the one that has it; what all would refuse alike is refused once.

| `refused` | meaning |
|---|---|
| `malformed` | a field is missing, unknown or wrong, or the model cannot be asked that |
| `unknown_camera`, `unknown_question` | no worker has it, or it is not asked |
| `too_many` | a worker takes {commands_per_s:g} commands a second, and {questions_max} questions |
| `too_late` | it was sent more than {max_age_s:g} s ago |
| `too_busy` | the model did not look at it in time |
| `other_version` | the command, or what `{questions}` holds, is of another version |

`{questions}` has `question:ID` and `camera:ID`, JSON each: `at` (the command), `do` (`put`: these
are all its settings; `change`: over the environment's; `remove`), `settings`, `paused`. Beside them
`format` and `taken`, the last command. It does not expire.

A user of Redis needs the keys and channels `{prefix}:*` and the commands {commands};
for live pictures and one-off questions also {visiting}, for commands at run time {commanding},
and for pictures of events {pictured},
without which all else works.

## Every message

| field | example | meaning |
|---|---|---|
"""
SHARED = """
Every caption, answer and event has all these fields in `data`. A status has five of them:
`camera_id`, `worker_id`, `term`, `seq` and `published_at`. All fields of a kind are always there.
Later versions may add fields, and the schemas allow fields that they do not know.

"""
TABLE = "| field of `data` | type | meaning |\n|---|---|---|\n"


def messages_document() -> str:
    """Return deploy/MESSAGES.md."""
    shown = {kind: [one for one in examples() if one.message.kind == kind] for kind in KINDS}
    lines = [HEAD]
    for kind in KINDS:
        names = channel(PREFIX, CAMERA, kind), stream_key(PREFIX, CAMERA, kind)
        lines.append(f"| {kind} | `{names[0]}` | `{names[1]}` |\n")
    lines.append(
        KEYS.format(
            state=state_key(PREFIX, CAMERA),
            carry=carry_key(PREFIX, CAMERA),
            heartbeat=heartbeat_key(PREFIX, WORKER),
            cameras=cameras_key(PREFIX),
            prefix=PREFIX,
            watched=watched_key(PREFIX, CAMERA),
            picture=picture_key(PREFIX, CAMERA),
            asks=asks_key(PREFIX),
            reply=asks_key(PREFIX, "ID"),
            camera=CAMERA,
            control=control_key(PREFIX),
            acks=acks_key(PREFIX),
            questions=questions_key(PREFIX),
            settings=", ".join(f"`{name}`" for name in SETTINGS),
            version=VERSION,
            commands_per_s=COMMANDS_PER_S,
            questions_max=MAX_QUESTIONS,
            max_age_s=MAX_AGE_S,
            commanding=", ".join(f"`{name}`" for name in CONTROL_COMMANDS),
            per_s=PER_S,
            waiting=MAX_WAITING,
            rehearsal=QUESTION_ID,
            visiting=", ".join(f"`{name}`" for name in VISITING_COMMANDS),
            pictured=", ".join(f"`{name}`" for name in EVIDENCE_COMMANDS),
            evidence=evidence_index_key(PREFIX),
            sizes=evidence_sizes_key(PREFIX),
            commands=", ".join(f"`{name}`" for name in COMMANDS),
            held=", ".join(f"`{_state_field(one)}`" for one, *_ in shown.values()),
        )
    )
    body = envelope(shown["caption"][0])
    for name, described in schema("caption")["properties"].items():
        example = "see below" if name == "data" else f"`{body[name]}`"
        meaning = described.get(
            "description", "The content of the message. Its fields depend on the kind of message."
        )
        lines.append(f"| `{name}` | {example} | {meaning} |\n")
    rows = {kind: list(fields(schema(kind))) for kind in KINDS}
    shared = [row for row in rows["caption"] if row in rows["answer"] and row in rows["event"]]
    lines += [SHARED, TABLE, *map(_row, shared)]
    for kind in KINDS:
        lines.append(f"\n## {kind}\n\n{schema(kind)['description']} ")
        lines.append(f"Schema: [{kind}.v1.json](../pipeline/schemas/{kind}.v1.json).\n\n")
        lines.append(f"```json\n{_printed(envelope(shown[kind][0]))}\n```\n\n")
        lines += [TABLE, *(_row(row) for row in rows[kind] if row not in shared)]
    return "".join(lines)


def schema_document(kind: MessageKind) -> str:
    """Return the text of a kind's schema, with the examples that the code makes."""
    shown = [envelope(one) for one in examples() if one.message.kind == kind]
    return json.dumps({**schema(kind), "examples": shown}, indent=2, ensure_ascii=False) + "\n"


def examples() -> list[Stored]:
    """Return messages of each kind, always the same."""
    fire = Asked("fire", "Is there fire or smoke?", "yes_no")
    people = Asked("people", "How many people are there?", "count")
    started_at = CAPTURED_AT - timedelta(seconds=5)
    event = partial(
        event_message,
        PROVENANCE,
        fire,
        event_id="5f0c6a52-6f7e-4f0e-9d0b-0f6f3c1d2e4a",
        started_at=started_at,
    )
    made = (
        caption_message(PROVENANCE, text="A person in white puts a parcel down at the gate."),
        answer_message(
            PROVENANCE, fire, published=Published("yes", 0.94), mass=0.987, reused=False
        ),
        answer_message(
            PROVENANCE,
            people,
            published=Published("unknown", None, reason="frozen"),
            mass=None,
            reused=False,
        ),
        event(answer="yes", p=0.94, phase="start", ended_at=None, reason=None),
        event(answer="no", p=0.03, phase="end", ended_at=CAPTURED_AT, reason="answer"),
        status_message(
            CAMERA,
            at=CAPTURED_AT,
            state="offline",
            reason="timeout",
            detail="no packet for 15 s",
        ),
    )
    return [_stored(message, row=row) for row, message in enumerate(made, start=1)]


def envelope(example: Stored) -> dict[str, Any]:
    """Return a message as it is published."""
    published: dict[str, Any] = json.loads(
        example.envelope(prefix=PREFIX, worker_id=WORKER, published_at=PUBLISHED_AT)
    )
    return published


def fields(described: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (name, type, meaning) of every field of `data`, inner ones as `window.start`."""
    times = described["$defs"]["time"]
    for name, field in described["properties"]["data"]["properties"].items():
        yield name, _type(field), field.get("description", "")
        held, mark = (field["items"], "[]") if "items" in field else (field, "")
        for inner, part in held.get("properties", {}).items():
            meaning = part.get("description", times["description"])
            yield f"{name}{mark}.{inner}", _type(part), meaning


def _printed(body: Mapping[str, Any]) -> str:
    """Return JSON a field a line, small objects within it in one."""
    text = json.dumps(body, indent=2, ensure_ascii=False)
    return re.sub(
        r"(?<=: )\{[^{}]{1,200}\}",
        lambda inner: re.sub(r"\n\s*", " ", inner[0]).replace("{ ", "{").replace(" }", "}"),
        text,
    )


def _type(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " or ".join("null" if value is None else f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return "time"
    if "anyOf" in field:
        return " or ".join(_type(choice) for choice in field["anyOf"])
    kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
    return " or ".join(kinds)


def _row(row: tuple[str, str, str]) -> str:
    name, kind, meaning = row
    return f"| `{name}` | {kind} | {meaning} |\n"


def _stored(message: Message, *, row: int) -> Stored:
    message_id = str(uuid5(NAMESPACE_URL, f"urn:vigil:example:{row}"))
    fixed = replace(message, id=message_id, body={**message.body, "id": message_id})
    return Stored(row=row, origin="o", generation=1, seq=1200 + row, message=fixed)
