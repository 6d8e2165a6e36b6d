"""`wf queues`: what waits, what is at work, and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from wf.cli import options, output
from wf.cli.options import Db, Debug, Env, Json

if TYPE_CHECKING:
    from wf.client.queues import QueueView, RateView

app = typer.Typer(
    name="queues", help="See queues, pause them, set their limits.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="QUEUE", help="Its name.", show_default=False)]
Limit = Annotated[
    str | None, typer.Option(metavar="N", help="A number, or none.", show_default=False)
]
RateText = Annotated[
    str | None,
    typer.Option(metavar="N/DURATION", help="Such as 50/30s, or none.", show_default=False),
]


@app.command("list")
def list_queues(db: Db = None, env: Env = None, json: Json = False, debug: Debug = False) -> None:
    """All queues, by name."""
    with options.client(db, env) as client:
        found = client.queues.list()
    if json:
        output.print_json([one.to_json() for one in found])
        return
    output.print_table(
        ["queue", "running", "limit", "waiting", "per key", "rate", "state"],
        [
            [
                one.name,
                str(one.running),
                _limit(one.concurrency_limit),
                str(one.waiting),
                str(one.per_key_limit),
                _rate(one.rate_limit),
                "paused" if one.paused else "",
            ]
            for one in found
        ],
    )


@app.command()
def show(
    queue: Name, db: Db = None, env: Env = None, json: Json = False, debug: Debug = False
) -> None:
    """One queue."""
    with options.client(db, env) as client:
        _tell(client.queues.retrieve(queue), json)


@app.command()
def pause(
    queue: Name, db: Db = None, env: Env = None, json: Json = False, debug: Debug = False
) -> None:
    """Let nothing start there, nor go on after a wait."""
    with options.client(db, env) as client:
        _tell(client.queues.pause(queue), json)


@app.command()
def resume(
    queue: Name, db: Db = None, env: Env = None, json: Json = False, debug: Debug = False
) -> None:
    """Let it go on."""
    with options.client(db, env) as client:
        _tell(client.queues.resume(queue), json)


@app.command("set-limit")
def set_limit(
    queue: Name,
    concurrency_limit: Limit = None,
    per_key_limit: Annotated[int | None, typer.Option(metavar="N", show_default=False)] = None,
    rate_limit: RateText = None,
    per_key_rate_limit: RateText = None,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Change the limits that are given. They stay until the code says something new."""
    wanted: dict[str, Any] = {}
    if concurrency_limit is not None:
        wanted["concurrency_limit"] = _number(concurrency_limit)
    if per_key_limit is not None:
        wanted["per_key_limit"] = per_key_limit
    for name, text in (("rate_limit", rate_limit), ("per_key_rate_limit", per_key_rate_limit)):
        if text is not None:
            wanted[name] = _rate_of(text)
    if not wanted:
        raise typer.BadParameter("say which limit: --concurrency-limit 10, say")
    with options.client(db, env) as client:
        _tell(client.queues.set_limit(queue, **wanted), json)


def _number(text: str) -> int | None:
    if text == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: give a number, or none") from None


def _rate_of(text: str) -> Any:
    from wf.engine.core.queues import Rate

    if text == "none":
        return None
    limit, _, per = text.partition("/")
    if not limit.isdigit() or not per:
        raise typer.BadParameter(f"{text!r}: give a rate such as 50/30s, or none")
    return Rate(int(limit), per)


def _tell(queue: QueueView, json: bool) -> None:
    if json:
        output.print_json(queue.to_json())
        return
    output.print_fields(
        [
            ("queue", queue.name),
            ("state", "paused" if queue.paused else "open"),
            ("running", str(queue.running)),
            ("waiting", str(queue.waiting)),
            ("concurrency limit", _limit(queue.concurrency_limit)),
            ("per key limit", str(queue.per_key_limit)),
            ("rate limit", _rate(queue.rate_limit)),
            ("per key rate limit", _rate(queue.per_key_rate_limit)),
        ]
    )


def _limit(limit: int | None) -> str:
    return "none" if limit is None else str(limit)


def _rate(rate: RateView | None) -> str:
    return "" if rate is None else f"{rate.limit} in {rate.per_ms / 1000:g}s"
