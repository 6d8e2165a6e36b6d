"""A worker process that is killed, stopped and continued: `python -m tests.faults.victim SETTINGS`.

SETTINGS is JSON, see `Settings`. It works until its standard input is closed. At a commit that
writes something it may do to itself what no test could do to it at that point from outside.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.faults.samples import REGISTRY
from wf.engine.engine import Engine
from wf.engine.settings import BACK_OFFS_MS, WorkerSettings
from wf.history import postgres_group, sqlite
from wf.history.model import Activation, Claim, Committed, Lease
from wf.history.open import open_store
from wf.history.postgres_pool import send
from wf.history.store import Meanwhile, nothing
from wf.testing.ledger import FileLedger, using
from wf.testing.watched import WatchedStore

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """`at`: the number of the commit with activations at which it happens (0: never); or the file
    `when` is there, then at the next one. `where`: before, within or after that commit. `what`:
    KILL or STOP."""

    url: str
    ledger: str
    lease_ms: int = 1_000
    at: int = 0
    when: str = ""
    where: str = "before"
    what: str = "KILL"
    max_owned: int = 1_000
    back_offs_ms: tuple[int, ...] = BACK_OFFS_MS

    def encode(self) -> str:
        return json.dumps(asdict(self))


class Fate:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.commits = 0
        self.has_come = False

    def counts(self) -> None:
        """A commit that writes begins."""
        self.commits += 1
        when = Path(self.settings.when) if self.settings.when else None
        self.has_come = self.commits == self.settings.at
        if when is not None and when.exists():
            when.unlink()
            self.has_come = True

    def strikes(self, where: str) -> None:
        if self.has_come and self.settings.where == where:
            self.has_come = False
            # To this thread: it must not go on for a moment.
            signal.pthread_kill(threading.get_ident(), getattr(signal, f"SIG{self.settings.what}"))


class DoomedStore(WatchedStore):
    fate: Fate

    def commit(
        self,
        lease: Lease,
        activations: Any,
        claim: Claim | None,
        now: int,
        meanwhile: Meanwhile = nothing,
    ) -> Committed:
        if activations:
            self.fate.counts()
            self.fate.strikes("before")
        answer = super().commit(lease, activations, claim, now, meanwhile)
        self.fate.strikes("after")
        return answer


def strike_within(fate: Fate) -> None:
    """Between the statements of a group: what was sent so far has reached the server."""
    in_postgres = postgres_group._activations  # pyright: ignore[reportPrivateUsage]
    in_sqlite = sqlite.write_group

    def on_postgres(connection: Any, group: Any, activations: list[Activation]) -> bool:
        told = in_postgres(connection, group, activations)
        send(connection, "SELECT 1").fetchall()
        fate.strikes("within")
        return told

    def on_sqlite(tx: Any, lease: Lease, activations: Any) -> None:
        in_sqlite(tx, lease, activations)
        fate.strikes("within")

    postgres_group._activations = on_postgres  # pyright: ignore[reportPrivateUsage]
    sqlite.write_group = on_sqlite


def straight(name: str, call: Callable[[], T]) -> T:
    return call()


def main(settings: Settings) -> None:
    fate = Fate(settings)
    strike_within(fate)
    store = DoomedStore(open_store(settings.url), straight)
    store.fate = fate
    worker = WorkerSettings(
        environment="dev",
        lease_ms=settings.lease_ms,
        poll_ms=200,
        max_owned=settings.max_owned,
        back_offs_ms=settings.back_offs_ms,
    )
    with using(FileLedger(settings.ledger)):
        engine = Engine(tasks=list(REGISTRY), environment="dev", store=store, settings=worker)
        engine.start_now()
        print("ready", flush=True)
        sys.stdin.read()
        engine.stop_now(2)


if __name__ == "__main__":
    main(Settings(**json.loads(sys.argv[1])))
