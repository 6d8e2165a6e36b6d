"""The schema, once, for both stores. `python -m wf.history.ddl` writes it into `sql/`.

*What changes and what does not.* `events` is append-only. `runs` holds what a user sees; no column
of it that changes in a run's life is in an index, so that Postgres updates it in place (HOT). What
a live run is doing now stands in narrow hot tables (ready, owned, due, …), where rows come and go.

On Postgres columns are ordered by alignment (8 bytes, 4, 2, then what varies), which saves padding
in every row; what few runs have is NULL in the others, which takes no bytes (a run's row is written
twice). On SQLite, tables with a small key and small rows are WITHOUT ROWID: one b-tree, not two.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

from wf.history.blobs import REFERENCE_LENGTH

schema: Final = MetaData()

_ROW_ID: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts only a column of the exact type INTEGER by itself."""
_IS_REFERENCE: Final = f"length(data) = {REFERENCE_LENGTH}"


def _table(
    name: str, key: str, *items: Column[Any] | Index, rowid: bool = False, **options: Any
) -> Table:
    columns = key.split()
    primary = (PrimaryKeyConstraint(*columns),) if columns else ()
    return Table(
        name,
        schema,
        *items,
        *primary,
        sqlite_with_rowid=rowid,
        sqlite_autoincrement=name in {"inbox", "messages"},
        **options,
    )


def _key(name: str, kind: TypeEngine[Any]) -> Column[Any]:
    return Column(name, kind, nullable=False, autoincrement=False)


def _keys(names: str) -> list[Column[Any]]:
    return [_key(name, Text()) for name in names.split()]


def _int(name: str, kind: TypeEngine[int] | None = None, default: int | None = None) -> Column[int]:
    given = None if default is None else text(str(default))
    return Column(name, kind or BigInteger(), nullable=False, server_default=given)


def _text(name: str, default: str | None = "") -> Column[str]:
    given = None if default is None else text(f"'{default}'")
    return Column(name, Text, nullable=False, server_default=given)


def _bytes(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=False)


def _maybe(name: str, kind: TypeEngine[Any]) -> Column[Any]:
    return Column(name, kind, nullable=True)


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


_table("meta", "", _int("version", Integer()), rowid=True)

# --- runs and their histories ---------------------------------------------------------------------

runs: Final = _table(
    "runs",
    "id",
    _int("created_at"),
    _maybe("start_at", BigInteger()),
    _maybe("ttl_ms", BigInteger()),
    _maybe("ended_at", BigInteger()),
    _maybe("canceled_at", BigInteger()),  # when a cancel was asked of a run that had begun
    _maybe("priority", Integer()),  # NULL: 0
    _int("chapter", Integer(), default=1),
    _maybe("attempt", Integer()),  # NULL: 1
    _int("status", SmallInteger(), default=0),
    _key("id", LargeBinary()),
    _text("environment", None),
    _text("task", None),
    _bytes("payload"),
    _maybe("parent_id", LargeBinary()),
    _maybe("batch_id", LargeBinary()),
    _maybe("schedule_id", LargeBinary()),
    _maybe("origin_id", LargeBinary()),
    _maybe("root_id", LargeBinary()),  # NULL: its own
    _maybe("tags", Text()),  # NULL: none, as with the three that follow
    _text("queue"),
    _text("key"),
    _maybe("idempotency_key", Text()),
    _maybe("version", Text()),
    _maybe("options", LargeBinary()),
    _maybe("output", LargeBinary()),
    _maybe("failure", LargeBinary()),
    Index("runs_of_parent", "parent_id", **_where("parent_id IS NOT NULL")),
    Index("runs_of_batch", "batch_id", **_where("batch_id IS NOT NULL")),
    Index("runs_of_schedule", "schedule_id", "id", **_where("schedule_id IS NOT NULL")),
    Index("runs_of_origin", "origin_id", **_where("origin_id IS NOT NULL")),
    rowid=True,
    info={"fillfactor": 45},  # the runs of a page mostly end in one commit: room for all new rows
)

_table(
    "events",
    "run_id chapter seq",
    _int("at"),
    _maybe("digest", BigInteger()),
    _key("chapter", Integer()),
    _key("seq", Integer()),
    _maybe("ordinal", Integer()),
    _maybe("attempt", Integer()),
    _maybe("took", Integer()),
    _int("kind", SmallInteger()),
    _key("run_id", LargeBinary()),
    _text("name"),
    _maybe("data", LargeBinary()),
)

