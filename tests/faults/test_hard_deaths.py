"""A worker that is short of memory, or stuck in C code: who pays for it, and what is said."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import wf
from tests.faults import hard_deaths as tasks
from tests.observing import until
from wf.engine.settings import MAX_TAKEOVERS


@pytest.fixture
def client(url: str) -> Any:
    with wf.Client(url) as client:
        yield client


def worker(client: wf.Client) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.faults.hard_deaths", client.store.url]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> str:
    """What it said, when it has ended by itself."""
    return process.communicate(timeout=60)[1]


@pytest.mark.parametrize("killer", [tasks.killed_in_its_body, tasks.killed_in_its_step])
def test_a_run_that_kills_its_worker_for_want_of_memory_is_parked_alone(
    client: wf.Client, killer: wf.Runnable[[], None]
) -> None:
    bad = client.trigger(killer)
    good = [client.trigger(tasks.modest, number) for number in range(3)]
    for _ in range(MAX_TAKEOVERS):
        with worker(client) as process:
            ended(process)
        assert process.returncode < 0
    with worker(client) as process:
        until(lambda: bad.retrieve().blocked is not None)
        assert [one.result("30s") for one in good] == [0, 1, 2]
        process.terminate()
        assert process.wait(30) == 0
    blocked = bad.retrieve().blocked
    assert blocked is not None
    assert blocked.reason == "poisoned"


@pytest.mark.parametrize("greedy", [tasks.asks_for_too_much, tasks.its_step_asks_for_too_much])
def test_where_python_is_told_of_it_the_run_fails_and_the_worker_goes_on(
    client: wf.Client, greedy: wf.Runnable[[], int]
) -> None:
    with worker(client) as process:
        with pytest.raises(wf.RunFailed, match="MemoryError"):
            client.trigger(greedy).result("60s")
        assert client.trigger(tasks.modest, 7).result("30s") == 7
        process.terminate()
        assert process.wait(30) == 0


def test_a_worker_whose_body_is_stuck_in_c_code_says_so_and_ends(client: wf.Client) -> None:
    handle = client.trigger(tasks.stuck_in_c)
    with worker(client) as process:
        said = ended(process)
    assert process.returncode == 1
    assert f"WF1012 the body of stuck-in-c {handle.id} has not awaited anything for" in said
    assert "ctypes.CDLL(None).sleep(3_600)" in said
    assert said.endswith(
        "wf: the worker ended: a body does not come back: the log tells which one\n"
    )
