"""A scheduler is lost before and after every write, or has no answer: each slot fires once."""

from __future__ import annotations

from typing import Final

import pytest

from tests.faults.clockwork import knock, knocks, slot_breaches
from tests.faults.invariants import store_breaches
from wf.engine.registry import Registry
from wf.engine.scheduler import LOOK_MS, Scheduler
from wf.history.errors import StoreUnavailable
from wf.history.events import Status
from wf.testing.cuts import Cuts, How
from wf.testing.ledger import using
from wf.testing.watched import Cut, WatchedStore
from wf.testing.world import ENVIRONMENT, World

REGISTRY: Final = Registry([knock, knocks])
MINUTE_MS: Final = 60_000
MINUTES: Final = 13
"""Slots that wait, are skipped, and take the place of others."""
POINTS: Final = 3
"""Cuts of each kind, spread over the writes; the mill tries more."""


class Clockwork:
    """A world with two schedulers, of which each is replaced where it is lost."""

    def __init__(self, at: dict[int, How]) -> None:
        self.door = Cuts(at)
        self.world = World("", REGISTRY)
        self.schedulers = [self.scheduler(), self.scheduler()]

    def scheduler(self) -> Scheduler:
        store = WatchedStore(self.world.store, self.door)
        return Scheduler(store, REGISTRY, ENVIRONMENT, self.world.clock)

    def tick(self, place: int) -> bool:
        try:
            return self.schedulers[place].tick()
        except StoreUnavailable:
            return True
        except Cut:
            self.schedulers[place] = self.scheduler()
            return True

    def next_look(self) -> int:
        """When a scheduler has something to do. Each looks once a second."""
        due = self.world.store.next_schedule_at(ENVIRONMENT, REGISTRY.ids) or 0
        return max(due, self.world.clock.now() + LOOK_MS)

    def live(self) -> list[tuple[str, str]]:
        """What became of each run, after MINUTES from a full hour on."""
        world, clock = self.world, self.world.clock
        clock.advance_to(-(-clock.now() // (60 * MINUTE_MS)) * 60 * MINUTE_MS - 1)
        with using(world.ledger):
            world.start()
            until = clock.now() + MINUTES * MINUTE_MS
            while clock.now() < until:
                while self.tick(0) or self.tick(1):
                    pass
                world.settle()
                clock.advance_to(min(until, world.next_event(), self.next_look()))
        assert slot_breaches(world.store, ENVIRONMENT) == []
        assert store_breaches(world.store, REGISTRY) == []
        runs = [run for run in world.runs() if run.schedule_id is not None]
        return sorted((run.payload.decode(), run.status.value) for run in runs)


def lived(at: dict[int, How]) -> tuple[int, list[tuple[str, str]]]:
    clockwork = Clockwork(at)
    try:
        runs = clockwork.live()
        return clockwork.door.writes, runs
    finally:
        clockwork.world.close()


@pytest.mark.parametrize("how", How, ids=[how.name for how in How])
def test_a_cut_at_any_write_of_a_scheduler_changes_no_slot(how: How) -> None:
    writes, expected = lived({})
    assert writes > 8
    assert {status for _, status in expected} >= {Status.COMPLETED, Status.CANCELED}
    first = list(How).index(how) + 1
    for number in range(first, writes + 1, writes // POINTS):
        _, runs = lived({number: how})
        assert runs == expected, f"cut at write {number} of {writes}: {how.value}"
