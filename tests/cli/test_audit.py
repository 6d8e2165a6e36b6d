"""`wf audit`: a clean store is clean, and every breach that is made by hand is named."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.cli.terminal import PROGRAMS, Terminal
from tests.observing import until
from wf import Client
from wf.engine.core.runnable import Runnable
from wf.engine.engine import Engine
from wf.engine.loading import load, load_project
from wf.engine.replaying import replay_all
from wf.history.audit import Breach, audit
from wf.history.ids import parse

TREE = """
import wf
@wf.step
def once(n: int) -> int:
    return n
@wf.task
async def leaf(n: int) -> int:
    return await once(n)
@wf.task
async def tree(n: int) -> int:
    child = await leaf.trigger(n)
    return await once(n) + await child.result() + await leaf.trigger_and_wait(n)
@wf.task(retry=wf.Retry(max_attempts=2, min_delay="1ms"))
async def again(n: int) -> int:
    return await breaks(n)
@wf.step(retry=wf.Retry(max_attempts=1))
def breaks(n: int) -> int:
    raise ValueError("always")
@wf.task
async def asks(n: int) -> int:
    token = await wf.wait.create_token(int)
    return await wf.wait.for_token(token)
@wf.task
async def sleeps(n: int) -> None:
    child = await leaf.trigger(n)
    await child.result()
    await wf.wait.for_("1h")
