"""Real processes on real databases, killed and stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.faults.invariants import store_breaches
from tests.faults.processes import (
    ENVIRONMENT,
    Settings,
    Victim,
    alive,
    all_ended,
    rows_of,
    trigger,
    victims,
    wait_until,
)
from tests.faults.samples import (
    REGISTRY,
    SAMPLES,
    chance,
    chores,
    keyed,
    kills,
    kills_in_its_body,
    parents,
    rests,
)
from tests.faults.test_crash_everywhere import Lives, story_of
from wf.engine.core.runnable import Runnable
from wf.engine.settings import MAX_TAKEOVERS
from wf.history.events import Kind, Status
from wf.history.model import Run
from wf.history.open import open_store
from wf.history.store import Store
from wf.testing.ledger import FileLedger, breaches

LEASE_MS: Final = 1_000


def all_is_well(store: Store, ledger: Path) -> None:
    ids = [row[0] for row in rows_of(store, "SELECT id FROM runs")]
    assert store_breaches(store, REGISTRY) == []
    assert breaches(FileLedger(ledger).read(), store, ids, REGISTRY) == []


def wrong_outputs(runs: dict[bytes, Run]) -> list[Run]:
    def expected(run: Run) -> bytes:
        (number,), _ = chores.signature.decode_call(run.payload)
        return f"[{number},{5 + number % 6}]".encode()

    return [
        run
        for run in runs.values()
        if run.status is not Status.COMPLETED or run.output != expected(run)
    ]


@pytest.mark.parametrize(
    ("url", "workers", "deaths"), [("postgres", 3, 8), ("sqlite", 2, 4)], indirect=["url"]
)
def test_runs_end_though_workers_are_killed_all_the_time(
    url: str, workers: int, deaths: int, tmp_path: Path
) -> None:
    """Ten more runs before each kill, which comes at any moment while they are worked on."""
    ledger = tmp_path / "ledger"
    store = open_store(url)
    random = Random()
    settings = Settings(url, str(ledger), LEASE_MS, max_owned=6)
    run_ids: list[bytes] = []
    with victims() as start:
        crew = [start(settings) for _ in range(workers)]
        for death in range(deaths):
            run_ids += [trigger(store, chores, death * 10 + number) for number in range(10)]
            moment = time.monotonic() + random.uniform(0.0, 1.0)
            left = random.randrange(10)
            wait_until(
                "its time has come, or so many are left",
                lambda at=moment, left=left: time.monotonic() > at or len(alive(store)) <= left,
            )
            place = random.randrange(workers)
            crew[place].kill()
            crew[place] = start(settings)
        runs = all_ended(store, run_ids)
    assert wrong_outputs(runs) == []
    all_is_well(store, ledger)
    store.close()


def test_who_works_on_the_same_machine_takes_over_without_waiting_for_the_lease(
    url: str, tmp_path: Path
) -> None:
    store = open_store(url)
    settings = Settings(url, str(tmp_path / "ledger"), lease_ms=3_600_000)
    with victims() as start:
        run_id = trigger(store, rests, 3.0)
        first = start(settings)
        wait_until("it has the run", lambda: len(store.history(run_id)) > 0)
        start(settings)
        wait_until("both are there", lambda: len(store.workers(ENVIRONMENT)) == 2)
        first.kill()
        all_ended(store, [run_id])
    kinds = [event.kind for _, event in store.history(run_id)]
    assert kinds == [Kind.STARTED, Kind.TAKEN, Kind.STEP_FINISHED, Kind.ENDED]
    store.close()


# --- killed at a commit ---------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["before", "within", "after"])
@pytest.mark.parametrize("task", [parents, keyed, chance], ids=lambda task: task.id)
def test_a_process_killed_at_a_commit_changes_nothing(
    url: str, where: str, task: object, tmp_path: Path
) -> None:
    sample = next(sample for sample in SAMPLES if sample.task is task)
    _, expected = Lives().live(sample, {})
    ledger = tmp_path / "ledger"
    store = open_store(url)
    at = Random().randint(1, 7)
    with victims() as start:
        run_id = trigger(store, sample.task)
        first = start(Settings(url, str(ledger), LEASE_MS, at=at, where=where))
        wait_until("it is killed, or has ended", lambda: not first.is_alive or not alive(store))
        if not first.is_alive:
            assert first.process.returncode == -signal.SIGKILL
        start(Settings(url, str(ledger), LEASE_MS))
        all_ended(store, [run_id])
    told = story_of(store, sample)
    if sample.task is not chance:
        assert told == expected, f"killed {where} commit {at}"
    all_is_well(store, ledger)
    store.close()


# --- killed by what they run ----------------------------------------------------------------------


@pytest.mark.parametrize(("task", "how"), [(kills, "exit"), (kills_in_its_body, "segfault")])
def test_a_run_that_kills_its_workers_is_parked_and_its_neighbours_end(
    url: str, task: Runnable[..., None], how: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    store = open_store(url)
    settings = Settings(url, str(ledger), LEASE_MS, back_offs_ms=(50, 100, 150))
    with victims() as start:
        killer = trigger(store, task, how)
        short = [trigger(store, chores, number) for number in range(6)]
        long = [trigger(store, rests, 2.0) for _ in range(3)]
        crew = [start(settings) for _ in range(2)]

        def is_at_rest() -> bool:
            for place, victim in enumerate(crew):
                if not victim.is_alive:
                    crew[place] = start(settings)
            runs = store.get_runs([killer, *alive(store)]).values()
            return all(run.status.ended or run.blocked for run in runs)

        wait_until("all have ended or are parked", is_at_rest)
    run = store.get_runs([killer])[killer]
    assert run.blocked is not None
    assert run.blocked.reason == "poisoned"
    assert f"lost {MAX_TAKEOVERS} times in a row" in run.blocked.detail
    assert wrong_outputs(store.get_runs(short)) == []
    assert {one.output for one in store.get_runs(long).values()} == {b"2.0"}
    all_is_well(store, ledger)
    store.close()


# --- zombies --------------------------------------------------------------------------------------


def events(store: Store) -> list[tuple[object, ...]]:
    rows = "SELECT run_id, chapter, seq, kind, at FROM events ORDER BY run_id, chapter, seq"
    return rows_of(store, rows)


def joined(store: Store, victim: Victim) -> set[int]:
    """Its places in the store."""
    pid = victim.process.pid
    return {worker for worker, info in store.workers("dev") if info.pid == pid}


@pytest.mark.parametrize(
    ("url", "where"),
    [("postgres", "before"), ("postgres", "within"), ("sqlite", "before")],
    indirect=["url"],
)
def test_what_a_zombie_writes_is_refused(url: str, where: str, tmp_path: Path) -> None:
    """Stopped for three leases with a commit in its hands, before it or in its midst."""
    ledger, when = tmp_path / "ledger", tmp_path / "when"
    store = open_store(url)
    with victims() as start:
        zombie = start(
            Settings(url, str(ledger), LEASE_MS, when=str(when), where=where, what="STOP")
        )
        places = joined(store, zombie)
        when.touch()
        run_ids = [trigger(store, chores, number) for number in range(10)]
        wait_until("it stands still", zombie.is_stopped)
        stopped_at = time.monotonic()
        heir = start(Settings(url, str(ledger), LEASE_MS))
        all_ended(store, run_ids)
        wait_until(
            "three leases have passed", lambda: time.monotonic() > stopped_at + 3 * LEASE_MS / 1_000
        )
        before = events(store)
        assert joined(store, zombie) == set()
        zombie.go_on()
        wait_until("it has joined again", lambda: bool(joined(store, zombie)))
        assert joined(store, zombie).isdisjoint(places)
        assert events(store) == before
        heir.kill()
        after = all_ended(store, [trigger(store, chores, 1)])
        assert wrong_outputs(after) == []
    assert any(event[3] == Kind.TAKEN for event in before)
    all_is_well(store, ledger)
    store.close()
