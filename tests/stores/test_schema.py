"""The schema: one text, and two ways to it that end in the same place."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.dialects.sqlite import dialect

from wf.history.ddl import Dialect, ddl, first_file, head_file
from wf.history.migrate import migrate
from wf.history.schema import schema
from wf.history.version import SCHEMA_VERSION

DIALECTS: tuple[Dialect, ...] = ("sqlite", "postgresql")
CHANGES_IN_A_LIFE = {"status", "output", "failure", "ended_at", "chapter", "attempt"}


def sqlite_catalogue(path: Path) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    try:
        rows = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name")
        return rows.fetchall()
    finally:
        db.close()


def postgres_catalogue(url: str) -> list[tuple[Any, ...]]:
    queries = (
        """SELECT table_name, ordinal_position, column_name, data_type, is_nullable,
           column_default, is_identity
           FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2""",
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        """SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL
           AND relnamespace = 'public'::regnamespace ORDER BY 1""",
    )
    with psycopg.connect(url) as connection:
        return [row for query in queries for row in connection.execute(query.encode())]


def make_head(url: str) -> None:
    if url.startswith("sqlite"):
        db = sqlite3.connect(url.removeprefix("sqlite:///"))
        db.executescript(head_file("sqlite").read_text())
        db.close()
    else:
        with psycopg.connect(url) as connection:
            connection.execute(head_file("postgresql").read_bytes())


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    return str(request.getfixturevalue("fresh_postgres_url"))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_head_script_is_what_the_schema_says(dialect: Dialect) -> None:
    assert head_file(dialect).read_text() == ddl(dialect), "run `python -m wf.history.ddl`"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_while_there_is_one_revision_it_is_the_head(dialect: Dialect) -> None:
    same = first_file(dialect).read_text() == head_file(dialect).read_text()
    assert same is (SCHEMA_VERSION == 1)


def test_revisions_make_the_same_sqlite_as_the_head_script(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path}/revisions.db")
    make_head(f"sqlite:///{tmp_path}/head.db")
    made = sqlite_catalogue(tmp_path / "revisions.db")
    assert made == sqlite_catalogue(tmp_path / "head.db")


def test_revisions_make_the_same_postgres_as_the_head_script(fresh_postgres_url: str) -> None:
    migrate(fresh_postgres_url)
    made = postgres_catalogue(fresh_postgres_url)
    with psycopg.connect(fresh_postgres_url) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    make_head(fresh_postgres_url)
    assert made == postgres_catalogue(fresh_postgres_url)
    assert ("runs", ["fillfactor=45"]) in made


@pytest.mark.filterwarnings("ignore:.*expression-based index")
def test_a_made_database_is_what_the_schema_says(empty_url: str) -> None:
    make_head(empty_url)
    url = empty_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            options = {"compare_type": True, "include_object": comparable}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, schema) == []
    finally:
        engine.dispose()


def comparable(_item: object, name: str | None, *_: object) -> bool:
    """Alembic cannot tell an expression or a descending column in an index of SQLite."""
    return name not in {"ready_to_claim", "ready_in_lane", "lanes_in_order"}


def test_migrating_twice_changes_nothing(empty_url: str) -> None:
    assert migrate(empty_url) == 0
    assert migrate(empty_url) == SCHEMA_VERSION


def test_a_database_made_by_the_head_script_needs_no_migration(empty_url: str) -> None:
    make_head(empty_url)
    assert migrate(empty_url) == SCHEMA_VERSION


def test_no_column_that_changes_in_the_life_of_a_run_is_indexed() -> None:
    indexes = schema.tables["runs"].indexes
    indexed = {column.name for index in indexes for column in index.columns}
    assert indexed.isdisjoint(CHANGES_IN_A_LIFE)


def test_sqlite_finds_nothing_wrong_with_a_row_in_every_table(tmp_path: Path) -> None:
    make_head(f"sqlite:///{tmp_path}/head.db")
    db = sqlite3.connect(tmp_path / "head.db")
    for table in schema.sorted_tables:
        row = {
            column.name: b"x" if "BLOB" in str(column.type.compile(dialect())) else 1
            for column in table.columns
        }
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" * len(row))
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"
        db.execute(statement, list(row.values()))
    db.commit()
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


def test_a_new_sqlite_store_is_made_and_read_without_sqlalchemy(tmp_path: Path) -> None:
    program = """
import sys
from wf.history.open import open_store
from wf.history.model import RunFilter
store = open_store(sys.argv[1])
store.get_runs([b"0" * 16]), store.list_runs(RunFilter("dev")), store.history(b"0" * 16)
store.close()
heavy = {"sqlalchemy", "alembic", "psycopg", "pydantic"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "wf.db")], check=True)
