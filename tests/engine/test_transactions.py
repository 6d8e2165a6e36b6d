"""`wf.transaction()`: a step's own rows and its result are there together or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import wf
from tests.engine import bank
from tests.engine.away_tasks import lines
from tests.observing import ended, until
from wf.engine import transaction
from wf.engine.steps import StepOrder
from wf.history import sqlite_step
from wf.history.errors import Fenced, StoreUnavailable
from wf.history.open import open_store
from wf.history.step import StepPlace

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
every_kind = pytest.mark.parametrize("kind", ["sync", "async", "at most once"])


@pytest.fixture(autouse=True)
def payments(database: str) -> None:
    open_store(database).close()
    bank.query(database, bank.TABLE)


@pytest.fixture
def engine(database: str) -> Iterator[wf.Engine]:
    engine = wf.Engine(database, [bank])
    engine.start_now()
    yield engine
    engine.stop_now()


def kinds(run_id: str) -> list[str]:
    return [event.kind for event in wf.client().runs.history(run_id)]


@every_kind
async def test_the_rows_and_the_result_are_there(
    database: str, engine: wf.Engine, tmp_path: Path, kind: str
) -> None:
    handle = await bank.paying.options().trigger(kind, str(tmp_path))
    assert await handle.result() == 7
    assert bank.query(database, bank.COUNT) == [(1, 7)]
    begun = ["STEP_STARTED"] if kind == "at most once" else []
    assert kinds(handle.id) == ["STARTED", *begun, "STEP_FINISHED", "ENDED"]


@pytest.mark.parametrize(
    ("kind", "when", "times"),
    [
        *[("sync", "within", 2), ("sync", "after", 1)],
        *[("async", "within", 2), ("async", "after", 1), ("at most once", "after", 1)],
    ],
)
def test_a_worker_killed_before_or_after_the_commit_leaves_exactly_one_row(
    database: str, tmp_path: Path, kind: str, when: str, times: int
) -> None:
    with wf.Client(database) as client:
        run_id = client.trigger(bank.paying.id, {"kind": kind, "folder": str(tmp_path)}).id
        worker = [sys.executable, "-m", "tests.engine.bank", database, str(tmp_path), when]
        killed = subprocess.run(worker, check=False)
        assert killed.returncode == -signal.SIGKILL
        assert bank.query(database, bank.COUNT) == [(1, 7) if when == "after" else (0, 0)]
        engine = wf.Engine(database, [bank])
        engine.start_now()
        run = ended(client, run_id)
        engine.stop_now()
    assert (run.status, run.output) == (wf.Status.COMPLETED, 7)
    assert bank.query(database, bank.COUNT) == [(1, 7)]
    assert lines(tmp_path / "ledger") == ["pay"] * times


@pytest.mark.parametrize("place", ["in", "after"])
async def test_a_step_that_fails_in_the_block_or_after_it_leaves_nothing(
    database: str, engine: wf.Engine, tmp_path: Path, place: str
) -> None:
    if place == "after":
        (tmp_path / "after").touch()
    assert await bank.failing_once.trigger_and_wait(str(tmp_path)) == 2
    assert bank.query(database, b"SELECT id FROM payments") == [(2,)]


async def test_a_run_triggered_in_the_block_is_there_if_it_commits(engine: wf.Engine) -> None:
    run_id = await bank.triggering.trigger_and_wait(5)
    client = wf.client()
    assert ended(client, run_id).output == 5
    assert len(client.runs.list(task="paid")) == 1


@pytest.mark.parametrize("how", ["commit", "nested"])
async def test_the_block_cannot_end_its_transaction(
    database: str, engine: wf.Engine, how: str
) -> None:
    told = await bank.forbidding.trigger_and_wait(how)
    assert "one wf.transaction()" in told if how == "nested" else "allowed" not in told
    assert bank.query(database, bank.COUNT) == [(0, 0)]


@on_sqlite
async def test_on_sqlite_a_statement_cannot_end_it_either(database: str, engine: wf.Engine) -> None:
    assert await bank.forbidding.trigger_and_wait("COMMIT") == "not authorized"
    assert bank.query(database, bank.COUNT) == [(0, 0)]


@on_sqlite
async def test_on_sqlite_a_block_that_lasts_too_long_is_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str, engine: wf.Engine
) -> None:
    monkeypatch.setattr(sqlite_step, "STEP_TRANSACTION_SECONDS", 0.05)
    handle = await bank.holding_on.trigger(str(tmp_path))
    until(lambda: lines(tmp_path / "ledger"))
    await bank.paid.trigger(1)  # waits for the file, and gets it
    (tmp_path / "go-on").touch()
    with pytest.raises(wf.RunFailed, match="the transaction held the file for") as failed:
        await handle.result()
    assert failed.value.type == "TransactionTooLong"
    assert bank.query(database, bank.COUNT) == [(0, 0)]


async def test_a_body_and_an_async_step_are_told_what_to_write(engine: wf.Engine) -> None:
    with pytest.raises(wf.RunFailed, match=r"put it into a @wf\.step"):
        await bank.transacting_in_its_body.trigger_and_wait()
    with pytest.raises(wf.RunFailed, match=r"write `async with wf\.transaction\(\)`"):
        await bank.blocking_the_loop.trigger_and_wait()


def test_outside_any_run_it_commits_where_the_block_ends(database: str) -> None:
    with wf.Client(database):
        with wf.transaction() as conn:
            conn.execute(bank.INSERT.format(1, 5))
        with suppress(ValueError), wf.transaction() as conn:
            conn.execute(bank.INSERT.format(2, 5))
            raise ValueError
    assert bank.query(database, bank.COUNT) == [(1, 5)]


def test_a_worker_that_was_taken_over_cannot_commit(database: str) -> None:
    store = open_store(database)
    step = store.begin(StepPlace(12, bytes(16), 1, 1))
    step.connection.execute(bank.INSERT.format(1, 5))
    with pytest.raises(Fenced):
        step.commit(0, b"1")
    store.close()
    assert bank.query(database, bank.COUNT) == [(0, 0)]


def test_who_gives_a_step_up_and_a_step_that_commits_exclude_each_other(
    database: str, tmp_path: Path
) -> None:
    given_up: list[StepOrder] = []
    commit = transaction.commit
    with wf.Client(database) as client:

        def give_up_first(order: StepOrder, data: bytes, took_ms: int) -> bool:
            if not given_up:
                given_up.append(order)
                assert order.claim_end()
            return commit(order, data, took_ms)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("wf.engine.steps.commit", give_up_first)
            engine = wf.Engine(database, [bank])
            engine.start_now()
            run_id = client.trigger("paying", {"kind": "sync", "folder": str(tmp_path)}).id
            assert ended(client, run_id).output == 7
            engine.stop_now()
    assert lines(tmp_path / "ledger") == ["pay", "pay"]
    assert bank.query(database, bank.COUNT) == [(1, 7)]


@pytest.mark.parametrize("has_landed", [False, True])
def test_a_commit_whose_answer_is_lost_is_looked_up(
    database: str, tmp_path: Path, has_landed: bool
) -> None:
    """The step runs again only where it had not committed."""
    with wf.Client(database) as client:
        engine = wf.Engine(database, [bank])
        begin, lost = engine.store.begin, list[str]()

        def begin_lossy(place: StepPlace | None) -> object:
            step = begin(place)
            commit = step.commit

            def commit_lossy(took_ms: int, data: bytes) -> None:
                if lost:
                    return commit(took_ms, data)
                lost.append("an answer")
                commit(took_ms, data) if has_landed else step.roll_back()
                raise StoreUnavailable("the connection was lost", outcome_unknown=True)

            step.commit = commit_lossy
            return step

        engine.store.begin = begin_lossy  # pyright: ignore[reportAttributeAccessIssue]
        run_id = client.trigger("paying", {"kind": "sync", "folder": str(tmp_path)}).id
        engine.start_now()
        assert ended(client, run_id).output == 7
        engine.stop_now()
    assert lines(tmp_path / "ledger") == ["pay"] * (1 if has_landed else 2)
    assert bank.query(database, bank.COUNT) == [(1, 7)]
