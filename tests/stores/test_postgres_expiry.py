"""A ttl that is over in the very moment in which its run is claimed."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event as Flag
from threading import Thread
from typing import Any, cast

import pytest

from tests.stores.invariants import audit
from tests.stores.test_random_lives import Queried
from tests.stores.world import World
from wf.history import postgres_group
from wf.history.events import Status
from wf.history.open import open_store
from wf.history.postgres_pool import send

SECONDS = 20.0


@pytest.fixture
def world(fresh_postgres_url: str) -> Iterator[World]:
    world = World(fresh_postgres_url, open_store(fresh_postgres_url))
    yield world
    world.close()


class Slow:
    """A worker's commit in another thread, that stands still when it has claimed."""

    def __init__(self, worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.claimed: list[bytes] = []
        self._worker = worker
        self._has_claimed, self._go_on = Flag(), Flag()
        self._thread = Thread(target=self._work, daemon=True)
        really = postgres_group._claim  # pyright: ignore[reportPrivateUsage]

        def claim(connection: Any, group: Any, claim: Any) -> Any:
            cursors = really(connection, group, claim)
            if group.lease is worker.lease:
                send(connection, "SELECT 1").fetchall()
                self._has_claimed.set()
                assert self._go_on.wait(SECONDS)
            return cursors

        monkeypatch.setattr(postgres_group, "_claim", claim)

    def claim(self) -> None:
        self._thread.start()
        assert self._has_claimed.wait(SECONDS)

    def commit(self) -> None:
        self._go_on.set()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    def _work(self) -> None:
        self.claimed += self._worker.claim_ids()


def expiring(world: World) -> bytes:
    run_id = world.trigger(ttl_ms=1_000)
    world.skipped_ms += 2_000
    return run_id


def check(world: World, slow: Slow, run_id: bytes) -> None:
    """It has begun, and nothing of its ttl is left; or it has expired, and never began."""
    audit(cast("Queried", world.store)._query)  # pyright: ignore[reportPrivateUsage]
    has_begun = slow.claimed == [run_id]
    assert world.status(run_id) is (Status.EXECUTING if has_begun else Status.EXPIRED)


def test_a_claim_during_the_look_at_what_is_due_leaves_no_ttl_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(world.worker(store=world.another_store()), monkeypatch)
    looking = world.worker("other")
    run_id = expiring(world)
    really = postgres_group._unqueue  # pyright: ignore[reportPrivateUsage]

    def unqueue(connection: Any, run_ids: list[bytes]) -> list[bytes]:
        assert run_ids == [run_id]
        slow.claim()
        return really(connection, run_ids)

    monkeypatch.setattr(postgres_group, "_unqueue", unqueue)
    looking.claim()
    slow.commit()
    check(world, slow, run_id)


def test_a_look_at_what_is_due_leaves_a_run_that_is_being_claimed_to_its_claim(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(world.worker(store=world.another_store()), monkeypatch)
    looking = world.worker("other")
    run_id = world.trigger(ttl_ms=1_000)
    slow.claim()
    world.skipped_ms += 2_000
    looking.claim()
    slow.commit()
    check(world, slow, run_id)
    assert slow.claimed == [run_id]
