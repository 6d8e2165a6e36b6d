"""Notes as rows of a Postgres store: each run's read, changed and written once, however many there
are. Whoever writes notes has locked their rows in `runs`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from wf.history.notes import Note, Noted, by_run, rewritten, tagged
from wf.history.postgres_arrays import byteas, table
from wf.history.postgres_pool import Connection, send
from wf.history.sealing import SEALED

_READ: Final = """SELECT r.id, coalesce(r.options, '{}'), coalesce(r.tags, '[]'), n.metadata,
 coalesce(n.tags, '[]')
FROM unnest(%s::bytea[]) AS a(id) JOIN runs r ON r.id = ANY (ARRAY[a.id])
LEFT JOIN notes n ON n.run_id = ANY (ARRAY[r.id])"""
_SAVE: Final = """INSERT INTO notes (run_id, metadata, tags)
SELECT * FROM unnest(%s::bytea[], %s::bytea[], %s::text[])
ON CONFLICT (run_id) DO UPDATE SET metadata = excluded.metadata, tags = excluded.tags"""
_APPEND: Final = """INSERT INTO streams (run_id, name, seq, at, data)
SELECT a.run_id, a.name, a.place + coalesce((SELECT max(s.seq) FROM streams s
  WHERE s.run_id = a.run_id AND s.name = a.name), 0), a.at, a.data
FROM unnest(%s::bytea[], %s::text[], %s::int8[], %s::int8[], %s::bytea[])
 AS a(run_id, name, place, at, data)"""
_TAG: Final = """INSERT INTO tags (environment, tag, run_id)
SELECT r.environment, a.tag, r.id FROM unnest(%s::bytea[], %s::bytea[]) AS a(id, tag)
JOIN runs r ON r.id = ANY (ARRAY[a.id]) ON CONFLICT DO NOTHING"""
_SOURCE: Final = "convert_from(coalesce(n.metadata, r.options), 'UTF8')"
_PATH: Final = "CASE WHEN n.metadata IS NULL THEN ARRAY['metadata', ?] ELSE ARRAY[?] END"
_HAS: Final = f"""CASE
 WHEN substring(coalesce(n.metadata, r.options) FROM 1 FOR 2) = '\\x{SEALED.hex()}'::bytea
 THEN false
 WHEN strpos({_SOURCE}, '\\u0000') = 0
 THEN {_SOURCE}::jsonb #> {_PATH}::text[] = ?::jsonb ELSE false END"""


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
    tags = tagged(changed, wanted)
    if tags:
        send(connection, _TAG, table("bb", tags))
    places: Counter[tuple[bytes, str]] = Counter()
    chunks: list[tuple[Any, ...]] = []
    for row in rows:
        for chunk in wanted[row.run_id].chunks:
            places[row.run_id, chunk.name] += 1
            place = places[row.run_id, chunk.name]
            chunks.append((row.run_id, chunk.name, place, now, chunk.data))
    if chunks:
        send(connection, _APPEND, table("btiib", chunks))


def has_metadata(key: str, value: str | float | bool | None) -> tuple[str, list[Any]]:
    """The condition that the metadata of `r` and `n` have this value there, and its parameters.
    jsonb refuses a NUL: in metadata with one nothing is found."""
    if "\0" in key or (isinstance(value, str) and "\0" in value):
        return "false", []
    return _HAS, [key, key, json.dumps(value)]
