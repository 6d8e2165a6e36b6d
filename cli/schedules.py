"""`wf schedules`: what runs by the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from wf.cli import options, output
from wf.cli.filters import pair
from wf.cli.options import Db, Debug, Env, Json
from wf.cli.trigger import Count, Key, Length, Metadata, Name

if TYPE_CHECKING:
    from datetime import datetime

    from wf.client.schedules import ScheduleView

app = typer.Typer(name="schedules", help="What runs by the clock.", no_args_is_help=True)

ScheduleId = Annotated[str, typer.Argument(metavar="SCHEDULE", show_default=False)]
CronText = Annotated[
    str,
    typer.Argument(
        metavar="CRON",
        help="minute hour day-of-month month day-of-week: '0 9 * * 1-5'.",
        show_default=False,
    ),
]
Zone = Annotated[str, typer.Option(metavar="ZONE", help="An IANA name, such as Europe/Berlin.")]
Nonexistent = Annotated[
    str, typer.Option(metavar="POLICY", help="A local time that is skipped: shift_forward, skip.")
]
Ambiguous = Annotated[
    str,
    typer.Option(metavar="POLICY", help="A local time that comes twice: earlier, later, both."),
]


@app.command("list")
def list_schedules(
    task: Annotated[str, typer.Option(metavar="TASK", show_default=False)] = "",
    external_id: Annotated[str, typer.Option(metavar="ID", show_default=False)] = "",
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 1_000,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """All schedules, oldest first."""
    with options.client(db, env) as client:
        found = client.schedules.list(task=task, external_id=external_id, limit=limit)
    if json:
        output.print_json([schedule.to_json() for schedule in found])
        return
    output.print_table(
        ["schedule", "task", "cron", "timezone", "next", "last", "external id"],
        [
            [
                one.id,
                one.task,
                one.cron,
                one.timezone,
                _local(one.next_at) or "paused",
                _local(one.last_at),
                one.external_id,
            ]
            for one in found
        ],
    )


@app.command()
def show(
    schedule: ScheduleId, db: Db = None, env: Env = None, json: Json = False, debug: Debug = False
) -> None:
    """One schedule, with the slots that it skipped and why."""
    with options.client(db, env) as client:
        _tell(client.schedules.retrieve(schedule), json)


@app.command()
def create(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's id.")],
    cron: CronText,
    timezone: Zone = "UTC",
    external_id: Annotated[str, typer.Option(metavar="ID", show_default=False)] = "",
    deduplication_key: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="Make that schedule like this one, if it exists.",
            show_default=False,
        ),
    ] = "",
    overlap: Annotated[
        str,
        typer.Option(
            metavar="POLICY",
            help="While the run before has not ended: skip, allow, queue, cancel_previous.",
        ),
    ] = "skip",
    catch_up: Annotated[
        str,
        typer.Option(metavar="POLICY", help="Of missed slots: the last within a day, none, all."),
    ] = "last",
    nonexistent: Nonexistent = "shift_forward",
    ambiguous: Ambiguous = "earlier",
    concurrency_key: Key = None,
    queue: Name = None,
    ttl: Length = None,
    tag: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    priority: Count = None,
    metadata: Metadata = None,
    max_attempts: Count = None,
    max_duration: Length = None,
    version: Name = None,
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a task by the clock. It takes a wf.ScheduleTick. The options of its runs are those of
    `wf trigger`."""
    given: dict[str, Any] = {
        "concurrency_key": concurrency_key,
        "queue": queue,
        "ttl": ttl,
        "tags": tag,
        "priority": priority,
        "metadata": dict(pair(one, "--metadata") for one in metadata) if metadata else None,
        "max_attempts": max_attempts,
        "max_duration": max_duration,
        "version": version,
    }
    with options.client(db, env) as client:
        made = client.schedules.create(
            task,
            cron,
            timezone,
            external_id=external_id,
            deduplication_key=deduplication_key,
            overlap=cast("Any", overlap),
            catch_up=cast("Any", catch_up),
            nonexistent=cast("Any", nonexistent),
            ambiguous=cast("Any", ambiguous),
            **{name: value for name, value in given.items() if value is not None},
        )
        _tell(made, json)


