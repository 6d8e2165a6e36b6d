"""Notes as rows of a SQLite store: each run's read, changed and written once, however many there
are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from wf.history.notes import Note, Noted, by_run, rewritten, tagged
from wf.history.sealing import SEALED
from wf.history.sqlite_transaction import Transaction

_READ: Final = """SELECT r.id, r.options, r.tags, n.metadata, coalesce(n.tags, '[]')
FROM runs r LEFT JOIN notes n ON n.run_id = r.id WHERE r.id IN"""
_SAVE: Final = "INSERT OR REPLACE INTO notes (run_id, metadata, tags) VALUES (?, ?, ?)"
_APPEND: Final = """INSERT INTO streams (run_id, name, seq, at, data)
SELECT ?, ?, coalesce(max(seq), 0) + 1, ?, ? FROM streams WHERE run_id = ? AND name = ?"""
_TAG: Final = """INSERT OR IGNORE INTO tags (environment, tag, run_id)
SELECT environment, ?, id FROM runs WHERE id = ?"""
_METADATA: Final = """CASE WHEN n.metadata IS NULL
 THEN json_extract(CAST(r.options AS TEXT), '$.metadata') ELSE CAST(n.metadata AS TEXT) END"""


_IS_SEALED: Final = f"substr(coalesce(n.metadata, r.options), 1, 2) = x'{SEALED.hex()}'"
"""Nothing is found in it here."""


def write_notes(tx: Transaction, notes: Iterable[Note]) -> None:
    """Those about runs that are there."""
    wanted = by_run(notes)
    if not wanted:
        return
    rows = [Noted(*row) for row in tx.rows(_READ, wanted)]
    changed = rewritten(rows, wanted)
    tx.db.executemany(_SAVE, changed)
    tx.db.executemany(_TAG, [(tag, run_id) for run_id, tag in tagged(changed, wanted)])
    tx.db.executemany(
        _APPEND,
        [
            (row.run_id, chunk.name, tx.now, chunk.data, row.run_id, chunk.name)
            for row in rows
            for chunk in wanted[row.run_id].chunks
        ],
    )
    tx.told = True


def has_metadata(key: str, value: str | float | bool | None) -> tuple[str, list[Any]]:
    """The condition that the metadata of `r` and `n` have this value there, and its parameters."""
    match value:
        case None:
            is_equal, values = "type = 'null'", []
        case bool():
            is_equal, values = f"type = '{str(value).lower()}'", []
        case str():
            is_equal, values = "type = 'text' AND value = ?", [value]
        case _:
            is_equal, values = "type IN ('integer', 'real') AND value = ?", [value]
    each = f"SELECT 1 FROM json_each({_METADATA}) WHERE key = ? AND {is_equal}"
    return f"CASE WHEN {_IS_SEALED} THEN 0 ELSE EXISTS ({each}) END", [key, *values]
