"""What a timeline is made of, from a store. The only I/O of this package."""

from __future__ import annotations

from typing import Final

from wf.client.timeline.build import timeline
from wf.client.timeline.model import Timeline
from wf.client.timeline.story import Record
from wf.history.families import batches_of, members_of, single_children
from wf.history.model import Run
from wf.history.store import Store

MOST_RUNS: Final = 100
"""Runs below the one asked for that are told of in full: each is a query, more is no picture."""
MOST_MEMBERS: Final = 5
"""Runs of one batch that are told of in full, those that failed first: one shows what all do, the
batch says how many there are."""


def read(store: Store, run: Run) -> Timeline:
    """The run with what it started, parents first."""
    records: dict[bytes, Record] = {}
    left_out = 0
    runs = [run]
    for parent in runs:
        room = MOST_RUNS + 1 - len(runs)
        ids, others = single_children(store, parent.id, room)
        left_out += others
        batches = batches_of(store, parent.id)
        for batch_id in batches:
            most = min(MOST_MEMBERS, room - len(ids))
            ids += members_of(store, parent.id, batch_id, most) if most else []
        found = store.get_runs(ids)
        runs += [found[id] for id in ids if id in found]
        records[parent.id] = Record(parent, store.history(parent.id), batches)
    root = records.pop(run.id)
    return timeline(root, records, store.now(), left_out)