@app.command()
def pause(
    schedule: ScheduleId, db: Db = None, env: Env = None, json: Json = False, debug: Debug = False
) -> None:
    """No more firings until `resume`, whatever restarts."""
    with options.client(db, env) as client:
        _tell(client.schedules.pause(schedule), json)


@app.command()
def resume(
    schedule: ScheduleId, db: Db = None, env: Env = None, json: Json = False, debug: Debug = False
) -> None:
    """Go on with the next slot."""
    with options.client(db, env) as client:
        _tell(client.schedules.resume(schedule), json)


@app.command()
def trigger(
    schedule: ScheduleId, db: Db = None, env: Env = None, json: Json = False, debug: Debug = False
) -> None:
    """Start a run of it now."""
    with options.client(db, env) as client:
        run = client.schedules.trigger(schedule)
    if json:
        output.print_json(run.to_json())
    else:
        print(run.id)


@app.command()
def backfill(
    schedule: ScheduleId,
    start: Annotated[str, typer.Argument(metavar="FROM", help="ISO 8601, with an offset.")],
    end: Annotated[str, typer.Argument(metavar="TO", help="Not included.")],
    db: Db = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """A run for each slot between two times that has none yet."""
    with options.client(db, env) as client:
        view = client.schedules.retrieve(schedule)
        runs = client.schedules.backfill(
            schedule, _moment(start, view.timezone), _moment(end, view.timezone)
        )
    if json:
        output.print_json(list(runs))
    else:
        print("\n".join(runs))


@app.command()
def delete(
    schedule: ScheduleId, db: Db = None, env: Env = None, json: Json = False, debug: Debug = False
) -> None:
    """Its runs stay."""
    with options.client(db, env) as client:
        view = client.schedules.retrieve(schedule)
        client.schedules.delete(schedule)
    if json:
        output.print_json(view.to_json())
    else:
        print(f"{view.id} deleted")


@app.command()
def preview(
    cron: CronText,
    timezone: Zone = "UTC",
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="TIME",
            help="ISO 8601; without an offset, in the zone. Default: now.",
            show_default=False,
        ),
    ] = "",
    count: Annotated[int, typer.Option(min=1, max=10_000)] = 10,
    nonexistent: Nonexistent = "shift_forward",
    ambiguous: Ambiguous = "earlier",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """The next times at which it fires; days with a gap or an overlap are marked."""
    from wf.client.schedules import preview as slots_of

    slots = slots_of(
        cron,
        timezone,
        start=_moment(start, timezone) if start else None,
        count=count,
        nonexistent=cast("Any", nonexistent),
        ambiguous=cast("Any", ambiguous),
    )
    if json:
        output.print_json([slot.to_json() for slot in slots])
        return
    for slot in slots:
        print(f"{slot.timestamp:%a} {slot.timestamp.isoformat(' ')}  {slot.note}".rstrip())


def _moment(text: str, timezone: str) -> datetime:
    from datetime import datetime

    from wf.engine.core.cron import zone_of

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time: write 2025-03-30, or 2025-03-30T12:00+02:00"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone_of(timezone))


def _local(moment: datetime | None) -> str:
    """In the schedule's zone."""
    return f"{moment:%Y-%m-%d %H:%M %z}" if moment is not None else ""


def _tell(one: ScheduleView, as_json: bool) -> None:
    if as_json:
        output.print_json(one.to_json())
        return
    output.print_fields(
        [
            ("schedule", one.id),
            ("task", one.task),
            ("cron", f"{one.cron} in {one.timezone}"),
            ("next", _local(one.next_at) or "paused"),
            ("last", _local(one.last_at)),
            ("last run", one.last_run or ""),
            ("overlap", one.overlap),
            ("catch up", one.catch_up),
            ("external id", one.external_id),
            ("deduplication key", one.deduplication_key),
            ("queued", "\n".join(map(_local, one.queued))),
            (
                "skipped",
                "\n".join(
                    f"{_local(skip.first)} to {_local(skip.last)}: "
                    f"{skip.count or 'many'}, {skip.reason}"
                    for skip in one.skipped
                ),
            ),
        ]
    )
