"""Pruning: what is over goes, with all that is its; what is alive keeps all that it belongs to."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.stores.test_conformance_debounce import late
from tests.stores.world import ENVIRONMENT, World, at_once
from wf.history.events import STORED, Status
from wf.history.ids import new_id
from wf.history.model import Run, RunFilter, Triggered
from wf.history.notes import Note, NoteKind
from wf.history.pruning import PRUNE_RUNS

DAY = 86_400_000
LATER = 1 << 60
ENDED = RunFilter(ENVIRONMENT, status=list(STORED))
TABLES = (
    *("runs", "events", "streams", "notes", "tags", "inbox", "messages", "tokens", "idempotency"),
    *("debounces", "ready", "due", "owned", "waits", "listening", "gathers", "blocked"),
)


def prune(world: World, wanted: RunFilter = ENDED, ended_before: int = LATER) -> list[bytes]:
    """As a client does it."""
    gone: list[bytes] = []
    following: RunFilter | None = wanted
    while following is not None:
        ids, following = world.store.prunable(following, ended_before)
        for start in range(0, len(ids), PRUNE_RUNS):
            part = ids[start : start + PRUNE_RUNS]
            assert world.store.prune(part) == part
            gone += part
    return gone


def rows(world: World) -> dict[str, int]:
    query: Any = world.store
    counts = {name: query._query(f"SELECT count(*) FROM {name}", [])[0][0] for name in TABLES}
    return {name: count for name, count in counts.items() if count}


def child(world: World, parent: bytes, **columns: Any) -> bytes:
    of = world.run(parent)
    return world.trigger(parent_id=parent, root_id=of.root_id or of.id, **columns)


def test_all_that_is_of_a_run_goes_with_it_and_nothing_else(world: World) -> None:
    worker = world.worker()

    def full(name: str) -> bytes:
        run = world.new(tags=[name], idempotency_key=name, idempotency_expires_at=LATER)
        world.store.trigger([run])
        world.store.create_tokens([world.token(run_id=run.id)])
        notes = [
            Note(run.id, NoteKind.CHUNK, "log", b"1"),
            Note(run.id, NoteKind.SET, "a", b"1"),
            Note(run.id, NoteKind.TAG, "late " + name),
        ]
        world.store.note(notes, world.now())
        return run.id

    kept = full("kept")
    worker.claim()
    worker.end(kept)
    before = rows(world)
    full("gone")
    delayed = late(world, b"1", tags=["slow"])
    world.store.trigger([delayed])
    (claimed,) = worker.claim()
    worker.end(claimed.run.id)
    world.store.cancel([delayed.id], world.now())
    assert rows(world) != before
    for tag in ("gone", "slow"):
        wanted = RunFilter(ENVIRONMENT, status=ENDED.status, tag=tag)
        assert len(prune(world, wanted)) == 1
    assert rows(world) == before
    assert world.status(kept) is Status.COMPLETED
    again = world.new(idempotency_key="gone", idempotency_expires_at=LATER)
    assert world.trigger_how(again)[1] is Triggered.MADE


def test_a_live_run_keeps_those_above_below_and_what_it_replays(world: World) -> None:
    worker = world.worker()
    top = world.trigger()
    middle = child(world, top)
    low = child(world, middle)
    aside = child(world, top)
    alone, origin = world.trigger(), world.trigger()
    worker.claim()
    for run_id in (top, low, aside, alone, origin):
        worker.end(run_id)
    replay = world.trigger(origin_id=origin, start_at=world.now() + DAY)
    assert set(prune(world)) == {alone, aside}
    assert world.store.get_runs([top, middle, low, origin, replay]).keys() == {
        top, middle, low, origin, replay,
    }  # fmt: skip
    worker.end(middle)
    world.store.cancel([replay], world.now())
    gone = prune(world)
    assert set(gone) == {top, middle, low, origin, replay}
    assert gone.index(low) < gone.index(middle) < gone.index(top)
    assert rows(world) == {}


def test_a_run_goes_with_those_below_it_when_all_have_ended_long_enough_ago(world: World) -> None:
    worker = world.worker()
    top = world.trigger(tags=["mine"])
    low = child(world, top)
    worker.claim()
    worker.end(top)
    middle = world.now() + DAY // 2
    world.skipped_ms = DAY
    worker.end(low)
    wanted = RunFilter(ENVIRONMENT, status=ENDED.status, tag="mine")
    assert prune(world, wanted, ended_before=middle) == []
    assert prune(world, ENDED, ended_before=middle) == []
    assert prune(world, wanted, ended_before=world.now() + 1) == [low, top]


def test_what_has_come_since_the_look_is_looked_at_again(world: World) -> None:
    worker = world.worker()
    top, other, third = world.trigger(), world.trigger(), world.trigger()
    worker.claim()
    for run_id in (top, other, third):
        worker.end(run_id)
    ids, _ = world.store.prunable(ENDED, LATER)
    child(world, top)
    world.trigger(origin_id=other)
    assert world.store.prune([*ids, new_id(0)]) == [third]
    assert world.store.prune(ids) == []


@pytest.mark.parametrize("seed", range(3))
def test_of_a_forest_just_the_right_runs_go(world: World, seed: int) -> None:
    random = Random(seed)
    worker = world.worker()
    ids: list[bytes] = []
    for _ in range(50):
        above = random.choice([None, *ids[-6:]])
        origin = random.choice([None, None, None, *ids[:10]])
        tags = random.choice([[], ["x"]])
        made = child(world, above, tags=tags, origin_id=origin) if above else (
            world.trigger(tags=tags, origin_id=origin)
        )  # fmt: skip
        ids.append(made)
    worker.claim()
    for run_id in random.sample(ids, 44):
        worker.end(run_id)
    runs = world.store.get_runs(ids)
    wanted = RunFilter(ENVIRONMENT, status=ENDED.status, tag="x")
    assert set(prune(world, wanted)) == expected(runs)


def expected(runs: dict[bytes, Run]) -> set[bytes]:
    def above(run: Run) -> list[Run]:
        parent = runs.get(run.parent_id) if run.parent_id else None
        return [parent, *above(parent)] if parent is not None else []

    under = {
        run_id: [one for one in runs.values() if run_id in [up.id for up in [one, *above(one)]]]
        for run_id in runs
    }
    used = {run.origin_id for run in runs.values() if not run.status.ended}
    going: set[bytes] = set()
    for run_id, run in runs.items():
        whole = under[run_id]
        is_over = all(one.status.ended and one.id not in used for one in whole)
        if (
            "x" in run.tags
            and is_over
            and all(up.status.ended and up.id not in used for up in above(run))
        ):
            going |= {one.id for one in whole}
    return going


def test_workers_go_on_while_a_thousand_runs_are_pruned(world: World) -> None:
    worker = world.worker(store=world.another_store())
    old = world.store.trigger([world.new(tags=["old"]) for _ in range(1_000)])
    for claimed in worker.claim():
        worker.commit(worker.ending(claimed.run.id))
    new = world.store.trigger([world.new() for _ in range(60)])
    done: list[bytes] = []

    def work() -> None:
        while len(done) < len(new):
            for claimed in worker.claim(limit=5):
                worker.end(claimed.run.id)
                done.append(claimed.run.id)

    wanted = RunFilter(ENVIRONMENT, status=ENDED.status, tag="old")
    _, gone = at_once(work, lambda: prune(world, wanted))
    assert set(gone) == {run_id for run_id, _ in old}
    assert set(done) == {run_id for run_id, _ in new}
    assert {world.status(run_id) for run_id in done} == {Status.COMPLETED}
