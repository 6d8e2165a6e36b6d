"""Which runs: what `client.runs.list` takes, and all that acts on many runs at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypedDict

from wf.client.asking import parse_id
from wf.engine.core.durations import Duration, milliseconds, to_ms
from wf.history.errors import PayloadError
from wf.history.events import Status
from wf.history.model import RunFilter


class RunFilters(TypedDict, total=False):
    """All that are given have to fit. Ids as people see them; `since` and `until`: a moment, or how
    long ago."""

    status: Status | str | Iterable[Status | str]
    task: str
    tag: str
    batch: str
    schedule: str
    root: str
    """A run, and all that are below it."""
    parent: str
    replayed_from: str
    since: datetime | Duration
    """Not older than this. A run is as old as its id: made then, or for a slot of its schedule."""
    until: datetime | Duration
    """Older than this."""
    version: str
    metadata: Mapping[str, str | float | bool | None]
    """Keys, each with the value that has to stand there."""


_LIVE: Final = tuple(status for status in Status if not status.ended)
_ENDED: Final = tuple(status for status in Status if status.ended)


def run_filter(environment: str, now: int, given: Mapping[str, Any]) -> RunFilter:
    """What a store understands. Raises PayloadError, NotFound, naming what does not fit."""
    found = RunFilter(environment)
    for name, value in given.items():
        if value is None or value == "":
            continue
        match name:
            case "status":
                wanted = [value] if isinstance(value, str) else value
                found.status = [_status(one) for one in wanted]
            case "task":
                found.task = value
            case "tag":
                found.tag = value
            case "version":
                found.version = value
            case "batch":
                found.batch_id = parse_id("batch", value)
            case "schedule":
                found.schedule_id = parse_id("schedule", value)
            case "root":
                found.root_id = parse_id("run", value)
            case "parent":
                found.parent_id = parse_id("run", value)
            case "replayed_from":
                found.origin_id = parse_id("run", value)
            case "since":
                found.since = _moment(value, name, now)
            case "until":
                found.until = _moment(value, name, now)
            case "metadata":
                found.metadata = [(key, _scalar(key, one)) for key, one in value.items()]
            case _:
                raise TypeError(
                    f"runs cannot be filtered by {name!r}: "
                    f"there are {', '.join(sorted(RunFilters.__optional_keys__))}"
                )
    return found


def live(found: RunFilter) -> RunFilter:
    """Only runs that have not ended. Raises PayloadError where only others are asked for."""
    return _only(found, _LIVE, "that have not ended")


def ended(found: RunFilter) -> RunFilter:
    """Only runs that have ended. Raises PayloadError where only others are asked for."""
    return _only(found, _ENDED, "that have ended")


def _only(found: RunFilter, these: Sequence[Status], told: str) -> RunFilter:
    asked = found.status
    found.status = [status for status in asked or these if status in these]
    if not found.status:
        raise PayloadError(
            f"status={', '.join(asked)}: this is for runs {told}, so give {', '.join(these)}"
        )
    return found


def check_named(given: Mapping[str, Any], what: str) -> None:
    """Whoever acts on many runs says on which. Raises PayloadError."""
    if not any(value not in (None, "", ()) for value in given.values()):
        raise PayloadError(
            f"{what} all runs of the environment? Give a filter: task=, tag=, since="
        )


def _status(value: Status | str) -> Status:
    try:
        return Status(value.upper())
    except ValueError:
        raise PayloadError(f"status={value!r}: give one of {', '.join(Status)}") from None


def _moment(value: Any, name: str, now: int) -> int:
    if isinstance(value, datetime):
        return to_ms(value, name)
    return max(1, now - milliseconds(value, name))


def _scalar(key: str, value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    raise PayloadError(
        f"metadata[{key!r}]={value!r}: runs are found by a string, a number, a boolean or None"
    )
