"""Notes as rows of a Postgres store: each run's read, changed and written once, however many there
are. Whoever writes notes has locked their rows in `runs`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from wf.history.notes import Note, Noted, by_run, rewritten
from wf.history.postgres_arrays import byteas, table
from wf.history.postgres_pool import Connection, send

_READ: Final = """SELECT r.id, r.options, r.tags, n.metadata, coalesce(n.tags, '[]')
FROM unnest(%s::bytea[]) AS a(id) JOIN runs r ON r.id = a.id LEFT JOIN notes n ON n.run_id = r.id"""
_SAVE: Final = """INSERT INTO notes (run_id, metadata, tags)
SELECT * FROM unnest(%s::bytea[], %s::bytea[], %s::text[])
ON CONFLICT (run_id) DO UPDATE SET metadata = excluded.metadata, tags = excluded.tags"""
_APPEND: Final = """INSERT INTO streams (run_id, name, seq, at, data)
SELECT a.run_id, a.name, a.place + coalesce((SELECT max(s.seq) FROM streams s
  WHERE s.run_id = a.run_id AND s.name = a.name), 0), a.at, a.data
FROM unnest(%s::bytea[], %s::text[], %s::int8[], %s::int8[], %s::bytea[])
 AS a(run_id, name, place, at, data)"""


def write_notes(connection: Connection, notes: Iterable[Note], now: int) -> None:
    """Those about runs that are there."""
    wanted = by_run(notes)
    if not wanted:
        return
    found = send(connection, _READ, [byteas(list(wanted))]).fetchall()
    rows = [Noted(*row) for row in found]
    changed = rewritten(rows, wanted)
    if changed:
        send(connection, _SAVE, table("bbt", changed))
    places: Counter[tuple[bytes, str]] = Counter()
    chunks: list[tuple[Any, ...]] = []
    for row in rows:
        for chunk in wanted[row.run_id].chunks:
            places[row.run_id, chunk.name] += 1
            place = places[row.run_id, chunk.name]
            chunks.append((row.run_id, chunk.name, place, now, chunk.data))
    if chunks:
        send(connection, _APPEND, table("btiib", chunks))
