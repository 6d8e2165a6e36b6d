"""Hook runs of runs that end without a body, on SQLite and on Postgres: the store makes them."""

from __future__ import annotations

import json
from functools import partial

import pytest

from tests.stores.world import ENVIRONMENT, TASK, World, at_once
from wf.history.events import Status
from wf.history.hooks import bit, task_of_hooks
from wf.history.ids import show
from wf.history.model import Activation, Run, RunFilter

HOOKS = task_of_hooks(TASK)
ON_CANCEL, ON_EXPIRY = {TASK: bit(Status.CANCELED)}, {TASK: bit(Status.EXPIRED)}


def hook_runs(world: World, environment: str = ENVIRONMENT) -> list[Run]:
    return world.store.list_runs(RunFilter(environment, task=HOOKS))


def expire(world: World) -> None:
    """A run's ttl is over before anybody claims it."""
    run_id = world.trigger(ttl_ms=1_000)
    world.skipped_ms += 2_000
    world.worker("nothing").claim()
    assert world.status(run_id) is Status.EXPIRED


def test_a_queued_run_that_is_canceled_leaves_a_hook_run(world: World) -> None:
    world.worker(hooks=ON_CANCEL)
    parent = world.trigger("other")
    run_id = world.trigger(parent_id=parent, root_id=parent)
    world.store.cancel([run_id], world.now())
    [run] = hook_runs(world)
    assert json.loads(run.payload) == {"run": show("run", run_id), "moment": "CANCELED"}
    assert (run.parent_id, run.root_id, run.environment) == (run_id, parent, ENVIRONMENT)
    assert run.created_at == world.run(run_id).ended_at
    worker = world.worker(HOOKS)
    assert worker.claim_ids() == [run.id]
    assert world.worker(HOOKS).claim_ids() == []


def test_so_does_a_delayed_one(world: World) -> None:
    world.worker(hooks=ON_CANCEL)
    world.store.cancel([world.trigger(start_at=world.now() + 60_000)], world.now())
    assert len(hook_runs(world)) == 1


def test_a_run_that_expires_leaves_a_hook_run_for_who_claims_it_at_once(world: World) -> None:
    worker = world.worker(TASK, HOOKS, hooks=ON_EXPIRY)
    run_id = world.trigger(ttl_ms=1_000)
    world.skipped_ms += 2_000
    [claimed] = worker.claim()
    assert world.status(run_id) is Status.EXPIRED
    assert (claimed.run.task, claimed.run.parent_id) == (HOOKS, run_id)
    assert json.loads(claimed.run.payload) == {"run": show("run", run_id), "moment": "EXPIRED"}


def test_an_end_that_no_hook_names_leaves_none(world: World) -> None:
    world.worker(hooks=ON_EXPIRY)
    world.store.cancel([world.trigger(), world.trigger("other")], world.now())
    world.worker(hooks=ON_CANCEL)
    expire(world)
    world.worker(hooks=ON_CANCEL, environment="elsewhere")
    world.worker()
    world.store.cancel([world.trigger()], world.now())
    assert hook_runs(world) == []


def test_the_worker_that_joined_last_says_which_hooks_there_are(world: World) -> None:
    world.worker()
    world.worker(hooks=ON_CANCEL)
    world.store.cancel([world.trigger()], world.now())
    assert len(hook_runs(world)) == 1


def test_a_run_that_began_is_left_to_its_worker(world: World) -> None:
    worker = world.worker(hooks=ON_CANCEL)
    run_id = world.begun(worker).run.id
    world.store.cancel([run_id], world.now())
    worker.end(run_id, Status.CANCELED)
    assert hook_runs(world) == []


def test_a_canceled_child_leaves_a_hook_run_too(world: World) -> None:
    worker = world.worker(TASK, "parent", hooks=ON_CANCEL)
    parent, child = world.begun(worker, "parent").run.id, world.trigger()
    worker.commit(Activation(parent, 1, cancels=[child]))
    assert [run.parent_id for run in hook_runs(world)] == [child]


def test_hook_runs_have_no_hook_runs(world: World) -> None:
    world.worker(hooks=ON_CANCEL)
    world.store.cancel([world.trigger()], world.now())
    [run] = hook_runs(world)
    world.store.cancel([run.id], world.now())
    assert world.status(run.id) is Status.CANCELED
    assert len(hook_runs(world)) == 1


@pytest.mark.parametrize("many", [1, 20])
def test_many_who_cancel_one_run_make_one_hook_run(world: World, many: int) -> None:
    world.worker(hooks=ON_CANCEL)
    ids = [world.trigger() for _ in range(many)]

    stores = [world.another_store() for _ in range(4)]
    at_once(*(partial(store.cancel, ids, world.now()) for store in stores))
    assert sorted(run.parent_id or b"" for run in hook_runs(world)) == sorted(ids)
