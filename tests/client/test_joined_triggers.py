"""`trigger(…, connection=…)`: the run exists if and only if the caller's transaction commits."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row
from sqlalchemy.orm import Session

import wf
from tests.client.tasks import double
from tests.observing import until

ORDERS = "CREATE TABLE orders (id INTEGER PRIMARY KEY)"
INSERT = "INSERT INTO orders (id) VALUES (1)"


@pytest.fixture
def client(database: str) -> Generator[wf.Client]:
    with wf.Client(database) as client:
        engine = sqlalchemy.create_engine(alchemy(database))
        with engine.begin() as connection:
            connection.exec_driver_sql(ORDERS)
        engine.dispose()
        yield client


def alchemy(database: str) -> str:
    return database.replace("postgresql://", "postgresql+psycopg://")


def driver(database: str) -> Any:
    if database.startswith("sqlite"):
        return closing(sqlite3.connect(database.removeprefix("sqlite:///")))
    connection: Any = psycopg.Connection[Any].connect(database)
    connection.row_factory = dict_row
    return connection


@contextmanager
def core(database: str) -> Generator[Any]:
    engine = sqlalchemy.create_engine(alchemy(database))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@contextmanager
def session(database: str) -> Generator[Any]:
    engine = sqlalchemy.create_engine(alchemy(database))
    with Session(engine) as session:
        yield session
    engine.dispose()


Connect = Callable[[str], AbstractContextManager[Any]]


def execute(connection: Any, statement: str) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute(statement)
    elif isinstance(connection, psycopg.Connection):
        connection.execute(statement.encode())
    else:
        connection.execute(sqlalchemy.text(statement))


def state(client: wf.Client) -> tuple[int, int]:
    """How many orders, how many runs."""
    with core(client.store.url) as connection:
        orders = connection.exec_driver_sql("SELECT count(*) FROM orders").scalar_one()
    return orders, len(client.runs.list())


every_kind = pytest.mark.parametrize("connect", [driver, core, session])


@every_kind
@pytest.mark.parametrize("first", ["insert", "trigger"])
def test_the_run_and_the_rows_are_there_after_the_commit(
    client: wf.Client, connect: Connect, first: str
) -> None:
    with connect(client.store.url) as connection:
        if first == "insert":
            execute(connection, INSERT)
        handle = client.trigger(double, 21, connection=connection, tags=["joined"])
        if first == "trigger":
            execute(connection, INSERT)
        assert state(client) == (0, 0)
        connection.commit()
    assert state(client) == (1, 1)
    assert handle.retrieve().tags == ("joined",)
    with wf.Client(store=client.store):
        engine = wf.Engine(store=client.store, tasks=[double])
        engine.start_now()
        assert handle.result("30s") == 42
        engine.stop_now()


@every_kind
def test_neither_is_there_after_a_rollback(client: wf.Client, connect: Connect) -> None:
    with connect(client.store.url) as connection:
        execute(connection, INSERT)
        handle = client.trigger(double, 21, connection=connection)
        connection.rollback()
    assert state(client) == (0, 0)
    with pytest.raises(wf.NotFound):
        handle.retrieve()


@every_kind
def test_idempotency_keys_hold_there_too(client: wf.Client, connect: Connect) -> None:
    with connect(client.store.url) as connection:
        rolled_back = client.trigger(double, 1, connection=connection, idempotency_key="k")
        again = client.trigger(double, 1, connection=connection, idempotency_key="k")
        connection.rollback()
        made = client.trigger(double, 1, connection=connection, idempotency_key="k")
        connection.commit()
        cached = client.trigger(double, 2, connection=connection, idempotency_key="k")
        connection.commit()
    assert (rolled_back.is_cached, again.is_cached, again.id) == (False, True, rolled_back.id)
    assert made.id != rolled_back.id
    assert (made.is_cached, cached.is_cached, cached.id) == (False, True, made.id)
    assert cached.payload_differs
    assert client.trigger(double, 1, idempotency_key="k").id == made.id
    assert [run.id for run in client.runs.list()] == [made.id]


KILLED = """
import os, signal, sys, wf
from tests.client.tasks import double
from tests.client.test_joined_triggers import INSERT, driver
database, when = sys.argv[1:]
with driver(database) as connection:
    connection.execute(INSERT)
    wf.Client(database).trigger(double, 1, connection=connection)
    if when == "after":
        connection.commit()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("when", "expected"), [("before", (0, 0)), ("after", (1, 1))])