_table(
    "inbox",
    "id",
    Column("id", _ROW_ID, Identity(always=False), nullable=False, autoincrement=True),
    _int("at"),
    _int("chapter", Integer(), default=0),
    _int("ordinal", Integer(), default=0),
    _int("place", Integer(), default=0),
    _int("kind", SmallInteger()),
    _bytes("run_id"),
    _text("name"),
    _maybe("data", LargeBinary()),
    Index("inbox_of_run", "run_id", "id"),
    Index("inbox_with_blob", "data", postgresql_using="hash", **_where(_IS_REFERENCE)),
    rowid=True,
)

_table(
    "messages",
    "id",
    Column("id", _ROW_ID, Identity(always=False), nullable=False, autoincrement=True),
    _int("at"),
    _bytes("run_id"),
    _text("name", None),
    _bytes("data"),
    Index("messages_of_run", "run_id", "name", "id"),
    rowid=True,
)

# --- who does what --------------------------------------------------------------------------------

_table(
    "workers",
    "id",
    _key("id", BigInteger()),
    _int("group_no", default=0),
    _int("beat"),
    _int("started_at"),
    _int("pid", Integer(), default=0),
    _text("environment", None),
    _text("host"),
    _text("tasks", "[]"),
    _text("code"),
)

_table(
    "ready",
    "run_id",
    _int("at"),
    _maybe("owner", BigInteger()),
    _int("priority", Integer(), default=0),
    _int("reason", SmallInteger(), default=0),
    _key("run_id", LargeBinary()),
    _text("environment", None),
    _text("task", None),
    _text("queue"),
    _text("key"),
    Index(
        "ready_to_claim",
        "environment",
        "task",
        text("priority DESC"),
        "at",
        "run_id",
        **_where("owner IS NULL AND queue = ''"),
    ),
    Index(
        "ready_in_lane",
        "environment",
        "queue",
        "key",
        "task",
        text("(reason = 0)"),
        text("priority DESC"),
        "at",
        "run_id",
        **_where("owner IS NULL AND queue <> ''"),
    ),
    Index("ready_of_owner", "owner", **_where("owner IS NOT NULL")),
)

_table(
    "owned",
    "run_id",
    _int("worker"),
    _key("run_id", LargeBinary()),
    _maybe("environment", Text()),
    _maybe("queue", Text()),
    _maybe("key", Text()),
    Index("owned_slots", "environment", "queue", "key", **_where("queue IS NOT NULL")),
)

_table(
    "due",
    "id",
    _int("at"),
    _int("kind", SmallInteger()),
    _key("id", LargeBinary()),
    _text("environment", None),
    Index("due_by_time", "environment", "at"),
)

_table(
    "waits",
    "target run_id chapter ordinal place",
    _key("chapter", Integer()),
    _key("ordinal", Integer()),
    _key("place", Integer()),
    _key("target", LargeBinary()),
    _key("run_id", LargeBinary()),
    Index("waits_of_run", "run_id"),
)

# An operation waits for many runs, of which `missing` are alive. A failure wakes an `eager` one.
_table(
    "gathers",
    "run_id chapter ordinal",
    _key("chapter", Integer()),
    _key("ordinal", Integer()),
    _int("missing", Integer()),
    Column("eager", Boolean, nullable=False),
    _key("run_id", LargeBinary()),
)

_table("listening", "run_id name", _key("run_id", LargeBinary()), _key("name", Text()))

_table(
    "blocked",
    "run_id",
    _int("since"),
    _key("run_id", LargeBinary()),
    _text("environment", None),
    _text("task", None),
    _text("reason", None),
    _text("detail"),
    _text("next"),
    _text("code"),
)

_table(
    "tokens",
    "id",
    _int("created_at"),
    _int("timeout_at", default=0),
    _maybe("ended_at", BigInteger()),
    _int("status", SmallInteger(), default=0),
    _key("id", LargeBinary()),
    _text("environment", None),
    _maybe("run_id", LargeBinary()),
    _text("tags", "[]"),
    _bytes("schema"),
    _maybe("data", LargeBinary()),
    _text("idempotency_key"),
    Index("tokens_of_run", "run_id"),
    rowid=True,
)

_table(
    "idempotency",
    "environment task key",
    _int("expires_at", default=0),
    *_keys("environment task key"),
    _bytes("run_id"),
    _bytes("digest"),
)

_table(
    "debounces",
    "environment task key",
    *_keys("environment task key"),
    _bytes("run_id"),
    Index("debounces_of_run", "run_id"),
)

# --- what is set up -------------------------------------------------------------------------------

_table(
    "runnables",
    "environment task",
    _int("first_seen"),
    _int("hooks", SmallInteger(), default=0),
    *_keys("environment task"),
    _text("queue"),
)

