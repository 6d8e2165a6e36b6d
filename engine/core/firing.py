"""What a schedule does when its time has come: pure functions from a state and a time to a `Move`.

Two questions in this order. *Catch-up*: which of the slots that are over are fired at all, when
nobody was there at their time. *Overlap*: what becomes of a slot while the run before has not
ended. Every slot that does not fire is recorded with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import takewhile
from typing import Final

from msgspec.structs import replace

from wf.engine.core.runs import new_run
from wf.engine.core.ticks import cron_of, encode_tick
from wf.history.errors import PayloadError
from wf.history.ids import derived_id, new_id
from wf.history.model import NewRun
from wf.history.schedules import Move, Schedule, Skip
from wf.history.sealing import check_open

ON_TIME_MS: Final = 60_000
"""A slot that fires no later than this was not missed: schedulers look about once a second, and
a busy one may be late."""
CATCH_UP_MS: Final = 86_400_000
"""`catch_up="last"`: a slot older than a day is nobody's concern any more."""
MAX_CATCH_UP: Final = 1_000
"""`catch_up="all"`: so many runs at once, the latest slots."""
LOOK_BACK_MS: Final = 31 * 86_400_000
"""Of older slots only the range is recorded: to count a year of minutes takes half a minute."""
MAX_QUEUED: Final = 100
"""`overlap="queue"`: what waits longer than so many slots is never done in time."""
MAX_BACKFILL: Final = 1_000
"""Runs of one backfill: they are one transaction."""
QUEUE_LOOK_MS: Final = 1_000
"""While a slot waits for the run before, the schedule is looked at so often."""


def fire(schedule: Schedule, now: int) -> Move:
    """Everything that is due at `now`."""
    slots, skips = _caught_up(schedule, *_over(schedule, now), now)
    state = replace(schedule, skipped=[*schedule.skipped, *skips], queued=list(schedule.queued))
    if schedule.next_at <= now:
        state.next_at = cron_of(schedule).next(now)
    runs, cancels = _start(state, slots, now)
    return Move(_due(state, now), runs, cancels)


def _over(schedule: Schedule, now: int) -> tuple[list[int], list[Skip]]:
    """The slots from `next_at` to now; of what is older than LOOK_BACK_MS, the range."""
    if schedule.next_at > now:
        return [], []
    start = max(schedule.next_at, now - LOOK_BACK_MS)
    times = cron_of(schedule).after(start - 1)
    slots = list(takewhile(lambda slot: slot <= now, times))
    if start == schedule.next_at:
        return slots, []
    return slots, [Skip(schedule.next_at, start, 0, "catch_up")]


def _caught_up(
    schedule: Schedule, slots: list[int], skips: list[Skip], now: int
) -> tuple[list[int], list[Skip]]:
    match schedule.catch_up:
        case "all":
            kept = slots[-MAX_CATCH_UP:]
        case "none":
            kept = [slot for slot in slots if now - slot <= ON_TIME_MS]
        case _:
            kept = [slot for slot in slots[-1:] if now - slot <= CATCH_UP_MS]
    return kept, [*skips, *_skip(slots[: len(slots) - len(kept)], "catch_up")]


def _start(state: Schedule, slots: Sequence[int], now: int) -> tuple[list[NewRun], list[bytes]]:
    """The runs that begin now, and those to cancel. The other slots are queued or skipped.

    What takes the place of a canceled run begins when that one has ended.
    """
    runs: list[NewRun] = []
    cancels: list[bytes] = []
    allows = state.overlap == "allow"

    def make(slot: int) -> None:
        runs.append(_run_at(state, slot, now))
        state.last_at, state.run_id = slot, runs[-1].id

    def is_busy() -> bool:
        return not allows and (state.is_running or bool(runs))

    if state.overlap == "cancel_previous" and slots:
        slots = [*state.queued, *slots]
        state.skipped += _skip(slots[:-1], "overlap")
        state.queued = list(slots[-1:])
        cancels = [state.run_id] if state.is_running and state.run_id is not None else []
        slots = []
    while state.queued and not is_busy():
        make(state.queued.pop(0))
    for slot in slots:
        if not is_busy():
            make(slot)
        elif state.overlap == "queue" and len(state.queued) < MAX_QUEUED:
            state.queued.append(slot)
        else:
            state.skipped += _skip([slot], "overlap")
    return runs, cancels


