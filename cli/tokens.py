"""`wf tokens`: what runs wait for from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wf.cli import options, output
from wf.cli.options import Db, Debug, Env, Json

if TYPE_CHECKING:
    from wf.client.views import TokenView

app = typer.Typer(name="tokens", help="Complete what runs wait for.", no_args_is_help=True)

TokenId = Annotated[str, typer.Argument(metavar="TOKEN", help="token_…", show_default=False)]


@app.command("list")
def list_tokens(
    status: Annotated[
        str,
        typer.Option(
            metavar="STATUS", help="WAITING, COMPLETED, TIMED_OUT or CANCELED.", show_default=False
        ),
    ] = "",
    run: Annotated[
        str, typer.Option(metavar="RUN", help="Only of this run.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="So many at most.")] = 50,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """The newest tokens first."""
    with options.client(db, env) as client:
        found = client.tokens.list(status=status, run=run, limit=limit)
    if json:
        output.print_json([token.to_json() for token in found])
        return
    output.print_table(
        ["token", "status", "run", "created", "times out", "tags"],
        [
            [
                token.id,
                token.status,
                token.run or "",
                output.moment(token.created_at),
                output.moment(token.timeout_at),
                " ".join(token.tags),
            ]
            for token in found
        ],
    )


@app.command()
def complete(
    token: TokenId,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="JSON", help="JSON, @file, - or a word. Default: null.", show_default=False
        ),
    ] = None,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Hand in the data; it is checked against what the token asks for."""
    from wf.cli.payload import json_data

    value = json_data(data) if data is not None else None
    with options.client(db, env) as client:
        _tell(client.tokens.complete(token, value), json)


@app.command()
def cancel(
    token: TokenId,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Nobody will complete it: runs that wait for it are told so."""
    with options.client(db, env) as client:
        _tell(client.tokens.cancel(token), json)


def _tell(token: TokenView, as_json: bool) -> None:
    if as_json:
        output.print_json(token.to_json())
    else:
        print(f"{token.id} {token.status}")
