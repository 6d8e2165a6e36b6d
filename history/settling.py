"""Which run a trigger with a key is: what its parent is told, and what is an error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from wf.history.errors import IdempotencyConflict
from wf.history.ids import show
from wf.history.model import Activation, InboxKind, NewRun, Triggered


def refuse_conflicts(runs: Sequence[NewRun], answers: Sequence[tuple[bytes, Triggered]]) -> None:
    """Raises IdempotencyConflict where a strict run met another payload under its key."""
    for run, (holder, how) in zip(runs, answers, strict=True):
        if run.is_strict and how is Triggered.CACHED_DIFFERS:
            raise conflict(run.task, holder, run.idempotency_key)


def conflict(task: str, holder: bytes, key: str = "") -> IdempotencyConflict:
    shown = show("run", holder)
    named = f" {key!r}" if key else ""
    return IdempotencyConflict(
        f"idempotency key{named} of {task} is taken by {shown}, which has another payload: "
        f"look at it with `wf runs show {shown}`, or give another key",
        run_id=shown,
    )


def settlements(
    children: Sequence[tuple[Activation, NewRun]],
    answers: Sequence[tuple[bytes, Triggered]],
    now: int,
) -> list[tuple[Any, ...]]:
    """Inbox rows: run, kind, chapter, ordinal, at, name, data, place. One for each child that is
    to be settled, and one for each batch."""
    rows: list[tuple[Any, ...]] = []
    batches: dict[tuple[bytes, int], tuple[Activation, list[tuple[bytes, Triggered]]]] = {}
    for (a, child), (run_id, how) in zip(children, answers, strict=True):
        if not child.settle:
            continue
        if child.batch_id is None:
            kind = InboxKind.CHILD_STARTED.value
            rows.append((a.run_id, kind, a.chapter, child.settle, now, how.name, run_id, 0))
        else:
            batches.setdefault((a.run_id, child.settle), (a, []))[1].append((run_id, how))
    for (run_id, ordinal), (a, found) in batches.items():
        cached = [
            [place, show("run", member), int(how)]
            for place, (member, how) in enumerate(found)
            if how is not Triggered.MADE
        ]
        data = json.dumps(cached).encode()
        kind = InboxKind.BATCH_STARTED.value
        rows.append((run_id, kind, a.chapter, ordinal, now, "", data, 0))
    return rows
