"""What is counted: every metric is declared here, once, and every part tells an `Observer`.

To add a metric, declare it below and call `count`, `set` or `observe` with it where the number
comes up. Nothing else has to know: `worker.metrics` serves whatever is declared here, and
`deploy/METRICS.md` is written from it. No label carries text, an address or a credential.
"""

from pipeline.observer import Metric

SHARES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 1.0)

# ---------------------------------------------------------------- the worker and its cameras

BUILD_INFO = Metric(
    "vigil_build_info",
    "Always 1. The labels say which model runs and which kernels it uses.",
    kind="gauge",
    labels=("model", "attention", "small_kernels"),
)
CAMERA_UP = Metric(
    "vigil_camera_up",
    "1 while its frames arrive, identical ones included; 0 once its connection fails or breaks.",
    kind="gauge",
    labels=("camera",),
)
CAMERA_FAILURES = Metric(
    "vigil_camera_failures",
    "Connections to the camera that failed or ended. `reason` is the `reason` of the camera's "
    "status message.",
    kind="counter",
    labels=("camera", "reason"),
)
CAMERA_LAG = Metric(
    "vigil_camera_lag_seconds",
    "How long after its capture the camera's last picture was read. From 2 s on its status is "
    "`degraded: lagging`, until it has been below 0.5 s for 5 s; of a camera that Kafka brings, "
    "from 10 s on until it is below 5 s.",
    kind="gauge",
    labels=("camera",),
)
STAMPS_MENDED = Metric(
    "vigil_stamps_mended",
    "Time stamps of the camera's video that were put right. `outlier`: a stamp stood alone; "
    "`jump`: all that followed went on from it; `rate`: the stamps ran at a wrong rate, and are "
    "measured by this machine's clock.",
    kind="counter",
    labels=("camera", "kind"),
)
PICTURES_HELD_BACK = Metric(
    "vigil_pictures_held_back",
    "Pictures of a camera's video that nobody was shown, because they were damaged or made from "
    "damaged ones. `reason`: `lost`, packets were missing; `concealed`, the decoder found errors.",
    kind="counter",
    labels=("camera", "reason"),
)
GPU_DECODING_FAILURES = Metric(
    "vigil_gpu_decoding_failures",
    "Times that the GPU's decoder failed a camera, whose video the processor decodes since then.",
    kind="counter",
    labels=("camera",),
)

# ---------------------------------------------------------------- Kafka

KAFKA_RECORDS = Metric(
    "vigil_kafka_records",
    "Records that were read from the topic, also those that were skipped or refused later.",
    kind="counter",
    labels=("topic",),
)
KAFKA_PASSED_OVER = Metric(
    "vigil_kafka_records_passed_over",
    "Records that became no frame, though they are no dead letters. `late`: older than a picture "
    "of the same camera that was taken already; `future`: from more than a minute ahead; "
    "`too_old`: older than VIGIL_KAFKA__MAX_LAG; `jumped`: not read at all, because they are older "
    "than MAX_LAG or, with OVERFLOW=latest, than a minute; `replaced`: a newer picture of the "
    "camera came before this one was decoded, with OVERFLOW=latest; `heavy`: the same, because the "
    "camera's pictures each take 0.25 s of a processor and others share the topic; `no_picture`: "
    "it says that nothing has changed since a picture that this worker has not seen; `deadly`: "
    "several processes died before they could even copy it to the dead-letter topic.",
    kind="counter",
    labels=("topic", "reason"),
)
KAFKA_COMMITS = Metric(
    "vigil_kafka_commits",
    "Commits of offsets that Kafka has confirmed.",
    kind="counter",
    labels=("topic",),
)
KAFKA_LAG = Metric(
    "vigil_kafka_lag_records",
    "Records that wait for this worker: those in its partitions that it had not finished at the "
    "last fetch.",
    kind="gauge",
    labels=("topic",),
)
DEAD_LETTERS = Metric(
    "vigil_dead_letters",
    "Records that are not readable pictures and were copied to the dead-letter topic. `reason` is "
    "also in a header of the copy.",
    kind="counter",
    labels=("reason",),
)

