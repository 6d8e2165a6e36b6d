"""`trigger` in a step: a plain call that makes one run, however often the step is tried."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import wf
from tests.engine import triggering_tasks as tasks
from tests.engine.bank import query
from tests.observing import until
from wf.engine.registry import Registry
from wf.history.errors import StoreUnavailable
from wf.history.model import NewRun, Triggered
from wf.history.store import Store

HERE = [one for one in Registry([tasks]) if one.settings.executor == "thread"]


def engine(database: str) -> wf.Engine:
    return wf.Engine(database, HERE)


def children(client: wf.Client, handle: Any) -> list[wf.RunView]:
    return sorted(client.runs.list(parent=handle.id, limit=500), key=lambda run: run.id)


async def test_a_step_that_is_tried_again_starts_each_run_once(database: str) -> None:
    async with engine(database):
        handle = await tasks.parent.trigger(20, tags=["root"])
        sync, [first, second] = await handle.result()
        made = children(wf.client(), handle)
        for one in made:
            assert wf.client().runs.retrieve(one.id).root == handle.id
        assert {one.id for one in made} > {sync, first, second}
        assert len(made) == 4
        assert [one.tags for one in made if one.id == sync] == [("from-step",)]
        until(lambda: all(one.status.ended for one in children(wf.client(), handle)))
        assert sorted(one.output for one in children(wf.client(), handle)) == [40, 40, 40, 42]


async def test_equal_steps_start_runs_of_their_own(database: str) -> None:
    async with engine(database):
        first, second = await tasks.twice.trigger_and_wait(1)
    assert first != second


async def test_the_order_of_the_calls_may_differ_from_attempt_to_attempt(database: str) -> None:
    async with engine(database):
        handle = await tasks.in_any_order.trigger(1)
        ids = await handle.result()
        made = children(wf.client(), handle)
    assert {one.id for one in made} == set(ids)
    assert sorted(one.payload for one in made) == [1, 1, 2]


async def test_batches_too(database: str) -> None:
    async with engine(database):
        handle = await tasks.many.trigger(3)
        told = await handle.result()
        made = children(wf.client(), handle)
        for batch, *ids in told:
            assert [one.id for one in made if one.batch == batch] == ids
    assert len(made) == 6
    assert sorted(one.tags for one in made)[3:] == [(str(place),) for place in range(3)]


async def test_also_where_the_run_has_failed_meanwhile(database: str, tmp_path: Path) -> None:
    async with engine(database):
        handle = await tasks.of_what_fails.trigger(str(tmp_path))
        until(lambda: [one.status for one in children(wf.client(), handle)] == ["FAILED"])
        (tmp_path / "failed").touch()
        run_id = await handle.result()
        assert [one.id for one in children(wf.client(), handle)] == [run_id]


async def test_a_key_of_ones_own_holds_as_everywhere(database: str) -> None:
    async with engine(database):
        made = await tasks.child.trigger(3, idempotency_key="mine")
        assert await tasks.keyed.trigger_and_wait("mine") == [[made.id, True]] * 2


WORKER = (
    "import sys, wf; from tests.engine import triggering_tasks as t; "
    "wf.Engine(sys.argv[1], [t.dying]).start_now(); sys.stdin.read()"
)


def test_a_step_whose_worker_was_killed_starts_nothing_twice(database: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with wf.Client(database) as client:
        handle = client.trigger(tasks.dying, str(marker))
        worker = [sys.executable, "-c", WORKER, database]
        with subprocess.Popen(worker, stdin=subprocess.PIPE) as first:
            assert first.wait(60) == -9
        assert marker.exists()
        with subprocess.Popen(worker, stdin=subprocess.PIPE) as second:
            run_id = handle.result("60s")
            second.kill()
        made = children(client, handle)
        assert sorted(one.payload for one in made) == [1, 2]
        assert [one.id for one in made if one.payload == 2] == [run_id]


async def test_what_cannot_be_made_fails_a_step_that_does_not_look(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(database) as running:
        refuse_once(running.store, monkeypatch)
        handle = await tasks.not_looking.trigger(1)
        assert await handle.result() == 2
        assert len(children(wf.client(), handle)) == 1


def refuse_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer to the first trigger of a step, though it happens."""
    really, refused = store.trigger, list[bytes]()

    def trigger(runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
        answers = really(runs)
        if runs[0].parent_id is not None and not refused:
            refused.append(runs[0].id)
            raise StoreUnavailable("no answer", outcome_unknown=True)
        return answers

    monkeypatch.setattr(store, "trigger", trigger)


# --- what has no place there ----------------------------------------------------------------------

WAITS = {
    "trigger_and_wait": "a run of child",
    "call": "a run of child",
    "batch_trigger_and_wait": "runs of child",
    "result": "the result of <RunHandle child run_",
    "results": "the results of <BatchHandle child batch_",
}


@pytest.mark.parametrize("how", WAITS)
async def test_a_step_cannot_wait_for_runs(database: str, how: str) -> None:
    async with engine(database):
        told = await tasks.refused.trigger_and_wait(how)
    for line in told:
        assert line.startswith(f"NotInStep: a step cannot wait for {WAITS[how]}")
        assert "it would hold its worker meanwhile: wait in the body of a task" in line
        assert ("or start it and go on, `child." in line) == ("result" not in how)
    assert len(told) == 2


@pytest.mark.parametrize("how", ["timer", "wait for message"])
async def test_nor_for_anything_else(database: str, how: str) -> None:
    async with engine(database):
        told = await tasks.refused.trigger_and_wait(how)
    line = (
        f"NotInStep: a {how} has no place in a step, which would hold its worker while it waits: "
        "call it in the body of a task"
    )
    assert told == [line, line]


async def test_where_an_executor_runs_a_step_nothing_is_triggered(database: str) -> None:
    with ThreadPoolExecutor(1) as cluster:
        async with wf.Engine(database, [tasks], executors={"cluster": cluster}):
            told = await tasks.elsewhere.trigger_and_wait(1)
    line = (
        "NotInStep: a step that an executor runs has no store, and triggers nothing: "
        "return the payload, and trigger in the body of the task"
    )
    assert told == [line, line]


# --- its own transaction --------------------------------------------------------------------------


async def test_a_trigger_joins_the_steps_transaction(database: str) -> None:
    async with engine(database):
        query(database, b"CREATE TABLE orders (amount INTEGER)")
        handle = await tasks.joining.trigger(5)
        sync, asynchronous, told = await handle.result()
        assert {one.id for one in children(wf.client(), handle)} == {sync, asynchronous}
        assert query(database, b"SELECT amount FROM orders") == [(5,), (5,)]
    assert told == (
        "the step's wf.transaction() is open: give its connection, "
        "trigger(…, connection=conn), or trigger before it"
    )


# --- outside any run ------------------------------------------------------------------------------


async def test_outside_any_run_such_a_step_just_runs(database: str) -> None:
    @wf.step
    def starts(value: int) -> str:
        return tasks.child.trigger(value).id

    @wf.step
    async def forgets(value: int) -> str:
        tasks.child.trigger(value + 1)
        return await starts(value)

    async with engine(database):
        run_id = await forgets(1)
        assert await starts(1) != run_id
        assert sorted(run.payload for run in wf.client().runs.list()) == [1, 1, 2]
        assert wf.client().runs.retrieve(run_id).parent is None
        with pytest.raises(wf.NotInStep):
            await tasks.waits_sync("call")
        assert await tasks.child.trigger_and_wait(4) == await tasks.child(4) == 8


def test_a_body_has_to_await_the_handle() -> None:
    call = tasks.child.trigger(1)
    with pytest.raises(RuntimeError, match="has its handle when it was awaited"):
        _ = call.handle
    call.close()
