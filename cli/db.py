"""`wf db`: the database itself."""

from __future__ import annotations

import typer

from wf.cli import options, output
from wf.cli.options import Db, Debug, Env, Json

app = typer.Typer(name="db", help="The database: its schema, what is in it.", no_args_is_help=True)


@app.command()
def migrate(db: Db = None, json: Json = False, debug: Debug = False) -> None:
    """Make the tables, or bring them to this wf's version."""
    from wf.history.migrate import migrate as bring_up
    from wf.history.open import sqlite_path
    from wf.history.version import SCHEMA_VERSION

    url = options.database(db)
    if not url.startswith(("postgresql:", "postgres:")):
        url = f"sqlite:///{sqlite_path(url).absolute()}"
    before = bring_up(url)
    if json:
        output.print_json({"before": before, "version": SCHEMA_VERSION})
    elif before == SCHEMA_VERSION:
        print(f"the schema is {SCHEMA_VERSION}: nothing to do")
    else:
        print(f"the schema was {before or 'not there'}, and is {SCHEMA_VERSION} now")


@app.command()
def status(db: Db = None, env: Env = None, json: Json = False, debug: Debug = False) -> None:
    """Where it is, which version it has, who works on it."""
    from wf.engine.machine import ended
    from wf.history.open import shown
    from wf.history.version import SCHEMA_VERSION

    with options.client(db, env) as client:
        workers = client.store.workers(client.environment)
    gone = set(ended(workers))
    live = [info for worker, info in workers if worker not in gone]
    if json:
        output.print_json(
            {
                "url": shown(client.store.url),
                "version": SCHEMA_VERSION,
                "environment": client.environment,
                "workers": [{"host": one.host, "pid": one.pid} for one in live],
            }
        )
        return
    output.print_fields(
        [
            ("database", shown(client.store.url)),
            ("schema", f"{SCHEMA_VERSION}, the newest that this wf knows"),
            ("environment", client.environment),
            ("workers", "\n".join(f"{one.host} {one.pid}" for one in live) or "none"),
        ]
    )