"""


@dataclass
class Scene:
    """A store with runs that ended in every way, some that wait, and none that is under way."""

    client: Client
    file: Path
    ended: str
    failed: str
    answered: str
    asking: str
    sleeping: str
    execute: Callable[[str, tuple[object, ...]], None]

    def audit(self) -> list[Breach]:
        return audit(self.client.store)

    def vandalise(self, sql: str, *values: object) -> list[Breach]:
        self.execute(sql, values)
        return self.audit()


@pytest.fixture
def scene(terminal: Terminal, database: str) -> Iterator[Scene]:
    file = terminal.folder / f"forest_{terminal.folder.name}.py"
    file.write_text(TREE)
    module, registry = load(str(file))
    task: dict[str, Runnable[..., int]] = vars(module)
    client = Client(database)
    engine = Engine(store=client.store, tasks=registry)
    engine.start_now()
    ended = client.trigger(task["tree"], 1)
    failed = client.trigger(task["again"], 1)
    answered, asking = client.trigger(task["asks"], 1), client.trigger(task["asks"], 1)
    sleeping = client.trigger(task["sleeps"], 1)
    assert ended.result("60s") == 3
    with pytest.raises(Exception, match="always"):
        failed.result("60s")
    client.tokens.complete(token_of(client, answered.id), 1)
    answered.result("60s")
    token_of(client, asking.id)
    until(lambda: client.runs.retrieve(sleeping.id).due_at)
    engine.stop_now()
    yield Scene(
        client, file, ended.id, failed.id, answered.id, asking.id, sleeping.id, hand(database)
    )
    client.close()


def token_of(client: Client, run_id: str) -> str:
    """Of a run that waits for it."""
    until(lambda: client.tokens.list(run=run_id))
    until(lambda: client.runs.retrieve(run_id).status == "WAITING")
    return client.tokens.list(run=run_id)[0].id


def hand(database: str) -> Callable[[str, tuple[object, ...]], None]:
    """One that writes past all rules. Statements have `?`."""

    def execute(sql: str, values: tuple[object, ...]) -> None:
        if database.startswith("sqlite"):
            db = sqlite3.connect(database.removeprefix("sqlite:///"), isolation_level=None)
            try:
                db.execute(sql, values)
            finally:
                db.close()
        else:
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(sql.replace("?", "%s").encode(), values)

    return execute


def test_a_store_that_was_used_as_it_should_be_is_clean(scene: Scene) -> None:
    assert scene.audit() == []
    assert replay_all(scene.client.store, load_project(str(scene.file))) == []


BREACHES = [
    ("I1", "ended", "DELETE FROM events WHERE run_id = ? AND seq = 2"),
    ("I1", "failed", "DELETE FROM events WHERE run_id = ? AND chapter = 1"),
    ("I2", "ended", "UPDATE events SET ordinal = 2 WHERE run_id = ? AND kind IN (3, 9)"),
    ("I3", "ended", "UPDATE events SET at = at - 100000 WHERE run_id = ? AND seq = 3"),
    ("I4", "ended", "UPDATE runs SET ended_at = ended_at - 100000 WHERE id = ?"),
    ("I4", "failed", "UPDATE events SET kind = 19 WHERE run_id = ? AND chapter = 1 AND seq = 2"),
    ("I5", "sleeping", "DELETE FROM due WHERE id = ?"),
    ("I5", "asking", "DELETE FROM waits WHERE run_id = ?"),
    ("I5", "asking", "INSERT INTO owned (run_id, worker) VALUES (?, 7)"),
    ("I5", "ended", ("INSERT INTO blocked (run_id, environment, task, reason, since)"
     " VALUES (?, 'dev', 'tree', 'x', 1)")),
    ("I9", "sleeping", "DELETE FROM runs WHERE parent_id = ?"),
    ("I9", "ended", "UPDATE runs SET output = '9' WHERE parent_id = ?"),
    ("I12", "ended", "UPDATE runs SET status = 2 WHERE id = ?"),
    ("I12", "ended", "UPDATE runs SET status = 0 WHERE id = ?"),
    ("I12", "ended", "UPDATE runs SET output = NULL WHERE id = ?"),
    ("I12", "ended", "UPDATE runs SET ended_at = NULL WHERE id = ?"),
    ("I12", "ended", "UPDATE runs SET chapter = 2 WHERE id = ?"),
    ("I12", "failed", "UPDATE runs SET attempt = 1 WHERE id = ?"),
    ("I12", "failed", "UPDATE runs SET failure = NULL WHERE id = ?"),
    ("I12", "sleeping", "UPDATE runs SET status = 1 WHERE id = ?"),
    ("I12", "answered", "UPDATE tokens SET data = '2' WHERE run_id = ?"),
    ("I12", "answered", "UPDATE tokens SET status = 0 WHERE run_id = ?"),
    ("I12", "ended", "INSERT INTO streams (run_id, name, seq, at, data) VALUES (?, 's', 2, 1, '')"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("invariant", "of", "sql"), BREACHES, ids=[f"{b[0]} {b[2][:40]}" for b in BREACHES]
)
def test_a_breach_is_named(scene: Scene, invariant: str, of: str, sql: str) -> None:
    run_id = str(getattr(scene, of))
    raw = parse("run", run_id)
    if ("'" in sql and "output" in sql) or "data" in sql or "failure" in sql:
        sql = sql.replace("= '", "= CAST('").replace("' WHERE", "' AS BLOB) WHERE")
        if scene.client.store.url.startswith("postgres"):
            sql = sql.replace("BLOB", "bytea")
    found = scene.vandalise(sql, raw)
    assert invariant in {breach.invariant for breach in found}, found
    assert all(breach.subject and breach.what for breach in found)
    assert any(run_id in str(breach) or breach.subject != run_id for breach in found)


ORPHANS = [
    "INSERT INTO ready (run_id, environment, task, at, queue, key) VALUES (?, 'e', 't', 1, '', '')",
    "INSERT INTO owned (run_id, worker) VALUES (?, 1)",
    "INSERT INTO due (id, environment, at, kind) VALUES (?, 'e', 1, 0)",
    "INSERT INTO inbox (run_id, kind, at, name) VALUES (?, 3, 1, '')",
    "INSERT INTO waits (run_id, target, chapter, ordinal, place) VALUES (?, 'x', 1, 1, 0)",
    "INSERT INTO notes (run_id) VALUES (?)",
    "INSERT INTO streams (run_id, name, seq, at, data) VALUES (?, 's', 1, 1, 'x')",
    "INSERT INTO idempotency (run_id, environment, task, key, digest) VALUES (?,'e','t','k','x')",
]


def test_rows_of_runs_that_are_not_there_are_named(scene: Scene) -> None:
    nobody = b"\x01" * 16
    blob = "x" if scene.client.store.url.startswith("sqlite") else "\\x00"
    for sql in ORPHANS:
        scene.execute(sql.replace("'x'", f"'{blob}'"), (nobody,))
    found = [breach for breach in scene.audit() if breach.invariant == "orphan"]
    assert len(found) == len(ORPHANS)
    scene.execute(
        "INSERT INTO idempotency (environment, task, key, run_id, digest)"
        f" VALUES ('dev', 'again', 'k', ?, '{blob}')",
        (parse("run", scene.failed),),
    )
    assert any("has its idempotency key still" in breach.what for breach in scene.audit())


def test_more_slots_than_the_limit_are_named(scene: Scene) -> None:
    scene.execute(
        "INSERT INTO queues (environment, name, concurrency_limit, per_key_limit)"
        " VALUES ('dev', 'mail', 1, 1)",
        (),
    )
    for run_id in (scene.asking, scene.sleeping):
        scene.execute(
            "INSERT INTO owned (run_id, worker, environment, queue, key)"
            " VALUES (?, 1, 'dev', 'mail', 'k')",
            (parse("run", run_id),),
        )
    found = [str(breach) for breach in scene.audit() if breach.invariant == "I11"]
    own = "it has a queue, and is owned without a slot of it, or has none, and holds one"
    assert found == [
        "I11 mail: 2 runs hold slots, its limit is 1",
        "I11 mail: 2 runs of one key hold slots, its limit per key is 1",
        *(f"I11 {run_id}: {own}" for run_id in sorted((scene.asking, scene.sleeping))),
    ]


def test_runs_that_wait_where_nobody_looks_are_named(scene: Scene) -> None:
    run_id, later = parse("run", scene.asking), parse("run", scene.sleeping)
    mark = (
        "INSERT INTO ready (run_id, environment, task, at, reason, queue, key)"
        " VALUES (?, 'dev', 't', 1, 1, '{}', 'k')"
    )
    scene.execute(mark.format("mail"), (run_id,))
    scene.execute(mark.format("nowhere"), (later,))
    scene.execute("INSERT INTO queues (environment, name) VALUES ('dev', 'mail')", ())
    assert [str(breach) for breach in scene.audit()] == [
        f"I5 {scene.sleeping}: it waits in queue nowhere, which is not there",
        f"I5 {scene.asking}: it waits in queue mail under key 'k', and nobody will look there",
    ]


def test_code_that_replays_otherwise_is_named(scene: Scene, terminal: Terminal) -> None:
    other = terminal.folder / "other"
    other.mkdir()
    changed = TREE.replace("return await once(n)\n", "return await once(n + 1)\n", 1)
    changed = changed.replace(
        "return await once(n) + await child", "return await once(n) - await child"
    )
    (other / f"changed_{terminal.folder.name}.py").write_text(changed)
    found = replay_all(scene.client.store, load_project(str(other)))
    assert {breach.invariant for breach in found} == {"I6"}
    told = "\n".join(map(str, found))
    assert "WF1001" in told
    assert f"{scene.ended}: it COMPLETED, and replayed it comes to COMPLETED with another" in told


def test_an_output_that_the_body_does_not_come_to_is_named(scene: Scene) -> None:
    run_id = parse("run", scene.ended)
    assert scene.vandalise("UPDATE runs SET output = ? WHERE id = ?", b"4", run_id) == []
    (found,) = replay_all(scene.client.store, load_project(str(scene.file)))
    told = "it COMPLETED, and replayed it comes to COMPLETED with another output"
    assert str(found) == f"I6 {scene.ended}: {told}"


def test_the_command_prints_a_line_for_each_breach(terminal: Terminal, scene: Scene) -> None:
    db = ("--db", scene.client.store.url)
    assert terminal.wf("audit", *db).ok().out == "all is well\n"
    assert terminal.here("audit", "--json", *db).ok().json == []
    assert terminal.wf("audit", "--replay", str(scene.file), *db).ok().out == "all is well\n"
    scene.vandalise("UPDATE runs SET attempt = 7 WHERE id = ?", parse("run", scene.failed))
    done = terminal.wf("audit", *db)
    assert done.code == 1
    assert done.out == f"I12 {scene.failed}: it is at attempt 7, its history at attempt 2\n"
    told = terminal.here("audit", "--json", *db)
    assert (told.code, [breach["invariant"] for breach in told.json]) == (1, ["I12"])
    wrong = terminal.here("audit", "--replay", "nope.py", *db).refused()
    assert "there is no file nope.py" in wrong


def test_the_programs_of_these_tests_are_a_project() -> None:
    assert {"ledger", "desk", "user", "shift"} <= set(load_project(str(PROGRAMS)).ids)
