"""A saved history as a test: does the code here still fit what happened?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wf.engine.loading import registry_of
from wf.engine.registry import Registry
from wf.history import project
from wf.history.errors import NonDeterminism, NotFound
from wf.history.ids import parse
from wf.history.model import Run
from wf.history.open import open_store
from wf.history.store import Store, query_of
from wf.testing.check.gate import misfit
from wf.testing.replaying.playback import Playback, play


def replay(file: str | Path, *tasks: Any, run: str = "", codec: Any = None) -> Playback:
    """Replay the runs in a file that `wf export` made (or in a database) on this code, and answer
    the playback of the first one: of the run that was exported, or of `run`.

    tasks: runnables or modules; none: those of the project. Runs of other tasks are left out.
    Raises NonDeterminism with the aligned diff where one does not fit any more, or fails where it
    did not; NotFound where there is no run of these tasks.
    """
    registry = Registry(tasks) if tasks else registry_of([])
    store = open_store(str(file), create=False, codec=codec or project.codec())
    try:
        found = [one for one in runs_in(store, run) if one.task in registry]
        if not found:
            known = ", ".join(sorted(registry.ids)) or "none"
            raise NotFound(f"no run of these tasks ({known}) in {file}: `wf runs list --db` lists")
        for one in found:
            wrong = misfit(store, one, registry)
            if wrong is not None:
                raise NonDeterminism(f"{wrong.run} {wrong.task}: {wrong.reason}: {wrong.detail}")
        return play(store, found[0], registry)
    finally:
        store.close()


def runs_in(store: Store, run: str = "") -> Iterator[Run]:
    """The oldest first: children are younger than their parents. `run`: it alone."""
    if run:
        ids = [parse("run", run)]
    else:
        ids = [bytes(row[0]) for row in query_of(store)("SELECT id FROM runs ORDER BY id", [])]
    for one in ids:
        yield from store.get_runs([one]).values()
