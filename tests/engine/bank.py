"""Tasks whose steps write rows of their own into the run's store, and the worker that dies of it:
`python -m tests.engine.bank DATABASE FOLDER WHEN`."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import psycopg

import wf
from tests.engine.away_tasks import note, wait_for

TABLE = b"CREATE TABLE payments (id INTEGER PRIMARY KEY, run TEXT, amount INTEGER)"
COUNT = b"SELECT count(*), coalesce(sum(amount), 0) FROM payments"
INSERT = "INSERT INTO payments (id, run, amount) VALUES ({}, 'r', {})"


def connect(database: str) -> Any:
    """A connection of somebody who knows nothing of wf."""
    if database.startswith("sqlite"):
        return sqlite3.connect(database.removeprefix("sqlite:///"))
    return psycopg.connect(database)


def query(database: str, statement: bytes) -> list[Any]:
    connection = connect(database)
    try:
        is_sqlite = isinstance(connection, sqlite3.Connection)
        cursor = connection.execute(statement.decode() if is_sqlite else statement)
        rows: list[Any] = cursor.fetchall() if cursor.description else []
        connection.commit()
        return rows
    finally:
        connection.close()


@wf.step(retry=wf.Retry(min_delay="1ms", max_delay="1ms"))
def pay(amount: int, folder: str) -> int:
    note(f"{folder}/ledger", "pay")
    with wf.transaction() as conn:
        conn.execute(INSERT.format(amount, amount))
        _dies_once(folder)
    return amount


@wf.step(retry=wf.Retry(min_delay="1ms", max_delay="1ms"))
async def pay_slowly(amount: int, folder: str) -> int:
    note(f"{folder}/ledger", "pay")
    async with wf.transaction() as conn:
        done = conn.execute(INSERT.format(amount, amount))
        if inspect.isawaitable(done):
            await done
        await asyncio.sleep(0)
        _dies_once(folder)
    return amount


@wf.step(at_most_once=True)
def pay_at_most_once(amount: int, folder: str) -> int:
    note(f"{folder}/ledger", "pay")
    with wf.transaction() as conn:
        conn.execute(INSERT.format(amount, amount))
        return amount


def _dies_once(folder: str) -> None:
    marker = Path(folder, "die-in-the-block")
    if marker.exists():
        marker.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


@wf.task
async def paying(kind: str, folder: str) -> int:
    steps = {"sync": pay, "async": pay_slowly, "at most once": pay_at_most_once}
    return await steps[kind](7, folder)


@wf.step(retry=wf.Retry(max_attempts=2, min_delay="1ms"))
def fails_once(folder: str) -> int:
    note(f"{folder}/ledger", "pay")
    attempt = wf.current().step
    assert attempt is not None
    with wf.transaction() as conn:
        conn.execute(INSERT.format(attempt.attempt, 1))
        if attempt.attempt == 1 and not Path(folder, "after").exists():
            raise ValueError("in the block")
    if attempt.attempt == 1:
        raise ValueError("after the block")
    return attempt.attempt


@wf.task
async def failing_once(folder: str) -> int:
    return await fails_once(folder)


@wf.step
def forbidden(how: str) -> str:
    try:
        with wf.transaction() as conn:
            conn.execute(INSERT.format(1, 1))
            if how == "commit":
                conn.commit()
            elif how == "COMMIT":
                conn.execute("COMMIT")
            else:
                with wf.transaction():
                    pass
    except (wf.Error, sqlite3.Error, psycopg.Error) as error:
        return str(error)
    return "allowed"


@wf.task
async def forbidding(how: str) -> str:
    return await forbidden(how)


@wf.step(retry=wf.Retry(max_attempts=1))
def holds_on(folder: str) -> None:
    with wf.transaction() as conn:
        conn.execute(INSERT.format(1, 1))
        note(f"{folder}/ledger", "held")
        wait_for(Path(folder, "go-on"))
        conn.execute(INSERT.format(2, 1))


@wf.task
async def holding_on(folder: str) -> None:
    await holds_on(folder)


@wf.task
async def paid(amount: int) -> int:
    return amount


@wf.step(retry=wf.Retry(max_attempts=2, min_delay="1ms"))
async def pays_and_triggers(amount: int) -> str:
    step = wf.current().step
    assert step is not None
    async with wf.transaction() as conn:
        handle = await paid.trigger(amount, connection=conn)
        if step.attempt == 1:
            raise ValueError("rolled back")
    return handle.id


@wf.task
async def triggering(amount: int) -> str:
    return await pays_and_triggers(amount)


@wf.task
async def transacting_in_its_body() -> None:
    with wf.transaction():
        pass


@wf.step(retry=wf.Retry(max_attempts=1))
async def blocks_the_loop() -> None:
    with wf.transaction():
        pass


@wf.task
async def blocking_the_loop() -> None:
    await blocks_the_loop()


def main() -> None:
    """A worker that dies right after the commit of the first transaction, or in its block."""
    database, folder, when = sys.argv[1:]
    if when == "after":
        from wf.history import postgres_step, sqlite_step

        _kill_after(sqlite_step.SQLiteStep)
        _kill_after(postgres_step.PostgresStep)
        _kill_after_awaited(postgres_step.AsyncPostgresStep)
    else:
        Path(folder, "die-in-the-block").touch()
    wf.Engine(database, [sys.modules[__name__]]).start_now()
    threading.Event().wait()


def _kill_after(step: Any) -> None:
    commit = step.commit

    def commit_and_die(self: Any, took_ms: int, data: bytes) -> None:
        commit(self, took_ms, data)
        os.kill(os.getpid(), signal.SIGKILL)

    step.commit = commit_and_die


def _kill_after_awaited(step: Any) -> None:
    commit = step.commit

    async def commit_and_die(self: Any, took_ms: int, data: bytes) -> None:
        await commit(self, took_ms, data)
        os.kill(os.getpid(), signal.SIGKILL)

    step.commit = commit_and_die


if __name__ == "__main__":
    main()
