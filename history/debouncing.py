"""Debounced triggers: those with one key, within the delay of one another, are one run.

The run is delayed, and each further trigger pushes its start away: to `delay` from then, but not
beyond `max_delay` from the first one, and never nearer. So the start does not depend on the order
in which several clients get through. A key whose run has started (or was canceled) makes the next.

`debounces` has the latest run of each key. Whoever triggers locks its row, then the run and its due
time; a worker that starts the run takes that due time away, so one of the two comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from wf.history.model import NewRun, Triggered

Key = tuple[str, str, str]
"""Environment, task, key."""


class Held(NamedTuple):
    """The run of a key, while it is delayed."""

    run_id: bytes
    created_at: int
    due_at: int
    tags: Sequence[str]
    """Those it was born with."""


class Push(Struct):
    """A run starts later. `rewritten`: with what this trigger gave; None: as it is."""

    held: Held
    start_at: int
    rewritten: NewRun | None = None


class Settled(Struct):
    """What becomes of debounced triggers."""

    answers: dict[bytes, tuple[bytes, Triggered]] = {}
    """By the id that was asked for. MADE: that run is to be made, as it is now."""
    pushes: dict[bytes, Push] = {}
    holders: dict[Key, bytes] = {}
    """Keys whose run is another one than before."""


def key_of(run: NewRun) -> Key:
    assert run.debounce is not None
    return run.environment, run.task, run.debounce.key


def debounced(runs: Sequence[NewRun]) -> list[NewRun]:
    return [run for run in runs if run.debounce is not None]


def settle(runs: Sequence[NewRun], held: Mapping[Key, Held]) -> Settled:
    """`runs`: debounced ones, in the order in which they were triggered. `held`: their keys' runs,
    as far as they are delayed and locked."""
    settled = Settled()
    made: dict[Key, NewRun] = {}
    for run in runs:
        key = key_of(run)
        first, before = made.get(key), held.get(key)
        if first is not None:
            _join(first, run)
            settled.answers[run.id] = first.id, Triggered.CACHED
        elif before is not None and before.run_id == run.id:
            settled.answers[run.id] = run.id, Triggered.MADE  # a repeat
        elif before is not None and before.due_at > run.created_at:
            _push(settled, before, run)
            settled.answers[run.id] = before.run_id, Triggered.CACHED
        else:
            made[key] = run
            settled.holders[key] = run.id
            settled.answers[run.id] = run.id, Triggered.MADE
    return settled


def _pushed(run: NewRun, created_at: int, start_at: int) -> int:
    """When a run starts that was to start then, after this trigger."""
    assert run.debounce is not None
    wanted = run.created_at + run.debounce.delay_ms
    if run.debounce.max_delay_ms:
        wanted = min(wanted, created_at + run.debounce.max_delay_ms)
    return max(start_at, wanted)


def _push(settled: Settled, held: Held, run: NewRun) -> None:
    assert run.debounce is not None
    push = settled.pushes.setdefault(held.run_id, Push(held, held.due_at))
    push.start_at = _pushed(run, held.created_at, push.start_at)
    if not run.debounce.is_leading:
        push.rewritten = run


def _join(first: NewRun, run: NewRun) -> None:
    """Both are in one transaction, and make one run."""
    assert run.debounce is not None
    start_at = _pushed(run, first.created_at, first.start_at)
    if not run.debounce.is_leading:
        rewrite(first, run)
    first.start_at = start_at


def rewrite(run: NewRun, by: NewRun) -> None:
    """What a later trigger gives replaces what an earlier one gave."""
    for name in REWRITTEN:
        setattr(run, name, getattr(by, name))


REWRITTEN: Final = (
    *("payload", "tags", "queue", "limits", "key", "priority", "ttl_ms", "version", "options"),
)
"""All that a trigger gives, but for when and by whom."""
