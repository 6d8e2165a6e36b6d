"""Removing runs that are over: which may go, and in which order.

A run goes with all that is below it. It stays while anything of that is alive or has ended too
recently, while a run above it is alive, and while a live run replays any of them, or was forked
from it or from a run above it. So a live run keeps its parents, its children and what it was made
from, with the children of that.

Two phases. *Looking* (`prunable`) takes a page of ended runs and answers those that may go with all
below them, the deepest first. *Removing* (`prune`) takes some of these at a time, in a transaction
that is over soon: it locks them, looks again at what may have come since (a replay, a child), and
keeps what has become somebody's. A run that has a child left is never removed.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from msgspec.structs import replace

from wf.history.limits import INSERT_ROWS
from wf.history.listing import RunLists
from wf.history.model import RunFilter

PRUNE_RUNS: Final = 128
"""Ended runs that are looked at together, and runs that one transaction removes: with all their
rows it is over in some ten milliseconds, so that workers do not wait for it."""


class Relative(NamedTuple):
    """A run, as far as it matters to others."""

    id: bytes
    parent_id: bytes | None
    status: int
    ended_at: int | None


class Doomed(NamedTuple):
    """A run that is to be removed, with what leads to its rows in other tables."""

    id: bytes
    environment: str
    task: str
    idempotency_key: str | None
    born_tags: str
    added_tags: str | None

    @property
    def tags(self) -> list[tuple[str, bytes, bytes]]:
        tags = [*json.loads(self.born_tags), *json.loads(self.added_tags or "[]")]
        return [(self.environment, tag.encode(), self.id) for tag in dict.fromkeys(tags)]


DOOMED: Final = """SELECT r.id, r.environment, r.task, r.idempotency_key,
 coalesce(r.tags, '[]'), n.tags
FROM runs r LEFT JOIN notes n ON n.run_id = r.id WHERE r.status <> 0 AND r.id"""
"""… is one of these: rows of Doomed."""

OF_A_RUN: Final = (
    *("events", "streams", "notes", "inbox", "messages", "tokens", "ready", "debounces"),
)
"""Tables whose rows go with their `run_id`. (All others of a live run are empty when it ends.)"""


class PruneStore(Protocol):
    """The part of a Store that removes runs."""

    def prunable(
        self, wanted: RunFilter, ended_before: int
    ) -> tuple[list[bytes], RunFilter | None]:
        """A page of runs that may go, the deepest first; and how to ask for the next page."""
        ...

    def prune(self, run_ids: Sequence[bytes]) -> list[bytes]:
        """Remove these ended runs with all that is theirs, PRUNE_RUNS at most; answers which. Those
        that have a child that stays, or a live replay, stay."""
        ...

    def scrub(self) -> None:
        """Leave no trace of removed rows in the database's file, where that is ours."""
        ...


class Pruning(RunLists, ABC):
    """The looking half of a PruneStore."""

    @abstractmethod
    def _query(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]: ...

    def prunable(
        self, wanted: RunFilter, ended_before: int
    ) -> tuple[list[bytes], RunFilter | None]:
        """A page of runs that may go, the deepest first; and how to ask for the next page."""
        until = min(wanted.until or ended_before, ended_before)  # no run ends before its birth
        page = replace(wanted, limit=PRUNE_RUNS, until=until)
        found = self.list_ended(page, ended_before)
        if not found:
            return [], None
        below = self._spread(self._heads("id", found), "parent_id", "id")
        above = self._spread(self._heads("id", _parents(below)), "id", "parent_id")
        forked = self._forked({**below, **above})
        going = may_go(found, below, above, forked, ended_before)
        return going, replace(wanted, before=found[-1])

    def _spread(self, rows: Iterable[Relative], column: str, by: str) -> dict[bytes, Relative]:
        """These runs and all that lead on from them: runs whose `column` is the `by` of one."""
        found: dict[bytes, Relative] = {}
        new = list(rows)
        while new:
            found |= {row.id: row for row in new}
            keys = dict.fromkeys(getattr(row, by) for row in new)
            new = [row for row in self._heads(column, keys) if row.id not in found]
        return found

    def _heads(self, column: str, ids: Iterable[bytes | None]) -> list[Relative]:
        sql = f"SELECT id, parent_id, status, ended_at FROM runs WHERE {column}"
        return [Relative(*row) for row in self._of(sql, ids)]

    def _forked(self, ids: Iterable[bytes]) -> set[bytes]:
        """Those that a live run replays, or was forked from."""
        sql = "SELECT DISTINCT origin_id FROM runs WHERE status = 0 AND origin_id"
        return {row[0] for row in self._of(sql, ids)}

    def _of(self, sql: str, ids: Iterable[bytes | None]) -> list[tuple[Any, ...]]:
        wanted = [one for one in ids if one is not None]
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(wanted), INSERT_ROWS):
            condition, values = self._any_of(wanted[start : start + INSERT_ROWS])
            found += self._query(f"{sql} {condition}", values)
        return found


def _parents(runs: dict[bytes, Relative]) -> list[bytes]:
    return [
        run.parent_id
        for run in runs.values()
        if run.parent_id is not None and run.parent_id not in runs
    ]


def may_go(
    found: Sequence[bytes],
    below: dict[bytes, Relative],
    above: dict[bytes, Relative],
    forked: Collection[bytes],
    ended_before: int,
) -> list[bytes]:
    """Those of `found` that may go, with all below them; the deepest first. `below`: they and all
    below them; `above`: all that is above these."""
    depth: dict[bytes, int] = {}
    for run_id in below:
        path: list[bytes] = []
        at: bytes | None = run_id
        while at is not None and at in below and at not in depth:
            path.append(at)
            at = below[at].parent_id
        base = depth.get(at, -1) if at is not None else -1
        for place, one in enumerate(reversed(path), 1):
            depth[one] = base + place
    order = sorted(below, key=lambda one: depth[one])
    alive = {run_id for run_id, run in [*below.items(), *above.items()] if run.status == 0}
    alive.update(forked)
    under_life = {run_id for run_id in below if _lives_above(below[run_id], above, alive)}
    for run_id in order:
        parent = below[run_id].parent_id
        if parent in under_life or parent in alive:
            under_life.add(run_id)
    stays = {
        run_id
        for run_id, run in below.items()
        if run.status == 0 or (run.ended_at or 0) >= ended_before or run_id in forked
    } | under_life
    for run_id in reversed(order):
        parent = below[run_id].parent_id
        if run_id in stays and parent is not None:
            stays.add(parent)
    going = {run_id for run_id in found if run_id not in stays}
    for run_id in order:
        if below[run_id].parent_id in going:
            going.add(run_id)
    return [run_id for run_id in reversed(order) if run_id in going]


def _lives_above(run: Relative, above: dict[bytes, Relative], alive: Collection[bytes]) -> bool:
    at = run.parent_id
    while at is not None and at in above:
        if at in alive:
            return True
        at = above[at].parent_id
    return False


def still_going(
    runs: Iterable[bytes], children: Iterable[tuple[bytes, bytes]], forked: Collection[bytes]
) -> list[bytes]:
    """Those of these runs, the deepest first, that may go now. `children`: (run, its parent)."""
    going: dict[bytes, None] = dict.fromkeys(runs)
    of: dict[bytes, list[bytes]] = {}
    for child, parent in children:
        of.setdefault(parent, []).append(child)
    for run_id in list(going):
        if run_id in forked or any(child not in going for child in of.get(run_id, ())):
            del going[run_id]
    return list(going)
