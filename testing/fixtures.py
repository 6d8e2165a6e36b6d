"""Saved histories as plain tests."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from wf.engine.registry import AnyRunnable
from wf.engine.replaying import replay_all
from wf.history.open import open_store
from wf.history.store import query_of
from wf.testing.environment import Env


def replay_histories(file: str | Path, *tasks: AnyRunnable | ModuleType) -> int:
    """Replay all runs of a file that a story or `wf export` saved, of these tasks and what stands
    beside them; answers how many there are. Raises AssertionError where one does not fit the
    code."""
    with Env() as env:
        env.add(*tasks)
        registry = env.registry
    store = open_store(str(file), create=False)
    try:
        breaches = replay_all(store, registry)
        count = len(query_of(store)("SELECT id FROM runs", ()))
    finally:
        store.close()
    assert not breaches, "\n".join(map(str, breaches))
    return count
