"""Runs as a file: a SQLite database of wf with nothing else in it, to be looked at, replayed and
kept beside tests."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from wf.history.errors import BadURL
from wf.history.model import Run, RunFilter
from wf.history.open import open_store
from wf.history.redacting import Redact, redact_file
from wf.history.schema import schema
from wf.history.sealed_store import SealedStore
from wf.history.store import Store, query_of

PAGE_RUNS: Final = 500
"""Runs in one look for those below another."""
_TABLES: Final = (
    ("runs", "id"),
    ("events", "run_id"),
    ("notes", "run_id"),
    ("streams", "run_id"),
    ("tokens", "run_id"),
    ("blocked", "run_id"),
    ("blobs", "owner"),
)
"""What tells of a run what happened, and the column that names it. What is due, owned or unread is
left out: nobody works on a file."""


def export(store: Store, run: Run, file: Path, redact: Redact | None = None) -> list[Run]:
    """Write a run and all runs below it into a new file; answers them. redact: what is to stand
    there instead of a value (`redacting`); the file has its name when that is done.

    Raises BadURL where the file is there, StoreUnavailable, CodecError.
    """
    if file.exists():
        raise BadURL(f"{file} is there already: name another file, or remove it")
    if redact is None:
        return _write(store, run, file)
    part = file.with_name(f"{file.name}.part")
    try:
        runs = _write(store, run, part)
        redact_file(part, redact, store.sealing if isinstance(store, SealedStore) else None)
        part.rename(file)
    finally:
        for left in part.parent.glob(f"{part.name}*"):
            left.unlink()
    return runs


def _write(store: Store, run: Run, file: Path) -> list[Run]:
    runs = _with_those_below(store, run)
    open_store(str(file)).close()
    query = query_of(store)
    with closing(sqlite3.connect(file)) as db, db:
        tokens = "SELECT id FROM tokens WHERE run_id = ?"
        owners = [one.id for one in runs]
        owners += [bytes(row[0]) for one in runs for row in query(tokens, [one.id])]
        for name, column in _TABLES:
            names = [one.name for one in schema.tables[name].columns]
            asked = f"SELECT {', '.join(names)} FROM {name} WHERE {column} = ?"
            told = f"INSERT INTO {name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            for id in owners:
                db.executemany(told, query(asked, [id]))
    return runs


def _with_those_below(store: Store, run: Run) -> list[Run]:
    of_root = RunFilter(run.environment, root_id=run.root_id or run.id, limit=PAGE_RUNS)
    family: list[Run] = []
    while page := store.list_runs(of_root):
        family += page
        of_root.before = page[-1].id
    below = {run.id: run}
    for one in sorted(family, key=lambda one: one.id):  # parents are older than their children
        if one.parent_id in below:
            below[one.id] = one
    return list(below.values())
