"""`@wf.schedules.task`, and what a schedule is made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Unpack, cast

from wf.engine.core.cron import Cron, check_choice
from wf.engine.core.cron import cron as checked_cron
from wf.engine.core.names import check_name
from wf.engine.core.runnable import Runnable, TaskDecorator, TaskOptions
from wf.engine.core.runnable import task as declare_task
from wf.engine.core.triggers import trigger_options, with_defaults
from wf.history.errors import DeclarationError
from wf.history.ids import derived_id
from wf.history.schedules import Ambiguous, CatchUp, Nonexistent, Overlap, Schedule

_NOT_OF_A_SCHEDULE: Final = ("idempotency_key", "idempotency_key_ttl", "scope", "connection")
"""Its runs are told apart by their slots already."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A schedule in the code: checked, and not yet in any store."""

    times: Cron
    overlap: Overlap
    catch_up: CatchUp


class Schedules:
    """`wf.schedules`."""

    def task(
        self,
        *,
        cron: str,
        timezone: str = "UTC",
        overlap: Overlap = "skip",
        catch_up: CatchUp = "last",
        nonexistent: Nonexistent = "shift_forward",
        ambiguous: Ambiguous = "earlier",
        **options: Unpack[TaskOptions],
    ) -> TaskDecorator:
        """A task that runs by the clock: `async def name(tick: wf.ScheduleTick)`.

        cron: minute hour day-of-month month day-of-week, in the local time of `timezone` (an IANA
        name). overlap: what becomes of a slot while the run before has not ended. catch_up: which
        slots fire that nobody was there for: the last one within a day, none, all. The other
        options are those of `@wf.task`. Written again above it, it adds another schedule. Raises
        DeclarationError.
        """
        times = checked_cron(cron, timezone, nonexistent=nonexistent, ambiguous=ambiguous)
        declared = declare(times, overlap, catch_up)

        def decorate(fn: Callable[..., Any]) -> Runnable[..., Any]:
            runnable = _task_of(fn, options)
            if runnable.signature.form != "bare":
                raise DeclarationError(
                    f"{fn.__name__} is scheduled, so that its payload is a tick: write "
                    f"`async def {fn.__name__}(tick: wf.ScheduleTick)`"
                )
            runnable.schedules = (*runnable.schedules, declared)
            return runnable

        return cast("TaskDecorator", decorate)


schedules: Final = Schedules()


def declare(times: Cron, overlap: Overlap, catch_up: CatchUp) -> Declared:
    check_choice("overlap", overlap, Overlap)
    check_choice("catch_up", catch_up, CatchUp)
    return Declared(times, overlap, catch_up)


def _task_of(fn: Callable[..., Any], options: TaskOptions) -> Runnable[..., Any]:
    if not isinstance(fn, Runnable):
        return declare_task(**options)(fn)
    known = cast("Runnable[..., Any]", fn)
    if options or known.kind != "task":
        raise DeclarationError(
            f"{known.__name__}: give {', '.join(options) or 'a task, no step,'} to the decorator "
            "next to the function"
        )
    return known


def declared_id(environment: str, task: str, place: int) -> bytes:
    """The schedule that stands at that place above a task, counted from the function: the same one
    when its expression changes."""
    return derived_id(0, f"{environment}/{task}".encode(), 0, place)


def declared_schedules(runnable: Runnable[..., Any], environment: str, now: int) -> list[Schedule]:
    return [
        new_schedule(
            declared_id(environment, runnable.id, place),
            runnable,
            declared,
            {},
            environment=environment,
            now=now,
            is_declared=True,
        )
        for place, declared in enumerate(runnable.schedules)
    ]


def new_schedule(
    id: bytes,
    task: Runnable[..., Any] | str,
    what: Declared,
    options: dict[str, Any],
    *,
    environment: str,
    now: int,
    external_id: str = "",
    deduplication_key: str = "",
    is_declared: bool = False,
) -> Schedule:
    """A schedule to be added; `options`: trigger options for its runs. Raises DeclarationError."""
    for name in _NOT_OF_A_SCHEDULE:
        if options.get(name) is not None:
            raise DeclarationError(f"{name} is no option of a schedule: take it away")
    checked = trigger_options(options)
    if isinstance(task, Runnable):
        checked = with_defaults(task.settings, checked)
    times = what.times
    next_at = times.next(now)
    return Schedule(
        id=id,
        environment=environment,
        task=task.id if isinstance(task, Runnable) else check_name(task, "task"),
        cron=times.expression,
        timezone=times.timezone,
        nonexistent=times.nonexistent,
        ambiguous=times.ambiguous,
        created_at=now,
        next_at=next_at,
        due_at=next_at,
        overlap=what.overlap,
        catch_up=what.catch_up,
        external_id=check_name(external_id, "external_id") if external_id else "",
        deduplication_key=check_name(deduplication_key, "deduplication_key")
        if deduplication_key
        else None,
        options=json.dumps(checked).encode(),
        declared=is_declared,
    )
