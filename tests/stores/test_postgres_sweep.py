"""What claims leave behind is swept while runs go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import psycopg
import pytest

from tests.observing import until
from tests.stores.world import World
from wf.history import postgres_sweep
from wf.history.events import Status
from wf.history.open import open_store

EVERY: Final = 20
COUNTS: Final = """SELECT sum(n_tup_del)::int, sum(vacuum_count)::int FROM pg_stat_user_tables
WHERE relname IN ('ready', 'owned')"""


@pytest.fixture
def world(fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(postgres_sweep, "EVERY", EVERY)
    world = World(fresh_postgres_url, open_store(fresh_postgres_url))
    yield world
    world.close()


def sweeps(world: World, runs: int) -> int:
    """How many there are of both tables while runs are claimed and end, one by one."""
    worker = world.worker()
    for _ in range(runs):
        run_id = world.begun(worker).run.id
        worker.end(run_id)
        assert world.status(run_id) is Status.COMPLETED
    world.close()  # so that the server counts what was done
    with psycopg.connect(world.url, autocommit=True) as connection:

        def counts() -> tuple[int, int]:
            deleted, vacuums = connection.execute(COUNTS).fetchall()[0]
            return deleted, vacuums // 2

        until(lambda: counts()[0] == 2 * runs)
        return counts()[1]


def test_a_few_claims_are_not_worth_a_sweep(world: World) -> None:
    assert sweeps(world, EVERY - 1) == 0


def test_a_worker_sweeps_after_many_claims(world: World) -> None:
    assert sweeps(world, EVERY) == 1


def test_a_sweep_that_took_long_is_followed_by_a_long_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_sweep, "REST", 1_000_000)
    assert sweeps(world, 3 * EVERY) == 1


def test_a_sweep_that_fails_harms_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_sweep, "SWEEP", "VACUUM nothing")
    assert sweeps(world, 2 * EVERY) == 0
