"""Schedules on Postgres: added, moved, dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wf.history import postgres_sql as sql
from wf.history import schedules
from wf.history.model import Triggered
from wf.history.postgres_arrays import byteas
from wf.history.postgres_pool import Connection, Pool, send
from wf.history.postgres_rows import cancel_runs, insert_runs, transaction
from wf.history.schedules import Move, Schedule
from wf.history.store import in_rows

_INSERT: Final = schedules.INSERT.replace("?", "%s")
_MOVE: Final = schedules.MOVE.replace("?", "%s") + " RETURNING id"
_DROP: Final = "DELETE FROM schedules WHERE id = ANY (%s::bytea[])"


def add(pool: Pool, added: Sequence[Schedule]) -> None:
    def work(connection: Connection) -> None:
        with transaction(connection):
            for schedule in added:
                send(connection, _INSERT, schedules.row_of(schedule))

    pool.run(work)


def move(pool: Pool, moves: Sequence[Move], now: int) -> list[bool]:
    """In order of id, so that two schedulers do not deadlock."""
    ordered = sorted(moves, key=lambda one: one.schedule.id)

    def work(connection: Connection) -> set[bytes]:
        with transaction(connection):
            sent = [send(connection, _MOVE, schedules.move_of(one.schedule)) for one in ordered]
            hit = {bytes(row[0]) for cursor in sent for row in cursor.fetchall()}
            happened = [one for one in ordered if one.schedule.id in hit]
            cancels = in_rows(run for one in happened for run in one.cancels)
            if cancels:
                send(connection, sql.LOCK_RUNS, [byteas(cancels)])
                cancel_runs(connection, cancels, now)
                send(connection, sql.MARK, [now])
            runs = [run for one in happened for run in one.runs]
            insert_runs(connection, runs, [(run.id, Triggered.MADE) for run in runs])
        return hit

    hit = pool.run(work, again=False)
    return [one.schedule.id in hit for one in moves]


def drop(pool: Pool, ids: Sequence[bytes]) -> None:
    pool.run(lambda connection: send(connection, _DROP, [byteas(in_rows(ids))]))
