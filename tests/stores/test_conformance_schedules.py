"""Schedules, on every store: one change at a time, and the runs that come with it."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from contextlib import closing
from typing import Any

import pytest
from msgspec.structs import replace

import wf
from tests.stores.world import ENVIRONMENT, World, at_once
from wf.engine.core import firing
from wf.engine.core.cron import cron
from wf.engine.core.schedules import declare, new_schedule
from wf.engine.registry import Registry
from wf.engine.scheduler import LOOK_MS, WORK_MS, Scheduler
from wf.history.audit import audit
from wf.history.ddl import head_file
from wf.history.events import Status
from wf.history.ids import new_id, show
from wf.history.model import RunFilter
from wf.history.schedules import Move, Schedule, Skip, due_next, due_now
from wf.testing.clock import VirtualClock
from wf.testing.watched import WatchedStore

MINUTE = 60_000
DAY = 24 * 60 * MINUTE


def schedule(world: World, expression: str = "* * * * *", **more: Any) -> Schedule:
    """One that is in the store."""
    now = world.now()
    what = declare(cron(expression), more.pop("overlap", "skip"), more.pop("catch_up", "last"))
    made = new_schedule(new_id(now), "task", what, {}, environment=ENVIRONMENT, now=now)
    made = replace(made, **more)
    world.store.add_schedules([made])
    return made


def read(world: World, one: Schedule) -> Schedule:
    return world.store.get_schedules([one.id])[one.id]


def runs_of(world: World, one: Schedule) -> list[Any]:
    return world.store.list_runs(RunFilter(ENVIRONMENT, schedule_id=one.id, limit=1_000))


def scheduler(world: World, clock: VirtualClock, *tasks: Any, store: Any = None) -> Scheduler:
    return Scheduler(store or world.store, Registry(tasks), ENVIRONMENT, clock)


def test_a_schedule_is_read_as_it_was_written(world: World) -> None:
    made = schedule(
        world,
        external_id="tenant-1",
        deduplication_key="key",
        last_at=5,
        queued=[1, 2],
        skipped=[Skip(1, 2, 2, "overlap")],
        options=b'{"tags":["a"]}',
        run_id=new_id(1),
        declared=True,
        ambiguous="both",
    )
    assert read(world, made) == made
    assert world.store.schedule_of_key(ENVIRONMENT, "key") == made
    assert world.store.schedule_of_key("other", "key") is None
    assert world.store.list_schedules(ENVIRONMENT, external_id="tenant-1") == [made]
    assert world.store.list_schedules(ENVIRONMENT, task="other") == []
    assert world.store.declared_schedules(ENVIRONMENT) == [made]


def test_one_deduplication_key_is_one_schedule(world: World) -> None:
    first = schedule(world, deduplication_key="key")
    schedule(world, deduplication_key="key")
    schedule(world)
    schedule(world)
    assert len(world.store.list_schedules(ENVIRONMENT)) == 3
    assert world.store.schedule_of_key(ENVIRONMENT, "key") == first


def test_of_two_who_change_a_schedule_one_is_later(world: World) -> None:
    made = schedule(world)
    at = made.next_at
    fired, paused = firing.fire(made, at), firing.pause(made, at)
    assert world.store.move_schedules([fired], at) == [True]
    assert world.store.move_schedules([paused], at) == [False]
    assert world.store.move_schedules([fired], at) == [False]
    assert len(runs_of(world, made)) == 1
    assert read(world, made).active
    assert read(world, made).is_running


def test_a_slot_has_one_run_whoever_makes_it(world: World) -> None:
    made = schedule(world)
    at = made.next_at
    world.store.move_schedules([firing.fire(made, at)], at)
    again = firing.backfill(read(world, made), at - MINUTE, at + MINUTE, at)
    assert world.store.move_schedules([again], at) == [True]
    assert Counter(run.id for run in runs_of(world, made)) == Counter(
        firing.slot_id(made.id, slot) for slot in (at - MINUTE, at)
    )


def test_a_move_cancels_with_what_it_makes(world: World) -> None:
    made = schedule(world, overlap="cancel_previous")
    first = firing.fire(made, made.next_at)
    world.store.move_schedules([first], made.next_at)
    state = read(world, made)
    world.store.move_schedules([firing.fire(state, state.next_at)], state.next_at)
    assert world.status(first.runs[0].id) is Status.CANCELED
    state = read(world, made)
    assert (state.is_running, len(state.queued)) == (False, 1)


def test_a_look_for_what_is_due_follows_the_index_of_due_times() -> None:
    """On SQLite; on Postgres with all hot statements."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(head_file("sqlite").read_text())
        for look, values in ((due_now, ["dev", 1, "t", 1]), (due_next, ["dev", "t"])):
            plan = db.execute(f"EXPLAIN QUERY PLAN {look(['t'])}", values).fetchall()
            steps = [row[3] for row in plan]
            assert "SEARCH s USING INDEX schedules_due (environment=? AND due_at" in steps[0]
            assert not [step for step in steps if re.match("SCAN|USE TEMP B-TREE FOR ORDER", step)]