# `ceiling`, `key_ceiling`: as many slots may be held still, from before a limit was lowered.
# `said`: the limits that code said last.
_table(
    "queues",
    "environment name",
    _int("rate_ms", default=0),
    _int("key_rate_ms", default=0),
    _int("turn", default=0),
    _maybe("concurrency_limit", Integer()),
    _int("per_key_limit", Integer(), default=1),
    _maybe("rate_limit", Integer()),
    _maybe("key_rate_limit", Integer()),
    _int("ceiling", Integer(), default=0),
    _int("key_ceiling", Integer(), default=0),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    *_keys("environment name"),
    _text("said"),
)

# Something may start here: for workers of a task, or ("") for any.
_table(
    "stirs",
    "id",
    Column("id", _ROW_ID, Identity(always=False), nullable=False, autoincrement=True),
    _int("at", default=0),
    _text("environment", None),
    _text("task"),
    _text("queue", None),
    _text("key"),
    Index("stirs_to_take", "environment", "task", "at", "queue", "key"),
    rowid=True,
)

# `at`, `rank`, `priority`: of the run that goes next; no `at`: nothing may.
_table(
    "lanes",
    "environment queue key task",
    _maybe("at", BigInteger()),
    _int("served", default=0),
    _int("priority", Integer(), default=0),
    _int("rank", SmallInteger(), default=0),
    *_keys("environment queue key task"),
    Index(
        "lanes_in_order",
        "environment",
        "queue",
        "task",
        "rank",
        text("priority DESC"),
        "served",
        "at",
        "key",
        **_where("at IS NOT NULL"),
    ),
    Index("lanes_closed", "environment", "queue", "served", **_where("at IS NULL")),
)

# First starts in queues with a rate, as long as they count.
_table(
    "starts",
    "id",
    Column("id", _ROW_ID, Identity(always=False), nullable=False, autoincrement=True),
    _int("at"),
    _text("environment", None),
    _text("queue", None),
    _text("key"),
    Index("starts_of_queue", "environment", "queue", "at"),
    Index("starts_of_key", "environment", "queue", "key", "at"),
    rowid=True,
)

_table(
    "schedules",
    "id",
    _int("created_at"),
    _maybe("due_at", BigInteger()),
    _int("next_at"),
    _maybe("last_at", BigInteger()),
    _int("revision", default=0),
    Column("active", Boolean, nullable=False),
    Column("declared", Boolean, nullable=False),
    _key("id", LargeBinary()),
    _text("environment", None),
    _text("task", None),
    _text("cron", None),
    _text("timezone", "UTC"),
    _text("overlap", "skip"),
    _text("catch_up", "last"),
    _text("nonexistent", "shift_forward"),
    _text("ambiguous", "earlier"),
    _text("external_id"),
    _maybe("deduplication_key", Text()),
    _maybe("run_id", LargeBinary()),
    _text("queued", "[]"),
    _text("skipped", "[]"),
    _bytes("options"),
    Index("schedules_due", "environment", "due_at", **_where("due_at IS NOT NULL")),
    Index(
        "schedules_deduplicated",
        "environment",
        "deduplication_key",
        unique=True,
        **_where("deduplication_key IS NOT NULL"),
    ),
    rowid=True,
)

_table("environments", "name", _int("created_at"), _key("name", Text()))

_table(
    "deployments",
    "environment version",
    _int("created_at"),
    *_keys("environment version"),
    _text("code"),
    _bytes("options"),
)

_table(
    "keys",
    "id",
    _int("created_at"),
    _maybe("expires_at", BigInteger()),
    _maybe("revoked_at", BigInteger()),
    _key("id", LargeBinary()),
    _bytes("hash"),
    _text("environment", None),
    _text("name"),
    _text("scopes", "[]"),
)

# --- what runs leave beside their histories -------------------------------------------------------

_table(
    "streams",
    "run_id name seq",
    _int("at"),
    _key("seq", Integer()),
    _key("run_id", LargeBinary()),
    _key("name", Text()),
    _bytes("data"),
)

_table(
    "notes",
    "run_id",
    _key("run_id", LargeBinary()),
    _maybe("metadata", LargeBinary()),
    _text("tags", "[]"),
)

# Which runs have a tag: those they were born with, and those that were added.
_table(
    "tags",
    "environment tag run_id",
    _key("environment", Text()),
    _key("tag", LargeBinary()),
    _key("run_id", LargeBinary()),
)

# Large values, each of a run or a token (`history.blobs`).
_table(
    "blobs",
    "owner reference",
    _key("owner", LargeBinary()),
    _key("reference", LargeBinary()),
    _bytes("data"),
    Index("blobs_by_reference", "reference"),
    rowid=True,
)
