"""`wf show`: a run over time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wf.cli import options, output
from wf.cli.options import Db, Debug, Env, Json
from wf.cli.runs import RunId, details

if TYPE_CHECKING:
    from wf.client.timeline.model import Timeline


def show(
    run: RunId,
    svg: Annotated[
        str | None,
        typer.Option(
            "--svg",
            metavar="FILE",
            help="Draw it into this file (-: standard output).",
            show_default=False,
        ),
    ] = None,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """What a run did, over time: steps and their attempts, waits, tokens, child runs.

    Long waits beside short steps are drawn short, as a break; their true durations are written.
    """
    with options.client(db, env) as client:
        view = client.runs.retrieve(run)
        timeline = client.runs.timeline(run)
        now = client.now()
    if svg is not None:
        _draw(timeline, svg)
    if json:
        output.print_json(timeline.to_json())
    elif svg is None:
        _print(timeline)
        print()
        output.print_fields(details(view, now))


def _draw(timeline: Timeline, file: str) -> None:
    picture = timeline.to_svg()
    if file == "-":
        print(picture)
        return
    Path(file).write_text(picture, encoding="utf-8")


def _print(timeline: Timeline) -> None:
    """As wide as the terminal; in a pipe as wide as it needs to be, without colours."""
    from shutil import get_terminal_size

    from wf.cli.screen import is_ascii
    from wf.client.timeline.text import WIDTH, lines

    width = get_terminal_size((WIDTH, 0)).columns
    rows = lines(timeline, width, is_ascii=is_ascii(sys.stdout))
    if not sys.stdout.isatty():
        for row in rows:
            print("".join(part for part, _ in row).rstrip())
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for row in rows:
        console.print(Text.assemble(*row), no_wrap=True, overflow="ignore", crop=False)
