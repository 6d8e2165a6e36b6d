"""Which workers of this machine have ended is told by the kernel, not by clocks."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.observing import until
from wf.engine import machine
from wf.history.model import WorkerInfo


def mine(pid: int, host: str = "") -> WorkerInfo:
    return WorkerInfo(host or machine.this_host(), pid)


def host_of(pid: int) -> str:
    """What the process of that pid would write as its host."""
    return f"{machine.this_host().rpartition('.')[0]}.{machine.started(pid)}"


def test_a_process_that_lives_has_not_ended() -> None:
    assert machine.ended([(1, mine(os.getpid()))]) == []


def test_a_process_that_was_killed_has_ended_before_anybody_reaps_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        info = mine(child.pid, host_of(child.pid))
        assert machine.ended([(1, info)]) == []
        child.kill()
        until(lambda: machine.ended([(1, info)]) == [1])
    finally:
        child.communicate()
    assert machine.ended([(1, info)]) == [1]


def test_another_process_under_the_same_pid_is_another_one() -> None:
    before = machine.this_host().rpartition(".")[0]
    assert machine.ended([(1, mine(os.getpid(), f"{before}.1"))]) == [1]


def test_nothing_is_said_of_other_machines_or_containers() -> None:
    name = machine.this_host().partition("@")[0]
    for host in ("", name, f"{name}@000000000000.1", "elsewhere@0.0"):
        assert machine.ended([(1, WorkerInfo(host, 999_999_999))]) == []