# ---------------------------------------------------------------- vigil ingest

INGEST_RECORDS = Metric(
    "vigil_ingest_records",
    "Records that `vigil ingest` has made of a camera. `kind`: `picture`, a whole one; "
    "`unchanged`, word that the picture is the last one bit for bit; `state`, word that the camera "
    "is damaged and there is no picture.",
    kind="counter",
    labels=("camera", "kind"),
)
INGEST_BYTES = Metric(
    "vigil_ingest_bytes",
    "Bytes of pictures that Kafka has confirmed to `vigil ingest`.",
    kind="counter",
    labels=("camera",),
)
INGEST_DROPPED = Metric(
    "vigil_ingest_dropped",
    "Records that `vigil ingest` has lost. `reason`: `full`, the buffer had reached "
    "VIGIL_INGEST__BUFFER__MAX_BYTES and its oldest gave way; `too_large`, Kafka takes no record "
    "of this size; `disk`, the buffer's file could not be read, with an empty camera.",
    kind="counter",
    labels=("camera", "reason"),
)
INGEST_WAITING = Metric(
    "vigil_ingest_waiting",
    "Records in the buffer of `vigil ingest` that Kafka has not confirmed yet.",
    kind="gauge",
)
INGEST_WAITING_BYTES = Metric(
    "vigil_ingest_waiting_bytes",
    "Their size. Compare it with VIGIL_INGEST__BUFFER__MAX_BYTES.",
    kind="gauge",
)

# ---------------------------------------------------------------- frames

FRAMES = Metric(
    "vigil_frames",
    "Frames that the model was shown.",
    kind="counter",
    labels=("camera",),
)
FRAMES_DROPPED = Metric(
    "vigil_frames_dropped",
    "Frames that were replaced by a newer frame of the same camera before the model took them.",
    kind="counter",
    labels=("camera",),
)
FRAMES_REFUSED = Metric(
    "vigil_frames_refused",
    "Frames that were refused because memory was short. `no_room`: the camera does not fit into "
    "VIGIL_MODEL__MEMORY_BUDGET; `out_of_memory`: the device had no memory left.",
    kind="counter",
    labels=("camera", "reason"),
)
REFRESHES = Metric(
    "vigil_refreshes",
    "Frames that were sent to the model whole.",
    kind="counter",
    labels=("camera",),
)
TOKENS = Metric(
    "vigil_tokens",
    "Tokens of the frames that the model was shown: `kept` were sent, `pruned` had not changed.",
    kind="counter",
    labels=("camera", "kind"),
)
FRAME_AGE = Metric(
    "vigil_frame_age_seconds",
    "Time from a frame's capture until the model has processed it.",
    kind="histogram",
)

# ---------------------------------------------------------------- inference

