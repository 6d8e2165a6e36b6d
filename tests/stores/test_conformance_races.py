"""Lists, and what many do at once, on SQLite and on Postgres."""

from __future__ import annotations

from functools import partial
from threading import Event as Flag
from typing import Any

from tests.stores.test_conformance_ends import DAY_MS, rows_of
from tests.stores.world import ENVIRONMENT, TASK, Worker, World, at_once, shape
from wf.history.events import Status
from wf.history.model import Activation, Claimed, InboxKind, RunFilter, Wait

# --- lists ---------------------------------------------------------------------------------------


def test_runs_are_listed_by_what_they_are(world: World) -> None:
    worker = world.worker()
    done = world.begun(worker, tags=["user:1", "a"]).run.id
    worker.end(done)
    begun = world.begun(worker, parent_id=done, root_id=done).run.id
    late = world.trigger("other", start_at=world.now() + DAY_MS, tags=["user:1"])
    world.trigger(environment="prod")

    def listed(**where: Any) -> list[bytes]:
        return [run.id for run in world.store.list_runs(RunFilter(ENVIRONMENT, **where))]

    assert listed() == [late, begun, done]
    assert listed(limit=2) == [late, begun]
    assert listed(before=begun) == [done]
    assert listed(task=TASK) == [begun, done]
    assert listed(tag="user:1") == [late, done]
    assert listed(tag="user") == []
    assert listed(parent_id=done) == listed(root_id=done)[:1] == [begun]
    assert listed(status=[Status.COMPLETED]) == [done]
    assert listed(status=[Status.EXECUTING, Status.DELAYED]) == [late, begun]
    assert listed(since=world.now() + 1) == []


# --- at once -------------------------------------------------------------------------------------


def test_no_wake_up_is_lost_between_ends_and_waits(world: World) -> None:
    """Parents open waits while their children end, and claim while they are told."""
    rounds, workers = 12, [world.worker(f"t{n}", store=world.another_store()) for n in range(4)]
    parents = world.worker("parent")
    pairs = [
        (
            world.begun(parents, "parent").run.id,
            [world.begun(w, w.tasks[0]).run.id for w in workers],
        )
        for _ in range(rounds)
    ]

    def end(place: int) -> None:
        for _, children in pairs:
            workers[place].end(children[place])

    told: set[tuple[bytes, int]] = set()

    def read(claimed: list[Claimed]) -> list[Activation]:
        told.update((row.run_id, row.ordinal) for each in claimed for row in each.inbox)
        return [
            Activation(each.run.id, 1, consumed=[row.id for row in each.inbox], release=True)
            for each in claimed
        ]

    def follow() -> None:
        group: list[Activation] = []
        for parent, children in pairs:
            waits = [Wait(child, n) for n, child in enumerate(children, 1)]
            opening = Activation(parent, 1, waits=waits, release=True)
            group = read(parents.claim(100, opening, *group))
        while len(told) < rounds * len(workers):
            group = read(parents.claim(100, *group))

    at_once(follow, *(partial(end, n) for n in range(len(workers))))
    assert told == {(parent, n + 1) for parent, _ in pairs for n in range(len(workers))}


def test_groups_that_end_what_the_other_waits_for_all_commit(world: World) -> None:
    """Crosswise: each worker ends the run that a run of the other waits for."""
    left, right = (world.worker(t, store=world.another_store()) for t in ("l", "r"))
    for _ in range(15):
        ids = {
            (w.tasks[0], role): world.begun(w, w.tasks[0]).run.id
            for w in (left, right)
            for role in ("waits", "ends")
        }

        def group(me: Worker, other: Worker, ids: dict[tuple[str, str], bytes] = ids) -> None:
            mine, theirs = me.tasks[0], other.tasks[0]
            me.commit(
                Activation(
                    ids[mine, "waits"], 1, waits=[Wait(ids[theirs, "ends"], 1)], release=True
                ),
                me.ending(ids[mine, "ends"]),
            )

        at_once(partial(group, left, right), partial(group, right, left))
        for worker in (left, right):
            (claimed,) = worker.claim()
            assert [row[:3] for row in shape(claimed.inbox)] == [(InboxKind.CHILD_ENDED, 1, 1)]
            worker.end(claimed.run.id)


def test_many_who_complete_one_token_wake_its_waiter_once(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    token = world.token()
    worker.commit(
        Activation(
            run_id, 1, tokens=[token], waits=[Wait(token.id, 2, of_token=True)], release=True
        )
    )
    stores = [world.another_store() for _ in range(5)]
    at_once(*(partial(s.end_token, token.id, "COMPLETED", b"1", world.now()) for s in stores))
    assert len(rows_of(worker, run_id)) == 1


def test_a_hint_reaches_those_who_listen_elsewhere(world: World) -> None:
    told = Flag()
    there = world.another_store()
    stop = there.listen(told.set)
    world.trigger()
    assert told.wait(10)
    stop()
