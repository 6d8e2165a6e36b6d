"""`wf audit`."""

from __future__ import annotations

from typing import Annotated

import typer

from wf.cli import options, output
from wf.cli.options import Db, Debug, Json


def audit(
    replay: Annotated[
        str | None,
        typer.Option(
            metavar="FILE_OR_PROJECT",
            help="Replay every history on this code, too.",
            show_default=False,
        ),
    ] = None,
    db: Db = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Check everything that must be true of the database. One line for each breach."""
    from wf.history import project
    from wf.history.audit import audit as look_through
    from wf.history.open import open_store

    store = open_store(options.database(db), create=False, codec=project.codec())
    try:
        breaches = list(look_through(store))
        if replay is not None:
            from wf.engine.loading import load_project
            from wf.engine.replaying import replay_all

            breaches += replay_all(store, load_project(replay))
    finally:
        store.close()
    if json:
        output.print_json([breach.to_json() for breach in breaches])
    else:
        for breach in breaches:
            print(breach)
        if not breaches:
            print("all is well")
    return 1 if breaches else 0
