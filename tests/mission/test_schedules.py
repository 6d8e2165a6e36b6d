"""E. Schedules: S39 to S45, and S84."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import wf
from tests import warm
from tests.mission import queued, scheduled
from tests.observing import ended, until
from tests.observing import wf as command
from wf.engine.clock import SkippingClock

NEW_YORK = ZoneInfo("America/New_York")


def registered(client: wf.Client, task: str, count: int = 1) -> Sequence[wf.ScheduleView]:
    """The schedules of a task, when they are there."""
    until(lambda: len(client.schedules.list(task=task)) == count)
    return client.schedules.list(task=task)


def skip_to(clock: SkippingClock, moment: datetime | None) -> None:
    """To that moment: nobody waits until nine."""
    assert moment is not None
    clock.skip_to(round(moment.timestamp() * 1_000))


def first_run(client: wf.Client, task: str) -> wf.RunView:
    until(lambda: client.runs.list(task=task))
    return ended(client, client.runs.list(task=task)[-1].id)


async def test_s39_a_task_that_declares_a_cron_fires_on_it(database: str) -> None:
    clock = SkippingClock()
    async with wf.Engine(database, [scheduled], clock=clock):
        client = wf.client()
        [schedule] = registered(client, "daily-digest")
        skip_to(clock, schedule.next_at)
        run = first_run(client, "daily-digest")
        after = client.schedules.retrieve(schedule.id)
    assert schedule.next_at is not None
    assert run.output == f"news of {schedule.next_at:%Y-%m-%d} 09:00"
    assert (run.schedule, run.tags) == (schedule.id, ("digest",))
    assert (after.last_at, after.last_run) == (schedule.next_at, run.id)


async def test_s39_with_several_workers_a_slot_fires_once(database: str) -> None:
    clocks = [SkippingClock() for _ in range(3)]
    engines = [wf.Engine(database, [scheduled], clock=clock) for clock in clocks]
    client = wf.Client(database)
    for engine in engines:
        engine.start_now()
    try:
        [schedule] = registered(client, "daily-digest")
        for _ in range(3):
            next_at = client.schedules.retrieve(schedule.id).next_at
            for clock in clocks:
                skip_to(clock, next_at)
            until(lambda at=next_at: client.schedules.retrieve(schedule.id).last_at == at)
            last = client.schedules.retrieve(schedule.id).last_run
            assert last is not None
            ended(client, last)
        payloads = [run.payload["timestamp"] for run in client.runs.list(task="daily-digest")]
    finally:
        for engine in engines:
            engine.stop_now()
        client.close()
    assert len(payloads) == len(set(payloads)) == 3


async def test_s40_the_payload_tells_of_this_slot_the_last_and_the_next_five(database: str) -> None:
    clock = SkippingClock()
    async with wf.Engine(database, [scheduled], clock=clock):
        client = wf.client()
        one, _ = registered(client, "weekly", 2)
        skip_to(clock, one.next_at)
        until(lambda: client.schedules.retrieve(one.id).last_at == one.next_at)
        again = client.schedules.retrieve(one.id)
        first = ended(client, str(again.last_run)).output
        skip_to(clock, again.next_at)
        until(lambda: client.schedules.retrieve(one.id).last_at == again.next_at)
        second = ended(client, str(client.schedules.retrieve(one.id).last_run)).output
    assert one.next_at is not None
    assert datetime.fromisoformat(first["timestamp"]) == one.next_at
    assert first["last_timestamp"] is None
    assert first["timezone"] == "UTC"
    weeks = [one.next_at + timedelta(weeks=week) for week in range(1, 6)]
    assert [datetime.fromisoformat(at) for at in first["upcoming"]] == weeks
    assert second["last_timestamp"] == first["timestamp"]
    assert second["schedule_id"] == one.id


async def test_s41_a_task_has_several_schedules_each_an_object(database: str) -> None:
    async with wf.Engine(database, [scheduled]):
        client = wf.client()
        both = registered(client, "weekly", 2)
        assert {one.cron for one in both} == {"0 18 * * 5", "0 6 * * 1"}
        third = client.schedules.create(scheduled.weekly, "0 12 * * 3")
        assert len(client.schedules.list(task="weekly")) == 3
        client.schedules.delete(third.id)
        with pytest.raises(wf.NotFound, match="wf schedules list"):
            client.schedules.retrieve(third.id)
        assert ended(client, client.schedules.trigger(both[0].id).id).schedule == both[0].id


async def test_s42_a_schedule_made_at_run_time_fires(database: str) -> None:
    clock = SkippingClock()
    async with wf.Engine(database, [scheduled], clock=clock), wf.AsyncClient(database) as client:
        made = await client.schedules.create(
            task=scheduled.report,
            cron="0 9 * * *",
            timezone="America/New_York",
            external_id="tenant-7",
            tags=["made"],
        )
        skip_to(clock, made.next_at)
        with wf.Client(database) as looks:
            run = first_run(looks, "report")
    assert (run.output, run.schedule, run.tags) == ("report for tenant-7", made.id, ("made",))


async def test_s42_a_schedule_is_paused_changed_and_resumed(database: str) -> None:
    async with wf.Engine(database, [scheduled]):
        client = wf.client()
        [schedule] = registered(client, "daily-digest")
        client.schedules.pause(schedule.id)
    async with wf.Engine(database, [scheduled]):
        client = wf.client()
        await scheduled.gather.trigger("a start")  # when it has run, the worker has registered
        until(lambda: client.runs.list(task="gather", status="COMPLETED"))
        paused = client.schedules.retrieve(schedule.id)
        assert (paused.active, paused.next_at) == (False, None)
        changed = client.schedules.update(schedule.id, cron="30 9 * * *")
        assert (changed.cron, changed.active) == ("30 9 * * *", False)
        given: Any
        for given, told in [
            ({"active": True}, "changes no active"),
            ({"external_id": "a\0"}, "NUL"),
        ]:
            with pytest.raises(wf.DeclarationError, match=told):
                client.schedules.update(schedule.id, **given)
        resumed = client.schedules.resume(schedule.id)
        assert resumed.next_at is not None
        assert (resumed.next_at.hour, resumed.next_at.minute) == (9, 30)


def test_s43_the_cron_fires_in_its_zone(database: str) -> None:
    with wf.Client(database) as client:
        start = datetime(2025, 3, 7, 12, tzinfo=NEW_YORK)
        slots = client.schedules.preview("0 9 * * *", "America/New_York", start=start, count=4)
        assert [slot.timestamp.isoformat() for slot in slots] == [
            "2025-03-08T09:00:00-05:00",
            "2025-03-09T09:00:00-04:00",
            "2025-03-10T09:00:00-04:00",
            "2025-03-11T09:00:00-04:00",
        ]
        assert [bool(slot.note) for slot in slots] == [False, True, False, False]
        made = client.schedules.create("report", "0 9 * * *", "America/New_York")
        assert made.next_at is not None
        assert made.next_at.tzinfo == NEW_YORK
        assert made.next_at.hour == 9
        runs = client.schedules.backfill(
            made.id, datetime(2025, 3, 8, tzinfo=NEW_YORK), datetime(2025, 3, 10, tzinfo=NEW_YORK)
        )
        told = [client.runs.retrieve(run).payload["timestamp"] for run in runs]
        assert told == ["2025-03-08T09:00:00-05:00", "2025-03-09T09:00:00-04:00"]
        with pytest.raises(wf.DeclarationError, match="did you mean America/New_York"):
            client.schedules.create("report", "0 9 * * *", "New York")


def test_s44_the_same_create_on_every_deploy_leaves_one_schedule(database: str) -> None:
    with wf.Client(database) as client:
        made = [
            client.schedules.create("report", cron, deduplication_key="nightly", timezone=zone)
            for cron, zone in [("0 2 * * *", "UTC")] * 3 + [("0 3 * * *", "Asia/Tokyo")]
        ]
        assert len({one.id for one in made}) == 1
        [one] = client.schedules.list()
        assert (one.cron, one.timezone) == ("0 3 * * *", "Asia/Tokyo")
        client.schedules.pause(one.id)
        again = client.schedules.create("report", "0 3 * * *", deduplication_key="nightly")
        assert (again.id, again.active) == (one.id, False)
    with wf.Client(database, environment="prod") as other:
        assert other.schedules.create("report", "0 2 * * *", deduplication_key="nightly").active


def test_s45_schedules_of_a_tenant_are_found_by_its_id(database: str) -> None:
    with wf.Client(database) as client:
        for tenant in ("a", "b", "a"):
            client.schedules.create("report", "0 9 * * *", external_id=tenant)
        assert len(client.schedules.list(external_id="a")) == 2
        [of_b] = client.schedules.list(external_id="b")
        run = client.schedules.trigger(of_b.id)
        assert run.payload["external_id"] == "b"


async def test_s84_a_nightly_cron_is_an_agent_that_streams_and_pauses(database: str) -> None:
    clock = SkippingClock()
    async with wf.Engine(database, [scheduled], clock=clock):
        client = wf.client()
        [schedule] = registered(client, "nightly-agent")
        skip_to(clock, schedule.next_at)
        until(lambda: client.runs.list(task="nightly-agent", status="WAITING"))
        [run] = client.runs.list(task="nightly-agent")
        client.tokens.complete(run.metadata["token"], {"approved": True})
        assert ended(client, run.id).output == "published"
        thoughts = [chunk.data for chunk in client.runs.stream(run.id, "thoughts")]
    assert schedule.next_at is not None
    assert thoughts == [f"news of {schedule.next_at:%Y-%m-%d}", "published"]


def test_the_command_line_shows_makes_and_stops_schedules(database: str) -> None:
    wf.Client(database).close()
    made = command("schedules", "create", "report", "0 9 * * *", "--json", database=database)
    schedule = json.loads(made.stdout)["id"]
    listed = command("schedules", "list", "--json", database=database)
    assert [one["id"] for one in json.loads(listed.stdout)] == [schedule]
    for verb, active in (("pause", False), ("resume", True)):
        told = command("schedules", verb, schedule, "--json", database=database)
        assert json.loads(told.stdout)["active"] is active
    assert command("schedules", "trigger", schedule, database=database).stdout.startswith("run_")
    assert "next" in command("schedules", "show", schedule, database=database).stdout
    assert command("schedules", "delete", schedule, database=database).returncode == 0
    gone = command("schedules", "show", schedule, database=database)
    assert gone.returncode == 1
    assert "wf schedules list" in gone.stderr


async def test_a_schedule_by_name_takes_the_tasks_queue_and_options_as_a_trigger_does(
    database: str,
) -> None:
    with wf.Client(database) as client:
        async with wf.Engine(database, [queued.inner]):
            until(client.queues.list)
        named = client.schedules.create("inner", "0 9 * * *")
        assert client.schedules.trigger(named.id).queue == "line"
        words = ("--tag", "a", "--priority", "3", "--queue", "other", "--metadata", "k=1")
        told = command(
            "schedules", "create", "inner", "0 9 * * *", *words, "--json", database=database
        )
        run = client.schedules.trigger(json.loads(told.stdout)["id"])
        assert (run.tags, run.priority, run.queue, run.metadata) == (("a",), 3, "other", {"k": 1})


def test_a_preview_needs_no_database() -> None:
    def preview(*words: str) -> warm.Done:
        return warm.run(["schedules", "preview", *words])

    berlin = ("0 2 * * *", "--timezone", "Europe/Berlin", "--from", "2025-03-29", "--count", "3")
    told = json.loads(preview(*berlin, "--json").stdout)
    assert told == [
        {"timestamp": "2025-03-29T02:00:00+01:00", "note": ""},
        {
            "timestamp": "2025-03-30T03:00:00+02:00",
            "note": "gap: 02:00 to 03:00 does not exist on this day",
        },
        {"timestamp": "2025-03-31T02:00:00+02:00", "note": ""},
    ]
    assert "gap: 02:00 to 03:00" in preview(*berlin).stdout
    bad = preview("0 99 * * *")
    assert (bad.returncode, len(bad.stderr.splitlines())) == (1, 1)
    assert "give five fields" in bad.stderr
    lost = preview("0 9 * * *", "--timezone", "Berlin")
    assert (lost.returncode, len(lost.stderr.splitlines())) == (1, 1)
    assert "Europe/Berlin" in lost.stderr
