"""`wf export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wf.cli import options, output
from wf.cli.options import Db, Debug, Env, Json
from wf.cli.runs import RunId


def export(
    run: RunId,
    to: Annotated[
        Path, typer.Option("--to", metavar="FILE", help="A new file, for example run.db.")
    ],
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Save a run, and those below it, as one file.

    It is a SQLite database: `wf show RUN --db FILE` draws it, `wf check --histories DIR` replays
    it. It holds payloads and results as they are.
    """
    from wf.history.export import export as write
    from wf.history.ids import parse, show

    with options.client(db, env) as client:
        view = client.runs.retrieve(run)
        found = client.store.get_runs([parse("run", view.id)])
        saved = [show("run", one.id) for one in write(client.store, next(iter(found.values())), to)]
    if json:
        output.print_json({"file": str(to), "runs": saved})
    else:
        print(f"{to}: {len(saved)} run{'' if len(saved) == 1 else 's'}")
