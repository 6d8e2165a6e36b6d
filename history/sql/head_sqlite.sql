-- Made from history/schema.py by `python -m wf.history.ddl`: change it there.

CREATE TABLE meta (
    version INTEGER NOT NULL
);

CREATE TABLE runs (
    created_at BIGINT NOT NULL,
    start_at BIGINT,
    ttl_ms BIGINT,
    ended_at BIGINT,
    canceled_at BIGINT,
    priority INTEGER,
    chapter INTEGER DEFAULT 1 NOT NULL,
    attempt INTEGER,
    status SMALLINT DEFAULT 0 NOT NULL,
    id BLOB NOT NULL,
    environment TEXT NOT NULL,
    task TEXT NOT NULL,
    payload BLOB NOT NULL,
    parent_id BLOB,
    batch_id BLOB,
    schedule_id BLOB,
    origin_id BLOB,
    root_id BLOB,
    tags TEXT,
    queue TEXT DEFAULT '' NOT NULL,
    "key" TEXT DEFAULT '' NOT NULL,
    idempotency_key TEXT,
    version TEXT,
    options BLOB,
    output BLOB,
    failure BLOB,
    PRIMARY KEY (id)
);

CREATE INDEX runs_of_batch ON runs (batch_id) WHERE batch_id IS NOT NULL;

CREATE INDEX runs_of_origin ON runs (origin_id) WHERE origin_id IS NOT NULL;

CREATE INDEX runs_of_parent ON runs (parent_id) WHERE parent_id IS NOT NULL;

CREATE INDEX runs_of_schedule ON runs (schedule_id, id) WHERE schedule_id IS NOT NULL;

CREATE TABLE events (
    run_id BLOB NOT NULL,
    chapter INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at BIGINT NOT NULL,
    digest BIGINT,
    ordinal INTEGER,
    attempt INTEGER,
    took INTEGER,
    kind SMALLINT NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    data BLOB,
    PRIMARY KEY (run_id, chapter, seq)
)
 WITHOUT ROWID;

CREATE TABLE inbox (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at BIGINT NOT NULL,
    chapter INTEGER DEFAULT 0 NOT NULL,
    ordinal INTEGER DEFAULT 0 NOT NULL,
    place INTEGER DEFAULT 0 NOT NULL,
    kind SMALLINT NOT NULL,
    run_id BLOB NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    data BLOB
);

CREATE INDEX inbox_of_run ON inbox (run_id, id);

CREATE INDEX inbox_with_blob ON inbox (data) WHERE length(data) = 42;

CREATE TABLE messages (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at BIGINT NOT NULL,
    run_id BLOB NOT NULL,
    name TEXT NOT NULL,
    data BLOB NOT NULL
);

CREATE INDEX messages_of_run ON messages (run_id, name, id);

CREATE TABLE workers (
    id BIGINT NOT NULL,
    group_no BIGINT DEFAULT 0 NOT NULL,
    beat BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    pid INTEGER DEFAULT 0 NOT NULL,
    environment TEXT NOT NULL,
    host TEXT DEFAULT '' NOT NULL,
    tasks TEXT DEFAULT '[]' NOT NULL,
    code TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id)
)
 WITHOUT ROWID;

CREATE TABLE ready (
    run_id BLOB NOT NULL,
    at BIGINT NOT NULL,
    owner BIGINT,
    priority INTEGER DEFAULT 0 NOT NULL,
    reason SMALLINT DEFAULT 0 NOT NULL,
    environment TEXT NOT NULL,
    task TEXT NOT NULL,
    queue TEXT DEFAULT '' NOT NULL,
    "key" TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (run_id)
)
 WITHOUT ROWID;

CREATE INDEX ready_in_lane ON ready (environment, queue, "key", task, (reason = 0), priority DESC, at, run_id) WHERE owner IS NULL AND queue <> '';

CREATE INDEX ready_of_owner ON ready (owner) WHERE owner IS NOT NULL;

