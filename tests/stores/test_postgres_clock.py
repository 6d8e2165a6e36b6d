"""The database's clock, carried on between two looks."""

from __future__ import annotations

import pytest

from wf.history.open import open_store
from wf.history.postgres_clock import CARRIED_S, STEP_S, CarriedClock


class Machine:
    """Whose clocks the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic = 5.0
        self.wall = 1_700_000_000.0
        self.database_ms = 1_700_000_123_000
        self.asked = 0
        monkeypatch.setattr("time.monotonic", lambda: self.monotonic)
        monkeypatch.setattr("time.time", lambda: self.wall)

    def ask(self) -> int:
        self.asked += 1
        return self.database_ms

    def passes(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds
        self.database_ms += int(seconds * 1_000)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_an_answer_is_carried_for_a_moment(machine: Machine) -> None:
    clock = CarriedClock(machine.ask)
    assert clock.carried() == machine.database_ms
    machine.passes(CARRIED_S / 2)
    assert clock.carried() == machine.database_ms
    assert machine.asked == 1
    machine.passes(CARRIED_S)
    assert clock.carried() == machine.database_ms
    assert machine.asked == 2


def test_who_asks_is_told_by_the_database_and_what_is_carried_is_not_behind_that(
    machine: Machine,
) -> None:
    clock = CarriedClock(machine.ask)
    clock.carried()
    machine.database_ms += 40
    told = clock.now()
    assert told == machine.database_ms
    assert clock.carried() >= told


def test_a_machine_that_was_suspended_asks_anew(machine: Machine) -> None:
    clock = CarriedClock(machine.ask)
    clock.carried()
    machine.wall += 2 * STEP_S
    machine.database_ms += 3_600_000
    assert clock.carried() == machine.database_ms


def test_runs_are_not_born_before_the_time_that_their_client_was_told(postgres_url: str) -> None:
    store = open_store(postgres_url)
    try:
        store.birth_time()
        for _ in range(20):
            told = store.now()
            assert told <= store.birth_time() <= store.now()
    finally:
        store.close()
