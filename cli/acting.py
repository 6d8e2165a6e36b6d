"""`wf runs cancel`, `replay`, `reschedule`, `unblock`, `tail`: what is done to runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wf.cli import filters, options, output
from wf.cli.errors import FAILED, Failed
from wf.cli.options import Db, Debug, Env, Json
from wf.cli.runs import RunId, app, operation_row

if TYPE_CHECKING:
    from wf.client.filters import RunFilters

Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN", help="run_… Or filters.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say which runs the filters find.")]


def _which(runs: Sequence[str], wanted: RunFilters, dry_run: bool) -> None:
    """Runs by their ids, or by filters. Raises BadParameter."""
    if bool(runs) == bool(wanted) or (runs and dry_run):
        raise typer.BadParameter("give the ids of runs, or filters such as --task or --tag")


@app.command()
def cancel(
    runs: Runs = None,
    status: filters.Status = None,
    task: filters.Task = "",
    tag: filters.Tag = "",
    batch: filters.Batch = "",
    schedule: filters.Schedule = "",
    root: filters.Root = "",
    parent: filters.Parent = "",
    since: filters.Since = "",
    until: filters.Until = "",
    version: filters.Version = "",
    metadata: filters.Metadata = None,
    dry_run: DryRun = False,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Ask runs to end. Their `finally` blocks run; children that they await are canceled, too."""
    wanted = filters.filters(
        status=status, task=task, tag=tag, batch=batch, schedule=schedule, root=root,
        parent=parent, since=since, until=until, version=version, metadata=metadata,
    )  # fmt: skip
    ids = runs or []
    _which(ids, wanted, dry_run)
    with options.client(db, env) as client:
        if ids:
            reached: Sequence[str] = client.runs.cancel(*ids)
        else:
            reached = client.runs.cancel_all(dry_run=dry_run, **wanted)
    _tell(reached, "would be canceled" if dry_run else "is being canceled", json)
    _check_all(ids, reached, "not there, or ended before")
    return 0


@app.command()
def replay(
    runs: Runs = None,
    payload: Annotated[
        str | None,
        typer.Option(
            metavar="PAYLOAD",
            help="Another payload, for one run: JSON, @file, - or a word.",
            show_default=False,
        ),
    ] = None,
    status: filters.Status = None,
    task: filters.Task = "",
    tag: filters.Tag = "",
    batch: filters.Batch = "",
    schedule: filters.Schedule = "",
    root: filters.Root = "",
    parent: filters.Parent = "",
    since: filters.Since = "",
    until: filters.Until = "",
    version: filters.Version = "",
    metadata: filters.Metadata = None,
    dry_run: DryRun = False,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Start runs anew: new ones, with the same task, options and payload, or another payload. By
    filters: those that have ended."""
    from wf.cli.payload import json_data
    from wf.client.runs import SAME

    wanted = filters.filters(
        status=status, task=task, tag=tag, batch=batch, schedule=schedule, root=root,
        parent=parent, since=since, until=until, version=version, metadata=metadata,
    )  # fmt: skip
    ids = runs or []
    _which(ids, wanted, dry_run)
    if payload is not None and len(ids) != 1:
        raise typer.BadParameter("--payload is for one run: give one id")
    data: Any = SAME if payload is None else json_data(payload)
    with options.client(db, env) as client:
        if ids:
            made = {run: client.runs.replay(run, data).id for run in ids}
        else:
            made = client.runs.replay_all(dry_run=dry_run, **wanted)
    if json:
        output.print_json(made)
        return
    for run, new in made.items():
        print(f"{new} replays {run}" if new else f"{run} would be replayed")


@app.command()
def reschedule(
    run: RunId,
    delay: Annotated[
        str,
        typer.Argument(
            metavar="TIME", help="From now, 30m, or 2026-05-01T09:00.", show_default=False
        ),
    ],
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Let a delayed run start at another time."""
    with options.client(db, env) as client:
        view = client.runs.reschedule(run, filters.moment(delay))
    if json:
        output.print_json(view.to_json())
    else:
        print(f"{view.id} starts {output.moment(view.due_at)}")


@app.command()
def unblock(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="run_…", show_default=False)],
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Let parked runs be tried again, by the workers that are there."""
    with options.client(db, env) as client:
        reached = client.runs.unblock(*runs)
    _tell(reached, "is tried again", json)
    _check_all(runs, reached, "not there, or not parked")
    return 0


@app.command()
def tail(
    run: RunId,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print what a run does, as it does it, until it has ended. JSON: a line for each row of its
    history."""
    import json as as_json
    import sys

    with options.client(db, env) as client:
        for event in client.runs.tail(run):
            if json:
                print(as_json.dumps(event.to_json(), ensure_ascii=False))
            else:
                print("  ".join(word for word in operation_row(event) if word))
            sys.stdout.flush()


def _tell(reached: Sequence[str], what: str, json: bool) -> None:
    if json:
        output.print_json(list(reached))
        return
    for run in reached:
        print(f"{run} {what}")


def _check_all(asked: Sequence[str], reached: Sequence[str], what: str) -> None:
    missed = [run for run in asked if run not in reached]
    if missed:
        raise Failed(f"{what}: {', '.join(missed)}", FAILED)
