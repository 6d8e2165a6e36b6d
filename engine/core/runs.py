"""From trigger options to a row: one place for every way in which a run is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from wf.engine.core.decisions import Member, TriggerBatch, TriggerChild
from wf.engine.core.info import RunInfo
from wf.engine.core.triggers import is_keyed
from wf.history.errors import NotInRun
from wf.history.events import Event
from wf.history.forking import end_of, shared
from wf.history.ids import member_ids
from wf.history.model import Debounced, NewRun, Run
from wf.history.queues import Limits

DEFAULT_KEY_TTL_MS: Final = 30 * 86_400_000
"""An idempotency key lives 30 days unless the trigger says otherwise."""
_COLUMNS: Final = frozenset(
    {
        *("idempotency_key", "idempotency_key_ttl", "scope", "concurrency_key", "queue"),
        *("delay", "ttl", "tags", "priority", "version", "on_conflict"),
    }
)


def new_run(
    run_id: bytes,
    task: str,
    payload: bytes,
    options: dict[str, Any],
    *,
    environment: str,
    now: int,
    parent: Run | RunInfo | None = None,
    batch_id: bytes | None = None,
    schedule_id: bytes | None = None,
) -> NewRun:
    """A run to be made. `options`: checked ones, as `trigger_options` answers them. Raises NotInRun
    where they ask for a parent, and there is none."""
    asked = _asked(task, options, environment, now, parent)
    return NewRun(run_id, payload=payload, batch_id=batch_id, schedule_id=schedule_id, **asked)


def _asked(
    task: str, options: dict[str, Any], environment: str, now: int, parent: Run | RunInfo | None
) -> dict[str, Any]:
    """What all runs of a batch have that were given these options."""
    start_at = _start_at(options.get("delay", 0), now)
    debounce = _debounced(options["debounce"]) if "debounce" in options else None
    if debounce is not None:
        start_at = now + debounce.delay_ms
    key = options.get("idempotency_key", "")
    if options.get("scope") == "run":
        key = _within(parent, task, key)
    queue, limits = _queue(options, task)
    return {
        "environment": environment,
        "task": task,
        "created_at": now,
        "parent_id": parent.id if parent is not None else None,
        "root_id": (parent.root_id or parent.id) if parent is not None else None,
        "tags": options.get("tags", ()),
        "queue": queue,
        "key": options.get("concurrency_key", ""),
        "limits": limits,
        "priority": options.get("priority", 0),
        "start_at": start_at if start_at > now else 0,
        "ttl_ms": options.get("ttl", 0),
        "idempotency_key": key,
        "idempotency_expires_at": now + options.get("idempotency_key_ttl", DEFAULT_KEY_TTL_MS)
        if key
        else 0,
        "version": options.get("version", ""),
        "debounce": debounce,
        "is_strict": options.get("on_conflict") == "raise",
        "options": msgspec.json.encode(
            {name: value for name, value in options.items() if name not in _COLUMNS}
        ),
    }


def _within(parent: Run | RunInfo | None, task: str, key: str) -> str:
    """An idempotency key, for this parent only."""
    if parent is None:
        raise NotInRun(
            f"{task} is triggered with scope='run', and no run triggers it: leave scope out (the "
            "key then holds in the whole environment), or trigger it in a task"
        )
    return f"{parent.id.hex()}/{key}" if key else ""


def replay_of(origin: Run, run_id: bytes, payload: bytes, now: int) -> NewRun:
    """The same task with the same options, now, and as a run of its own."""
    return NewRun(
        id=run_id,
        environment=origin.environment,
        task=origin.task,
        payload=payload,
        created_at=now,
        tags=origin.tags,
        queue=origin.queue,
        key=origin.key,
        priority=origin.priority,
        ttl_ms=origin.ttl_ms,
        version=origin.version,
        options=origin.options,
        origin_id=origin.id,
    )


def fork_of(
    origin: Run,
    events: Sequence[Event],
    run_id: bytes,
    now: int,
    *,
    at: int | None,
    payload: bytes | None,
    results: Mapping[str, bytes],
) -> tuple[NewRun, list[Event]]:
    """A run that shares a chapter of another one up to a fact, and its history. Raises
    CannotFork."""
    at = end_of(events, results) if at is None else at
    run = replay_of(origin, run_id, origin.payload if payload is None else payload, now)
    run.ttl_ms = 0
    history = shared(origin, events, at, now, results)
    if payload is not None and history[0].data is not None:
        history[0] = history[0].but(data=payload)
    return run, history


def _debounced(given: dict[str, Any]) -> Debounced:
    return Debounced(given["key"], given["delay"], given["mode"] == "leading", given["max_delay"])


def _queue(options: dict[str, Any], task: str) -> tuple[str, Limits | None]:
    """Its name, and what the trigger says of it. A key without a queue is one of the task's own."""
    given = options.get("queue")
    if given is None:
        return task if options.get("concurrency_key") else "", None
    if isinstance(given, str):
        return given, None
    said: dict[str, Any] = given
    return said["name"] or task, Limits(**said["limits"])


def _start_at(delay: int | dict[str, int], now: int) -> int:
    if isinstance(delay, dict):
        return delay["at"]
    return now + delay if delay else 0


def child_run(parent: Run, decision: TriggerChild, now: int) -> NewRun:
    run = new_run(
        decision.child_id,
        decision.task,
        decision.payload,
        decision.options,
        environment=parent.environment,
        now=now,
        parent=parent,
    )
    if is_keyed(decision.options):
        run.settle = decision.ordinal
    return run


def batch_runs(
    task: str,
    members: Sequence[Member],
    batch_id: bytes,
    *,
    environment: str,
    now: int,
    parent: Run | RunInfo | None = None,
) -> list[NewRun]:
    runs: list[NewRun] = []
    given: dict[str, Any] | None = None
    asked: dict[str, Any] = {}
    run_ids = member_ids(batch_id, range(len(members)))
    for run_id, (payload, options) in zip(run_ids, members, strict=True):
        if options is not given:
            asked = _asked(task, options, environment, now, parent)
            given = options
        runs.append(NewRun(run_id, payload=payload, batch_id=batch_id, **asked))
    return runs


def child_runs(parent: Run, decision: TriggerBatch, now: int) -> list[NewRun]:
    runs = batch_runs(
        decision.task,
        decision.members,
        decision.batch_id,
        environment=parent.environment,
        now=now,
        parent=parent,
    )
    if decision.has_keys:
        for run in runs:
            run.settle = decision.ordinal
    return runs
