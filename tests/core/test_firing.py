"""What a schedule does when its time has come, whoever was there: catch-up and overlap."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from wf.engine.core import firing
from wf.engine.core.cron import cron
from wf.engine.core.durations import to_ms
from wf.engine.core.schedules import declare, new_schedule
from wf.history.ids import new_id
from wf.history.schedules import MAX_SKIPS, Move, Schedule, Skip

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NINE = to_ms(datetime(2025, 6, 2, 9, tzinfo=UTC))


def schedule(
    expression: str = "0 9 * * *", overlap: Any = "skip", catch_up: Any = "last", **more: Any
) -> Schedule:
    """One that fires at NINE next, unless the expression says otherwise."""
    declared = declare(cron(expression), overlap, catch_up)
    at = NINE - 1
    return replace(
        new_schedule(new_id(at), "digest", declared, {}, environment="test", now=at), **more
    )


def slots(move: Move) -> list[int]:
    return [
        to_ms(datetime.fromisoformat(json.loads(run.payload)["timestamp"])) for run in move.runs
    ]


def skipped(move: Move) -> list[tuple[int, str]]:
    return [(one.count, one.reason) for one in move.schedule.skipped]


def running(move: Move) -> Schedule:
    """The schedule after that move, while its run goes on."""
    return replace(move.schedule, is_running=True)


def test_a_slot_fires_and_the_next_one_follows() -> None:
    move = firing.fire(schedule(), NINE + 20)
    assert slots(move) == [NINE]
    assert (move.schedule.next_at, move.schedule.due_at) == (NINE + DAY, NINE + DAY)
    assert move.schedule.last_at == NINE
    assert move.runs[0].id == firing.slot_id(move.schedule.id, NINE) == move.schedule.run_id
    assert move.runs[0].schedule_id == move.schedule.id
    tick = json.loads(move.runs[0].payload)
    assert tick["last_timestamp"] is None
    assert tick["upcoming"][0] == "2025-06-03T09:00:00+00:00"
    assert len(tick["upcoming"]) == 5
    again = firing.fire(move.schedule, NINE + DAY)
    assert json.loads(again.runs[0].payload)["last_timestamp"] == tick["timestamp"]


@pytest.mark.parametrize(
    ("expression", "down_ms", "catch_up", "fired", "missed"),
    [
        ("* * * * *", 5 * MINUTE, "last", [5 * MINUTE], 5),
        ("* * * * *", 5 * MINUTE, "none", [4 * MINUTE, 5 * MINUTE], 4),
        ("* * * * *", 5 * MINUTE, "all", [n * MINUTE for n in range(6)], 0),
        ("0 * * * *", 3 * HOUR + 1, "last", [3 * HOUR], 3),
        ("0 * * * *", 3 * HOUR + 2 * MINUTE, "none", [], 4),
        ("0 * * * *", 3 * HOUR + 1, "all", [n * HOUR for n in range(4)], 0),
        ("0 9 * * *", 8 * DAY + HOUR, "last", [8 * DAY], 8),
        ("0 9 * * *", 8 * DAY + HOUR, "none", [], 9),
        ("0 9 * * *", 8 * DAY + HOUR, "all", [n * DAY for n in range(9)], 0),
        ("0 9 2 * *", 8 * DAY, "last", [], 1),
        ("0 9 2 * *", 8 * DAY, "all", [0], 0),
    ],
)
def test_after_a_downtime(
    expression: str, down_ms: int, catch_up: str, fired: list[int], missed: int
) -> None:
    before = schedule(expression, "allow", catch_up, next_at=NINE)
    move = firing.fire(before, NINE + down_ms)
    assert slots(move) == [NINE + at for at in fired]
    assert skipped(move) == ([(missed, "catch_up")] if missed else [])
    assert move.schedule.next_at > NINE + down_ms
    assert firing.fire(move.schedule, NINE + down_ms).runs == []


def test_a_year_of_minutes_is_neither_counted_nor_made() -> None:
    move = firing.fire(schedule("* * * * *", "allow", "all"), NINE + 365 * DAY)
    assert len(move.runs) == firing.MAX_CATCH_UP
    assert slots(move)[-1] == NINE + 365 * DAY
    assert [count for count, _ in skipped(move)] == [0, 31 * 24 * 60 + 1 - firing.MAX_CATCH_UP]


def test_a_clock_that_steps_back_fires_nothing_twice() -> None:
    move = firing.fire(schedule("0 * * * *"), NINE + 10)
    back = NINE - HOUR + 10
    assert firing.fire(move.schedule, back).runs == []
    paused = firing.pause(move.schedule, back).schedule
    assert firing.resume(paused, back).schedule.next_at == NINE + HOUR
    changed = replace(move.schedule, cron="0 */1 * * *", overlap="allow")
    told = firing.change(move.schedule, changed, back)
    assert told is not None
    assert told.schedule.next_at == NINE + HOUR


def test_a_slot_is_skipped_while_the_run_before_goes_on() -> None:
    first = firing.fire(schedule("* * * * *"), NINE)
    second = firing.fire(running(first), NINE + MINUTE)
    assert slots(second) == []
    assert second.schedule.skipped == [Skip(NINE + MINUTE, NINE + MINUTE, 1, "overlap")]
    assert second.schedule.last_at == NINE
    third = firing.fire(replace(second.schedule, is_running=False), NINE + 2 * MINUTE)
    assert slots(third) == [NINE + 2 * MINUTE]


def test_allowed_runs_go_side_by_side() -> None:
    first = firing.fire(schedule("* * * * *", "allow"), NINE)
    assert slots(firing.fire(running(first), NINE + MINUTE)) == [NINE + MINUTE]


def test_queued_slots_start_one_after_the_other() -> None:
    state = running(firing.fire(schedule("* * * * *", "queue"), NINE))
    for minute in (1, 2):
        move = firing.fire(state, NINE + minute * MINUTE)
        assert slots(move) == []
        state = move.schedule
    assert state.queued == [NINE + MINUTE, NINE + 2 * MINUTE]
    now = NINE + 2 * MINUTE + 5_000
    assert state.due_at is not None
    assert state.due_at <= NINE + 2 * MINUTE + firing.QUEUE_LOOK_MS
    for minute in (1, 2):
        move = firing.fire(replace(state, is_running=False), now)
        assert slots(move) == [NINE + minute * MINUTE]
        state = move.schedule
    assert (state.queued, state.due_at) == ([], NINE + 3 * MINUTE)


def test_a_queue_has_an_end() -> None:
    state = running(firing.fire(schedule("* * * * *", "queue", "all"), NINE))
    move = firing.fire(state, NINE + (firing.MAX_QUEUED + 3) * MINUTE)
    assert len(move.schedule.queued) == firing.MAX_QUEUED
    assert skipped(move) == [(1, "overlap")] * 3


def test_the_run_before_is_canceled_and_the_next_begins_when_it_has_ended() -> None:
    first = firing.fire(schedule("* * * * *", "cancel_previous"), NINE)
    second = firing.fire(running(first), NINE + MINUTE)
    assert (slots(second), second.cancels) == ([], [first.runs[0].id])
    still = firing.fire(running(second), NINE + MINUTE + 1_000)
    assert (slots(still), still.cancels) == ([], [])
    third = firing.fire(replace(still.schedule, is_running=False), NINE + MINUTE + 2_000)
    assert (slots(third), third.cancels) == ([NINE + MINUTE], [])


def test_only_the_latest_slot_takes_the_place_of_a_canceled_run() -> None:
    first = firing.fire(schedule("* * * * *", "cancel_previous", "all"), NINE)
    second = firing.fire(running(first), NINE + 3 * MINUTE)
    assert second.schedule.queued == [NINE + 3 * MINUTE]
    assert skipped(second) == [(2, "overlap")]


def test_a_pause_skips_what_is_missed_and_resume_goes_on() -> None:
    paused = firing.pause(schedule(), NINE - 1).schedule
    assert (paused.active, paused.due_at) == (False, None)
    move = firing.resume(paused, NINE + 3 * DAY)
    assert move.runs == ()
    assert skipped(move) == [(4, "paused")]
    assert move.schedule.due_at == move.schedule.next_at == NINE + 4 * DAY


def test_a_run_by_hand_changes_no_slot() -> None:
    before = schedule()
    move = firing.trigger(before, NINE - HOUR)
    assert slots(move) == [NINE - HOUR]
    assert move.schedule == replace(before, run_id=move.runs[0].id)


def test_a_backfill_makes_the_runs_that_their_slots_would_have() -> None:
    before = schedule()
    move = firing.backfill(before, NINE - 3 * DAY, NINE, NINE - HOUR)
    assert slots(move) == [NINE - 3 * DAY, NINE - 2 * DAY, NINE - DAY]
    assert [run.id for run in move.runs] == [firing.slot_id(before.id, at) for at in slots(move)]
    assert move.schedule == before
    with pytest.raises(Exception, match="one part after the other"):
        firing.backfill(schedule("* * * * *"), NINE, NINE + DAY, NINE)


def test_what_is_kept_of_skips_has_an_end() -> None:
    from wf.history.schedules import row_of

    many = [Skip(n, n, 1, "overlap") for n in range(MAX_SKIPS + 10)]
    stored = next(value for value in row_of(schedule(skipped=many)) if "overlap" in str(value)[5:])
    assert len(json.loads(stored)) == MAX_SKIPS
