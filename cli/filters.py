"""Options that say which runs, of all commands that list runs or act on many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from wf.client.filters import RunFilters

Status = Annotated[
    list[str] | None, typer.Option(metavar="STATUS", help="Only these; may be repeated.")
]
Task = Annotated[str, typer.Option(metavar="TASK", help="Only of this task.", show_default=False)]
Tag = Annotated[str, typer.Option(metavar="TAG", help="Only with this tag.", show_default=False)]
Batch = Annotated[
    str, typer.Option(metavar="BATCH", help="Only of this batch.", show_default=False)
]
Schedule = Annotated[
    str, typer.Option(metavar="SCHEDULE", help="Only of this schedule.", show_default=False)
]
Root = Annotated[
    str, typer.Option(metavar="RUN", help="Only this run and those below it.", show_default=False)
]
Parent = Annotated[
    str, typer.Option(metavar="RUN", help="Only those that it started.", show_default=False)
]
ReplayedFrom = Annotated[
    str, typer.Option(metavar="RUN", help="Only replays of this run.", show_default=False)
]
Since = Annotated[
    str,
    typer.Option(
        metavar="TIME", help="Only since then: 2h ago, or 2026-05-01T09:00.", show_default=False
    ),
]
Until = Annotated[
    str, typer.Option(metavar="TIME", help="Only those that are older.", show_default=False)
]
Version = Annotated[
    str, typer.Option(metavar="VERSION", help="Only pinned to it.", show_default=False)
]
Metadata = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE", help="Only with this value in the metadata; may be repeated."
    ),
]


def filters(
    *,
    status: Sequence[str] | None,
    since: str = "",
    until: str = "",
    metadata: Sequence[str] | None = None,
    **names: str,
) -> RunFilters:
    """What `client.runs.list` takes, of what was typed. Raises BadParameter."""
    found: dict[str, Any] = {name: value for name, value in names.items() if value}
    if status:
        found["status"] = list(status)
    if since:
        found["since"] = moment(since)
    if until:
        found["until"] = moment(until)
    if metadata:
        found["metadata"] = dict(pair(one, "--metadata") for one in metadata)
    return found  # pyright: ignore[reportReturnType]


def moment(text: str) -> Any:
    """How long ago, or a moment; one without a zone is local time."""
    from datetime import datetime

    if text.removesuffix(" ago")[-1:] in set("smhdw"):
        return text.removesuffix(" ago").replace(" ", "")
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time: give how long ago (2h, 30d), or 2026-05-01T09:00"
        ) from None


def pair(text: str, option: str) -> tuple[str, Any]:
    """`key=value`, the value as JSON or a word."""
    from wf.cli.payload import json_or_word

    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{option} {text!r}: give KEY=VALUE")
    return key, json_or_word(value)
