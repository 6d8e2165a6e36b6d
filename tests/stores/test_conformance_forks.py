"""A fork, as a store sees it: a run that has a history when it is made."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stores.world import Worker, World, step
from wf.engine.core.runs import fork_of
from wf.history.errors import NotFound
from wf.history.events import Event, Kind, Status
from wf.history.ids import new_id
from wf.history.model import Activation, NewRun, Reason

LARGE = b'"%s"' % (b"x" * 300_000)
"""Stands beside its row, and belongs to a run."""


def origin(world: World, worker: Worker, **columns: Any) -> bytes:
    """A run that has ended: of two steps the second failed it."""
    run_id = world.begun(worker, **columns).run.id
    at = world.now()
    events = [
        step(2, 1, data=LARGE).but(at=at),
        step(3, 2, name="t", data=b'"other"').but(at=at),
    ]
    worker.commit(Activation(run_id, 1, events))
    worker.end(run_id, Status.FAILED)
    return run_id


def fork(world: World, of: bytes, at: int, **results: bytes) -> tuple[NewRun, list[Event]]:
    run, now = world.run(of), world.now()
    events = [event for _, event in world.store.history(of)]
    return fork_of(run, events, new_id(now), now, at=at, payload=None, results=results)


def test_a_fork_has_its_history_and_is_handed_out_to_go_on(world: World) -> None:
    worker = world.worker()
    made = fork(world, origin(world, worker, tags=["a"]), 3, t=b"7")
    made[0].queue = "emails"
    world.store.fork(*made)
    world.store.fork(*made)
    run = world.run(made[0].id)
    assert (run.status, run.forked_at, run.tags) == (Status.WAITING, 3, ["a"])
    assert run.origin_id == made[0].origin_id
    assert world.kinds(run.id) == [
        Kind.STARTED, Kind.STEP_FINISHED, Kind.FORKED, Kind.STEP_FINISHED,
    ]  # fmt: skip
    (claimed,) = worker.claim() or worker.claim()  # the first one may only see that it may start
    assert (claimed.run.id, claimed.reason, claimed.seq) == (run.id, Reason.RESUME, 4)
    [events] = world.store.load([(run.id, 1)]).values()
    assert [event.data for event in events] == [None, LARGE, run.origin_id, b"7"]
    worker.end(run.id)
    assert world.run(run.id).output == b'"done"'


def test_a_fork_and_the_removal_of_its_origin_do_not_cross(world: World) -> None:
    worker = world.worker()
    of = origin(world, worker)
    late = fork(world, of, 2)
    world.store.fork(*fork(world, of, 2))
    assert world.store.prune([of]) == [], "a fork of it lives"
    (claimed,) = worker.claim()
    worker.end(claimed.run.id)
    assert world.store.prune([of]) == [of]
    with pytest.raises(NotFound, match="there is no run run_"):
        world.store.fork(*late)
    assert late[0].id not in world.store.get_runs([late[0].id])
