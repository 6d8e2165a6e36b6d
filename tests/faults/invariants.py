"""What must be true of a store at rest, in sentences: its rows, what `wf audit` says, and that all
histories replay."""

from __future__ import annotations

from typing import Any

from tests.stores.invariants import NEVER
from wf.engine.registry import Registry
from wf.engine.replaying import replay_all
from wf.history.audit import audit


def store_breaches(store: Any, registry: Registry) -> list[str]:
    found: list[str] = []
    for what, sql in NEVER.items():
        rows = store._query(sql, ())
        if rows:
            found.append(f"{what}: {[row[0].hex() for row in rows]}")
    return found + [str(breach) for breach in (*audit(store), *replay_all(store, registry))]
