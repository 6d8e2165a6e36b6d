"""`wf send`."""

from __future__ import annotations

from typing import Annotated

import typer

from wf.cli import options, output
from wf.cli.options import Db, Debug, Env, Json


def send(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="run_…", show_default=False)],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The message's name.", show_default=False)
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="JSON, @file, - or a word. Or fields at the end: -- --name x. Default: null.",
            show_default=False,
        ),
    ] = None,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Send a run a message; it is kept until the run waits for one of that name."""
    from wf.cli.payload import any_payload

    value = any_payload(data, context.obj.fields)
    with options.client(db, env) as client:
        client.runs.send(run, name, value)
    if json:
        output.print_json({"run": run, "name": name, "data": value})
    else:
        print(f"{run} {name} sent")
