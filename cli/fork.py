"""`wf fork`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wf.cli import options, output
from wf.cli.options import Db, Debug, Env, Json
from wf.cli.runs import RunId


def fork(
    run: RunId,
    at: Annotated[
        int | None,
        typer.Option(
            metavar="FACT",
            help="The last fact that is shared. Default: the one that --set changes.",
            show_default=False,
        ),
    ] = None,
    payload: Annotated[
        str | None,
        typer.Option(
            metavar="PAYLOAD",
            help="Another payload: JSON, @file, - or a word.",
            show_default=False,
        ),
    ] = None,
    results: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="STEP=RESULT",
            help="What a step (child, message, token, or #OPERATION) is to have come to; JSON.",
            show_default=False,
        ),
    ] = None,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Start a new run that shares the history of another up to a fact, and goes on from there.

    What was still open then is asked for anew. `wf replay RUN` shows the facts and their numbers.
    """
    from wf.cli.payload import json_data
    from wf.client.runs import SAME

    data: Any = SAME if payload is None else json_data(payload)
    given = dict(_result(one) for one in results or [])
    with options.client(db, env) as client:
        handle = client.runs.fork(run, at=at, payload=data, results=given)
        view = client.runs.retrieve(handle.id)
    if json:
        output.print_json(view.to_json())
    else:
        print(f"{view.id} is forked from {run} at fact {view.forked_at}")


def _result(given: str) -> tuple[str, Any]:
    """NAME=JSON (a bare word stands for itself). Raises BadParameter."""
    from wf.cli.payload import json_data

    name, is_given, value = given.partition("=")
    if not name or not is_given:
        raise typer.BadParameter(f"--set {given}: write NAME=RESULT, with the result as JSON")
    return name, json_data(value)
