"""`client.schedules`: schedules made, changed and looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from msgspec.structs import replace

from wf.client.views import RunView, plain_json
from wf.engine.core.cron import cron as checked_cron
from wf.engine.core.cron import zone_of
from wf.engine.core.durations import from_ms, to_ms
from wf.engine.core.firing import backfill, change, pause, resume, trigger
from wf.engine.core.names import check_name
from wf.engine.core.runnable import Runnable
from wf.engine.core.schedules import declare, new_schedule
from wf.engine.core.triggers import BatchOptions
from wf.history.errors import DeclarationError, NotFound, StoreUnavailable
from wf.history.ids import new_id, parse, show
from wf.history.schedules import (
    Ambiguous,
    CatchUp,
    Move,
    Nonexistent,
    Overlap,
    Schedule,
    Skip,
)

if TYPE_CHECKING:
    from wf.client.client import Client

TRIES: Final = 100
"""Of a change: each time somebody else, a scheduler, changed the same schedule meanwhile."""
PREVIEW: Final = 10


class ScheduleChanges(TypedDict, total=False):
    """What `update` takes."""

    cron: str
    timezone: str
    overlap: Overlap
    catch_up: CatchUp
    nonexistent: Nonexistent
    ambiguous: Ambiguous
    external_id: str


@dataclass(frozen=True, slots=True)
class SkipView:
    """Slots that did not fire: the first and the last of them, how many (0: nobody counted), and
    why: overlap, catch_up or paused."""

    first: datetime
    last: datetime
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A time at which a schedule fires; `note` tells of a gap or an overlap on that day."""

    timestamp: datetime
    note: str

    def to_json(self) -> dict[str, Any]:
        return {"timestamp": self.timestamp.isoformat(), "note": self.note}


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule, as it was when it was read. Slots are in its zone."""

    id: str
    task: str
    cron: str
    timezone: str
    active: bool
    next_at: datetime | None
    """None while it is paused."""
    last_at: datetime | None
    """The slot that fired last."""
    last_run: str | None
    overlap: str
    catch_up: str
    nonexistent: str
    ambiguous: str
    external_id: str
    deduplication_key: str
    declared: bool
    """By a decorator, not by `create`."""
    queued: tuple[datetime, ...]
    skipped: tuple[SkipView, ...]
    """The latest, oldest first."""
    created_at: datetime
    environment: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types: moments as ISO 8601."""
        return {name: plain_json(value) for name, value in asdict(self).items()}


