"""`client.prune`: removing runs that are over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wf.client.filters import RunFilters, ended, run_filter
from wf.engine.core.durations import Duration, milliseconds
from wf.history.pruning import PRUNE_RUNS

if TYPE_CHECKING:
    from wf.client.client import Client


@dataclass(frozen=True, slots=True)
class Pruned:
    """`runs`: how many were removed, or would be with `dry_run`."""

    runs: int
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        return {"runs": self.runs, "dry_run": self.dry_run}


def prune(
    client: Client, older_than: Duration, filters: RunFilters, *, dry_run: bool, scrub: bool
) -> Pruned:
    """See Client.prune."""
    store = client.store
    before = store.now() - milliseconds(older_than, "older_than")
    wanted = ended(run_filter(client.environment, store.now(), filters))
    counted: set[bytes] = set()
    removed = 0
    following = wanted
    while following is not None:
        ids, following = store.prunable(following, before)
        if dry_run:
            counted.update(ids)
            continue
        for start in range(0, len(ids), PRUNE_RUNS):
            removed += len(store.prune(ids[start : start + PRUNE_RUNS]))
    if scrub and not dry_run:
        store.scrub()
    return Pruned(len(counted) if dry_run else removed, dry_run)
