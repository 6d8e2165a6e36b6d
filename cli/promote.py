"""`wf promote`."""

from __future__ import annotations

from typing import Annotated

import typer

from wf.cli import output
from wf.cli.options import Debug, Json


def promote(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A SQLite database.", show_default=False)
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help="An empty database, postgresql://…")
    ],
    force: Annotated[
        bool,
        typer.Option("--force", help="Though workers are at work: what they are at is done again."),
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Move a database to Postgres, with its runs under way. They go on there; the file is closed.

    Cut short, the same command ends what was begun.
    """
    from dataclasses import asdict

    from wf.history.open import shown
    from wf.history.promoting import promote as move

    moved = move(source, to, force=force)
    if json:
        output.print_json(asdict(moved))
    else:
        many = "run" if moved.runs == 1 else "runs"
        print(f"{moved.runs:,} {many} moved to {shown(to)}, {moved.live:,} of them under way")
