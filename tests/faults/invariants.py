"""What must be true of a store at rest, in sentences: its rows, what `wf audit` says, that all
histories replay, and that what bodies noted is written once."""

from __future__ import annotations

from typing import Any

from tests.faults.hooked import hook_breaches
from tests.stores.invariants import NEVER
from wf.engine.registry import Registry
from wf.engine.replaying import replay_all
from wf.history.audit import audit
from wf.testing.noted import note_breaches


def store_breaches(store: Any, registry: Registry) -> list[str]:
    found: list[str] = []
    for what, sql in NEVER.items():
        rows = store._query(sql, ())
        if rows:
            found.append(f"{what}: {[row[0].hex() for row in rows]}")
    ids = [row[0] for row in store._query("SELECT id FROM runs ORDER BY id", ())]
    found += note_breaches(store, store.get_runs(ids), registry)
    found += hook_breaches(store, registry)
    return found + [str(breach) for breach in (*audit(store), *replay_all(store, registry))]