def _due(state: Schedule, now: int) -> Schedule:
    """With the time at which a scheduler is to look again."""
    if not state.active:
        state.due_at = None
    else:
        state.due_at = min(state.next_at, now + QUEUE_LOOK_MS) if state.queued else state.next_at
    return state


def _skip(slots: Sequence[int], reason: str) -> list[Skip]:
    return [Skip(slots[0], slots[-1], len(slots), reason)] if slots else []


# --- by hand --------------------------------------------------------------------------------------


def pause(schedule: Schedule, now: int) -> Move:
    return Move(_due(replace(schedule, active=False), now))


def resume(schedule: Schedule, now: int) -> Move:
    """From now on. The slots that it missed meanwhile are skipped."""
    if schedule.active:
        return Move(schedule)
    slots, skips = _over(schedule, now)
    missed = [*(replace(one, reason="paused") for one in skips), *_skip(slots, "paused")]
    state = replace(schedule, active=True, skipped=[*schedule.skipped, *missed])
    return Move(_due(_on(state, now), now))


def change(schedule: Schedule, wanted: Schedule, now: int) -> Move | None:
    """To what `wanted` says; None: it is like that. Whether it is paused, what it fired and what
    it skipped stays; so does its next slot where its times do."""
    state = replace(
        schedule,
        task=wanted.task,
        cron=wanted.cron,
        timezone=wanted.timezone,
        nonexistent=wanted.nonexistent,
        ambiguous=wanted.ambiguous,
        overlap=wanted.overlap,
        catch_up=wanted.catch_up,
        external_id=wanted.external_id,
        options=wanted.options,
    )
    if state == schedule:
        return None
    if cron_of(state) != cron_of(schedule):
        state = _on(state, now)
    return Move(_due(state, now))


def trigger(schedule: Schedule, now: int) -> Move:
    """A run now, whatever else runs, beside those of its slots."""
    run = _new(schedule, new_id(now), now, schedule.last_at, now)
    return Move(replace(schedule, run_id=run.id), [run])


def backfill(schedule: Schedule, start: int, end: int, now: int) -> Move:
    """A run for each slot from `start` (inclusive) to `end` (exclusive), all at once. A slot that
    has fired keeps its run."""
    times = cron_of(schedule).after(start - 1)
    slots: list[int] = []
    for slot in takewhile(lambda slot: slot < end, times):
        slots.append(slot)
        if len(slots) > MAX_BACKFILL:
            raise PayloadError(
                f"there are more than {MAX_BACKFILL:,} slots between these times: "
                "backfill one part after the other"
            )
    before: list[int | None] = [None, *slots[:-1]]
    runs = [
        _new(schedule, slot_id(schedule.id, slot), slot, last, now)
        for slot, last in zip(slots, before, strict=True)
    ]
    return Move(schedule, runs)


def _on(state: Schedule, now: int) -> Schedule:
    """At the first slot that is to come. A clock that was set back brings no slot again."""
    state.next_at = cron_of(state).next(max(now, state.last_at or 0))
    return state


# --- runs -----------------------------------------------------------------------------------------


def slot_id(schedule_id: bytes, slot: int) -> bytes:
    """The id of the run of that slot: there is one at most."""
    return derived_id(slot, schedule_id, 0, 0)


def _run_at(state: Schedule, slot: int, now: int) -> NewRun:
    return _new(state, slot_id(state.id, slot), slot, state.last_at, now)


def _new(schedule: Schedule, run_id: bytes, at: int, last: int | None, now: int) -> NewRun:
    check_open(schedule.options, "what its runs are told")
    return new_run(
        run_id,
        schedule.task,
        encode_tick(schedule, at, last),
        json.loads(schedule.options),
        environment=schedule.environment,
        now=now,
        schedule_id=schedule.id,
    )
