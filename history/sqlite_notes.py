"""Notes as rows of a SQLite store: each run's read, changed and written once, however many there
are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wf.history.notes import Note, Noted, by_run, rewritten
from wf.history.sqlite_rows import Transaction

_READ: Final = """SELECT r.id, r.options, r.tags, n.metadata, coalesce(n.tags, '[]')
FROM runs r LEFT JOIN notes n ON n.run_id = r.id WHERE r.id IN"""
_SAVE: Final = "INSERT OR REPLACE INTO notes (run_id, metadata, tags) VALUES (?, ?, ?)"
_APPEND: Final = """INSERT INTO streams (run_id, name, seq, at, data)
SELECT ?, ?, coalesce(max(seq), 0) + 1, ?, ? FROM streams WHERE run_id = ? AND name = ?"""


def write_notes(tx: Transaction, notes: Iterable[Note]) -> None:
    """Those about runs that are there."""
    wanted = by_run(notes)
    if not wanted:
        return
    rows = [Noted(*row) for row in tx.rows(_READ, wanted)]
    tx.db.executemany(_SAVE, rewritten(rows, wanted))
    tx.db.executemany(
        _APPEND,
        [
            (row.run_id, chunk.name, tx.now, chunk.data, row.run_id, chunk.name)
            for row in rows
            for chunk in wanted[row.run_id].chunks
        ],
    )
    tx.told = True
