"""What must be true of a store at rest, in sentences: its rows, what `wf audit` says, that all
histories replay, and that what bodies noted is written once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.faults.hooked import hook_breaches
from tests.faults.starting import start_breaches
from tests.stores.invariants import NEVER
from wf.engine.registry import Registry
from wf.engine.replaying import replay_all
from wf.history.audit import audit
from wf.history.hooks import SUFFIX
from wf.history.rows import NEVER_BEGAN
from wf.history.sealed_store import OF_IDS, SealedStore
from wf.history.sealing import is_sealed
from wf.history.store import query_of
from wf.testing.noted import note_breaches


def store_breaches(store: Any, registry: Registry) -> list[str]:
    found: list[str] = []
    for what, sql in NEVER.items():
        rows = store._query(sql, ())
        if rows:
            found.append(f"{what}: {[row[0].hex() for row in rows]}")
    ids = [row[0] for row in store._query("SELECT id FROM runs ORDER BY id", ())]
    runs = store.get_runs(ids)
    found += note_breaches(store, runs, registry)
    found += hook_breaches(store, registry)
    found += start_breaches(store, runs)
    if isinstance(store, SealedStore):
        found += _plaintext(store)
    return found + [str(breach) for breach in (*audit(store), *replay_all(store, registry))]


_VALUES = {
    "payload": f"SELECT payload FROM runs WHERE replace(task, '{SUFFIX}', '') = task",
    "output": "SELECT output FROM runs",
    "failure": "SELECT failure FROM runs",
    "message": "SELECT data FROM messages",
    "event": "SELECT data FROM events WHERE kind NOT IN"
    f" ({', '.join(str(kind.value) for kind in OF_IDS)})",
    "chunk": "SELECT data FROM streams",
    "metadata": "SELECT metadata FROM notes",
}


_BY_STORES = frozenset(NEVER_BEGAN.values())
"""What the store, which has no key, says of runs that never began."""


def _plaintext(store: SealedStore) -> Iterator[str]:
    """Values in the database that are not sealed. (What hook runs are given is no secret.)"""
    for what, sql in _VALUES.items():
        for (data,) in query_of(store)(sql, ()):
            if data is not None and not is_sealed(bytes(data)) and bytes(data) not in _BY_STORES:
                yield f"{what} {bytes(data)!r} is not sealed"
