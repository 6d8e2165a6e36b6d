"""A SQLite file becomes a Postgres database, and the runs in it go on there."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import wf
from tests.codecs import key_ring
from tests.mission import forked, promoted, tasks
from tests.observing import ended, until
from wf.cli.main import main
from wf.history import promoting
from wf.history.errors import StoreUnavailable

CODEC = key_ring()
KNOWN = [forked.asking, forked.helper, tasks.count_words]


@contextmanager
def engine_of(database: str, known: Sequence[Any] = KNOWN) -> Generator[None]:
    worker = wf.Engine(database, known, codec=CODEC)
    worker.start_now()
    try:
        yield
    finally:
        worker.stop_now()


def test_runs_that_wait_go_on_in_the_other_database(
    tmp_path: Path, fresh_postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"sqlite:///{tmp_path}/wf.db"
    with wf.Client(source, codec=CODEC) as client:
        with engine_of(source):
            client.trigger(tasks.count_words, "a b", idempotency_key="once").result()
            asking = client.trigger(forked.asking, tags=["vip"])
            helper = client.trigger(forked.helper, "!", queue=wf.Queue("few", concurrency_limit=1))
            [token] = until(lambda: client.tokens.list(run=asking.id))
            until(lambda: helper.retrieve().status is wf.Status.WAITING)
            assert main(["promote", source, "--to", fresh_postgres_url]) == 1
            assert "workers are at work there" in capsys.readouterr().err
        later = client.trigger(tasks.count_words, "later", delay="1h", metadata={"a": 1})
        client.runs.send(helper.id, "unread", "kept")
        assert main(["promote", source, "--to", fresh_postgres_url]) == 0
        assert "4 runs moved to " in capsys.readouterr().out
        with pytest.raises(wf.StoreMoved, match=r"has been moved to .*postgresql://.*: go there"):
            client.trigger(tasks.count_words, "late")
        with pytest.raises(wf.StoreMoved):
            client.tokens.complete(token.id, "yes")
    with pytest.raises(wf.StoreMoved):
        wf.Client(source)
    with wf.Client(fresh_postgres_url, codec=CODEC) as client:
        assert client.runs.retrieve(later.id).metadata == {"a": 1}
        assert client.trigger(tasks.count_words, "a b", idempotency_key="once").is_cached
        with engine_of(fresh_postgres_url):
            client.tokens.complete(token.id, "yes")
            client.runs.send(helper.id, "go", "on")
            assert ended(client, asking.id).output == "yes after"
            assert ended(client, helper.id).output == "on!"
            assert client.trigger(tasks.count_words, "new").result() == 1
        assert [run.id for run in client.runs.list(tag="vip")] == [asking.id]
        assert client.queues.retrieve("few").concurrency_limit == 1
    assert main(["audit", "--db", fresh_postgres_url]) == 0


def test_a_target_that_is_not_empty_is_left_alone_and_the_file_stays_open(
    tmp_path: Path, fresh_postgres_url: str
) -> None:
    source = f"{tmp_path}/wf.db"
    with wf.Client(source) as client, wf.Client(fresh_postgres_url) as other:
        run = client.trigger(tasks.count_words, "here")
        other.trigger(tasks.count_words, "there")
        with pytest.raises(wf.CannotPromote, match=r"is not empty \(it has .*runs"):
            promoting.promote(source, fresh_postgres_url)
        with pytest.raises(wf.CannotPromote, match="is no Postgres"):
            promoting.promote(source, "other.db")
        run.cancel()
        assert len(other.runs.list()) == 1


@pytest.mark.parametrize("has_happened", [False, True])
def test_cut_short_it_is_ended_by_the_same_command(
    has_happened: bool, tmp_path: Path, fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"{tmp_path}/wf.db"
    with wf.Client(source) as client:
        run = client.trigger(tasks.count_words, "a b c")
    copy = promoting._copy  # pyright: ignore[reportPrivateUsage]

    def lost(*given: Any, **more: Any) -> None:
        if has_happened:
            copy(*given, **more)
        raise StoreUnavailable("no answer", outcome_unknown=True)

    with monkeypatch.context() as patch:
        patch.setattr(promoting, "_copy", lost)
        with pytest.raises(StoreUnavailable):
            promoting.promote(source, fresh_postgres_url)
    with pytest.raises(wf.StoreMoved, match=r"is being moved to .*: let `wf promote` come"):
        wf.Client(source)
    with pytest.raises(wf.CannotPromote, match="give the same target again"):
        promoting.promote(source, fresh_postgres_url + "&application_name=other")
    assert promoting.promote(source, fresh_postgres_url).runs == 1
    with psycopg.connect(fresh_postgres_url) as connection:
        assert len(connection.execute("SELECT FROM runs").fetchall()) == 1
    with wf.Client(fresh_postgres_url) as client:
        assert client.runs.retrieve(run.id).payload == "a b c"
    with closing(sqlite3.connect(source)) as db, pytest.raises(sqlite3.IntegrityError, match="has"):
        db.execute("UPDATE runs SET priority = 1")


@contextmanager
def slot_held(database: str, known: list[Any]) -> Generator[None]:
    """By a worker that is in a step."""
    promoted.GATE.clear()
    with engine_of(database, known):
        try:
            until(lambda: promoted.BEGUN)
            yield
        finally:
            promoted.GATE.set()


def test_all_that_is_under_way_moves(
    tmp_path: Path, fresh_postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Large values, sealed ones, schedules, slots that are held, hooks that are owed, batches,
    debounced triggers."""
    source, large = f"sqlite:///{tmp_path}/wf.db", "x" * 300_000
    known = [promoted, forked.helper]
    with wf.Client(source, codec=CODEC) as client:
        with engine_of(source, known):
            keeps = client.trigger(promoted.keeps, large)
            gathers = client.trigger(promoted.gathers)
            until(lambda: client.tokens.list(run=keeps.id))
            until(lambda: len(client.runs.list(parent=gathers.id, status=wf.Status.WAITING)) == 2)
        hooked = client.trigger(promoted.hooked, delay="1h")
        hooked.cancel()
        yearly, paused = (
            client.schedules.create(promoted.ticks, "0 0 1 1 *", external_id=name)
            for name in ("yearly", "paused")
        )
        client.schedules.pause(paused.id)
        late = wf.Debounce("key", "1h")
        debounced = client.trigger(promoted.keeps, "first", debounce=late)
        slots = [client.trigger(promoted.holds, name) for name in "ab"]
        with slot_held(source, [promoted.holds]):
            assert promoting.promote(source, fresh_postgres_url, force=True).live == 8
        assert "is parked" not in caplog.text
    with wf.Client(fresh_postgres_url, codec=CODEC) as client:
        states = [client.runs.retrieve(slot.id).status for slot in slots]
        assert states == [wf.Status.EXECUTING, wf.Status.QUEUED]
        assert client.trigger(promoted.keeps, "second", debounce=late).id == debounced.id
        assert client.runs.retrieve(debounced.id).payload == "second"
        assert client.runs.retrieve(keeps.id).payload == large
        store = client.store
        store.take_over(store.now(), 3_600_000, [one for one, _ in store.workers("dev")])
        with engine_of(fresh_postgres_url, known):
            [token] = client.tokens.list(run=keeps.id)
            client.tokens.complete(token.id, "kept")
            assert ended(client, keeps.id).output == "300000 kept"
            for child in client.runs.list(parent=gathers.id):
                client.runs.send(child.id, "go", "on ")
            assert sorted(ended(client, gathers.id).output) == ["on a", "on b"]
            assert [ended(client, slot.id).output for slot in slots] == ["a", "b"]
            until(lambda: [hooked.id] == promoted.TOLD)
            assert not client.schedules.retrieve(paused.id).active
            fired = client.schedules.trigger(yearly.id)
            assert ended(client, fired.id).output == "yearly"
        assert promoted.BEGUN == ["a", "a", "b"]
        assert set(promoted.AT_ONCE) == {1}
    assert main(["audit", "--db", fresh_postgres_url]) == 0
