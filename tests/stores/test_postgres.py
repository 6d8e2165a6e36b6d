"""What only a server can do to a store: lost connections, poolers, forks, empty databases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from threading import Event as Flag
from typing import Any

import psycopg
import pytest

from tests.stores.proxy import Proxy
from tests.stores.world import ENVIRONMENT, Worker, World, at_once, step
from wf.history import postgres_pool, postgres_wake
from wf.history.errors import BadURL, StoreNewer, StoreUnavailable
from wf.history.events import Status
from wf.history.model import Activation, RunFilter, Triggered, Wait
from wf.history.open import open_store
from wf.history.postgres import PostgresStore


@pytest.fixture
def url(empty_postgres_url: str) -> str:
    return empty_postgres_url


@pytest.fixture
def world(url: str) -> Iterator[World]:
    world = World(url, open_store(url))
    yield world
    world.close()


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    proxy = Proxy(url)
    yield proxy
    proxy.close()


def kill_connections(url: str) -> None:
    """All but the one that says so; returns when they are gone."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


# --- the database itself -------------------------------------------------------------------------


def test_many_who_meet_an_empty_database_make_one_schema(fresh_postgres_url: str) -> None:
    stores = at_once(*(partial(open_store, fresh_postgres_url) for _ in range(6)))
    for store in stores:
        assert store.list_runs(RunFilter(ENVIRONMENT)) == []
        store.close()