STAGE_SECONDS = Metric(
    "vigil_stage_seconds",
    "Time that the model spent on one batch. `append`: processing new frames; `ask`: answering "
    "questions; `speak`: one more word of answers that are said word by word.",
    kind="histogram",
    labels=("stage",),
)
TICK_SECONDS = Metric(
    "vigil_tick_seconds",
    "Time that a tick took. A tick is one look at all cameras. Ticks without a frame of a live "
    "source are not counted: a source is live unless it is read with LIVE=false or "
    "VIGIL_KAFKA__OVERFLOW=wait.",
    kind="histogram",
)
TICK_LATENESS = Metric("vigil_tick_lateness_seconds", "How late a tick began.", kind="histogram")
TICK_OVERRUNS = Metric(
    "vigil_tick_overruns",
    "Ticks that were not over when the next one was due.",
    kind="counter",
)
WINDOW_REBUILDS = Metric(
    "vigil_window_rebuilds",
    "Windows of cameras that Kafka has brought to this worker. `outcome`: `rebuilt` from their "
    "older records; `nothing`, there are none; `no_room`, they do not fit into the memory beside "
    "the others; `failed`, Kafka did not give them; `outgrown`, they grew by themselves first.",
    kind="counter",
    labels=("outcome",),
)
WINDOW_REBUILD_SECONDS = Metric(
    "vigil_window_rebuild_seconds",
    "Time that it took to rebuild a camera's window, once its turn had come.",
    kind="histogram",
)
WINDOW_REBUILD_FRAMES = Metric(
    "vigil_window_rebuild_frames", "Older pictures shown to the model for that.", kind="counter"
)
LOAD_LEVEL = Metric(
    "vigil_load_level",
    "How many steps the worker has taken because it is too slow: 0 none; 1 fewer captions; 2 also "
    "faint changes are ignored; 3 also half as many frames are taken.",
    kind="gauge",
)
VISION_DRIFT = Metric(
    "vigil_vision_drift",
    "Error of computing only the changed parts of a frame, compared with computing the whole "
    "frame (1 - cosine similarity), as the mean of the last 32 audits; 0 before the first audit. "
    "Compare it with VIGIL_MODEL__MAX_DRIFT.",
    kind="gauge",
)
ENGINE_INCIDENTS = Metric(
    "vigil_engine_incidents",
    "Things that happened in the engine, by kind. `audit`: a frame was computed both ways to "
    "measure the drift, which is normal; `forced_refresh`: the drift was too large, and the "
    "result of the whole frame was taken; `out_of_memory`: the device had no memory left; `shed`: "
    "a camera's standby context was given up to make room; `cut_short`: a camera's context ended "
    "before its time because VIGIL_MODEL__MEMORY_BUDGET had no room, and its answers saw a shorter "
    "stretch; `unsaid`: a caption or text gave way to either, and is asked again.",
    kind="counter",
    labels=("kind",),
)
MEMORY = Metric(
    "vigil_memory_bytes",
    "Device memory in use, by part: `weights` (the model), `vision_cache` and `contexts` (what it "
    "remembers of the cameras).",
    kind="gauge",
    labels=("part",),
)
MEMORY_BUDGET = Metric(
    "vigil_memory_budget_bytes",
    "Device memory that may be used (VIGIL_MODEL__MEMORY_BUDGET); 0: no limit.",
    kind="gauge",
)
STREAMS = Metric(
    "vigil_streams",
    "Cameras that the model has in memory now, and one more while a window is rebuilt. These are "
    "not Redis streams.",
    kind="gauge",
)

# ---------------------------------------------------------------- answers and messages

ANSWER_AGE = Metric(
    "vigil_answer_age_seconds",
    "Time from the arrival of a frame at the worker to an answer about it.",
    kind="histogram",
)
ANSWERS_LATE = Metric(
    "vigil_answers_late",
    "Answers that were given later than VIGIL_LOAD__MAX_AGE after their frame arrived, or about a "
    "later frame than planned.",
    kind="counter",
)
ANSWER_MASS = Metric(
    "vigil_answer_mass",
    "Probability that the model gave to answering at all, of every new answer that has one; `kind` "
    "is the question's.",
    kind="histogram",
    labels=("kind",),
    buckets=SHARES,
)
ANSWERS_UNKNOWN = Metric(
    "vigil_answers_unknown",
    "Answers that were published as unknown. `reason` is the one in the message.",
    kind="counter",
    labels=("camera", "reason"),
)
REPLIES = Metric(
    "vigil_replies",
    "Messages that were made from the model's output. `kind` is `caption`, `answer` or `event`.",
    kind="counter",
    labels=("camera", "kind"),
)
EVENTS = Metric(
    "vigil_events",
    "Event messages that were made. `phase` is `start`, `update` or `end`; `reason` says why the "
    "event ended, and is empty before the end.",
    kind="counter",
    labels=("camera", "question", "phase", "reason"),
)

# ---------------------------------------------------------------- the outbox and Redis

