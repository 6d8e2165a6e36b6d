"""Client and AsyncClient on a database URL: trigger, result, retrieve, list, cancel, tokens."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import wf
from tests.client import tasks
from tests.observing import ended, until


@contextmanager
def engine(database: str, *more: wf.Runnable[..., Any]) -> Generator[wf.Engine]:
    running = wf.Engine(database, [tasks, *more])
    running.start_now()
    try:
        yield running
    finally:
        running.stop_now()


@pytest.fixture
def client(database: str) -> Iterator[wf.Client]:
    with wf.Client(database) as made:
        yield made


def test_a_trigger_answers_a_handle_and_the_handle_the_output(
    database: str, client: wf.Client
) -> None:
    handle = client.trigger(tasks.total, tasks.Order(id=4))
    assert handle.id.startswith("run_")
    assert client.runs.retrieve(handle.id).status is wf.Status.PENDING_VERSION
    with engine(database):
        assert handle.result("60s") == 8
    run = handle.retrieve()
    assert (run.status, run.output, run.payload) == ("COMPLETED", 8, {"id": 4, "shop": "main"})
    assert run.started_at is not None
    assert run.ended_at is not None
    assert run.created_at <= run.started_at <= run.ended_at


def test_all_runs_of_a_batch_are_waited_for_at_once(
    database: str, client: wf.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [0]
    live = client.store.live

    def counted(run_ids: Sequence[bytes]) -> set[bytes]:
        asked.append(len(run_ids))
        return live(run_ids)

    monkeypatch.setattr(client.store, "live", counted)
    batch = client.batch_trigger(tasks.total, [tasks.Order(id=number) for number in range(20)])
    with ThreadPoolExecutor(1) as pool:
        results = pool.submit(batch.results, "60s")
        until(lambda: max(asked) == 20)
        with engine(database):
            assert results.result() == [2 * number for number in range(20)]


def test_a_trigger_by_name_is_checked_by_the_worker(database: str, client: wf.Client) -> None:
    good = client.trigger("total", {"id": 4})
    bad = client.trigger("total", {"shop": "x"})
    with engine(database):
        assert good.result("60s") == 8
        with pytest.raises(wf.RunFailed, match="id: Field required") as failed:
            bad.result("60s")
    assert failed.value.type == "PayloadError"


def test_a_payload_that_does_not_fit_makes_no_run(client: wf.Client) -> None:
    with pytest.raises(wf.PayloadError, match="payload of total"):
        client.trigger(tasks.total, {"shop": "x"})  # type: ignore[arg-type]
    with pytest.raises(wf.DeclarationError, match="no option 'priorty'"):
        client.trigger(tasks.total, tasks.Order(id=1), priorty=3)  # type: ignore[call-overload]
    assert client.runs.list() == []


def test_a_failure_is_raised_with_type_message_and_traceback(
    database: str, client: wf.Client
) -> None:
    handle = client.trigger(tasks.fails, "no stock")
    with engine(database), pytest.raises(wf.RunFailed) as failed:
        handle.result("60s")
    error = failed.value
    assert (error.type, error.message, error.run_id) == ("ValueError", "no stock", handle.id)
    assert error.matches(ValueError)
    assert "raise ValueError(message)" in error.traceback


def test_result_times_out_and_the_run_goes_on(client: wf.Client) -> None:
    handle = client.trigger(tasks.total, tasks.Order(id=1))
    with pytest.raises(TimeoutError, match=handle.id):
        handle.result("50ms")
    assert client.runs.retrieve(handle.id).ended_at is None


def test_result_warns_when_no_worker_knows_the_task(
    client: wf.Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wf.client.client.NO_WORKER_SECONDS", 0.05)
    handle = client.trigger(tasks.total, tasks.Order(id=1))
    with caplog.at_level(logging.WARNING), pytest.raises(TimeoutError):
        handle.result("200ms")
    assert "no live worker" in caplog.text
    assert "'total'" in caplog.text


def test_one_idempotency_key_makes_one_run(client: wf.Client) -> None:
    first = client.trigger(tasks.total, tasks.Order(id=1), idempotency_key="order-1")
    again = client.trigger(tasks.total, tasks.Order(id=1), idempotency_key="order-1")
    other = client.trigger(tasks.total, tasks.Order(id=2), idempotency_key="order-1")
    assert (first.is_cached, again.is_cached, other.is_cached) == (False, True, True)
    assert first.id == again.id == other.id
    assert (again.payload_differs, other.payload_differs) == (False, True)
    client.runs.cancel(first.id)
    fresh = client.trigger(tasks.total, tasks.Order(id=1), idempotency_key="order-1")
    assert not fresh.is_cached


def test_lists_are_newest_first_in_pages_and_filtered(database: str, client: wf.Client) -> None:
    ids = [client.trigger(tasks.total, tasks.Order(id=n), tags=[f"n:{n}"]).id for n in range(5)]
    sleeping = client.trigger(tasks.sleeper, 5, delay="1h")
    page = client.runs.list(task="total", limit=3)
    rest = client.runs.list(task="total", limit=3, cursor=page[-1].id)
    assert [run.id for run in page + rest] == ids[::-1]
    assert [run.id for run in client.runs.list(tag="n:3")] == [ids[3]]
    assert [run.id for run in client.runs.list(status="DELAYED")] == [sleeping.id]
    assert client.runs.list(since=datetime.now(UTC) + timedelta(hours=1)) == []
    with pytest.raises(wf.PayloadError, match="give one of"):
        client.runs.list(status="DONE")


def test_cancel_reaches_delayed_queued_waiting_and_executing_runs(
    database: str, client: wf.Client
) -> None:
    delayed = client.trigger(tasks.sleeper, 1, delay="1h")
    queued = client.trigger(tasks.sleeper, 1)
    for handle in (delayed, queued):
        client.runs.cancel(handle.id)
        assert client.runs.retrieve(handle.id).status is wf.Status.CANCELED
    waiting = client.trigger(tasks.sleeper, 1)
    executing = client.trigger(tasks.hang)
    with engine(database):
        until(lambda: client.runs.retrieve(waiting.id).status is wf.Status.WAITING)
        until(lambda: client.runs.retrieve(executing.id).status is wf.Status.EXECUTING)
        for handle in (waiting, executing):
            client.runs.cancel(handle.id)
            assert ended(client, handle.id).status is wf.Status.CANCELED
            with pytest.raises(wf.RunCanceled):
                handle.result("60s")
    with pytest.raises(wf.AlreadyEnded):
        client.runs.cancel(waiting.id)


def test_a_parked_run_can_be_canceled(database: str, client: wf.Client) -> None:
    @wf.task(id="moody")
    async def before(n: int) -> int:
        await tasks.double(n)
        await wf.wait.for_(hours=1)
        return n

    @wf.task(id="moody")
    async def after(n: int) -> int:
        await tasks.double(n + 1)
        await wf.wait.for_(hours=1)
        return n

    handle = client.trigger(before, 3)
    with engine(database, before):
        until(lambda: handle.retrieve().status is wf.Status.WAITING)
    client.runs.cancel(handle.id)
    with engine(database, after):
        run = ended(client, handle.id)
    assert run.status is wf.Status.CANCELED
    assert run.blocked is None


def test_unknown_ids_say_where_to_look(client: wf.Client) -> None:
    with pytest.raises(wf.NotFound, match="looks like run_"):
        client.runs.retrieve("42")
    with pytest.raises(wf.NotFound, match="wf runs list"):
        client.runs.retrieve("run_1ChNcZzZkiVu1vfEiAEFJt")
    for look in (client.tokens.retrieve, client.tokens.cancel, client.tokens.complete):
        with pytest.raises(wf.NotFound, match="wf tokens list"):
            look("token_1ChNcZzZkiVu1vfEiAEFJt")


def test_a_database_that_is_made_is_told_of_once(
    tmp_path: Path, fresh_postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    for database in (f"sqlite:///{tmp_path}/wf.db", fresh_postgres_url):
        with caplog.at_level(logging.WARNING):
            wf.Client(database).close()
            assert "there was no database of wf at" in caplog.text
            caplog.clear()
            wf.Client(database).close()
            assert caplog.text == ""


def test_environments_do_not_see_each_other(database: str) -> None:
    with wf.Client(database, environment="prod") as prod, wf.Client(database) as dev:
        handle = prod.trigger(tasks.total, tasks.Order(id=1))
        assert dev.runs.list() == []
        with pytest.raises(wf.NotFound, match="'dev'"):
            dev.runs.retrieve(handle.id)
        assert [run.id for run in prod.runs.list()] == [handle.id]


def test_the_history_of_a_run_is_typed_rows(database: str, client: wf.Client) -> None:
    handle = client.trigger(tasks.retried, 300)
    with engine(database):
        handle.result("60s")
    rows = handle.history()
    assert rows == client.runs.history(handle.id)
    assert [row.kind for row in rows] == [
        *("STARTED", "STEP_ATTEMPT_FAILED", "STEP_FINISHED", "TIMER_FIRED", "ENDED")
    ]
    _, failed, finished, fired, ended = rows
    assert (failed.name, failed.attempt, failed.delay_ms) == ("second-time", 1, 20)
    assert failed.data["message"] == "not yet"
    assert (finished.ordinal, finished.attempt, finished.delay_ms, finished.data) == (1, 2, 0, "ok")
    assert (fired.delay_ms, fired.took_ms) == (300, 0)
    assert ended.at >= finished.at
    assert [lane.title for lane in handle.timeline().lanes] == ["retried", "second-time", "wait"]


def test_one_client_serves_many_threads(database: str, client: wf.Client) -> None:
    results: list[int] = []

    def work(n: int) -> None:
        results.append(client.trigger(tasks.total, tasks.Order(id=n)).result("60s"))

    with engine(database):
        threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == [2 * n for n in range(20)]


def _trigger_in_child(client: wf.Client, ids: multiprocessing.Queue[str]) -> None:
    ids.put(client.trigger(tasks.total, tasks.Order(id=7)).id)


def test_a_client_works_on_in_a_forked_process(client: wf.Client) -> None:
    client.trigger(tasks.total, tasks.Order(id=1))
    forking = multiprocessing.get_context("fork")
    ids: multiprocessing.Queue[str] = forking.Queue()
    child = forking.Process(target=_trigger_in_child, args=(client, ids))
    child.start()
    in_child = ids.get(timeout=60)
    child.join()
    assert child.exitcode == 0
    assert client.runs.retrieve(in_child).payload == {"id": 7, "shop": "main"}


async def test_the_async_client_is_the_twin(database: str) -> None:
    async with wf.AsyncClient(database) as client:
        handle = await client.trigger(tasks.total, tasks.Order(id=5))
        canceled = await client.trigger(tasks.sleeper, 1)
        await client.runs.cancel(canceled.id)
        async with wf.Engine(database, [tasks]):
            assert await handle.result() == 10
            with pytest.raises(wf.RunCanceled):
                await canceled.result()
        run = await client.runs.retrieve(handle.id)
        assert run.output == 10
        history = await handle.history()
        assert history == await client.runs.history(handle.id)
        seen = await handle.timeline()
        assert [lane.title for lane in seen.lanes] == ["total", "double"]
        assert (await client.now()) >= history[-1].at
        assert await handle.retrieve() == run
        with pytest.raises(wf.AlreadyEnded):
            await handle.cancel()
        assert [one.id for one in await client.runs.list(status="COMPLETED")] == [handle.id]


async def test_many_results_are_awaited_without_a_thread_each(database: str) -> None:
    """Of those who wait: nobody works on them yet, for whom threads may begin as well."""
    async with wf.AsyncClient(database) as client:
        handles = [await client.trigger(tasks.total, tasks.Order(id=n)) for n in range(50)]
        before = threading.active_count()
        results = asyncio.gather(*(handle.result() for handle in handles))
        await asyncio.sleep(0)
        assert threading.active_count() <= before + 2
        async with wf.Engine(database, [tasks]):
            assert await results == [2 * n for n in range(50)]


async def test_a_task_is_triggered_everywhere_by_the_innermost_connection(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        assert await tasks.total(tasks.Order(id=3)) == 6
        assert await tasks.two.options(tags=["x"]).trigger_and_wait(1, names=["a", "b"]) == "1 a,b"
        assert await tasks.nothing.trigger_and_wait() is None
        assert await tasks.double(4) == 8, "a step outside any body just runs"
        handle = await tasks.double.trigger(4)
        assert await handle.result() == 8, "a step triggered is a run with one step"


async def test_without_a_connection_the_error_names_the_ways_to_have_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WF_URL", raising=False)
    with pytest.raises(wf.NotConnected, match=r"wf\.connect") as missing:
        await tasks.total.trigger(tasks.Order(id=3))
    for way in ("wf.Engine", "wf.Client", "WF_URL"):
        assert way in str(missing.value)


def test_what_is_no_task_is_refused_with_what_to_write(database: str) -> None:
    def plain(n: int) -> int:
        return n

    with pytest.raises(wf.DeclarationError, match="plain is no task"):
        wf.run(plain, 3, database=database)  # type: ignore[arg-type]
    with pytest.raises(wf.DeclarationError, match="total"):
        wf.Engine(database, ["total"])  # type: ignore[list-item]


def test_wf_run_answers_the_output(database: str) -> None:
    assert wf.run(tasks.total, tasks.Order(id=21), database=database) == 42
    with pytest.raises(wf.RunFailed, match="no stock"):
        wf.run(tasks.fails, "no stock", database=database)
