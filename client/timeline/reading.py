"""What a timeline is made of, from a store. The only I/O of this package."""

from __future__ import annotations

from typing import Final

from wf.client.timeline.build import timeline
from wf.client.timeline.model import Timeline
from wf.client.timeline.story import Record
from wf.history.model import Run, RunFilter
from wf.history.store import Store

MOST_RUNS: Final = 100
"""Runs below the one asked for that are told of in full: each is a query, more is no picture."""


def read(store: Store, run: Run) -> Timeline:
    """The run with what it started, parents first."""
    children: dict[bytes, Record] = {}
    left_out = 0
    parents = [run]
    for parent in parents:
        room = MOST_RUNS - len(children)
        wanted = RunFilter(run.environment, parent_id=parent.id, limit=room + 1)
        found = sorted(store.list_runs(wanted), key=lambda one: one.id)
        left_out += max(0, len(found) - room)
        for child in found[:room]:
            children[child.id] = Record(child, store.history(child.id))
            parents.append(child)
    return timeline(Record(run, store.history(run.id)), children, store.now(), left_out)
