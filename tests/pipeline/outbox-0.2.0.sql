-- An outbox as 0.2.0 left it, with all kinds of messages and an event open: python's sqlite3 iterdump, bodies as text.
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE messages (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    worth INTEGER NOT NULL,
    camera_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    generation INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    size INTEGER NOT NULL,
    body BLOB NOT NULL
);
INSERT INTO "messages" VALUES(21,2,'gate','status',1,1,'00000000-0000-4000-8000-000000000021',525,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000021","type":"vigil.status.v1","subject":"camera/gate","time":"2026-01-02T03:04:05.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:status:v1#data","data":{"camera_id":"gate","state":"online","reason":null,"detail":null,"since":"2026-01-02T03:04:05.000Z"}}' AS BLOB));
INSERT INTO "messages" VALUES(22,1,'gate','caption',1,1,'00000000-0000-4000-8000-000000000022',760,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000022","type":"vigil.caption.v1","subject":"camera/gate","time":"2026-01-02T03:04:06.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:caption:v1#data","data":{"text":"A yard.","changed":true,"camera_id":"gate","captured_at":"2026-01-02T03:04:05.000Z","inferred_at":"2026-01-02T03:04:06.000Z","frame_age_ms":1000,"window":{"start":"2026-01-02T03:02:35.000Z","end":"2026-01-02T03:04:05.000Z","frames":91},"tokens":{"kept":10,"total":100,"kept_ratio":0.1},"model":"vigil-nano","degraded":false}}' AS BLOB));
INSERT INTO "messages" VALUES(23,3,'gate','answer',1,17,'00000000-0000-4000-8000-000000000023',824,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000023","type":"vigil.answer.v1","subject":"camera/gate","time":"2026-01-02T03:04:06.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:answer:v1#data","data":{"question_id":"fire","question":"Fire?","kind":"yes_no","answer":"unknown","p":0.5,"reused":false,"camera_id":"gate","captured_at":"2026-01-02T03:04:05.000Z","inferred_at":"2026-01-02T03:04:06.000Z","frame_age_ms":1000,"window":{"start":"2026-01-02T03:02:35.000Z","end":"2026-01-02T03:04:05.000Z","frames":91},"tokens":{"kept":10,"total":100,"kept_ratio":0.1},"model":"vigil-nano","degraded":false}}' AS BLOB));
INSERT INTO "messages" VALUES(24,4,'yard','event',1,1,'00000000-0000-4000-8000-000000000024',950,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000024","type":"vigil.event.v1","subject":"camera/yard","time":"2026-01-02T03:00:06.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:event:v1#data","data":{"question_id":"person","question":"Is there a person?","kind":"yes_no","answer":"yes","p":0.9,"phase":"start","event_id":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","started_at":"2026-01-02T03:00:00.000Z","ended_at":null,"reason":null,"camera_id":"yard","captured_at":"2026-01-02T03:00:05.000Z","inferred_at":"2026-01-02T03:00:06.000Z","frame_age_ms":1000,"window":{"start":"2026-01-02T02:58:35.000Z","end":"2026-01-02T03:00:05.000Z","frames":91},"tokens":{"kept":10,"total":100,"kept_ratio":0.1},"model":"vigil-nano","degraded":false}}' AS BLOB));
INSERT INTO "messages" VALUES(25,3,'yard','answer',1,3,'00000000-0000-4000-8000-000000000025',834,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000025","type":"vigil.answer.v1","subject":"camera/yard","time":"2026-01-02T03:00:11.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:answer:v1#data","data":{"question_id":"person","question":"Is there a person?","kind":"yes_no","answer":"no","p":0.1,"reused":false,"camera_id":"yard","captured_at":"2026-01-02T03:00:10.000Z","inferred_at":"2026-01-02T03:00:11.000Z","frame_age_ms":1000,"window":{"start":"2026-01-02T02:58:40.000Z","end":"2026-01-02T03:00:10.000Z","frames":91},"tokens":{"kept":10,"total":100,"kept_ratio":0.1},"model":"vigil-nano","degraded":false}}' AS BLOB));
INSERT INTO "messages" VALUES(26,3,'yard','answer',1,4,'00000000-0000-4000-8000-000000000026',834,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000026","type":"vigil.answer.v1","subject":"camera/yard","time":"2026-01-02T03:00:16.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:answer:v1#data","data":{"question_id":"person","question":"Is there a person?","kind":"yes_no","answer":"no","p":0.1,"reused":false,"camera_id":"yard","captured_at":"2026-01-02T03:00:15.000Z","inferred_at":"2026-01-02T03:00:16.000Z","frame_age_ms":1000,"window":{"start":"2026-01-02T02:58:45.000Z","end":"2026-01-02T03:00:15.000Z","frames":91},"tokens":{"kept":10,"total":100,"kept_ratio":0.1},"model":"vigil-nano","degraded":false}}' AS BLOB));
INSERT INTO "messages" VALUES(27,4,'yard','event',1,2,'00000000-0000-4000-8000-000000000027',969,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000027","type":"vigil.event.v1","subject":"camera/yard","time":"2026-01-02T03:00:16.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:event:v1#data","data":{"question_id":"person","question":"Is there a person?","kind":"yes_no","answer":"no","p":0.1,"phase":"end","event_id":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","started_at":"2026-01-02T03:00:00.000Z","ended_at":"2026-01-02T03:00:10.000Z","reason":null,"camera_id":"yard","captured_at":"2026-01-02T03:00:15.000Z","inferred_at":"2026-01-02T03:00:16.000Z","frame_age_ms":1000,"window":{"start":"2026-01-02T02:58:45.000Z","end":"2026-01-02T03:00:15.000Z","frames":91},"tokens":{"kept":10,"total":100,"kept_ratio":0.1},"model":"vigil-nano","degraded":false}}' AS BLOB));
CREATE TABLE numbers (
    camera_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (camera_id, kind)
) WITHOUT ROWID;
INSERT INTO "numbers" VALUES('gate','answer',17);
INSERT INTO "numbers" VALUES('gate','caption',1);
INSERT INTO "numbers" VALUES('gate','event',2);
INSERT INTO "numbers" VALUES('gate','status',1);
INSERT INTO "numbers" VALUES('yard','answer',4);
INSERT INTO "numbers" VALUES('yard','event',2);
INSERT INTO "numbers" VALUES('yard','status',1);
CREATE TABLE origin (epoch TEXT NOT NULL, generation INTEGER NOT NULL);
INSERT INTO "origin" VALUES('2a7ffdd23d30df95',1);
CREATE TABLE states (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "states" VALUES('gate/fire','{"event_id": "ffffffffffffffffffffffffffffffff", "started_at": "2026-01-02T03:00:05+00:00", "updated_at": "2026-01-02T03:01:10+00:00", "last_end": null}');
INSERT INTO "states" VALUES('yard/person','{"event_id": null, "started_at": null, "updated_at": null, "last_end": "2026-01-02T03:00:10+00:00"}');
CREATE INDEX by_worth ON messages (worth);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('messages',27);
COMMIT;
