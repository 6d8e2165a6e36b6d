"""Retention: `wf prune`, and a person's runs that are erased."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import wf
from tests.mission.test_runs import engine
from tests.observing import ended, until
from tests.observing import wf as command

SECRET = "Ada-Lovelace-7f3a"
"""Stands in everything that is of this person."""


class Loss(Exception):
    pass


@wf.step
async def look_up(name: str) -> str:
    wf.stream("log").append(f"looking for {name}")
    return f"found {name}"


@wf.task
async def helper(name: str) -> str:
    return await look_up(name)


@wf.task
async def care_for(name: str) -> str:
    wf.metadata.set("who", name)
    wf.tags.add(f"also:{name}")
    token = await wf.wait.create_token(str, tags=[name])
    await wf.wait.for_token(token)
    more = await wf.wait.for_message("more", str)
    await helper.trigger_and_wait(name)
    try:
        await fails(name)
    except wf.StepFailed as error:
        return f"{more}: {error.message}"
    return ""


@wf.step(retry=wf.Retry(max_attempts=1))
async def fails(name: str) -> str:
    raise Loss(f"no {name}")


@pytest.fixture
def client(database: str) -> Iterator[wf.Client]:
    with wf.Client(database) as client:
        yield client


def live_through(client: wf.Client, name: str, user: str) -> wf.RunView:
    """A run that leaves the name wherever a run leaves something."""
    run = client.trigger(
        care_for, name, tags=[f"user:{user}"], idempotency_key=f"key {name}", metadata={"n": name}
    )
    [token] = until(lambda: client.tokens.list(run=run.id))
    client.tokens.complete(token.id, name)
    run.send("never read", name)
    run.send("more", name)
    return ended(client, run.id)


def traces(database: str, text: str) -> list[str]:
    """Where the text stands: in the files of a SQLite database, in the tables of a Postgres."""
    if database.startswith("sqlite"):
        path = Path(database.removeprefix("sqlite:///"))
        files = [path, *path.parent.glob(f"{path.name}-*")]
        # In a process of its own: closing the file in this one would drop SQLite's locks on it.
        looked = subprocess.run(
            ["grep", "-l", "-a", text, *files], capture_output=True, check=False
        )
        assert looked.returncode < 2, looked.stderr
        return looked.stdout.decode().splitlines()
    found: list[str] = []
    with psycopg.connect(database) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in names.fetchall():
            copy = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name))
            with connection.cursor().copy(copy) as rows:
                dump = b"".join(bytes(row) for row in rows)
            as_bytea = text.encode().hex().encode()
            if text.encode() in dump or as_bytea in dump:
                found.append(str(name))
    return found


def test_of_one_persons_runs_nothing_is_left(client: wf.Client, database: str) -> None:
    with engine(database, care_for, helper):
        run = live_through(client, SECRET, "123")
        other = live_through(client, "Grace", "456")
        assert run.status is wf.Status.COMPLETED
        assert run.output == f"{SECRET}: no {SECRET}"
        assert traces(database, SECRET)
        assert client.prune(0, tag="user:123", dry_run=True).runs == 2
        told = command(
            *("prune", "--older-than", "0s", "--tag", "user:123", "--scrub"), database=database
        )
        assert told.stdout == "2 runs removed\n", told.stderr
        assert traces(database, SECRET) == [], "others have the file open"
    assert client.runs.retrieve(other.id).output == "Grace: no Grace"
    assert client.runs.list(tag="user:123") == []
    with pytest.raises(wf.NotFound):
        client.runs.retrieve(run.id)
    assert command("audit", database=database).stdout == "all is well\n"


def test_what_is_pruned_is_chosen_by_age_status_and_task(client: wf.Client, database: str) -> None:
    with engine(database, care_for, helper):
        done = live_through(client, "Ada", "1")
    canceled = client.trigger(care_for, "Bob")
    canceled.cancel()
    live = client.trigger(care_for, "Eve", delay="1d")
    told = command("prune", "--older-than", "1d", "--json", database=database)
    assert json.loads(told.stdout) == {"runs": 0, "dry_run": False}
    counted = command(
        "prune", "--older-than", "0s", "--status", "completed", "--dry-run", database=database
    )
    assert counted.stdout == "2 runs would be removed\n"
    assert len(client.runs.list()) == 4
    assert client.prune(0, status="canceled").runs == 1
    assert client.prune(0, task="helper").runs == 1
    assert command("audit", database=database).stdout == "all is well\n"
    assert {run.id for run in client.runs.list()} == {done.id, live.id}
    with pytest.raises(wf.PayloadError, match="runs that have ended"):
        client.prune(0, status="delayed")
    assert client.prune(0).runs == 1
    assert [run.id for run in client.runs.list()] == [live.id]
