"""`wf runs`: list and show. What is done to runs: `acting`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from wf.cli import filters, options, output
from wf.cli.options import Db, Debug, Env, Json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from wf.client.views import EventView, RunView

app = typer.Typer(name="runs", help="Look at runs, and act on them.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="run_…", show_default=False)]


@app.command("list")
def list_runs(
    status: filters.Status = None,
    task: filters.Task = "",
    tag: filters.Tag = "",
    batch: filters.Batch = "",
    schedule: filters.Schedule = "",
    root: filters.Root = "",
    parent: filters.Parent = "",
    replayed_from: filters.ReplayedFrom = "",
    since: filters.Since = "",
    until: filters.Until = "",
    version: filters.Version = "",
    metadata: filters.Metadata = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="So many at most.")] = 50,
    cursor: Annotated[
        str,
        typer.Option(
            metavar="RUN",
            help="Begin after this run: the last one of the page before.",
            show_default=False,
        ),
    ] = "",
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """The newest runs first."""
    wanted = filters.filters(
        status=status, task=task, tag=tag, batch=batch, schedule=schedule, root=root,
        parent=parent, replayed_from=replayed_from, since=since, until=until, version=version,
        metadata=metadata,
    )  # fmt: skip
    with options.client(db, env) as client:
        found = client.runs.list(limit=limit, cursor=cursor, **wanted)
        now = client.now()
    if json:
        output.print_json([run.to_json() for run in found])
        return
    output.print_table(
        ["run", "task", "status", "created", "ended", "tags"],
        [
            [
                run.id,
                run.task,
                _status(run, now),
                output.moment(run.created_at),
                output.moment(run.ended_at),
                " ".join(run.tags),
            ]
            for run in found
        ],
    )


@app.command()
def show(
    run: RunId,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """One run: status, times, output or error, and its operations. (`wf show`: over time.)"""
    with options.client(db, env) as client:
        view = client.runs.retrieve(run)
        history = client.runs.history(run)
        hooks = client.runs.hooks(run)
        now = client.now()
    if json:
        beside = {"history": history, "hooks": hooks}
        told = {name: [one.to_json() for one in found] for name, found in beside.items()}
        output.print_json(view.to_json() | told)
        return
    output.print_fields([*_fields(view), *details(view, now), *_hooks(hooks)])
    rows = _operations(history)
    if rows:
        print()
        output.print_table(["#", "operation", "state", "attempts", "took", "at", "detail"], rows)


def _fields(run: RunView) -> list[tuple[str, str]]:
    return [
        ("run", run.id),
        ("task", run.task),
        ("status", run.status + (f", attempt {run.attempt}" if run.attempt > 1 else "")),
        ("environment", run.environment),
        ("batch", run.batch or ""),
        ("schedule", run.schedule or ""),
        ("replayed from", run.replayed_from or ""),
        ("forked from", f"{run.forked_from}, fact {run.forked_at}" if run.forked_from else ""),
        ("created", output.moment(run.created_at)),
        ("started", output.moment(run.started_at)),
        ("ended", output.moment(run.ended_at)),
    ]


def details(run: RunView, now: datetime) -> list[tuple[str, str]]:
    """What it was given, what came of it, and what keeps it."""
    fields = [
        ("tags", " ".join(run.tags)),
        ("parent", run.parent or ""),
        ("goes on", output.moment(run.due_at)),
        ("payload", output.value(run.payload)),
        ("metadata", output.value(run.metadata) if run.metadata else ""),
        ("output", output.value(run.output) if run.output is not None else ""),
    ]
    silence = silence_of(run, now)
    if silence:
        fields.append(("worker", f"silent for {silence}, and nobody has taken the run over: "))
        fields.append(("", f"start a worker, or go on with `wf run FILE --resume {run.id}`"))
    if run.blocked is not None:
        fields.append(("parked", f"{run.blocked.reason}, since {output.moment(run.blocked.since)}"))
        fields.append(("", run.blocked.detail))
    if run.error is not None:
        fields.append(("error", f"{run.error.type}: {run.error.message}"))
        fields.append(("traceback", run.error.traceback.rstrip()))
    return fields


def _hooks(runs: Sequence[RunView]) -> list[tuple[str, str]]:
    """What the hooks were told, and what became of that."""
    return [
        (
            "" if place else "hooks",
            f"{run.payload['moment']}: {run.status}"
            + (f", {run.error.message} ({run.id})" if run.error is not None else ""),
        )
        for place, run in enumerate(runs)
    ]


def silence_of(run: RunView, now: datetime) -> str:
    """For how long the worker that has the run gave no sign of life; "" where that is usual."""
    from wf.engine.core.durations import show_duration
    from wf.history.limits import LEASE_MS

    if run.worker_seen_at is None:
        return ""
    silent_ms = round((now - run.worker_seen_at).total_seconds() * 1_000)
    return show_duration(silent_ms // 1_000 * 1_000) if silent_ms > LEASE_MS / 2 else ""


def _status(run: RunView, now: datetime) -> str:
    silence = silence_of(run, now)
    if silence:
        return f"{run.status} (worker silent for {silence})"
    return f"{run.status} (parked)" if run.blocked is not None else run.status


# --- operations: the rows of a history, one line for each thing that the body did -----------------

_STATES = {
    "STEP_STARTED": "running",
    "STEP_FINISHED": "done",
    "STEP_FAILED": "failed",
    "STEP_ATTEMPT_FAILED": "retrying",
    "TIMER_FIRED": "done",
    "CHILD_TRIGGERED": "triggered",
    "CHILD_AWAITED": "waiting",
    "CHILD_STARTED": "triggered",
    "TOKEN_CREATED": "open",
    "TOKEN_AWAITED": "waiting",
    "BATCH_TRIGGERED": "triggered",
    "BATCH_STARTED": "triggered",
    "BATCH_AWAITED": "waiting",
    "MESSAGE_AWAITED": "waiting",
    "MESSAGE_RECEIVED": "done",
}
_WORDS = {
    "STEP": "step",
    "TIMER": "wait",
    "CHILD": "child",
    "TOKEN": "token",
    "BATCH": "batch",
    "MESSAGE": "message",
}
_DETAIL = 80


def _operations(history: Sequence[EventView]) -> list[list[str]]:
    rows: dict[tuple[int, int], list[str]] = {}
    for event in history:
        if event.ordinal:
            key = (event.chapter, event.ordinal)
            rows[key] = _operation(event, rows.get(key))
        elif event.kind in {"TAKEN", "CANCEL_REQUESTED", "ATTEMPT_FAILED", "PATCHED", "FORKED"}:
            detail = _detail_of(event)
            word = event.kind.lower().replace("_", " ")
            at = output.moment(event.at)
            rows[event.chapter, -event.seq] = ["", word, "", "", "", at, detail]
    return list(rows.values())


def operation_row(event: EventView) -> list[str]:
    """One row of a history, for who follows it: when, what, and what came of it."""
    at = output.moment(event.at)
    if event.ordinal:
        number, name, state, attempts, took, _, detail = _operation(event, None)
        again = f"attempt {attempts}" if attempts not in {"", "1"} else ""
        return [at, f"#{number}", name, state, again, took, detail]
    return [at, event.kind.lower().replace("_", " "), _detail_of(event)]


def _operation(event: EventView, before: list[str] | None) -> list[str]:
    from wf.engine.core.durations import show_duration

    word = _WORDS.get(event.kind.partition("_")[0], "")
    state = _STATES.get(event.kind) or event.name.lower()
    is_named = bool(event.name) and not event.kind.endswith("_ENDED")  # that has a status there
    name = f"{word} {event.name}" if is_named and word in {"step", "child", "batch"} else word
    if before is not None and not is_named:
        name = before[1]
    failed = event.kind in {"STEP_FAILED", "STEP_ATTEMPT_FAILED"}
    took = show_duration(event.took_ms) if event.kind == "STEP_FINISHED" else ""
    if event.data is None:
        detail = before[6] if before is not None else ""
    elif failed or event.name in {"FAILED", "TIMED_OUT", "CANCELED", "EXPIRED"}:
        detail = _failure(event)
    else:
        detail = event.data if isinstance(event.data, str) else output.value(event.data, _DETAIL)
    attempts = str(event.attempt) if word == "step" and event.attempt else ""
    return [str(event.ordinal), name, state, attempts, took, output.moment(event.at), detail]


def _detail_of(event: EventView) -> str:
    if event.kind == "FORKED":
        return f"from {event.data}"
    return event.name or (_failure(event) if event.data else "")


def _failure(event: EventView) -> str:
    data = cast("dict[str, str]", event.data or {})
    if event.kind == "BATCH_ENDED":
        ends = cast("list[dict[str, Any]]", event.data)
        data = next(end["data"] for end in ends if end["status"] != "COMPLETED")
    return f"{data.get('type', '')}: {data.get('message', '')}"
