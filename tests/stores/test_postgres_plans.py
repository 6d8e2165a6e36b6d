"""Plans are kept while tables grow, and made before the server has counted them, or when they were
empty: whatever it believes, a hot statement looks its rows up in an index and walks no table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Final, LiteralString, cast

import psycopg
import pytest
from psycopg import sql as compose

from tests.stores.world import World
from wf.history import blobs, cold
from wf.history import postgres_debounce as debounce
from wf.history import postgres_notes as notes
from wf.history import postgres_operations as operations
from wf.history import postgres_sql as sql
from wf.history import postgres_sql_due as due
from wf.history import postgres_sql_messages as messages
from wf.history import postgres_sql_queues as queues
from wf.history import postgres_sql_workers as workers
from wf.history import postgres_step as step
from wf.history.events import Status
from wf.history.ids import new_id
from wf.history.listing import RunLists, lead_of
from wf.history.model import RunFilter
from wf.history.open import open_store
from wf.history.schedules import due_next, due_now

RARE: Final = {"UNPARK", "ANY_LOST", "STUCK", "LOST", "ORPHANED", "UNROUTED"}
"""Statements about all workers, or all that is parked: when one joins or is lost."""
RESYNC: Final = {"OWNED", "OWNED_INBOXES", "OWNED_MESSAGES"}
"""After a lost answer: they walk what is owned by anybody, which are a thousand runs a worker."""
SESSION: Final = {
    *("DUE_UNDER", "UNCLAIMED_UNDER", "DUE_RUNS_UNDER", "DUE_TOKENS_UNDER", "NEXT_DUE_UNDER")
}
"""Of a worker that works for one run only: it may walk what is due."""
LEADS: Final = [
    lead
    for wanted in (
        RunFilter("dev", batch_id=b""),
        RunFilter("dev", parent_id=b""),
        RunFilter("dev", schedule_id=b""),
        RunFilter("dev", origin_id=b""),
        RunFilter("dev", tag="x"),
        RunFilter("dev", status=[status for status in Status if not status.ended]),
    )
    if (lead := lead_of(wanted)) is not None
]
"""What lists of runs follow. (All below one run: that is planned each time, by what there is.)"""
TABLES: Final = """SELECT tablename FROM pg_tables
WHERE schemaname = current_schema AND tablename <> 'events'"""
"""Those that are empty at times. (Events only grow. Where they were counted before the first run,
who looks at runs may read all that there are, until they are counted again.)"""
NOT_BY_ITSELF: Final = "ALTER TABLE {} SET (autovacuum_enabled = off)"
MANY: Final = 300
"""Items in an array: a group."""


@pytest.fixture(params=["uncounted", "full, uncounted", "counted", "full, counted"])
def connection(
    request: pytest.FixtureRequest, fresh_postgres_url: str
) -> Iterator[psycopg.Connection]:
    """A database of which the server knows nothing, or what it once counted: tables that are empty
    but for a moment are often counted in it."""
    world = World(fresh_postgres_url, open_store(fresh_postgres_url))
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        tables = [compose.Identifier(table) for (table,) in connection.execute(TABLES)]
        for table in tables:
            connection.execute(compose.SQL(NOT_BY_ITSELF).format(table))
        if "full" in request.param:
            world.store.trigger([world.new() for _ in range(3_000)])
            worker = world.worker()
            worker.commit(*map(worker.ending, worker.claim_ids()))
            worker.claim()
        if " counted" in f" {request.param}":
            for table in tables:
                connection.execute(compose.SQL("VACUUM ANALYZE {}").format(table))
    world.close()
    with psycopg.connect(fresh_postgres_url) as connection:
        connection.execute(cast("LiteralString", sql.LOOK_SETTINGS))
        yield connection


def statements() -> dict[str, str]:
    """Each with $1, $2, … for its parameters."""
    found = {
        f"{module.__name__.rpartition('_')[2]}.{name}": text
        for module in (sql, due, messages, queues, debounce, operations, workers, notes, step)
        for name, text in vars(module).items()
        if (name[0].isupper() or module in (notes, step)) and isinstance(text, str)
        if name not in RARE | RESYNC | SESSION
        if re.match("WITH|SELECT|INSERT|UPDATE|DELETE", text)
    }
    found["sql.LOCKED_TOKEN"] = sql.LOCKED_TOKEN.format("id")
    found["fetch"] = blobs.GET.replace("?", "%s")
    found["get_runs"] = f"{sql.looked_up(cold.RUNS)} WHERE r.id = ANY (%s::bytea[])"
    found |= {f"of a run {n}": text for n, text in enumerate(operations.OF_RUNS)}
    found |= {
        look.__name__: look(["one", "two"]).replace("?", "%s") for look in (due_now, due_next)
    }
    found |= {f"lead {n}": lead.sql.replace("?", "%s") for n, lead in enumerate(LEADS)}
    return {name: numbered(text) for name, text in found.items()}


def numbered(text: str) -> str:
    numbers: dict[str, int] = {}
    fresh = count()

    def number(found: re.Match[str]) -> str:
        name = found[1] or f"?{next(fresh)}"
        return f"${numbers.setdefault(name, len(numbers) + 1)}"

    return re.sub(r"%(?:\((\w+)\))?s", number, text)


def value_of(kind: str) -> Any:
    """A parameter of this type, as a worker's group has it."""
    scalar = {"bytea": new_id(0), "text": "1", "boolean": True}.get(kind.removesuffix("[]"), 1)
    return [scalar] * MANY if kind.endswith("[]") else scalar


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def test_every_hot_statement_looks_its_rows_up(connection: psycopg.Connection) -> None:
    first_columns = dict(
        connection.execute(
            "SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
        ).fetchall()
    )
    walks: list[str] = []
    for name, text in statements().items():
        connection.execute(cast("LiteralString", f'PREPARE "{name}" AS {text}'))
        ((kinds,),) = connection.execute(
            "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = %s", [name]
        ).fetchall()
        values = compose.SQL(", ").join(map(compose.Literal, map(value_of, kinds)))
        call = compose.SQL("{} ({})" if kinds else "{}").format(compose.Identifier(name), values)
        ((told,),) = connection.execute(
            compose.SQL("EXPLAIN (FORMAT JSON) EXECUTE {}").format(call)
        ).fetchall()
        for node in nodes(told[0]["Plan"]):
            index = node.get("Index Name")
            by = node.get("Index Cond", "")
            if node["Node Type"] == "Seq Scan" or (index and first_columns[index] not in by):
                walks.append(f"{name}: {node['Node Type']} {index or node['Relation Name']} {by}")
    assert walks == []


class Explained(RunLists):
    """Lists that answer their plans."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def _query(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        text = cast("LiteralString", f"EXPLAIN (FORMAT JSON) {sql.replace('?', '%s')}")
        return self.connection.execute(text, parameters).fetchall()

    def _any_of(self, run_ids: Sequence[bytes]) -> tuple[str, list[Any]]:
        raise NotImplementedError

    def _has_metadata(self, key: str, value: Any) -> tuple[str, list[Any]]:
        raise NotImplementedError


def test_a_page_of_a_list_is_read_in_order_wherever_it_begins(
    connection: psycopg.Connection,
) -> None:
    ids = connection.execute("SELECT id FROM runs ORDER BY id").fetchall()
    middle = bytes(ids[len(ids) // 2][0]) if ids else new_id(0)
    connection.execute(cast("LiteralString", sql.LIST_SETTINGS))
    for page in (RunFilter("test"), RunFilter("test", before=middle), RunFilter("test", since=1)):
        (told,) = cast("Any", Explained(connection).list_ended(page, 1 << 60))
        read = {node["Node Type"] for node in nodes(told[0]["Plan"])}
        assert read.isdisjoint({"Sort", "Bitmap Heap Scan", "Seq Scan"}), page
