-- An outbox as 0.2.0 left it: python's sqlite3 iterdump, bodies as text.
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
INSERT INTO "messages" VALUES(1,1,'gate','caption',1,1,'00000000-0000-4000-8000-000000000001',760,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000001","type":"vigil.caption.v1","subject":"camera/gate","time":"2026-01-02T03:04:06.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:caption:v1#data","data":{"text":"A yard.","changed":true,"camera_id":"gate","captured_at":"2026-01-02T03:04:05.000Z","inferred_at":"2026-01-02T03:04:06.000Z","frame_age_ms":1000,"window":{"start":"2026-01-02T03:02:35.000Z","end":"2026-01-02T03:04:05.000Z","frames":91},"tokens":{"kept":10,"total":100,"kept_ratio":0.1},"model":"vigil-nano","degraded":false}}' AS BLOB));
INSERT INTO "messages" VALUES(2,3,'gate','answer',1,1,'00000000-0000-4000-8000-000000000002',824,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000002","type":"vigil.answer.v1","subject":"camera/gate","time":"2026-01-02T03:04:06.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:answer:v1#data","data":{"question_id":"fire","question":"Fire?","kind":"yes_no","answer":"unknown","p":0.5,"reused":false,"camera_id":"gate","captured_at":"2026-01-02T03:04:05.000Z","inferred_at":"2026-01-02T03:04:06.000Z","frame_age_ms":1000,"window":{"start":"2026-01-02T03:02:35.000Z","end":"2026-01-02T03:04:05.000Z","frames":91},"tokens":{"kept":10,"total":100,"kept_ratio":0.1},"model":"vigil-nano","degraded":false}}' AS BLOB));
INSERT INTO "messages" VALUES(3,3,'gate','answer',1,2,'00000000-0000-4000-8000-000000000003',818,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000003","type":"vigil.answer.v1","subject":"camera/gate","time":"2026-01-02T03:04:06.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:answer:v1#data","data":{"question_id":"fire","question":"Fire?","kind":"yes_no","answer":"no","p":0.1,"reused":true,"camera_id":"gate","captured_at":"2026-01-02T03:04:05.000Z","inferred_at":"2026-01-02T03:04:06.000Z","frame_age_ms":1000,"window":{"start":"2026-01-02T03:02:35.000Z","end":"2026-01-02T03:04:05.000Z","frames":91},"tokens":{"kept":10,"total":100,"kept_ratio":0.1},"model":"vigil-nano","degraded":false}}' AS BLOB));
INSERT INTO "messages" VALUES(4,4,'gate','event',1,1,'00000000-0000-4000-8000-000000000004',904,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000004","type":"vigil.event.v1","subject":"camera/gate","time":"2026-01-02T03:04:06.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:event:v1#data","data":{"question_id":"fire","question":"Fire?","kind":"yes_no","answer":"yes","p":0.9,"phase":"start","event_id":"e","started_at":"2026-01-02T03:04:05.000Z","ended_at":null,"reason":null,"camera_id":"gate","captured_at":"2026-01-02T03:04:05.000Z","inferred_at":"2026-01-02T03:04:06.000Z","frame_age_ms":1000,"window":{"start":"2026-01-02T03:02:35.000Z","end":"2026-01-02T03:04:05.000Z","frames":91},"tokens":{"kept":10,"total":100,"kept_ratio":0.1},"model":"vigil-nano","degraded":false}}' AS BLOB));
INSERT INTO "messages" VALUES(5,4,'gate','event',1,2,'00000000-0000-4000-8000-000000000005',923,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000005","type":"vigil.event.v1","subject":"camera/gate","time":"2026-01-02T03:04:06.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:event:v1#data","data":{"question_id":"fire","question":"Fire?","kind":"yes_no","answer":"no","p":0.1,"phase":"end","event_id":"e","started_at":"2026-01-02T03:04:05.000Z","ended_at":"2026-01-02T03:04:05.000Z","reason":null,"camera_id":"gate","captured_at":"2026-01-02T03:04:05.000Z","inferred_at":"2026-01-02T03:04:06.000Z","frame_age_ms":1000,"window":{"start":"2026-01-02T03:02:35.000Z","end":"2026-01-02T03:04:05.000Z","frames":91},"tokens":{"kept":10,"total":100,"kept_ratio":0.1},"model":"vigil-nano","degraded":false}}' AS BLOB));
INSERT INTO "messages" VALUES(6,2,'gate','status',1,1,'00000000-0000-4000-8000-000000000006',525,CAST('{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000006","type":"vigil.status.v1","subject":"camera/gate","time":"2026-01-02T03:04:05.000Z","datacontenttype":"application/json","dataschema":"urn:vigil:status:v1#data","data":{"camera_id":"gate","state":"online","reason":null,"detail":null,"since":"2026-01-02T03:04:05.000Z"}}' AS BLOB));
CREATE TABLE numbers (
    camera_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (camera_id, kind)
) WITHOUT ROWID;
INSERT INTO "numbers" VALUES('gate','answer',2);
INSERT INTO "numbers" VALUES('gate','caption',1);
INSERT INTO "numbers" VALUES('gate','event',2);
INSERT INTO "numbers" VALUES('gate','status',1);
CREATE TABLE origin (epoch TEXT NOT NULL, generation INTEGER NOT NULL);
INSERT INTO "origin" VALUES('0123456789abcdef',1);
CREATE TABLE states (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "states" VALUES('gate/fire','{}');
CREATE INDEX by_worth ON messages (worth);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('messages',6);
COMMIT;
