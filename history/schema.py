"""The schema, once, for both stores. `python -m wf.history.schema` writes it as DDL into `sql/`.

*What changes and what does not.* `events` is append-only. `runs` holds what a user sees; no column
of it that changes in a run's life is in an index, so that Postgres updates it in place (HOT). What
a live run is doing right now stands in narrow hot tables (ready, owned, due, waits, blocked), where
rows come and go.

On Postgres columns are ordered by alignment (8 bytes, 4, 2, then what varies), which saves padding
in every row. On SQLite, tables with a small key and small rows are WITHOUT ROWID: one b-tree
instead of two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

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
    create_mock_engine,
    text,
)
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.types import TypeEngine

from wf.history.version import SCHEMA_VERSION

Dialect = Literal["sqlite", "postgresql"]

schema: Final = MetaData()

_ROW_ID: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts only a column of the exact type INTEGER by itself."""


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
    _int("start_at", default=0),
    _int("ttl_ms", default=0),
    _maybe("ended_at", BigInteger()),
    _int("priority", Integer(), default=0),
    _int("chapter", Integer(), default=1),
    _int("attempt", Integer(), default=1),
    _int("status", SmallInteger(), default=0),
    _key("id", LargeBinary()),
    _text("environment", None),
    _text("task", None),
    _bytes("payload"),
    _maybe("parent_id", LargeBinary()),
    _maybe("batch_id", LargeBinary()),
    _maybe("schedule_id", LargeBinary()),
    _maybe("origin_id", LargeBinary()),
    _bytes("root_id"),
    _text("tags", "[]"),
    _text("queue"),
    _text("key"),
    _text("idempotency_key"),
    _text("version"),
    _bytes("options"),
    _maybe("output", LargeBinary()),
    _maybe("failure", LargeBinary()),
    Index("runs_of_parent", "parent_id", **_where("parent_id IS NOT NULL")),
    Index("runs_of_batch", "batch_id", **_where("batch_id IS NOT NULL")),
    Index("runs_of_schedule", "schedule_id", "id", **_where("schedule_id IS NOT NULL")),
    Index("runs_of_origin", "origin_id", **_where("origin_id IS NOT NULL")),
    rowid=True,
    # Room in every page for the updates of a run's life, so that they stay in it.
    info={"fillfactor": 60},
)

_table(
    "events",
    "run_id chapter seq",
    _int("at"),
    _int("digest", default=0),
    _key("chapter", Integer()),
    _key("seq", Integer()),
    _int("ordinal", Integer(), default=0),
    _int("attempt", Integer(), default=0),
    _int("took", Integer(), default=0),
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
        **_where("owner IS NULL"),
    ),
    Index("ready_of_owner", "owner", **_where("owner IS NOT NULL")),
)

_table(
    "owned",
    "run_id",
    _int("worker"),
    _key("run_id", LargeBinary()),
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

# An operation that waits for many runs: `missing` of them have not ended. One that does not
# complete wakes an `eager` one.
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
    Index("tokens_of_run", "run_id", **_where("run_id IS NOT NULL")),
    rowid=True,
)

_table(
    "idempotency",
    "environment task key",
    _int("expires_at", default=0),
    _key("environment", Text()),
    _key("task", Text()),
    _key("key", Text()),
    _bytes("run_id"),
    _bytes("digest"),
)

_table(
    "debounces",
    "environment task key",
    _key("environment", Text()),
    _key("task", Text()),
    _key("key", Text()),
    _bytes("run_id"),
)

# --- what is set up -------------------------------------------------------------------------------

_table(
    "runnables",
    "environment task",
    _int("first_seen"),
    _int("hooks", SmallInteger(), default=0),
    _key("environment", Text()),
    _key("task", Text()),
)

_table(
    "queues",
    "environment name",
    _maybe("rate_ms", BigInteger()),
    _maybe("concurrency_limit", Integer()),
    _int("per_key_limit", Integer(), default=1),
    _maybe("rate_limit", Integer()),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    _key("environment", Text()),
    _key("name", Text()),
)

_table(
    "slots",
    "run_id",
    _key("run_id", LargeBinary()),
    _text("environment", None),
    _text("queue", None),
    _text("key"),
    Index("slots_of_lane", "environment", "queue", "key"),
)

_table(
    "lanes",
    "environment queue key",
    _int("served_at", default=0),
    _key("environment", Text()),
    _key("queue", Text()),
    _key("key", Text()),
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
    _key("environment", Text()),
    _key("version", Text()),
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

_table("blobs", "hash", _key("hash", LargeBinary()), _bytes("data"), rowid=True)


def ddl(dialect: Dialect) -> str:
    """The script that makes an empty database into one of SCHEMA_VERSION."""
    lines = ["-- Made from history/schema.py by `python -m wf.history.schema`: change it there.\n"]
    engine = create_mock_engine(f"{dialect}://", _discard)
    for table in schema.tables.values():
        # Table.indexes is a set: without an order the script would differ from time to time.
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        for element in (CreateTable(table), *map(CreateIndex, indexes)):
            compiled = str(element.compile(dialect=engine.dialect)).replace("\t", "    ")
            text_lines = [line.rstrip() for line in compiled.strip().splitlines()]
            if " WITHOUT ROWID" in text_lines:
                text_lines[1:] = _key_first(text_lines[1:], table)
            lines.append("\n".join(text_lines) + ";\n")
        if dialect == "postgresql" and "fillfactor" in table.info:
            fill = table.info["fillfactor"]
            lines.append(f"ALTER TABLE {table.name} SET (fillfactor = {fill});\n")
    lines.append(f"INSERT INTO meta (version) VALUES ({SCHEMA_VERSION});\n")
    return "\n".join(lines)


def _key_first(lines: list[str], table: Table) -> list[str]:
    """`PRAGMA integrity_check` of SQLite 3.40 sees a NULL in every row of a table WITHOUT ROWID
    whose first column is not the first of its key."""
    names = [column.name for column in table.primary_key.columns]
    word = {name: f'"{name}"' if f'"{name}"' in "".join(lines) else name for name in names}
    keys = [next(line for line in lines if line.split()[0] == word[name]) for name in names]
    return keys + [line for line in lines if line not in keys]


def _discard(*_: object) -> None: ...


_SHORT: Final[dict[Dialect, str]] = {"sqlite": "sqlite", "postgresql": "postgres"}
_HERE: Final = Path(__file__).parent


def head_file(dialect: Dialect) -> Path:
    """Where the script stands."""
    return _HERE / "sql" / f"head_{_SHORT[dialect]}.sql"


def first_file(dialect: Dialect) -> Path:
    """The script of the first revision: the head's, until there is a second one."""
    return _HERE / "migrations" / "versions" / f"0001_{_SHORT[dialect]}.sql"


def write() -> None:
    for dialect in _SHORT:
        script = ddl(dialect)
        head_file(dialect).write_text(script, encoding="utf-8")
        if SCHEMA_VERSION == 1:
            first_file(dialect).write_text(script, encoding="utf-8")


if __name__ == "__main__":
    write()
