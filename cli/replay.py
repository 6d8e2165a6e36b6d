"""`wf replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wf.cli import options, output
from wf.cli.errors import Failed
from wf.cli.options import Db, Debug, Env, Json

if TYPE_CHECKING:
    from wf.testing.replaying.playback import Fact, Playback


def replay(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE_OR_RUN",
            help="A file that `wf export` made, or run_… in a database.",
            show_default=False,
        ),
    ],
    code: Annotated[
        list[str] | None,
        typer.Option(
            "--code",
            metavar="FILE_OR_MODULE",
            help="Where the task is. Default: the folders that the project's config names.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str,
        typer.Option(
            metavar="RUN", help="Which run of the file. Default: the oldest.", show_default=False
        ),
    ] = "",
    at: Annotated[
        int | None,
        typer.Option(
            metavar="FACT", help="Show where the body stands after it.", show_default=False
        ),
    ] = None,
    pdb: Annotated[
        bool, typer.Option("--pdb", help="Look around there, in your code, with its variables.")
    ] = False,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Play a run back on the code here: each fact, the line that asked for it, what came.

    On a terminal step by step, forwards and backwards; in a pipe as a list. Nothing is written, no
    step runs. Exit code 1 where the code no longer fits.
    """
    from wf.cli import playing

    playback = _playback(what, code or [], run, db, env)
    try:
        if json:
            output.print_json(_as_json(playback, at))
        elif pdb:
            playing.debug(playback, at)
        elif at is None and sys.stdin.isatty() and sys.stdout.isatty():
            playing.interact(playback)
        else:
            for fact in playback.facts:
                print(playing.line_of(fact, marked=fact.seq == at))
            if at is not None:
                print(playing.place(playback, playback.go(at)))
    finally:
        playback.close()
    if playback.misfit is not None:
        raise Failed(str(playback.misfit))
    return 0


def _playback(what: str, code: list[str], run: str, db: str | None, env: str | None) -> Playback:
    from wf.engine.loading import registry_of
    from wf.history import project
    from wf.history.ids import parse
    from wf.history.open import open_store
    from wf.testing.replaying.fixture import runs_in
    from wf.testing.replaying.playback import play

    registry = registry_of(code)
    if what.startswith("run_") and not Path(what).exists():
        with options.client(db, env) as client:
            view = client.runs.retrieve(what)
            raw = parse("run", view.id)
            return play(client.store, client.store.get_runs([raw])[raw], registry)
    store = open_store(what, create=False, codec=project.codec())
    try:
        found = next(runs_in(store, run), None)
        if found is None:
            raise Failed(f"no run {run or 'at all'} in {what}: `wf runs list --db {what}` lists")
        return play(store, found, registry)
    finally:
        store.close()


def _as_json(playback: Playback, at: int | None) -> dict[str, object]:
    from wf.cli import playing

    facts: list[Fact] = playback.facts
    misfit = str(playback.misfit) if playback.misfit is not None else None
    told: dict[str, object] = {
        "run": playback.run,
        "task": playback.task,
        "facts": [fact.to_json() for fact in facts],
        "misfit": misfit,
    }
    if at is not None:
        playback.go(at)
        told["at"] = at
        told["frames"] = [
            [playing.frame_json(frame) for frame in frames] for frames in playback.frames()
        ]
    return told
