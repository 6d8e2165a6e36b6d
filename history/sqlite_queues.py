"""The queues of a SQLite store: made, declared, changed. `sqlite_slots` has what they give out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wf.history.model import NewRun
from wf.history.queues import (
    HELD,
    LIMIT_COLUMNS,
    MOST_OF_A_KEY,
    Limits,
    QueueChange,
    limits_row,
)
from wf.history.sqlite_transaction import Transaction, stir

_THERE: Final = "SELECT 1 FROM queues WHERE environment = ? AND name = ?"


def queues_of(tx: Transaction, runs: Sequence[NewRun]) -> None:
    """The queues of these runs are there, and as their triggers say."""
    names = dict.fromkeys((run.environment, run.queue) for run in runs if run.queue)
    if names:
        tx.db.executemany(
            "INSERT INTO queues (environment, name) VALUES (?, ?) ON CONFLICT DO NOTHING", names
        )
    said = {(run.environment, run.queue): run.limits for run in runs if run.limits is not None}
    for (environment, name), limits in said.items():
        declare(tx, environment, name, limits)


def declare(tx: Transaction, environment: str, name: str, limits: Limits) -> None:
    """Code says this of the queue."""
    key = (environment, name)
    tx.db.execute(
        "INSERT INTO queues (environment, name) VALUES (?, ?) ON CONFLICT DO NOTHING", key
    )
    said = "UPDATE queues SET said = ? WHERE environment = ? AND name = ? AND said <> ?"
    if tx.db.execute(said, (limits.text, *key, limits.text)).rowcount:
        change_queue(tx, environment, name, QueueChange(limits=limits))


def change_queue(tx: Transaction, environment: str, name: str, wanted: QueueChange) -> bool:
    """False: there is no such queue."""
    key = (environment, name)
    if tx.db.execute(_THERE, key).fetchone() is None:
        return False
    if wanted.paused is not None:
        paused = "UPDATE queues SET paused = ? WHERE environment = ? AND name = ?"
        tx.db.execute(paused, (wanted.paused, *key))
    if wanted.limits is not None:
        tx.db.execute(
            f"UPDATE queues AS q SET ceiling = ({HELD}), key_ceiling = ({MOST_OF_A_KEY}),"
            f" {', '.join(f'{column} = ?' for column in LIMIT_COLUMNS.split(', '))}"
            " WHERE environment = ? AND name = ?",
            (*limits_row(wanted.limits), *key),
        )
    if wanted.paused:
        return True
    keys = [
        row[0]
        for table in ("owned", "starts")
        for row in tx.db.execute(
            f"SELECT DISTINCT key FROM {table} WHERE environment = ? AND queue = ?", key
        )
    ]
    stir(tx, ((environment, "", name, one) for one in ("", *keys)))
    return True