class Schedules:
    """`client.schedules`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self,
        task: Runnable[..., Any] | str,
        cron: str,
        timezone: str = "UTC",
        *,
        external_id: str = "",
        deduplication_key: str = "",
        overlap: Overlap = "skip",
        catch_up: CatchUp = "last",
        nonexistent: Nonexistent = "shift_forward",
        ambiguous: Ambiguous = "earlier",
        **options: Unpack[BatchOptions],
    ) -> ScheduleView:
        """A schedule for a task that takes a `wf.ScheduleTick`. `options`: those of its runs; a
        task that is only named goes into the queue that its workers declare.

        With a `deduplication_key` that is there already, that schedule is made like this one; it
        stays paused where it was. Raises DeclarationError.
        """
        store = self._client.store
        now = store.now()
        times = checked_cron(cron, timezone, nonexistent=nonexistent, ambiguous=ambiguous)
        wanted = new_schedule(
            new_id(now),
            task,
            declare(times, overlap, catch_up),
            self._client.with_queue(task, dict(options)),
            environment=self._client.environment,
            now=now,
            external_id=external_id,
            deduplication_key=deduplication_key,
        )
        store.add_schedules([wanted])
        if not deduplication_key:
            return _view(wanted)
        there = store.schedule_of_key(wanted.environment, deduplication_key)
        if there is None:
            raise NotFound(f"the schedule {deduplication_key!r} has just been deleted: try again")
        return _view(self._move(there.id, lambda one, now: change(one, wanted, now)).schedule)

    def list(
        self, *, task: Runnable[..., Any] | str = "", external_id: str = "", limit: int = 1_000
    ) -> list[ScheduleView]:
        """Oldest first."""
        found = self._client.store.list_schedules(
            self._client.environment,
            task=task.id if isinstance(task, Runnable) else task,
            external_id=external_id,
            limit=limit,
        )
        return [_view(schedule) for schedule in found]

    def retrieve(self, schedule_id: str) -> ScheduleView:
        """Raises NotFound."""
        return _view(self._get(_parse(schedule_id)))

    def update(self, schedule_id: str, **changes: Unpack[ScheduleChanges]) -> ScheduleView:
        """What is not given stays. One that is declared in code is as the code says again when
        the next worker starts. Raises NotFound, DeclarationError."""
        known = ScheduleChanges.__optional_keys__
        if changes.keys() - known:
            raise DeclarationError(
                f"update changes no {', '.join(sorted(changes.keys() - known))}; "
                f"there are {', '.join(sorted(known))}"
            )
        if changes.get("external_id"):
            check_name(changes.get("external_id"), "external_id")

        def changed(schedule: Schedule, now: int) -> Move | None:
            wanted = replace(schedule, **changes)
            times = checked_cron(
                wanted.cron,
                wanted.timezone,
                nonexistent=wanted.nonexistent,
                ambiguous=wanted.ambiguous,
            )
            declare(times, wanted.overlap, wanted.catch_up)
            return change(schedule, replace(wanted, cron=times.expression), now)

        return _view(self._move(_parse(schedule_id), changed).schedule)

    def pause(self, schedule_id: str) -> ScheduleView:
        """No more firings, whatever restarts or is deployed, until `resume`. Raises NotFound."""
        return _view(self._move(_parse(schedule_id), pause).schedule)

    def resume(self, schedule_id: str) -> ScheduleView:
        """Go on with the next slot; those that were missed are skipped. Raises NotFound."""
        return _view(self._move(_parse(schedule_id), resume).schedule)

    def trigger(self, schedule_id: str) -> RunView:
        """A run now, beside those of its slots, also of a paused one. Raises NotFound."""
        move = self._move(_parse(schedule_id), trigger)
        return self._client.runs.retrieve(show("run", move.runs[0].id))

    def backfill(self, schedule_id: str, start: datetime, end: datetime) -> Sequence[str]:
        """A run for each slot from `start` to `end` (exclusive), at once and side by side. A slot
        that has fired already is not fired again. Answers the ids of their runs. Raises NotFound,
        PayloadError."""
        first, last = to_ms(start, "start"), to_ms(end, "end")
        move = self._move(
            _parse(schedule_id), lambda schedule, now: backfill(schedule, first, last, now)
        )
        return [show("run", run.id) for run in move.runs]

    def delete(self, schedule_id: str) -> None:
        """Its runs stay. One that is declared in code comes back with the next worker: pause it
        instead. Raises NotFound."""
        self._client.store.drop_schedules([self._get(_parse(schedule_id)).id])

    def preview(
        self,
        cron: str,
        timezone: str = "UTC",
        *,
        start: datetime | None = None,
        count: int = PREVIEW,
        nonexistent: Nonexistent = "shift_forward",
        ambiguous: Ambiguous = "earlier",
    ) -> Sequence[Slot]:
        """The next slots of an expression, with a note on days of a gap or an overlap. Raises
        DeclarationError."""
        start = start or self._client.now()
        return preview(
            cron, timezone, start=start, count=count, nonexistent=nonexistent, ambiguous=ambiguous
        )

    def _move(self, schedule_id: bytes, work: Callable[[Schedule, int], Move | None]) -> Move:
        """Change it, as often as somebody else is earlier."""
        store = self._client.store
        for _ in range(TRIES):
            schedule = self._get(schedule_id)
            now = store.now()
            move = work(schedule, now)
            if move is None:
                return Move(schedule)
            if store.move_schedules([move], now) == [True]:
                return move
        raise StoreUnavailable("the schedule is changed again and again: try once more")

    def _get(self, schedule_id: bytes) -> Schedule:
        found = self._client.store.get_schedules([schedule_id]).get(schedule_id)
        if found is None or found.environment != self._client.environment:
            raise NotFound(
                f"there is no schedule {show('schedule', schedule_id)} in {self._client.place}: "
                "`wf schedules list` shows those that are there"
            )
        return found


def preview(
    cron: str,
    timezone: str = "UTC",
    *,
    start: datetime | None = None,
    count: int = PREVIEW,
    nonexistent: Nonexistent = "shift_forward",
    ambiguous: Ambiguous = "earlier",
) -> Sequence[Slot]:
    """`Schedules.preview` without a database. `start`, inclusive: default now, by this machine's
    clock."""
    times = checked_cron(cron, timezone, nonexistent=nonexistent, ambiguous=ambiguous)
    after = to_ms(start or datetime.now(UTC), "start")
    return [
        Slot(from_ms(at).astimezone(zone_of(timezone)), times.note(at))
        for at in times.upcoming(after - 1, count)
    ]


def _parse(shown: str) -> bytes:
    try:
        return parse("schedule", shown)
    except ValueError as error:
        raise NotFound(str(error)) from None


def _view(schedule: Schedule) -> ScheduleView:
    zone = zone_of(schedule.timezone)

    def local(at: int) -> datetime:
        return from_ms(at).astimezone(zone)

    def skip(one: Skip) -> SkipView:
        return SkipView(local(one.first), local(one.last), one.count, one.reason)

    return ScheduleView(
        id=show("schedule", schedule.id),
        task=schedule.task,
        cron=schedule.cron,
        timezone=schedule.timezone,
        active=schedule.active,
        next_at=local(schedule.next_at) if schedule.active else None,
        last_at=local(schedule.last_at) if schedule.last_at is not None else None,
        last_run=show("run", schedule.run_id) if schedule.run_id is not None else None,
        overlap=schedule.overlap,
        catch_up=schedule.catch_up,
        nonexistent=schedule.nonexistent,
        ambiguous=schedule.ambiguous,
        external_id=schedule.external_id,
        deduplication_key=schedule.deduplication_key or "",
        declared=schedule.declared,
        queued=tuple(map(local, schedule.queued)),
        skipped=tuple(map(skip, schedule.skipped)),
        created_at=from_ms(schedule.created_at),
        environment=schedule.environment,
    )
