"""`wf prune`."""

from __future__ import annotations

from typing import Annotated

import typer

from wf.cli import filters, options, output
from wf.cli.options import Db, Debug, Env, Json


def prune(
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="Ended so long ago: 30d.", show_default=False)
    ],
    status: filters.Status = None,
    task: filters.Task = "",
    tag: filters.Tag = "",
    batch: filters.Batch = "",
    schedule: filters.Schedule = "",
    root: filters.Root = "",
    version: filters.Version = "",
    metadata: filters.Metadata = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    scrub: Annotated[
        bool,
        typer.Option(
            "--scrub", help="Leave no trace in a SQLite file: it is written anew, and locked."
        ),
    ] = False,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Remove runs that are over, with all runs below them and all that is theirs. What is alive,
    or belongs to something alive, stays."""
    wanted = filters.filters(
        status=status, task=task, tag=tag, batch=batch, schedule=schedule, root=root,
        version=version, metadata=metadata,
    )  # fmt: skip
    with options.client(db, env) as client:
        found = client.prune(older_than, dry_run=dry_run, scrub=scrub, **wanted)
    if json:
        output.print_json(found.to_json())
        return
    runs = "1 run" if found.runs == 1 else f"{found.runs:,} runs"
    print(f"{runs} would be removed" if dry_run else f"{runs} removed")