CREATE INDEX ready_to_claim ON ready (environment, task, priority DESC, at, run_id) WHERE owner IS NULL AND queue = '';

CREATE TABLE owned (
    run_id BLOB NOT NULL,
    worker BIGINT NOT NULL,
    environment TEXT,
    queue TEXT,
    "key" TEXT,
    PRIMARY KEY (run_id)
)
 WITHOUT ROWID;

CREATE INDEX owned_slots ON owned (environment, queue, "key") WHERE queue IS NOT NULL;

CREATE TABLE due (
    id BLOB NOT NULL,
    at BIGINT NOT NULL,
    kind SMALLINT NOT NULL,
    environment TEXT NOT NULL,
    PRIMARY KEY (id)
)
 WITHOUT ROWID;

CREATE INDEX due_by_time ON due (environment, at);

CREATE TABLE waits (
    target BLOB NOT NULL,
    run_id BLOB NOT NULL,
    chapter INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (target, run_id, chapter, ordinal, place)
)
 WITHOUT ROWID;

CREATE INDEX waits_of_run ON waits (run_id);

CREATE TABLE gathers (
    run_id BLOB NOT NULL,
    chapter INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    eager BOOLEAN NOT NULL,
    PRIMARY KEY (run_id, chapter, ordinal)
)
 WITHOUT ROWID;

CREATE TABLE listening (
    run_id BLOB NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (run_id, name)
)
 WITHOUT ROWID;

CREATE TABLE blocked (
    run_id BLOB NOT NULL,
    since BIGINT NOT NULL,
    environment TEXT NOT NULL,
    task TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT DEFAULT '' NOT NULL,
    next TEXT DEFAULT '' NOT NULL,
    code TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (run_id)
)
 WITHOUT ROWID;