def test_a_process_that_is_killed_leaves_both_or_neither(
    client: wf.Client, when: str, expected: tuple[int, int]
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, client.store.url, when], check=False)
    assert killed.returncode == -signal.SIGKILL
    until(lambda: state(client) == expected)


async def test_await_trigger_joins_a_connection_of_the_thread(client: wf.Client) -> None:
    with driver(client.store.url) as connection:
        handle = await double.trigger(4, connection=connection)
        assert state(client) == (0, 0)
        connection.commit()
    assert state(client) == (0, 1)
    assert [run.id for run in client.runs.list()] == [handle.id]


async def test_an_async_connection_is_joined(empty_postgres_url: str) -> None:
    async with (
        wf.AsyncClient(empty_postgres_url) as client,
        await psycopg.AsyncConnection.connect(empty_postgres_url) as connection,
    ):
        await client.trigger(double, 4, connection=connection, idempotency_key="k")
        await connection.rollback()
        assert await client.runs.list() == []
        handle = await double.trigger(4, connection=connection, idempotency_key="k")
        assert await client.runs.list() == []
        await connection.commit()
        assert [run.id for run in await client.runs.list()] == [handle.id]
        with (
            wf.Client(empty_postgres_url) as waiting,
            pytest.raises(wf.CannotJoin, match=r"use wf\.AsyncClient"),
        ):
            waiting.trigger(double, 4, connection=connection)


async def test_an_async_session_is_joined(empty_postgres_url: str) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    engine = create_async_engine(alchemy(empty_postgres_url))
    async with wf.AsyncClient(empty_postgres_url) as client, AsyncSession(engine) as session:
        await double.trigger(4, connection=session)
        await session.rollback()
        handle = await double.trigger(4, connection=session)
        assert await client.runs.list() == []
        await session.commit()
        assert [run.id for run in await client.runs.list()] == [handle.id]
        async with engine.begin() as connection:
            await double.trigger(5, connection=connection)
        assert len(await client.runs.list()) == 2
    await engine.dispose()


def test_a_connection_to_another_database_is_refused(
    client: wf.Client, tmp_path: Path, fresh_postgres_url: str
) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    with pytest.raises(wf.CannotJoin, match="give a"):
        client.trigger(double, 1, connection=other)
    other.close()
    with (
        psycopg.connect(fresh_postgres_url) as foreign,
        pytest.raises(wf.CannotJoin, match=r"give (one|a sqlite3)"),
    ):
        client.trigger(double, 1, connection=foreign)
    assert state(client) == (0, 0)


def test_what_is_no_transaction_is_refused(client: wf.Client) -> None:
    with driver(client.store.url) as connection:
        if isinstance(connection, sqlite3.Connection):
            connection.isolation_level = None
        else:
            connection.autocommit = True
        with pytest.raises(wf.CannotJoin, match="begin a transaction"):
            client.trigger(double, 1, connection=connection)
    with pytest.raises(wf.CannotJoin, match=r"builtins\.str: give one of psycopg"):
        client.trigger(double, 1, connection="a string")
    assert state(client) == (0, 0)


@wf.task
async def joins_in_its_body() -> None:
    await double.trigger(1, connection=sqlite3.connect(":memory:"))


async def test_a_body_has_no_transaction_to_join(client: wf.Client) -> None:
    async with wf.Engine(store=client.store, tasks=[joins_in_its_body]):
        with pytest.raises(wf.RunFailed, match="connection= has no place in a body"):
            await joins_in_its_body.trigger_and_wait()
