"""F. Messages and restarts: S7, S48, S51, S54 by a message, and runs that never end."""

from __future__ import annotations

import json
from collections import Counter

import wf
from tests.mission import messaging as tasks
from tests.observing import ended, until
from tests.observing import wf as command


async def test_s7_a_run_waits_for_a_person_and_goes_on_with_what_is_said(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        handle = await tasks.review.trigger("draft")
        until(lambda: wf.client().runs.retrieve(handle.id).status is wf.Status.WAITING)
        await handle.send("verdict", "publish")
        assert await handle.result() == "draft: publish"


def test_s54_the_message_comes_from_another_process_while_no_worker_is_there(database: str) -> None:
    with wf.Client(database) as client:
        handle = client.trigger(tasks.review, "draft")
        sent = command("send", handle.id, "verdict", "later", database=database)
        assert sent.stdout == f"{handle.id} verdict sent\n", sent.stderr
        engine = wf.Engine(database, [tasks])
        engine.start_now()
        assert handle.result("30s") == "draft: later"
        engine.stop_now()
        again = command("send", handle.id, "verdict", "too late", database=database)
    assert again.returncode == 1
    assert "has ended: it takes no more messages" in again.stderr


async def test_s54_a_step_of_another_run_sends(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        handle = await tasks.review.trigger("draft")
        await tasks.editor.trigger_and_wait(handle.id)
        assert await handle.result() == "draft: asked for"


def test_s51_nobody_sends_for_a_day_and_the_run_goes_on_without(database: str) -> None:
    ran = command(
        *("run", f"{tasks.__file__}:review", "draft", "--skip-waits", "--json"), database=database
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["output"] == "draft: nobody looked"


async def test_s48_what_a_run_does_not_wait_for_does_not_wake_it(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        handle = await tasks.review.trigger("draft")
        until(lambda: wf.client().runs.retrieve(handle.id).status is wf.Status.WAITING)
        before = wf.client().runs.history(handle.id)
        for number in range(200):
            wf.client().runs.send(handle.id, "noise", number)
        assert wf.client().runs.history(handle.id) == before
        await handle.send("verdict", "quiet")
        assert await handle.result() == "draft: quiet"
        kinds = Counter(one.kind for one in wf.client().runs.history(handle.id))
    assert kinds == {"STARTED": 1, "MESSAGE_AWAITED": 1, "MESSAGE_RECEIVED": 1, "ENDED": 1}


RESTARTS = 1_000
KEPT = 11
"""Chapters that are kept of a run beside the first: the last ten, and the one that it is in."""


async def test_a_run_restarts_a_thousand_times_and_loses_nothing(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        client = wf.client()
        handle = await tasks.account.trigger(tasks.Account(until=RESTARTS + 1))
        for number in range(RESTARTS // 2):
            client.runs.send(handle.id, "change", {"cents": number})
        until(lambda: len(client.runs.history(handle.id)) > 0)
        for number in range(RESTARTS // 2, RESTARTS + 1):
            client.runs.send(handle.id, "change", {"cents": number})
        run = ended(client, handle.id)
        history = client.runs.history(handle.id)
    assert run.output == {
        "cents": sum(range(RESTARTS + 1)),
        "changes": RESTARTS + 1,
        "until": RESTARTS + 1,
    }
    kept = range(RESTARTS + 2 - KEPT, RESTARTS + 2)
    assert {one.chapter for one in history} == {1, *kept}
    assert len(history) <= 4 * (1 + KEPT)


async def test_a_restarted_run_is_the_same_run(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        handle = await tasks.account.trigger(tasks.Account(until=3), tags=["acme"])
        for cents in (5, 6):
            await handle.send("change", {"cents": cents})
        await handle.send("change", {"cents": 7})
        assert (await handle.result()).cents == 18
        run = wf.client().runs.retrieve(handle.id)
    assert (run.id, run.tags, run.status) == (handle.id, ("acme",), wf.Status.COMPLETED)