CREATE TABLE tokens (
    created_at BIGINT NOT NULL,
    timeout_at BIGINT DEFAULT 0 NOT NULL,
    ended_at BIGINT,
    status SMALLINT DEFAULT 0 NOT NULL,
    id BLOB NOT NULL,
    environment TEXT NOT NULL,
    run_id BLOB,
    tags TEXT DEFAULT '[]' NOT NULL,
    schema BLOB NOT NULL,
    data BLOB,
    idempotency_key TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX tokens_of_run ON tokens (run_id);

CREATE TABLE idempotency (
    environment TEXT NOT NULL,
    task TEXT NOT NULL,
    "key" TEXT NOT NULL,
    expires_at BIGINT DEFAULT 0 NOT NULL,
    run_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (environment, task, "key")
)
 WITHOUT ROWID;

CREATE TABLE debounces (
    environment TEXT NOT NULL,
    task TEXT NOT NULL,
    "key" TEXT NOT NULL,
    run_id BLOB NOT NULL,
    PRIMARY KEY (environment, task, "key")
)
 WITHOUT ROWID;

CREATE INDEX debounces_of_run ON debounces (run_id);

CREATE TABLE runnables (
    environment TEXT NOT NULL,
    task TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    hooks SMALLINT DEFAULT 0 NOT NULL,
    queue TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (environment, task)
)
 WITHOUT ROWID;

CREATE TABLE queues (
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    rate_ms BIGINT DEFAULT 0 NOT NULL,
    key_rate_ms BIGINT DEFAULT 0 NOT NULL,
    turn BIGINT DEFAULT 0 NOT NULL,
    concurrency_limit INTEGER,
    per_key_limit INTEGER DEFAULT 1 NOT NULL,
    rate_limit INTEGER,
    key_rate_limit INTEGER,
    ceiling INTEGER DEFAULT 0 NOT NULL,
    key_ceiling INTEGER DEFAULT 0 NOT NULL,
    paused BOOLEAN DEFAULT false NOT NULL,
    said TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (environment, name)
)
 WITHOUT ROWID;

CREATE TABLE stirs (
    id INTEGER NOT NULL,
    at BIGINT DEFAULT 0 NOT NULL,
    environment TEXT NOT NULL,
    task TEXT DEFAULT '' NOT NULL,
    queue TEXT NOT NULL,
    "key" TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX stirs_to_take ON stirs (environment, task, at, queue, "key");

CREATE TABLE lanes (
    environment TEXT NOT NULL,
    queue TEXT NOT NULL,
    "key" TEXT NOT NULL,
    task TEXT NOT NULL,
    at BIGINT,
    served BIGINT DEFAULT 0 NOT NULL,
    priority INTEGER DEFAULT 0 NOT NULL,
    rank SMALLINT DEFAULT 0 NOT NULL,
    PRIMARY KEY (environment, queue, "key", task)
)
 WITHOUT ROWID;

CREATE INDEX lanes_closed ON lanes (environment, queue, served) WHERE at IS NULL;

CREATE INDEX lanes_in_order ON lanes (environment, queue, task, rank, priority DESC, served, at, "key") WHERE at IS NOT NULL;

CREATE TABLE starts (
    id INTEGER NOT NULL,
    at BIGINT NOT NULL,
    environment TEXT NOT NULL,
    queue TEXT NOT NULL,
    "key" TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX starts_of_key ON starts (environment, queue, "key", at);

CREATE INDEX starts_of_queue ON starts (environment, queue, at);

CREATE TABLE schedules (
    created_at BIGINT NOT NULL,
    due_at BIGINT,
    next_at BIGINT NOT NULL,
    last_at BIGINT,
    revision BIGINT DEFAULT 0 NOT NULL,
    active BOOLEAN NOT NULL,
    declared BOOLEAN NOT NULL,
    id BLOB NOT NULL,
    environment TEXT NOT NULL,
    task TEXT NOT NULL,
    cron TEXT NOT NULL,
    timezone TEXT DEFAULT 'UTC' NOT NULL,
    overlap TEXT DEFAULT 'skip' NOT NULL,
    catch_up TEXT DEFAULT 'last' NOT NULL,
    nonexistent TEXT DEFAULT 'shift_forward' NOT NULL,
    ambiguous TEXT DEFAULT 'earlier' NOT NULL,
    external_id TEXT DEFAULT '' NOT NULL,
    deduplication_key TEXT,
    run_id BLOB,
    queued TEXT DEFAULT '[]' NOT NULL,
    skipped TEXT DEFAULT '[]' NOT NULL,
    options BLOB NOT NULL,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX schedules_deduplicated ON schedules (environment, deduplication_key) WHERE deduplication_key IS NOT NULL;

CREATE INDEX schedules_due ON schedules (environment, due_at) WHERE due_at IS NOT NULL;

CREATE TABLE environments (
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (name)
)
 WITHOUT ROWID;

CREATE TABLE deployments (
    environment TEXT NOT NULL,
    version TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    code TEXT DEFAULT '' NOT NULL,
    options BLOB NOT NULL,
    PRIMARY KEY (environment, version)
)
 WITHOUT ROWID;

CREATE TABLE keys (
    id BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    hash BLOB NOT NULL,
    environment TEXT NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    scopes TEXT DEFAULT '[]' NOT NULL,
    PRIMARY KEY (id)
)
 WITHOUT ROWID;

CREATE TABLE streams (
    run_id BLOB NOT NULL,
    name TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at BIGINT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (run_id, name, seq)
)
 WITHOUT ROWID;

CREATE TABLE notes (
    run_id BLOB NOT NULL,
    metadata BLOB,
    tags TEXT DEFAULT '[]' NOT NULL,
    PRIMARY KEY (run_id)
)
 WITHOUT ROWID;

CREATE TABLE tags (
    environment TEXT NOT NULL,
    tag BLOB NOT NULL,
    run_id BLOB NOT NULL,
    PRIMARY KEY (environment, tag, run_id)
)
 WITHOUT ROWID;

CREATE TABLE blobs (
    owner BLOB NOT NULL,
    reference BLOB NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (owner, reference)
);

CREATE INDEX blobs_by_reference ON blobs (reference);

INSERT INTO meta (version) VALUES (1);
