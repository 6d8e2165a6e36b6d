"""`wf run`."""

from __future__ import annotations

from typing import Annotated

import typer

from wf.cli.options import Debug, Env, Json, RunDb


def run(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE[:TASK]",
            help="A Python file or a module; in a project, a task's id. Without TASK: the one "
            "named like the file, else main, else the only one.",
            show_default=False,
        ),
    ],
    payload: Annotated[
        str | None,
        typer.Argument(
            metavar="PAYLOAD",
            help="JSON, @file, - for standard input, or a word for a string. "
            "Or fields at the end: -- --user-id u1 --email x@y",
            show_default=False,
        ),
    ] = None,
    db: RunDb = None,
    env: Env = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN_ID", help="Go on with a run that was stopped or killed."),
    ] = None,
    skip_waits: Annotated[
        bool, typer.Option("--skip-waits", help="Jump over waits: time is virtual.")
    ] = False,
    tag: Annotated[list[str] | None, typer.Option(help="Tag the run; may be repeated.")] = None,
    json: Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show nothing but the output.")
    ] = False,
    debug: Debug = False,
) -> int:
    """Run a task here to its end, on SQLite unless told otherwise, and print its output.

    The live tree goes to standard error, the output alone to standard output. Ctrl-C stops at a
    safe place; kill it, if you like: --resume goes on, and nothing that is done is done again.
    """
    from wf.cli import running

    return running.run(
        running.Request(
            target=target,
            payload=payload,
            fields=tuple(context.obj.fields),
            db=db,
            env=env,
            resume=resume,
            skip_waits=skip_waits,
            tags=tuple(tag or ()),
            as_json=json,
            is_quiet=quiet,
            is_debug=debug,
        )
    )
