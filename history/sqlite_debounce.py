"""Debounced triggers as rows of a SQLite store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from wf.history.blobs import Blobs
from wf.history.debouncing import Held, Key, Push, key_of, settle
from wf.history.model import NewRun, Triggered
from wf.history.rows import DueKind, tag_rows, tags_json

if TYPE_CHECKING:
    from wf.history.sqlite_transaction import Transaction

_HELD: Final = f"""SELECT r.id, r.created_at, d.at, r.tags
FROM debounces k JOIN runs r ON r.id = k.run_id
JOIN due d ON d.id = r.id AND d.kind = {DueKind.START.value}
WHERE k.environment = ? AND k.task = ? AND k.key = ?"""
_HOLD: Final = (
    "INSERT OR REPLACE INTO debounces (environment, task, key, run_id) VALUES (?, ?, ?, ?)"
)
PUT_OFF: Final = f"UPDATE due SET at = ? WHERE id = ? AND kind = {DueKind.START.value}"
START_AT: Final = "UPDATE runs SET start_at = ? WHERE id = ?"
_REWRITE: Final = """UPDATE runs SET payload = ?, tags = ?, queue = ?, key = ?, priority = ?,
 ttl_ms = ?, version = ?, options = ? WHERE id = ?"""
_TAG: Final = "INSERT OR IGNORE INTO tags (environment, tag, run_id) VALUES (?, ?, ?)"
_UNTAG: Final = "DELETE FROM tags WHERE environment = ? AND tag = ? AND run_id = ?"


def debounce(tx: Transaction, runs: Sequence[NewRun]) -> dict[bytes, tuple[bytes, Triggered]]:
    """Push the runs of keys that have one. Answers which run each of these is; MADE: to be made, as
    it is then."""
    held: dict[Key, Held] = {}
    for key in dict.fromkeys(map(key_of, runs)):
        row = tx.db.execute(_HELD, key).fetchone()
        if row is not None:
            held[key] = Held(row[0], row[1], row[2], json.loads(row[3]))
    settled = settle(runs, held)
    tx.db.executemany(_HOLD, [(*key, run_id) for key, run_id in settled.holders.items()])
    _push(tx, settled.pushes.values())
    return settled.answers


def _push(tx: Transaction, pushes: Iterable[Push]) -> None:
    blobs = Blobs()
    for push in pushes:
        run_id, by = push.held.run_id, push.rewritten
        tx.db.execute(PUT_OFF, (push.start_at, run_id))
        tx.db.execute(START_AT, (push.start_at, run_id))
        if by is None:
            continue
        tx.db.execute(
            _REWRITE,
            (blobs.put(run_id, by.payload), tags_json(by.tags), by.queue, by.key, by.priority,
             by.ttl_ms or None, by.version, by.options, run_id),
        )  # fmt: skip
        if list(by.tags) != push.held.tags:
            old = [(by.environment, tag.encode(), run_id) for tag in push.held.tags]
            tx.db.executemany(_UNTAG, old)
            new = [(environment, tag, run_id) for environment, tag, _ in tag_rows([by])]
            tx.db.executemany(_TAG, new)
    tx.put(blobs)