def test_who_opens_a_database_that_is_there_asks_once_what_it_is(
    fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(fresh_postgres_url).close()
    asked: list[Any] = []
    execute = psycopg.Connection.execute

    def noted(self: Any, query: Any, *values: Any, **options: Any) -> Any:
        asked.append(query)
        return execute(self, query, *values, **options)

    monkeypatch.setattr(psycopg.Connection, "execute", noted)
    open_store(fresh_postgres_url).close()
    assert len(asked) == 2, "whether a pooler stands between, and what it is"


def test_a_database_without_tables_is_left_alone_when_told_so(fresh_postgres_url: str) -> None:
    with pytest.raises(BadURL, match="no tables"):
        open_store(fresh_postgres_url, create=False)


def test_a_newer_database_is_refused(fresh_postgres_url: str) -> None:
    open_store(fresh_postgres_url).close()
    with psycopg.connect(fresh_postgres_url) as connection:
        connection.execute("UPDATE meta SET version = version + 1")
    with pytest.raises(StoreNewer, match="upgrade wf-engine"):
        open_store(fresh_postgres_url)


def test_a_server_that_is_not_there_is_unavailable(url: str) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        PostgresStore("postgresql://nobody@127.0.0.1:1/none")
    assert not raised.value.outcome_unknown
    with pytest.raises(BadURL):
        PostgresStore("mysql://localhost/x")
    assert open_store(url, create=False).close() is None


# --- connections that are lost -------------------------------------------------------------------


def test_doors_and_looks_outlive_their_connections(world: World) -> None:
    first = world.trigger()
    kill_connections(world.url)
    second = world.trigger()
    kill_connections(world.url)
    assert set(world.store.get_runs([first, second])) == {first, second}
    kill_connections(world.url)
    assert world.store.cancel([first], world.now()) == [first]


def test_a_worker_goes_on_after_its_connection_was_lost(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    group, now = [Activation(run_id, 1, events=[step(2)])], world.now()
    kill_connections(world.url)
    with pytest.raises(StoreUnavailable) as raised:
        world.store.commit(worker.lease, group, None, now)
    assert raised.value.outcome_unknown
    assert not world.store.landed(worker.lease)
    worker.commit(Activation(run_id, 1, events=[step(2)]))
    assert len(world.store.history(run_id)) == 2


def through(world: World, proxy: Proxy) -> Worker:
    """A worker whose connections go through the proxy, with a run."""
    store = PostgresStore(proxy.url)
    world.stores.append(store)
    worker = world.worker(store=store)
    world.trigger()
    assert len(worker.claim()) == 1
    return worker


@pytest.mark.parametrize("landed", [True, False])
def test_the_outcome_of_a_lost_commit_can_be_asked_for(
    world: World, proxy: Proxy, landed: bool
) -> None:
    worker = through(world, proxy)
    (mine,) = worker.claim(resync=True)
    if landed:
        proxy.lose_after = b"s-marked"
    else:
        proxy.lose_at = b"s-marked"
    group = Activation(mine.run.id, 1, events=[step(2, name="s-marked")])
    with pytest.raises(StoreUnavailable) as raised:
        worker.commit(group)
    assert raised.value.outcome_unknown
    assert proxy.lost.wait(10)
    assert worker.store.landed(worker.lease) is landed
    if not landed:
        worker.commit(group)
    worker.end(mine.run.id)
    assert len(world.store.history(mine.run.id)) == 3


def test_a_trigger_of_which_the_answer_was_lost_made_one_run(world: World, proxy: Proxy) -> None:
    store = through(world, proxy).store
    proxy.lose_after = b"payload-marked"
    run = world.new(payload=b'"payload-marked"')
    assert store.trigger([run]) == [(run.id, Triggered.MADE)]
    assert proxy.lost.is_set()
    assert world.worker().claim_ids() == [run.id]


def test_an_answer_that_was_lost_with_new_runs_is_got_again(world: World, proxy: Proxy) -> None:
    worker = through(world, proxy)
    (mine,) = worker.claim(resync=True)
    fresh = world.trigger()
    proxy.lose_after = b"s-marked"
    with pytest.raises(StoreUnavailable):
        worker.claim(10, Activation(mine.run.id, 1, events=[step(2, name="s-marked")]))
    assert worker.store.landed(worker.lease)
    again = {claimed.run.id: claimed.seq for claimed in worker.claim(resync=True)}
    assert again == {mine.run.id: 2, fresh: 1}


def test_a_group_that_was_given_up_can_never_land(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    ghost = Worker(world, world.store, worker.lease.__class__(*_fields(worker)), worker.tasks)
    assert not world.store.landed(worker.lease)
    with pytest.raises(Exception, match=r"taken over|committed before"):
        ghost.commit(Activation(run_id, 1, events=[step(2)]))
    assert len(world.store.history(run_id)) == 1


def _fields(worker: Worker) -> tuple[int, str, int]:
    lease = worker.lease
    return lease.worker, lease.environment, lease.group_no


# --- poolers, forks, polls -----------------------------------------------------------------------


def test_behind_a_pooler_nothing_is_prepared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def pooled(_: object) -> bool:
        return False

    monkeypatch.setattr(postgres_pool, "_is_direct", pooled)
    store = PostgresStore(world.url)
    world.stores.append(store)
    worker = world.worker(store=store)
    for _ in range(5):
        world.begun(worker)
    with store.pool.lend() as connection:
        rows = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    assert rows == (0,)


def test_behind_a_pooler_one_warning_says_that_wake_ups_may_be_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def pooled(_: object) -> bool:
        return False

    monkeypatch.setattr(postgres_pool, "_is_direct", pooled)
    told = Flag()
    world.another_store().listen(told.set)
    assert told.wait(10)
    told.clear()
    kill_connections(world.url)
    assert told.wait(10)
    assert len([r for r in caplog.records if "polls instead" in r.message]) == 1


def test_a_poll_that_finds_nothing_writes_nothing(world: World) -> None:
    worker = world.worker()
    worker.claim()
    before = worker.lease.group_no
    for _ in range(5):
        assert worker.claim() == []
    assert worker.lease.group_no == before
    run_id = world.trigger()
    assert worker.claim_ids() == [run_id]


def test_a_child_process_makes_its_own_connections(world: World) -> None:
    run_id = world.trigger()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, world.status(run_id).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"PENDING_VERSION"
    assert world.status(run_id) is Status.PENDING_VERSION
    os.close(reader)
    os.close(writer)


def test_a_listener_whose_connection_is_lost_listens_again(world: World) -> None:
    told = Flag()
    there = world.another_store()
    there.listen(told.set)
    assert told.wait(10), "it begins with a wake-up, for what it may have missed"
    told.clear()
    kill_connections(world.url)
    assert told.wait(10)
    told.clear()
    world.trigger()
    assert told.wait(10)


def test_a_failing_listener_does_not_hurt_a_commit(world: World) -> None:
    def fail() -> None:
        raise RuntimeError("listener")

    stop = world.store.listen(fail)
    assert world.store.get_runs([world.trigger()])
    stop()


def test_waits_for_runs_and_ends_of_many_workers_do_not_deadlock_for_long(world: World) -> None:
    """Groups that hold many runs each, in opposite orders."""
    left, right = (world.worker(t, store=world.another_store()) for t in ("l", "r"))
    runs = {w.tasks[0]: [world.new(w.tasks[0]) for _ in range(60)] for w in (left, right)}
    for worker in (left, right):
        world.store.trigger(runs[worker.tasks[0]])
        worker.claim()

    def group(me: Worker, other: Worker) -> None:
        mine = [run.id for run in runs[me.tasks[0]]]
        theirs = [run.id for run in runs[other.tasks[0]]]
        waits = [Wait(target, n) for n, target in enumerate(theirs[30:], 1)]
        me.commit(
            *(Activation(run_id, 1, waits=waits, release=True) for run_id in mine[:30]),
            *(me.ending(run_id) for run_id in mine[30:]),
        )

    at_once(partial(group, left, right), partial(group, right, left))
    for worker in (left, right):
        told = {c.run.id: len(c.inbox) for c in worker.claim()}
        assert told == {run.id: 30 for run in runs[worker.tasks[0]][:30]}


def test_a_mark_for_a_worker_that_has_let_go_meanwhile_is_sent_on_to_the_owner(
    world: World,
) -> None:
    """A sender that saw the last owner may write its mark when there is another one."""
    last, owner = world.worker(), world.worker()
    run_id = world.begun(owner).run.id
    last.commit()
    with psycopg.connect(world.url) as connection:
        connection.execute(
            "INSERT INTO ready (run_id, environment, task, at, reason, owner)"
            " SELECT id, environment, task, 1, 1, %s FROM runs",
            [last.lease.worker],
        )
    assert last.claim() == []
    assert owner.claim_ids() == [run_id]


def test_others_are_told_of_a_trigger_in_its_own_write(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_: object) -> None: ...

    monkeypatch.setattr(postgres_wake.Wakes, "_notify", nothing)
    with psycopg.connect(world.url, autocommit=True) as connection:
        connection.execute(f"LISTEN {postgres_wake.CHANNEL}")
        world.trigger()
        assert len([*connection.notifies(timeout=20, stop_after=1)]) == 1


def test_others_are_told_a_little_later_of_triggers_that_follow_one_another_too_soon(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_wake, "NOTIFY_EVERY_S", 0.2)
    with psycopg.connect(world.url, autocommit=True) as connection:
        connection.execute(f"LISTEN {postgres_wake.CHANNEL}")
        for _ in range(3):
            world.trigger()
        assert len([*connection.notifies(timeout=20, stop_after=2)]) == 2
        assert [*connection.notifies(timeout=0.3)] == []
