"""F. Waits and human-in-the-loop: S46 to S54."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import wf
from tests.mission import tasks
from tests.observing import ended, until
from tests.observing import wf as command

USER = tasks.User(user_id="1", email="a@x")


def test_s46_a_wait_goes_on_after_its_duration(database: str) -> None:
    ran = command(
        *("run", f"{tasks.__file__}:onboarding", USER.model_dump_json(), "--skip-waits", "--json"),
        database=database,
    )
    assert ran.returncode == 0, ran.stderr
    with wf.Client(database) as client:
        history = client.runs.history(json.loads(ran.stdout)["id"])
    first, second = (event for event in history if event.kind == "TIMER_FIRED")
    started = history[0].at
    assert timedelta(days=1) <= first.at - started < timedelta(days=1, minutes=1)
    assert timedelta(days=7) <= second.at - first.at < timedelta(days=7, minutes=1)


async def test_s47_a_wait_goes_on_at_its_moment(database: str) -> None:
    moment = datetime.now(UTC) + timedelta(milliseconds=300)
    async with wf.Engine(database, [tasks]):
        assert await tasks.wait_until(moment) is True
        assert datetime.now(UTC) >= moment - timedelta(milliseconds=50)
        assert await tasks.wait_until(datetime(2020, 1, 1, tzinfo=UTC)) is True


async def test_s48_a_waiting_run_is_rows_and_goes_on_at_the_same_point(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger"
    monkeypatch.setenv("WF_LEDGER", str(ledger))
    async with wf.Engine(database, [tasks]):
        handle = await tasks.short_wait.trigger(USER)
        until(lambda: wf.client().runs.retrieve(handle.id).status is wf.Status.WAITING)
    with wf.Client(database) as client:
        waiting = client.runs.retrieve(handle.id)
        assert waiting.status is wf.Status.WAITING
        assert waiting.due_at is not None
    async with wf.Engine(database, [tasks]):
        client = wf.client()
        until(lambda: client.runs.retrieve(handle.id).status is wf.Status.COMPLETED)
    assert ledger.read_text().splitlines() == ["before to a@x", "after to a@x"]


async def test_s49_trigger_and_wait_suspends_the_parent(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        handle = await tasks.parent_waits.trigger("a b")
        client = wf.client()
        until(lambda: client.runs.list(task="held-child", status="WAITING"))
        [child] = client.runs.list(task="held-child")
        assert child.parent == handle.id
        until(lambda: client.runs.retrieve(handle.id).status is wf.Status.WAITING)
        client.runs.send(child.id, "go")
        assert await handle.result() == 3
        assert await tasks.parent_of_failing("x") == "ValueError: cannot count x"


async def test_s50_trigger_starts_a_child_and_goes_on(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        handle = await tasks.parent_goes_on.trigger("a b")
        child_id = await handle.result()
        client = wf.client()
        parent = client.runs.retrieve(handle.id)
        child = ended(client, child_id)
    assert child.output == 2
    assert parent.ended_at is not None
    assert child.ended_at is not None
    assert parent.ended_at < child.ended_at


def test_s51_waits_and_children_span_weeks(database: str, tmp_path: Path) -> None:
    file = tmp_path / "weeks.py"
    file.write_text(
        "import wf\n\n@wf.task\nasync def week(n: int) -> int:\n    await wf.wait.for_(weeks=1)\n"
        "    return n\n\n@wf.task\nasync def weeks(n: int) -> int:\n    total = 0\n"
        "    for i in range(n):\n        total += await week(i)\n        await wf.wait.for_('1d')\n"
        "    return total\n"
    )
    ran = command("run", str(file), "6", "--skip-waits", "--json", database=database)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["output"] == 15
    with wf.Client(database) as client:
        history = client.runs.history(told["id"])
        children = client.runs.list(parent=told["id"])
    assert history[-1].at - history[0].at >= timedelta(days=48)
    assert len(children) == 6


async def test_s52_a_token_has_an_id_and_a_timeout(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        await tasks.approval.trigger("a")
        client = wf.client()
        [token] = until(lambda: client.tokens.list())
        assert token.id.startswith("token_")
        assert token.timeout_at is not None
        assert token.timeout_at - token.created_at == timedelta(days=7)
        assert await tasks.impatient("it") == "it was not looked at"


async def test_s53_a_token_suspends_the_run_and_gives_typed_data(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        handle = await tasks.approval.trigger("a b")
        client = wf.client()
        [token] = until(lambda: client.tokens.list())
        until(lambda: client.runs.retrieve(handle.id).status is wf.Status.WAITING)
        client.tokens.complete(token.id, tasks.Decision(approved=True, by="bob").model_dump())
        assert await handle.result() == "2 words, published by bob"
        with pytest.raises(wf.AlreadyEnded):
            client.tokens.complete(token.id, {"approved": False, "by": "eve"})


async def test_s54_the_backend_completes_a_token_while_no_worker_runs(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        handle = await tasks.approval.trigger("a b")
        client = wf.client()
        [token] = until(lambda: client.tokens.list())
        until(lambda: client.runs.retrieve(handle.id).status is wf.Status.WAITING)
    done = command(
        *("tokens", "complete", token.id, '{"approved": true, "by": "carol"}'), database=database
    )
    assert done.returncode == 0, done.stderr
    async with wf.Engine(database, [tasks]):
        client = wf.client()
        run = ended(client, handle.id)
    assert run.output == "2 words, published by carol"
