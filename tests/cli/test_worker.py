"""`wf worker`: signals, and several processes under one supervisor."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.cli.terminal import PROGRAMS, Process, Terminal
from tests.observing import ended, until
from wf import Client

SHIFT = str(PROGRAMS / "shift.py")
PAYLOADS = str(PROGRAMS / "payloads.py")


def ledger_of(terminal: Terminal) -> str:
    return str(terminal.folder / "ledger.txt")


def test_a_worker_works_on_the_tasks_of_several_files(terminal: Terminal, database: str) -> None:
    client = Client(database)
    ledger = ledger_of(terminal)
    one = client.trigger("shift", {"ledger": ledger, "number": 1})
    two = client.trigger("nothing")
    with terminal.start("worker", SHIFT, PAYLOADS, "--db", database) as process:
        assert one.result("60s") == process.child.pid
        assert two.result("60s") == "nothing"
        process.signal(signal.SIGTERM)
        done = process.end()
    assert done.code == 0
    assert "has stopped" in done.err
    assert client.store.workers("dev") == []
    client.close()


def holding(terminal: Terminal, process: Process) -> None:
    until(lambda: Path(ledger_of(terminal)).exists() and "held" in process_ledger(terminal))


def process_ledger(terminal: Terminal) -> str:
    return Path(ledger_of(terminal)).read_text()


def test_sigterm_lets_steps_end(terminal: Terminal, database: str) -> None:
    client = Client(database)
    ledger = ledger_of(terminal)
    run = client.trigger("long-shift", ledger)
    with terminal.start("worker", SHIFT, "--db", database) as process:
        holding(terminal, process)
        process.signal(signal.SIGTERM)
        process.says("stops: at most 10 s")
        Path(f"{ledger}.go").touch()
        assert process.end().code == 0
    events = client.runs.history(run.id)
    assert "STEP_FINISHED" in [event.kind for event in events]
    client.close()


def test_sigterm_twice_stops_at_once_and_hands_over(terminal: Terminal, database: str) -> None:
    client = Client(database)
    ledger = ledger_of(terminal)
    run = client.trigger("long-shift", ledger)
    with terminal.start("worker", SHIFT, "--db", database) as process:
        holding(terminal, process)
        process.signal(signal.SIGTERM)
        process.says("stops")
        begun = time.monotonic()
        process.signal(signal.SIGTERM)
        assert process.end().code == 143
    assert time.monotonic() - begun < 5
    assert not client.runs.retrieve(run.id).status.ended
    Path(f"{ledger}.go").touch()
    with terminal.start("worker", SHIFT, "--db", database):
        assert run.result("8s") == "let go"
    client.close()


def workers_of(process: Process) -> list[int]:
    alive: list[int] = []
    for child in psutil.Process(process.child.pid).children():
        with suppress(psutil.NoSuchProcess):  # it went while this looks
            if child.status() != psutil.STATUS_ZOMBIE:
                alive.append(child.pid)
    return alive


def pids(client: Client) -> set[int]:
    """Of the workers that the store knows."""
    return {info.pid for _, info in client.store.workers("dev")}


def test_a_supervisor_keeps_so_many_processes_alive(terminal: Terminal, database: str) -> None:
    client = Client(database)
    ledger = ledger_of(terminal)
    with terminal.start("worker", SHIFT, "--processes", "2", "--db", database) as process:
        until(lambda: len(client.store.workers("dev")) == 2)
        first = workers_of(process)
        assert pids(client) == set(first)
        os.kill(first[0], signal.SIGKILL)
        until(lambda: len(set(workers_of(process)) | set(first)) == 3)
        assert re.search(r"ended \(signal SIGKILL\): another one starts in 0\.1 s", process.text)
        runs = [client.trigger("shift", {"ledger": ledger, "number": n}) for n in range(20)]
        assert {run.result("60s") for run in runs} <= set(workers_of(process))
        until(lambda: pids(client) == set(workers_of(process)))
        process.signal(signal.SIGTERM)
        assert process.end().code == 0
    assert client.store.workers("dev") == []
    client.close()


def test_a_step_that_kills_its_process_is_tried_again_at_once(
    terminal: Terminal, database: str
) -> None:
    client = Client(database)
    with terminal.start("worker", SHIFT, "--processes", "2", "--db", database) as process:
        until(lambda: len(client.store.workers("dev")) == 2)
        begun = time.monotonic()
        run = client.trigger("dies-once", ledger_of(terminal))
        assert ended(client, run.id).output == "survived"
        assert time.monotonic() - begun < 8, "it waited for the lease"
        process.signal(signal.SIGTERM)
        process.end().ok()
    client.close()


def test_workers_stop_when_their_supervisor_is_killed(terminal: Terminal) -> None:
    database = f"sqlite:///{terminal.folder}/wf.db"
    client = Client(database)
    with terminal.start("worker", SHIFT, "--processes", "2", "--db", database) as process:
        until(lambda: len(client.store.workers("dev")) == 2)
        pids = workers_of(process)
        process.kill()
        until(lambda: client.store.workers("dev") == [])
        until(lambda: not any(psutil.pid_exists(pid) and is_alive(pid) for pid in pids))
    client.close()


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_worker_that_cannot_start_says_why_in_one_line(terminal: Terminal) -> None:
    Client(f"sqlite:///{terminal.folder}/wf.db").close()
    db = ("--db", "wf.db")
    broken = terminal.write("broken.py", "import no_such_thing\n")
    for more in ((), ("--processes", "2")):
        assert (
            "broken.py:1: ModuleNotFoundError"
            in terminal.wf("worker", broken, *more, *db).refused()
        )
        assert "no file nope.py" in terminal.wf("worker", "nope.py", *more, *db).refused()
    empty = terminal.write("empty.py", "")
    assert "no task in empty.py" in terminal.wf("worker", empty, *db).refused()