OUTBOX_DEPTH = Metric("vigil_outbox_depth", "Messages that wait for Redis.", kind="gauge")
OUTBOX_BYTES = Metric(
    "vigil_outbox_bytes",
    "Size of the messages in the outbox, those that were set aside included. Compare it with "
    "VIGIL_OUTBOX__MAX_BYTES.",
    kind="gauge",
)
OUTBOX_OLDEST = Metric(
    "vigil_outbox_oldest_seconds",
    "Age of the oldest message that waits for Redis; 0 where none does.",
    kind="gauge",
)
OUTBOX_DROPPED = Metric(
    "vigil_outbox_dropped",
    "Messages that were lost because the outbox was full, since the worker started.",
    kind="gauge",
    labels=("kind",),
)
EVIDENCE_LOST = Metric(
    "vigil_evidence_lost",
    "Pictures and clips of events that were lost; the events were not. `memory`: too many frames "
    "spoke for events that were not decided yet; `busy`: too many events at once; `outbox`: the "
    "outbox was full; `no_video`: nothing was left to cut a clip from; `max_bytes`: larger than "
    "VIGIL_EVIDENCE__MAX_BYTES; another word: why Redis refused it, such as `not_permitted`.",
    kind="counter",
    labels=("reason",),
)
CLIP_DROPPED = Metric(
    "vigil_clip_dropped",
    "Packets and pictures that were let go early, so that a clip may begin late or lack some. "
    "`memory`: more than is kept of a camera; `busy`: too many pictures waited to be encoded.",
    kind="counter",
    labels=("camera", "reason"),
)
CLIP_MEMORY = Metric(
    "vigil_clip_memory_bytes",
    "Memory that the cameras' last while takes, from which clips of events are cut.",
    kind="gauge",
)
OUTBOX_SET_ASIDE = Metric(
    "vigil_outbox_set_aside",
    "Messages that Redis refused because of the message itself, for example because its key has "
    "another Redis type. They are tried again when the worker starts.",
    kind="counter",
    labels=("kind",),
)
OUTBOX_DEGRADED = Metric(
    "vigil_outbox_degraded",
    "1 while the outbox's disk is full, nearly full or failing: messages are kept in memory, or "
    "captions, status and answers give way to events. The page `/status` says which.",
    kind="gauge",
)
OUTBOX_FAILURES = Metric(
    "vigil_outbox_failures",
    "How often the outbox's file could not be opened, read or written, or could not grow. `reason` "
    "is `full`, `read_only`, `cannot_open`, `io_error`, `corrupt` or `failed`.",
    kind="counter",
    labels=("reason",),
)
OUTBOX_ASIDE = Metric(
    "vigil_outbox_aside",
    "Messages that lie set aside in the outbox now, as `set_aside` in /status says it.",
    kind="gauge",
)
FENCED = Metric(
    "vigil_fenced",
    "Messages that Redis did not take, because another worker has their camera by now. It says "
    "the same anew.",
    kind="counter",
    labels=("camera",),
)
TAKEOVERS = Metric(
    "vigil_takeovers",
    "Cameras that Kafka gave to this worker. `outcome`: `known`, it goes on where the last one "
    "stopped; `unknown`, Redis could not be asked in time; `late`, it could be asked afterwards.",
    kind="counter",
    labels=("outcome",),
)
PUBLISHING_UP = Metric(
    "vigil_publishing_up",
    "1 while messages arrive in Redis; 0 before the first contact and while publishing fails.",
    kind="gauge",
)
PUBLISH_FAILURES = Metric(
    "vigil_publish_failures",
    "How often publishing to Redis failed. `reason` is the one in `publishing` of /status.",
    kind="counter",
    labels=("reason",),
)
VISITS = Metric(
    "vigil_visits",
    "Live pictures (`what` is `picture`), one-off questions (`ask`), test events, commands at run "
    "time (`command`) and failed connections for them. `outcome` is `done`, or the reason why not.",
    kind="counter",
    labels=("what", "outcome"),
)

METRICS = tuple(one for one in tuple(globals().values()) if isinstance(one, Metric))
