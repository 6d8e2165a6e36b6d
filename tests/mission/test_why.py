"""`wf why`: one sentence for each way in which a run does not move, and the next command."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import wf
from tests.mission import tasks
from tests.mission.test_runs import after_edit, before_edit, engine
from tests.observing import ended, until
from tests.observing import wf as command


@wf.task
async def errand(name: str) -> str:
    raise ValueError(name)


@wf.step(retry=wf.Retry(max_attempts=2, min_delay="1h", max_delay="1h", jitter=False))
async def call_vendor() -> str:
    raise ConnectionError("the vendor is down")


@wf.task
async def vexed() -> str:
    return await call_vendor()


@wf.task
async def asleep() -> None:
    await wf.wait.for_(days=3)


@wf.task
async def asking(deadline: bool) -> str:
    return await wf.wait.for_message("answer", str, timeout="2d" if deadline else None)


@wf.task
async def above_one() -> None:
    await asleep.trigger_and_wait()


@wf.task
async def crowd() -> None:
    await asleep.batch_trigger_and_wait([None] * 5)


ALL = [errand, vexed, asleep, asking, above_one, crowd, tasks]


@pytest.fixture
def client(database: str) -> Iterator[wf.Client]:
    with wf.Client(database) as client:
        yield client


def waiting(client: wf.Client, run_id: str) -> wf.Why:
    until(lambda: client.runs.retrieve(run_id).status is wf.Status.WAITING)
    return client.runs.why(run_id)


def test_without_a_worker_it_says_who_is_missing(client: wf.Client, database: str) -> None:
    run = client.trigger(asleep)
    unknown = client.runs.why(run.id)
    assert "none in environment 'dev' has ever known the task 'asleep'" in unknown.reason
    assert unknown.next == "wf worker FILE --env dev"
    delayed = client.trigger(asleep, delay="1h")
    assert "is delayed until 2" in client.runs.why(delayed.id).reason
    assert client.runs.why(delayed.id).next == f"wf runs reschedule {delayed.id} 0s"
    with engine(database, *ALL):
        waiting(client, run.id)
    gone = client.runs.why(run.id)
    assert "waits for a timer until" in gone.reason
    assert "no live worker in environment 'dev' knows the task 'asleep'" in gone.reason
    queued = client.runs.why(client.trigger(asleep).id)
    assert queued.status is wf.Status.QUEUED
    assert "no live worker" in queued.reason


def test_it_says_for_what_a_run_waits(client: wf.Client, database: str) -> None:
    with engine(database, *ALL):
        timer = waiting(client, client.trigger(asleep).id)
        assert timer.reason.startswith("waits for a timer until ")
        message = waiting(client, client.trigger(asking, False).id)
        assert message.reason == "waits for a message 'answer'"
        assert message.next == f"wf send {message.run} answer DATA"
        either = waiting(client, client.trigger(asking, True).id)
        assert "waits for a message 'answer' and a time-out at " in either.reason
        token = waiting(client, client.trigger(tasks.approval, "a b").id)
        [made] = client.tokens.list(run=token.run)
        assert f"waits for the token {made.id}, which times out " in token.reason
        assert token.next == f"wf tokens complete {made.id} DATA"
        above = waiting(client, client.trigger(above_one).id)
        [child] = client.runs.list(parent=above.run)
        assert f"waits for the run {child.id} of asleep (" in above.reason
        assert above.next == f"wf why {child.id}"
        many = waiting(client, client.trigger(crowd).id)
        assert many.reason.count("of asleep") == 3
        assert many.reason.endswith("and 2 more")


def test_it_says_when_a_step_is_tried_again_and_why(client: wf.Client, database: str) -> None:
    with engine(database, *ALL):
        why = waiting(client, client.trigger(vexed).id)
    assert "waits for the step call-vendor to be tried again at " in why.reason
    assert "after attempt 1 failed: ConnectionError: the vendor is down" in why.reason


def test_it_says_who_is_at_work(client: wf.Client, database: str) -> None:
    with engine(database, *ALL):
        run = client.trigger(tasks.slow, 60.0)
        until(lambda: run.retrieve().status is wf.Status.EXECUTING)
        why = client.runs.why(run.id)
        run.cancel()
        ended(client, run.id)
    assert "is at work, with a step in flight since " in why.reason
    assert " in worker " in why.reason
    assert why.next == f"wf runs tail {run.id}"


def test_it_says_why_a_run_is_parked_and_how_one_ended(client: wf.Client, database: str) -> None:
    run = client.trigger("edited", 5)
    with engine(database, before_edit):
        until(lambda: run.retrieve().status is wf.Status.WAITING)
    client.runs.send(run.id, "go", "on")
    with engine(database, after_edit):
        until(lambda: run.retrieve().blocked)
    parked = client.runs.why(run.id)
    assert "is parked since " in parked.reason
    assert "nondeterminism" in parked.reason
    assert parked.next == f"wf runs unblock {run.id}"
    with engine(database, before_edit, errand):
        assert run.result("60s") == 5
        failed = client.trigger(errand, "milk")
        ended(client, failed.id)
    assert client.runs.why(run.id).reason.startswith("has ended COMPLETED at ")
    told = command("why", failed.id, database=database)
    first, second = told.stdout.splitlines()
    assert first.startswith(f"{failed.id} has ended FAILED at ")
    assert first.endswith("ValueError: milk")
    assert second == f"next: wf runs replay {failed.id}"
    as_json = json.loads(command("why", failed.id, "--json", database=database).stdout)
    assert (as_json["run"], as_json["status"]) == (failed.id, "FAILED")
    assert command("why", "run_1ChNcZzZkiVu1vfEiAEFJt", database=database).returncode == 1
