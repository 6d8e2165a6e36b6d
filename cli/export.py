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
    redact: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Mask what stands under this key (email, user.email), or what it is (payload, "
            "output, metadata, token, the name of a step or message).",
            show_default=False,
        ),
    ] = None,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Save a run, and those below it, as one file.

    It is a SQLite database: `wf show RUN --db FILE` draws it, `wf check --histories DIR` replays
    it. It holds payloads and results as they are, but for what is masked: by other values of the
    same type and shape, wherever they stand.
    """
    from wf.history.export import export as write
    from wf.history.ids import parse, show
    from wf.history.redacting import fields

    with options.client(db, env) as client:
        view = client.runs.retrieve(run)
        found = client.store.get_runs([parse("run", view.id)])
        masked = fields(redact) if redact else None
        runs = write(client.store, next(iter(found.values())), to, masked)
        saved = [show("run", one.id) for one in runs]
    if json:
        output.print_json({"file": str(to), "runs": saved, "masked": redact or []})
    else:
        masking = f", masked: {', '.join(redact)}" if redact else ""
        print(f"{to}: {len(saved)} run{'' if len(saved) == 1 else 's'}{masking}")
