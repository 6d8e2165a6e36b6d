"""Runs with long histories: they go on, in bounded memory, and somebody is told."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

import wf
from tests.engine.resumed import square, squares
from wf.engine import length
from wf.engine.core.info import digest_of
from wf.history.events import Kind
from wf.history.ids import parse
from wf.history.model import Reason

FACTS = 50_000
MEMORY_MB = 200

COLUMNS = "run_id, chapter, seq, kind, ordinal, at, name, digest, attempt, took, data"


def rows(run_id: bytes, at: int) -> Iterator[Sequence[Any]]:
    """What a worker would have written of FACTS - 1 steps."""
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    yield run_id, 1, 1, int(Kind.STARTED), 0, at, minor, 0, 0, 0, None
    for n in range(FACTS - 1):
        digest, result = digest_of(str(n).encode()), str(n * n).encode()
        name, kind = square.id, int(Kind.STEP_FINISHED)
        yield run_id, 1, n + 2, kind, n + 1, at, name, digest, 1, 1, result


def write(database: str, run_id: bytes, at: int) -> None:
    """The run has such a history, and is to go on."""
    going_on = f"UPDATE ready SET reason = {int(Reason.RESUME)} WHERE run_id ="
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as db, db:
            marks = ", ".join("?" * 11)
            db.executemany(f"INSERT INTO events ({COLUMNS}) VALUES ({marks})", rows(run_id, at))
            db.execute(f"{going_on} ?", [run_id])
        return
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY events ({COLUMNS}) FROM STDIN") as copy:
            for row in rows(run_id, at):
                copy.write_row(row)
        cursor.execute(f"{going_on} %s".encode(), [run_id])


def test_a_run_of_50_000_facts_goes_on_cold_in_bounded_memory(database: str) -> None:
    with wf.Client(database, environment="dev") as client:
        handle = client.trigger(squares, FACTS)
        write(database, parse("run", handle.id), round(client.now().timestamp() * 1_000))
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.resumed", database, handle.id],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    output, peak = map(int, done.stdout.split())
    assert output == sum(n * n for n in range(FACTS))
    assert peak < MEMORY_MB


async def test_a_history_that_becomes_long_is_told_of_once_with_the_way_out(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(length, "LONG_HISTORY", 50)
    with caplog.at_level(logging.WARNING, "wf.run"):
        async with wf.Engine(database, [squares], environment="dev"):
            handle = await squares.trigger(80)
            await handle.result()
    [told] = [record.message for record in caplog.records if "history of" in record.message]
    assert handle.id in told
    assert "wf.restart(payload)" in told