def test_what_is_paused_or_of_others_is_never_due(world: World) -> None:
    made = schedule(world)
    at = made.next_at
    schedule(world, active=False, due_at=None)
    unknown = schedule(world, declared=True, task="gone", due_at=1)
    schedule(world, environment="other")
    store = world.store
    assert store.due_schedules(ENVIRONMENT, ["task"], at, 10) == [made]
    assert store.due_schedules(ENVIRONMENT, [], at - 1, 10) == []
    assert store.next_schedule_at(ENVIRONMENT, ["task"]) == at
    assert store.due_schedules(ENVIRONMENT, ["gone"], at, 10) == [unknown, made]
    store.drop_schedules([made.id])
    assert store.next_schedule_at(ENVIRONMENT, ["task"]) is None


def test_many_schedulers_fire_each_slot_once(world: World) -> None:
    clock = VirtualClock(world.now())
    made = [schedule(world, overlap="allow") for _ in range(20)]
    first = min(one.next_at for one in made)
    for minute in range(5):
        clock.advance_to(first + minute * MINUTE)

        def work(one: Scheduler) -> None:
            while one.tick():
                pass

        racers = [scheduler(world, clock, store=world.another_store()) for _ in range(4)]
        at_once(*[lambda one=one: work(one) for one in racers])
    for one in made:
        wanted = {firing.slot_id(one.id, first + minute * MINUTE) for minute in range(5)}
        found = [run.id for run in runs_of(world, one)]
        assert Counter(found) == Counter(wanted)


