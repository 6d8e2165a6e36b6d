"""Queues on Postgres: made, declared, changed. What they give out is in `postgres_slots`."""

from __future__ import annotations

from collections.abc import Sequence

from wf.history import postgres_sql_queues as sql
from wf.history.borrowed import Plan
from wf.history.model import NewRun
from wf.history.postgres_arrays import table
from wf.history.postgres_pool import Connection, send
from wf.history.queues import Limits, QueueChange, limits_row

Said = dict[tuple[str, str], Limits]
"""What code says of (environment, queue)."""


def making_queues(runs: Sequence[NewRun]) -> Plan[None]:
    """The queues of these runs are there, and as their triggers say. In order of their names, so
    that two who make them do not deadlock."""
    names = sorted({(run.environment, run.queue) for run in runs if run.queue})
    if names:
        yield sql.QUEUES, table("tt", names)
    yield from saying(
        {(run.environment, run.queue): run.limits for run in runs if run.limits is not None}
    )


def saying(said: Said) -> Plan[None]:
    rows = [(*key, limits.text) for key, limits in sorted(said.items(), key=lambda item: item[0])]
    if not rows:
        return
    changed = yield sql.SAID, table("ttt", rows)
    for environment, name in changed:
        limits = said[environment, name]
        yield sql.LIMITS, [*limits_row(limits), environment, name]
        yield sql.CHANGED, [environment, name]


def follow(connection: Connection, plan: Plan[None]) -> None:
    """A plan, in a pipeline: waits for answers only where there are some."""
    rows = None
    while True:
        try:
            statement, values = next(plan) if rows is None else plan.send(rows)
        except StopIteration:
            return
        cursor = send(connection, statement, values)
        rows = cursor.fetchall() if statement == sql.SAID else None


def declare(connection: Connection, environment: str, queues: Sequence[tuple[str, Limits]]) -> None:
    names = sorted({(environment, name) for name, _ in queues})
    if names:
        send(connection, sql.QUEUES, table("tt", names))
        follow(connection, saying({(environment, name): limits for name, limits in queues}))


def change(connection: Connection, environment: str, name: str, wanted: QueueChange) -> bool:
    """False: there is no such queue."""
    key = [environment, name]
    if send(connection, sql.FOUND, key).fetchone() is None:
        return False
    if wanted.paused is not None:
        send(connection, sql.PAUSED, [wanted.paused, *key])
    if wanted.limits is not None:
        send(connection, sql.LIMITS, [*limits_row(wanted.limits), *key])
    if not wanted.paused:
        send(connection, sql.CHANGED, key)
    return True
