"""Worker processes of a test, and waiting for what they do."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from threading import Event
from typing import Any, Final

from tests.faults.victim import Settings
from tests.warm import Fork
from wf.engine.core.runnable import Runnable
from wf.engine.core.runs import new_run
from wf.history.ids import new_id
from wf.history.model import Run
from wf.history.store import Store

ENVIRONMENT: Final = "dev"
LOOK_SECONDS: Final = 0.05
IMPORTED: Final = ("wf.history", "wf.engine", "tests.faults.samples")
"""What a victim needs, before it is one."""
PATIENCE_SECONDS: Final = 90.0
"""Far more than anything here takes on a machine that others use, too."""


def wait_until(what: str, is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Look again and again. Raises AssertionError with `what` after so long."""
    deadline = time.monotonic() + seconds
    never = Event()
    while not is_so():
        assert time.monotonic() < deadline, f"not after {seconds} s: {what}"
        never.wait(LOOK_SECONDS)


class Victim:
    """A worker in a process of its own, that is at work when this is made."""

    def __init__(self, settings: Settings) -> None:
        self.process = Fork("tests.faults.victim", [settings.encode()], IMPORTED)
        self.process.stdout.readline()

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def is_stopped(self) -> bool:
        with open(f"/proc/{self.process.pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] == "T"

    def close(self) -> None:
        if self.is_alive:
            self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


@contextmanager
def victims() -> Generator[Callable[[Settings], Victim]]:
    """Starts victims; in the end none is left."""
    started: list[Victim] = []

    def start(settings: Settings) -> Victim:
        started.append(Victim(settings))
        return started[-1]

    try:
        yield start
    finally:
        for victim in started:
            victim.close()


def trigger(store: Store, task: Runnable[..., Any], payload: object = None) -> bytes:
    now = store.now()
    encoded = task.signature.encode_payload(payload)
    run = new_run(new_id(now), task.id, encoded, {}, environment=ENVIRONMENT, now=now)
    return store.trigger([run])[0][0]


def alive(store: Store) -> list[bytes]:
    return [row[0] for row in rows_of(store, "SELECT id FROM runs WHERE status = 0")]


def rows_of(store: Any, sql: str) -> list[tuple[Any, ...]]:
    return store._query(sql, ())


def all_ended(store: Store, run_ids: Iterable[bytes]) -> dict[bytes, Run]:
    """Wait until these runs and all others have ended."""
    wait_until("all runs have ended", lambda: not alive(store))
    runs = store.get_runs(list(run_ids))
    assert all(run.status.ended for run in runs.values())
    return runs
