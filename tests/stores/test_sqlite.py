"""What is true of a SQLite file only: locks, checkpoints, a full disk, several processes."""

from __future__ import annotations

import fcntl
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.stores.world import at_once
from wf.history import sqlite_database
from wf.history.errors import BadURL, StoreUnavailable
from wf.history.events import Status
from wf.history.ids import new_id
from wf.history.model import Activation, Claim, NewRun, RunFilter, WorkerInfo
from wf.history.open import open_store
from wf.history.sqlite import SQLiteStore
from wf.history.turns import Ending

WORK = """
import sys
from wf.history.events import Event, Kind, Status
from wf.history.open import open_store
from wf.history.ids import new_id
from wf.history.model import Activation, Claim, NewRun, WorkerInfo
from wf.history.turns import Ending
store = open_store(sys.argv[1])
now = store.now
lease = store.join("dev", WorkerInfo(tasks=["t"], code="c"))
for _ in range(20):
    store.trigger([NewRun(new_id(now()), "dev", "t", b"null", created_at=now()) for _ in range(5)])
    claimed = store.commit(lease, [], Claim(7, ["t"], "3.11"), now()).claimed
    store.commit(lease, [
        Activation(c.run.id, 1, ending=Ending(Status.COMPLETED, b"1", None, now()))
        for c in claimed
    ], None, now())
while claimed := store.commit(lease, [], Claim(50, ["t"], "3.11"), now()).claimed:
    store.commit(lease, [
        Activation(c.run.id, 1, ending=Ending(Status.COMPLETED, b"1", None, now()))
        for c in claimed
    ], None, now())
store.leave(lease, now())
store.close()
"""
ENDLESS = """
import sys
from wf.history.ids import new_id
from wf.history.open import open_store
from wf.history.model import NewRun
store = open_store(sys.argv[1])
while True:
    runs = [NewRun(new_id(1), "dev", "t", b"null", created_at=1) for _ in range(3)]
    store.trigger(runs)
    print(*(run.id.hex() for run in runs), flush=True)
"""
FORK = """
import os, sys
from wf.history.open import open_store
from wf.history.model import NewRun
store = open_store(sys.argv[1])
def trigger(n):
    store.trigger([NewRun(bytes([n]) * 16, "dev", "t", b"null", created_at=1)])
trigger(1)
store.get_runs([bytes(16)])
child = os.fork()
if child == 0:
    trigger(2)
    assert len(store.get_runs([bytes([n]) * 16 for n in (1, 2)])) == 2
    store.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
trigger(3)
assert len(store.get_runs([bytes([n]) * 16 for n in (1, 2, 3)])) == 3
store.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wf.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path, busy_timeout_ms=50)
    yield store
    store.close()


def runs(count: int = 1, payload: bytes = b"null") -> list[NewRun]:
    return [NewRun(new_id(1), "dev", "t", payload, created_at=1) for _ in range(count)]


def check(path: Path) -> None:
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


def wal_pages(path: Path) -> int:
    wal = Path(f"{path}-wal")
    return wal.stat().st_size // 4_096


def test_what_is_committed_survives_a_power_cut(store: SQLiteStore) -> None:
    with store.database.write() as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"


def test_a_file_that_is_locked_is_an_error_that_says_so(store: SQLiteStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="is locked by another process") as caught:
        store.trigger(runs())
    assert not caught.value.outcome_unknown
    assert store.list_runs(RunFilter("dev")) == [], "reading does not wait for who writes"
    other.execute("ROLLBACK")
    other.close()
    store.trigger(runs())


def test_a_full_disk_is_an_error_and_nothing_is_half_written(
    store: SQLiteStore, path: Path
) -> None:
    store.trigger(runs())
    with store.database.write() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable, match="the disk is full: make room"):
        store.trigger(runs(50, b"x" * 10_000))
    assert len(store.list_runs(RunFilter("dev"))) == 1
    with store.database.write() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    store.trigger(runs(50, b"x" * 10_000))
    check(path)


def test_a_group_that_cannot_be_written_leaves_the_worker_where_it_was(
    store: SQLiteStore,
) -> None:
    store.trigger(runs())
    lease = store.join("dev", WorkerInfo(tasks=["t"]))
    (claimed,) = store.commit(lease, [], Claim(9, ["t"], "3.11"), 5).claimed
    end = Ending(Status.COMPLETED, b"1", None, 5)
    children = [Activation(claimed.run.id, 1, children=runs(50, b"x" * 10_000), ending=end)]
    with store.database.write() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable):
        store.commit(lease, children, None, 6)
    assert not store.landed(lease)
    with store.database.write() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    store.commit(lease, children, None, 7)
    assert store.get_runs([claimed.run.id])[claimed.run.id].status is Status.COMPLETED


def test_damage_is_an_error_that_says_so(store: SQLiteStore, path: Path) -> None:
    store.trigger(runs(200))
    store.close()
    content = bytearray(path.read_bytes())
    content[4_096:] = b"\xff" * (len(content) - 4_096)
    path.write_bytes(content)
    with pytest.raises(BadURL, match="is damaged"):
        SQLiteStore(path)


def test_a_closed_store_says_so(store: SQLiteStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="is closed"):
        store.trigger(runs())
    with pytest.raises(StoreUnavailable, match="is closed"):
        store.get_runs([bytes(16)])


def test_only_who_holds_the_lock_checkpoints(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_database, "CHECKPOINT_PAGES", 20)
    store = SQLiteStore(path, busy_timeout_ms=50)
    with Path(f"{path}.checkpoint").open("a") as duty:
        fcntl.flock(duty, fcntl.LOCK_EX)
        before = path.stat().st_size
        store.trigger(runs(300, b"x" * 1_000))
        store.trigger(runs())
        assert path.stat().st_size == before, "somebody else's duty"
        assert wal_pages(path) > 20
    store.trigger(runs())
    assert path.stat().st_size > before, "taken over as soon as the lock is free"
    pages = wal_pages(path)
    for _ in range(50):
        store.trigger(runs())
    assert wal_pages(path) == pages, "the WAL is used again from its start"
    with Path(f"{path}.checkpoint").open("a") as duty:
        fcntl.flock(duty, fcntl.LOCK_EX | fcntl.LOCK_NB)
    store.close()


def test_the_last_to_close_leaves_one_file(path: Path) -> None:
    first, second = SQLiteStore(path), SQLiteStore(path)
    first.trigger(runs())
    first.close()
    assert wal_pages(path) > 0
    second.get_runs([bytes(16)])
    second.close()
    assert not Path(f"{path}-wal").exists()
    check(path)


def test_time_and_chance_are_given_from_outside(path: Path) -> None:
    now = 1_000
    store = SQLiteStore(path, clock=lambda: now, random=random.Random(7))
    lease = store.join("dev", WorkerInfo(tasks=["t"]))
    assert lease.worker == random.Random(7).getrandbits(63)
    now = 5_000
    assert store.now() == 5_000
    assert store.take_over(0, 4_000) == []
    now = 5_001
    assert store.take_over(0, 4_000) == [lease.worker]
    store.close()


def test_threads_share_a_store(store: SQLiteStore) -> None:
    def work() -> None:
        for _ in range(20):
            made = runs(3)
            store.trigger(made)
            assert len(store.get_runs([run.id for run in made])) == 3

    at_once(*[work] * 6)
    assert len(store.list_runs(RunFilter("dev", limit=1_000))) == 360


def test_processes_that_make_the_same_file_at_once_make_one_store(path: Path) -> None:
    program = "import sys; from wf.history.open import open_store; open_store(sys.argv[1]).close()"
    command = [sys.executable, "-c", program, str(path)]
    started = [subprocess.Popen(command) for _ in range(6)]
    assert [process.wait() for process in started] == [0] * 6
    check(path)
    assert open_store(str(path), create=False).close() is None


def test_processes_share_a_file_and_every_run_ends_once(path: Path) -> None:
    command = [sys.executable, "-c", WORK, str(path)]
    started = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    check(path)
    store = SQLiteStore(path)
    ended = store.list_runs(RunFilter("dev", limit=1_000))
    assert len(ended) == 400
    assert {run.status for run in ended} == {Status.COMPLETED}
    assert all(len(store.history(run.id)) == 2 for run in ended)
    store.close()


@pytest.mark.parametrize("acknowledged", [1, 7, 40])
def test_a_process_that_is_killed_loses_nothing_that_it_was_told(
    path: Path, acknowledged: int
) -> None:
    command = [sys.executable, "-c", ENDLESS, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledged)]
        process.send_signal(signal.SIGKILL)
        lines += [line for line in process.stdout if line.endswith("\n")]
    check(path)
    store = SQLiteStore(path)
    ids = [bytes.fromhex(word) for line in lines for word in line.split()]
    assert len(ids) >= 3 * acknowledged
    assert set(store.get_runs(ids)) == set(ids)
    assert len(store.list_runs(RunFilter("dev", limit=1_000))) % 3 == 0, "batches are whole"
    store.trigger(runs())
    store.close()


def test_a_fork_does_not_use_the_connections_of_its_parent(path: Path) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK, str(path)], check=True)
    check(path)


def test_stores_in_threads_claim_each_run_once(path: Path) -> None:
    first = SQLiteStore(path)
    first.trigger(runs(200))
    stores = [SQLiteStore(path) for _ in range(3)]

    def claim(store: SQLiteStore) -> list[bytes]:
        lease = store.join("dev", WorkerInfo(tasks=["t"]))
        got: list[bytes] = []
        while claimed := store.commit(lease, [], Claim(7, ["t"], "3.11"), store.now()).claimed:
            got += [each.run.id for each in claimed]
        return got

    got = [run for claimed in at_once(*(partial(claim, s) for s in stores)) for run in claimed]
    assert len(got) == len(set(got)) == 200
    for each in (first, *stores):
        each.close()
    assert not Path(f"{path}-wal").exists()


def test_a_scrub_leaves_no_trace_of_what_was_removed(store: SQLiteStore, path: Path) -> None:
    """Neither where SQLite itself does not overwrite what is deleted."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA secure_delete = OFF")
    row = (
        "INSERT INTO blobs (owner, reference, data) VALUES (?, ?, ?)",
        (b"1", b"1", b"a trace " * 500),
    )
    other.execute(*row)
    other.execute("DELETE FROM blobs")
    assert files_with("a trace", path)
    now = store.now()
    kept = NewRun(new_id(now), "dev", "t", b"null", created_at=now)
    store.trigger([kept])
    store.scrub()
    assert files_with("a trace", path) == []
    assert list(store.get_runs([kept.id])) == [kept.id]
    other.close()


def files_with(text: str, path: Path) -> list[str]:
    """In a process of its own: closing the file in this one would drop SQLite's locks on it."""
    files = [path, *path.parent.glob(f"{path.name}-*")]
    looked = subprocess.run(["grep", "-l", "-a", text, *files], capture_output=True, check=False)
    assert looked.returncode < 2, looked.stderr
    return looked.stdout.decode().splitlines()
