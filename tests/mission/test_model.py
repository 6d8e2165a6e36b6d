"""A. Model: S2, S3, S4, S7, S10."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wf
from tests.mission import tasks
from tests.observing import ended, until
from tests.observing import wf as command


async def test_s2_one_import_gives_queue_workers_retries_and_observability(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        handle = await tasks.uses_flaky.trigger(2, tags=["user:7"])
        assert await handle.result() == 3
    with wf.Client(database) as client:
        run = client.runs.retrieve(handle.id)
        kinds = [event.kind for event in client.runs.history(handle.id)]
    assert (run.status, run.tags, run.output) == (wf.Status.COMPLETED, ("user:7",), 3)
    assert kinds == [
        "STARTED",
        "STEP_ATTEMPT_FAILED",
        "STEP_ATTEMPT_FAILED",
        "STEP_FINISHED",
        "ENDED",
    ]


async def test_s3_only_max_duration_bounds_a_run_and_waits_do_not_count(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        quick = await tasks.bounded.trigger(0.0)
        stuck = await tasks.bounded.trigger(60.0)
        with pytest.raises(wf.RunTimedOut):
            await stuck.result()
        assert await quick.result() == "done"


def test_s3_no_other_time_limit_ends_a_run(database: str) -> None:
    ran = command("run", f"{tasks.__file__}:patient", "400", "--skip-waits", database=database)
    assert (ran.stdout.strip(), ran.returncode) == ("400", 0), ran.stderr


def test_s4_a_killed_worker_loses_no_run(database: str, tmp_path: Path) -> None:
    ledger, marker = tmp_path / "ledger", tmp_path / "marker"
    client = wf.Client(database)
    handle = client.trigger(tasks.crashing, str(marker))
    environment = {**os.environ, "WF_LEDGER": str(ledger)}
    worker = [sys.executable, "-m", "wf.cli", "worker", tasks.__file__, "--db", database]
    with subprocess.Popen(worker, env=environment) as first:
        assert first.wait(60) == -9
    with subprocess.Popen(worker, env=environment) as second:
        try:
            assert handle.result("60s") == ["first to a@x", "survived"]
        finally:
            second.terminate()
    client.close()
    assert ledger.read_text().split("\n") == ["first to a@x", "die_once", "die_once", ""]


async def test_s7_a_run_pauses_for_a_person_and_goes_on(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        handle = await tasks.approval.trigger("three little words")
        client = wf.client()
        [token] = until(lambda: client.tokens.list(status="WAITING"))
        assert client.runs.retrieve(handle.id).status in (
            wf.Status.WAITING,
            wf.Status.EXECUTING,
        )
        client.tokens.complete(token.id, {"approved": True, "by": "ann"})
        assert await handle.result() == "3 words, published by ann"


async def test_s10_a_run_is_resumed_retried_and_observed_from_what_is_stored(database: str) -> None:
    user = tasks.User(user_id="1", email="a@x")
    async with wf.Engine(database, [tasks]):
        handle = await tasks.short_wait.trigger(user)
        until(lambda: len(wf.client().runs.history(handle.id)) >= 2)
    with wf.Client(database) as client:
        before = client.runs.retrieve(handle.id)
        assert before.status in (wf.Status.WAITING, wf.Status.QUEUED)
        assert [event.kind for event in client.runs.history(handle.id)][:2] == [
            "STARTED",
            "STEP_FINISHED",
        ]
    async with wf.Engine(database, [tasks]):
        client = wf.client()
        run = ended(client, handle.id)
    assert run.output == "before to a@x, after to a@x"
