"""`wf trigger`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wf.cli import errors, options, output
from wf.cli.filters import pair
from wf.cli.options import Db, Debug, Env, Json

Key = Annotated[str | None, typer.Option(metavar="KEY")]
Length = Annotated[str | None, typer.Option(metavar="DURATION", help="Such as 30s, 1d.")]
Name = Annotated[str | None, typer.Option(metavar="NAME")]
Count = Annotated[int | None, typer.Option()]
Payload = Annotated[
    str | None,
    typer.Argument(
        metavar="PAYLOAD",
        help="JSON, @file, - for standard input, or a word. Or fields at the end: -- --name x",
        show_default=False,
    ),
]
Scope = Annotated[
    str | None, typer.Option(metavar="SCOPE", help="Of the idempotency key: environment, run.")
]
OnConflict = Annotated[
    str | None, typer.Option(metavar="RULE", help="Key taken by another payload: return, raise.")
]
Metadata = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")]
Debounce = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="With --debounce-delay: one run of all with this key."),
]
Mode = Annotated[
    str, typer.Option(metavar="MODE", help="Whose payload: trailing (the last), leading.")
]


def trigger(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's id.", show_default=False)],
    payload: Payload = None,
    idempotency_key: Key = None,
    idempotency_key_ttl: Length = None,
    scope: Scope = None,
    on_conflict: OnConflict = None,
    concurrency_key: Key = None,
    queue: Name = None,
    delay: Length = None,
    ttl: Length = None,
    tag: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    priority: Count = None,
    metadata: Metadata = None,
    max_attempts: Count = None,
    max_duration: Length = None,
    version: Name = None,
    debounce: Debounce = None,
    debounce_delay: Length = None,
    debounce_mode: Mode = "trailing",
    debounce_max_delay: Length = None,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Start a run, for a worker to take up; print its id."""
    from wf.cli.payload import any_payload

    given: dict[str, Any] = {
        "idempotency_key": idempotency_key,
        "idempotency_key_ttl": idempotency_key_ttl,
        "scope": scope,
        "on_conflict": on_conflict,
        "concurrency_key": concurrency_key,
        "queue": queue,
        "delay": delay,
        "ttl": ttl,
        "tags": tag,
        "priority": priority,
        "metadata": dict(pair(one, "--metadata") for one in metadata) if metadata else None,
        "max_attempts": max_attempts,
        "max_duration": max_duration,
        "version": version,
        "debounce": _debounce(debounce, debounce_delay, debounce_mode, debounce_max_delay),
    }
    wanted = {name: value for name, value in given.items() if value is not None}
    data = any_payload(payload, context.obj.fields)
    with options.client(db, env) as client:
        handle = client.trigger(task, data, **wanted)
        is_known = client.store.has_worker(client.environment, task)
    if json:
        told = {"id": handle.id, "task": task, "is_cached": handle.is_cached}
        output.print_json(told | {"payload_differs": handle.payload_differs})
    else:
        print(handle.id)
    if not is_known:
        errors.say(f"no live worker knows the task {task!r}: start one, `wf worker FILE`")


def _debounce(key: str | None, delay: str | None, mode: str, max_delay: str | None) -> Any:
    from wf.engine.core.triggers import Debounce

    if key is None and delay is None:
        return None
    if key is None or delay is None:
        raise typer.BadParameter("--debounce and --debounce-delay go together")
    return Debounce(key, delay, mode, max_delay)  # pyright: ignore[reportArgumentType]