@pytest.mark.parametrize("down_ms", [5 * MINUTE, 3 * 60 * MINUTE, 8 * DAY])
def test_after_a_downtime_two_schedulers_fire_the_last_slot_once(
    world: World, down_ms: int
) -> None:
    clock = VirtualClock(world.now())
    made = schedule(world)
    clock.advance_to(made.next_at + down_ms)
    for _ in range(2):
        one = scheduler(world, clock)
        while one.tick():
            pass
    assert [run.id for run in runs_of(world, made)] == [
        firing.slot_id(made.id, made.next_at + down_ms)
    ]
    [skip] = read(world, made).skipped
    assert (skip.first, skip.count, skip.reason) == (made.next_at, down_ms // MINUTE, "catch_up")


def test_a_scheduler_that_is_an_hour_behind_fires_nothing(world: World) -> None:
    made = schedule(world)
    ahead, behind = VirtualClock(made.next_at), VirtualClock(made.next_at - 60 * MINUTE)
    while scheduler(world, ahead).tick():
        pass
    assert not scheduler(world, behind).tick()
    assert len(runs_of(world, made)) == 1


@wf.schedules.task(cron="0 9 * * *")
@wf.schedules.task(cron="0 8 * * *", timezone="Asia/Tokyo")
async def daily(tick: wf.ScheduleTick) -> None: ...


@wf.schedules.task(cron="30 8 * * *", timezone="Asia/Tokyo", id="daily")
async def later(tick: wf.ScheduleTick) -> None: ...


def declared(world: World) -> list[tuple[str, bool]]:
    return sorted((one.cron, one.active) for one in world.store.declared_schedules(ENVIRONMENT))


def test_what_is_declared_is_registered_and_a_pause_survives(world: World) -> None:
    clock = VirtualClock(world.now())
    scheduler(world, clock, daily).tick()
    assert declared(world) == [("0 8 * * *", True), ("0 9 * * *", True)]
    tokyo = next(
        one for one in world.store.declared_schedules(ENVIRONMENT) if one.timezone != "UTC"
    )
    world.store.move_schedules([firing.pause(tokyo, clock.now())], clock.now())
    scheduler(world, clock, daily).tick()
    assert declared(world) == [("0 8 * * *", False), ("0 9 * * *", True)]
    scheduler(world, clock, later).tick()
    assert declared(world) == [("30 8 * * *", False)]
    scheduler(world, clock).tick()
    assert declared(world) == [("30 8 * * *", False)], "whoever does not know the task leaves it"


def test_workers_that_start_together_register_once(world: World) -> None:
    clock = VirtualClock(world.now())
    racers = [scheduler(world, clock, daily, store=world.another_store()) for _ in range(4)]
    at_once(*[racer.tick for racer in racers])
    assert len(declared(world)) == 2


def test_a_declaration_that_meets_a_firing_is_registered_all_the_same(world: World) -> None:
    clock = VirtualClock(world.now())
    scheduler(world, clock, daily).tick()
    between: list[str] = []

    def door(name: str, call: Any) -> Any:
        if name == "move_schedules" and not between:
            between.append(name)
            there = world.store.declared_schedules(ENVIRONMENT)
            world.store.move_schedules([Move(one) for one in there], clock.now())
        return call()

    one = scheduler(world, clock, later, store=WatchedStore(world.store, door))
    one.tick()
    assert declared(world) == [("0 8 * * *", True)], "somebody else was earlier"
    clock.advance(LOOK_MS)
    one.tick()
    assert declared(world) == [("30 8 * * *", True)]


class SlowClock(VirtualClock):
    """Each look at it takes half a second of the thread's time."""

    spent = 0

    def monotonic(self) -> int:
        self.spent += WORK_MS // 2
        return self.now() + self.spent


def test_what_takes_long_to_work_out_is_fired_in_parts(world: World) -> None:
    made = [schedule(world) for _ in range(6)]
    clock = SlowClock(max(one.next_at for one in made))
    one = scheduler(world, clock)
    fired: list[int] = []
    while one.tick():
        fired.append(sum(len(runs_of(world, each)) for each in made))
    assert fired == [2, 4, 6]


def test_a_thousand_schedules_of_one_minute_are_a_few_transactions(world: World) -> None:
    now = world.now()
    what = declare(cron("0 0 1 1 *"), "skip", "last")
    world.store.add_schedules(
        [
            new_schedule(new_id(now), "task", what, {}, environment=ENVIRONMENT, now=now)
            for _ in range(1_000)
        ]
    )
    clock = VirtualClock(what.times.next(now))
    one = scheduler(world, clock)
    ticks = 0
    while one.tick():
        ticks += 1
    assert ticks == 10
    assert len(world.store.list_runs(RunFilter(ENVIRONMENT, limit=1_000))) == 1_000


def test_an_idle_scheduler_asks_for_one_time_a_second(world: World) -> None:
    schedule(world, "0 0 1 1 *")
    clock = VirtualClock(world.now())
    asked: Counter[str] = Counter()

    def door(name: str, call: Any) -> Any:
        asked[name] += 1
        return call()

    one = scheduler(world, clock, store=WatchedStore(world.store, door))
    one.tick()
    asked.clear()
    for _ in range(100):
        clock.advance(100)
        assert not one.tick()
    assert asked == {"next_schedule_at": 10}


def test_the_audit_finds_a_schedule_that_would_never_fire(world: World) -> None:
    made = schedule(world)
    assert audit(world.store) == []
    world.store.move_schedules([Move(replace(made, due_at=None))], world.now())
    [breach] = audit(world.store)
    assert (breach.invariant, breach.subject) == ("I12", show("schedule", made.id))


def test_a_move_of_a_schedule_that_is_gone_makes_no_run(world: World) -> None:
    made = schedule(world)
    world.store.drop_schedules([made.id])
    move: Move = firing.fire(made, made.next_at)
    assert world.store.move_schedules([move], made.next_at) == [False]
    assert runs_of(world, made) == []
