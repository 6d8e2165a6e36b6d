"""Every limit of the store, with its reason."""

from __future__ import annotations

from typing import Final

MAX_PAYLOAD_BYTES: Final = 10 * 1024 * 1024
"""One payload, output, step result or token datum. More belongs into a file or an object store, by
reference."""

INLINE_BYTES: Final = 256 * 1024
"""A larger value stands beside the rows, in `blobs`: who lists runs, claims them or walks over
their histories reads only what he asks for. Few values are as large, and one more look for each
costs little beside its transfer."""

MAX_METADATA_BYTES: Final = 256 * 1024
"""Of one run, as JSON: it is read and written whole, at every change. What grows is a stream."""

MAX_CHUNK_BYTES: Final = 256 * 1024
"""One item of a stream: it is shown while it comes in."""

MAX_TAGS: Final = 50
"""Tags of one run: they are for filtering, not for data."""

MAX_CHUNKS: Final = 1_000
"""Chunks of a stream that one look reads."""

LEASE_MS: Final = 10_000
"""A worker that has not beaten for so long is taken over. Long enough for a stalled disk, short
enough to wait for."""

INSERT_ROWS: Final = 500
"""Rows in one statement: large enough that the round trip vanishes, small enough for every
parameter limit."""

MAX_BATCH: Final = 100_000
"""Items of one batch. It is one transaction: a larger one would hold others up for longer than a
lease."""

MAX_BATCH_BYTES: Final = 256 * 1024 * 1024
"""Payloads of one batch: they are in memory at once, here and in the database."""

PAGE_BYTES: Final = 1024 * 1024
"""A row of a history that holds the ends of many runs is closed when it is as large."""

STEP_TRANSACTION_SECONDS: Final = 5.0
"""How long a step's transaction may hold a SQLite file: half a lease, in which its worker cannot
beat."""

BUSY_TIMEOUT_MS: Final = 10_000
"""How long a writer waits for the SQLite file before it says that it is locked."""

CANCEL_PRIORITY: Final = 2**31 - 1
"""Of the marks of runs that were canceled after they had begun: above all that a trigger may give,
so that they go first."""

MAX_LIST: Final = 1_000
"""Rows in one page of a list."""

CHECKPOINT_PAGES: Final = 4_000
"""Pages (4 KiB) in a SQLite WAL before they are copied into the file. Hot pages are copied once for
many writes; 16 MB are copied in some 50 ms."""

WAL_BYTES: Final = 64 * 1024 * 1024
"""A SQLite WAL that has grown beyond this (a long reader) is cut when it is started anew."""

CACHE_KIB: Final = 8 * 1024
"""Page cache of the SQLite writer: the inner pages of every b-tree of some million runs. The system
keeps other pages, in memory that is nobody's."""

IDLE_READERS: Final = 4
"""SQLite read connections that are kept open: as many threads as look at once."""

STATEMENTS: Final = 256
"""Prepared statements that a SQLite connection keeps: more than there are."""

NEWS_BYTES: Final = 64 * 1024 * 1024
"""Rows of inboxes that one claim hands out; what is beyond them comes with the next one. Some six
of the largest values, or the ends of a batch of ten thousand."""

LOAD_BYTES: Final = 64 * 1024 * 1024
"""Histories that one look reads; a larger one is read alone."""

AHEAD_BYTES: Final = 16 * 1024 * 1024
"""Messages of one name that are handed out with a run; a larger one is handed out alone."""

MESSAGES_AHEAD: Final = 16
"""Messages of one name that are handed out with a run: enough that a body which reads a queue of
them rarely waits for a commit, few enough to lie in memory at their largest."""

KEPT_CHAPTERS: Final = 10
"""Chapters that a run keeps when it restarts, for people: a loop may restart for years."""

DUE_ROWS: Final = 1_000
"""Due times that one commit of a worker handles, so that a backlog of a million does not hold up
its group."""
