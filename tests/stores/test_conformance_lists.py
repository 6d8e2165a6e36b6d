"""Lists of runs: every filter, alone and with others, against all that is there, page by page."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from random import Random
from typing import Any

import pytest

from tests.stores.world import ENVIRONMENT, TASK, World
from wf.history.ddl import head_file
from wf.history.events import Status
from wf.history.ids import made_at, new_id
from wf.history.listing import lead_of
from wf.history.model import Activation, Blocked, NewRun, Run, RunFilter, Wait
from wf.history.notes import Note, NoteKind, encode
from wf.history.rows import DueKind

HOUR = 3_600_000
TABLES = "(runs|r|tags|ready|due|owned|waits|listening|blocked)( USING .*)?"
VALUES: list[Any] = ["a", "nul \0", 1, 2.5, True, False, None]
ENDED = [status for status in Status if status.ended and status is not Status.EXPIRED]


def fill(world: World, random: Random) -> list[bytes]:
    """Runs in all statuses, related to one another; and some of another environment."""
    worker = world.worker()
    batch, schedule = new_id(0), new_id(0)
    start = world.now() - 100 * HOUR
    ids: list[bytes] = []
    for number in range(60):
        at = start + number * HOUR
        parent = random.choice([None, *ids[-5:]])
        root = world.run(parent).root_id or parent if parent else None
        run = NewRun(
            id=new_id(at),
            environment="other" if number % 10 == 9 else ENVIRONMENT,
            task=random.choice([TASK, TASK, "nobody's"]),
            payload=b"{}",
            created_at=world.now(),
            parent_id=parent,
            root_id=root,
            tags=random.sample(["red", "blue", "odd \0 tag"], random.randint(0, 3)),
            version=random.choice(["", "v1"]),
            start_at=random.choice([0, 0, 0, world.now() + HOUR]),
            batch_id=random.choice([None, batch]),
            schedule_id=random.choice([None, schedule]),
            origin_id=random.choice([None, *ids[:1]]),
            options=json.dumps({"metadata": {"k": random.choice(VALUES)}}).encode(),
        )
        world.store.trigger([run])
        ids.append(run.id)
    for claimed in worker.claim():
        run_id = claimed.run.id
        match random.randint(0, 4):
            case 0:
                worker.end(run_id, random.choice(ENDED))
            case 1:
                worker.commit(
                    Activation(run_id, 1, waits=[Wait(random.choice(ids), 1)], release=True)
                )
            case 2:
                worker.commit(Activation(run_id, 1, release=True, due_at=world.now() + HOUR))
            case 3:
                worker.commit(Activation(run_id, 1, blocked=Blocked("error", "", 1)))
            case _:
                pass
    for run_id in random.sample(ids, 20):
        value = encode(random.choice(VALUES))
        notes = [Note(run_id, NoteKind.TAG, "late"), Note(run_id, NoteKind.SET, "k", value)]
        world.store.note(notes, world.now())
    return ids


def fits(run: Run, wanted: RunFilter, root: bytes | None) -> bool:
    """What a filter means."""
    metadata = json.loads(run.metadata)
    return (
        run.environment == wanted.environment
        and (not wanted.status or run.status in wanted.status)
        and wanted.task in ("", run.task)
        and wanted.version in ("", run.version)
        and (not wanted.tag or wanted.tag in (*run.tags, *run.added_tags))
        and all(same(metadata.get(key, ()), value) for key, value in wanted.metadata)
        and wanted.parent_id in (None, run.parent_id)
        and wanted.batch_id in (None, run.batch_id)
        and wanted.schedule_id in (None, run.schedule_id)
        and wanted.origin_id in (None, run.origin_id)
        and (root is None or (run.root_id or run.id) == root)
        and made_at(run.id) >= wanted.since
        and (not wanted.until or made_at(run.id) < wanted.until)
    )


def same(one: Any, other: Any) -> bool:
    """As JSON: True is not 1."""
    return one == other and isinstance(one, bool) is isinstance(other, bool)


def some_filter(runs: dict[bytes, Run], random: Random) -> RunFilter:
    wanted = RunFilter(ENVIRONMENT)
    example = random.choice(list(runs.values()))
    for name in random.sample(
        ["status", "task", "tag", "version", "metadata", "since", "until", "relation"],
        random.randint(0, 3),
    ):
        match name:
            case "status":
                wanted.status = random.sample(list(Status), random.randint(1, 3))
            case "task":
                wanted.task = example.task
            case "tag":
                wanted.tag = random.choice(["red", "odd \0 tag", "late", "nobody's"])
            case "version":
                wanted.version = "v1"
            case "metadata":
                value = random.choice([one for one in VALUES if one != "nul \0"])
                wanted.metadata = [("k", value)]
            case "since":
                wanted.since = made_at(example.id)
            case "until":
                wanted.until = made_at(example.id)
            case _:
                relation = random.choice(
                    ["parent_id", "batch_id", "schedule_id", "origin_id", "root_id"]
                )
                roots = [run.id for run in runs.values() if run.parent_id is None]
                found = [getattr(run, relation) for run in runs.values() if getattr(run, relation)]
                of = roots if relation == "root_id" else found
                setattr(wanted, relation, random.choice(of))
    return wanted


@pytest.mark.parametrize("seed", range(2))
def test_a_list_has_the_runs_that_fit_newest_first_and_pages_are_its_parts(
    world: World, seed: int
) -> None:
    random = Random(seed)
    runs = world.store.get_runs(fill(world, random))
    newest = sorted(runs.values(), key=lambda run: run.id, reverse=True)
    assert len({run.status for run in newest}) >= 7
    hits = 0
    for _ in range(80):
        wanted = some_filter(runs, random)
        wanted.limit = 1_000
        expected = [run.id for run in newest if fits(run, wanted, wanted.root_id)]
        assert [run.id for run in world.store.list_runs(wanted)] == expected, wanted
        wanted.limit = random.randint(1, 7)
        paged: list[bytes] = []
        while page := [run.id for run in world.store.list_runs(wanted)]:
            assert len(page) <= wanted.limit
            paged += page
            wanted.before = page[-1]
        assert paged == expected, wanted
        hits += bool(expected)
    assert hits > 20


def test_a_list_follows_an_index_that_knows_its_runs_and_walks_no_table() -> None:
    one = new_id(0)
    led = [
        RunFilter("dev", root_id=one, tag="x"),
        RunFilter("dev", parent_id=one),
        RunFilter("dev", batch_id=one, status=[Status.QUEUED]),
        RunFilter("dev", schedule_id=one),
        RunFilter("dev", origin_id=one),
        RunFilter("dev", tag="x", status=[Status.FAILED]),
        RunFilter("dev", status=[Status.WAITING, Status.DELAYED], task="t"),
    ]
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(head_file("sqlite").read_text())
        for wanted in led:
            lead = lead_of(wanted)
            assert lead is not None
            values = [*lead.values, *[b"", b"", 1] * lead.parts]
            plan = db.execute(f"EXPLAIN QUERY PLAN {lead.sql}", values).fetchall()
            walked = [row[3] for row in plan if re.fullmatch(f"SCAN {TABLES}", row[3])]
            assert walked == [], lead.sql
    newest_on = [RunFilter("dev", task="t"), RunFilter("dev", status=[Status.FAILED])]
    assert [lead_of(wanted) for wanted in newest_on] == [None, None]


def test_tags_are_in_the_index_once_and_with_their_run(world: World) -> None:
    run_id = world.trigger(tags=["one", "one", "two"])
    world.store.note([Note(run_id, NoteKind.TAG, "two")], world.now())
    world.store.note([Note(run_id, NoteKind.TAG, "three")], world.now())
    query: Any = world.store
    rows = query._query("SELECT environment, tag FROM tags WHERE run_id = ? ORDER BY tag", [run_id])
    assert rows == [(ENVIRONMENT, b"one"), (ENVIRONMENT, b"three"), (ENVIRONMENT, b"two")]


# --- operations -----------------------------------------------------------------------------------


def test_a_delayed_run_starts_at_its_new_time(world: World) -> None:
    worker = world.worker()
    now = world.now()
    sooner = world.trigger(start_at=now + HOUR)
    later = world.trigger(start_at=now + HOUR, ttl_ms=HOUR)
    assert world.store.reschedule(sooner, now, now)
    assert world.store.reschedule(later, now + 3 * HOUR, now)
    assert worker.claim_ids() == [sooner]
    world.skipped_ms = 2 * HOUR
    assert worker.claim_ids() == []
    assert world.run(later).start_at == now + 3 * HOUR
    world.skipped_ms = 3 * HOUR + 1_000
    assert worker.claim_ids() == [later], "its ttl counts from the moment that it may start"


def test_only_a_delayed_run_can_be_rescheduled(world: World) -> None:
    worker = world.worker()
    now = world.now()
    waiting = world.begun(worker).run.id
    worker.commit(Activation(waiting, 1, release=True, due_at=now + HOUR))
    queued = world.trigger(ttl_ms=HOUR)
    for run_id in (waiting, queued, new_id(0)):
        assert not world.store.reschedule(run_id, now + 2 * HOUR, now)
    query: Any = world.store
    times = query._query("SELECT kind, at FROM due ORDER BY kind", [])
    assert [kind for kind, _ in times] == [DueKind.RESUME, DueKind.TTL]
    assert times[0][1] == now + HOUR


def test_a_parked_run_is_handed_out_again_when_it_is_unblocked(world: World) -> None:
    worker = world.worker()
    parked, other = world.begun(worker).run.id, world.begun(worker).run.id
    worker.commit(
        Activation(parked, 1, blocked=Blocked("error", "why", 1)),
        Activation(other, 1, release=True, due_at=world.now() + HOUR),
    )
    assert worker.claim_ids() == []
    assert world.store.unblock([other, parked, new_id(0), parked], world.now()) == [parked]
    assert worker.claim_ids() == [parked]
    assert world.run(parked).blocked is None
    assert world.store.unblock([parked], world.now()) == []
