"""`wf why`."""

from __future__ import annotations

from wf.cli import options, output
from wf.cli.options import Db, Debug, Env, Json
from wf.cli.runs import RunId


def why(
    run: RunId,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say in one sentence why a run is where it is, and what to type next."""
    with options.client(db, env) as client:
        found = client.runs.why(run)
    if json:
        output.print_json(found.to_json())
    else:
        print(f"{found.run} {found.reason}")
        print(f"next: {found.next}")
