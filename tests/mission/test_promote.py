"""A SQLite file becomes a Postgres database, and the runs in it go on there."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import wf
from tests.codecs import key_ring
from tests.mission import forked, tasks
from tests.observing import ended, until
from wf.cli.main import main
from wf.history import promoting
from wf.history.errors import StoreUnavailable

CODEC = key_ring()
KNOWN = [forked.asking, forked.helper, tasks.count_words]


@contextmanager
def engine_of(database: str) -> Generator[None]:
    worker = wf.Engine(database, KNOWN, codec=CODEC)
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
