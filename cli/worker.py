"""`wf worker`."""

from __future__ import annotations

from typing import Annotated

import typer

from wf.cli import options
from wf.cli.options import Db, Debug, Env


def worker(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE_OR_MODULE...]",
            help="Where the tasks are. Default: the folders that the project's config names.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=256, help="Worker processes; one that dies is restarted.")
    ] = 1,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Runs with work under way at once, per process.")
    ] = 1_000,
    db: Db = None,
    env: Env = None,
    debug: Debug = False,
    watch_fd: Annotated[int, typer.Option(hidden=True)] = -1,
) -> int:
    """Work on the runs of these tasks until stopped.

    SIGTERM or Ctrl-C: steps under way may end, at most 10 s; the rest is handed over. Twice: at
    once.
    """
    from wf.cli import supervisor, working

    url, environment = options.database(db), options.environment(env)
    targets = targets or []
    if processes > 1:
        return supervisor.supervise(targets, processes, concurrency, url, environment)
    return working.work(targets, concurrency, url, environment, watch_fd)
