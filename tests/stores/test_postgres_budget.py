"""What a run of one step costs on Postgres, counted: the table in ARCHITECTURE.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from threading import current_thread, main_thread
from typing import Any, Final

import psycopg
import pytest

from tests.observing import until
from tests.stores.world import PYTHON, TASK, World, step
from wf.history.events import Status
from wf.history.model import Activation, Claim, NewRun
from wf.history.open import open_store
from wf.history.postgres_flight import Flight
from wf.history.turns import Ending

RUNS: Final = 40
ROWS: Final = {
    "runs": (1, 1, 0),
    "ready": (1, 0, 1),
    "owned": (1, 0, 1),
    "events": (2, 0, 0),
}
"""Inserted, updated and deleted, of each run."""

GROUP: Final = 500
GROUPS: Final = 8
ROOM: Final = {"runs": 295, "runs_pkey": 55, "events": 200, "events_pkey": 125}
"""Bytes of each run at most, where GROUPS of them end and one more is at work."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many statements and how many flights (round trips) have gone to the server, without those
    of other threads."""
    counts: Counter[str] = Counter()

    def count(name: str) -> None:
        method = getattr(Flight, name)

        def counted(self: Any, *args: Any, **options: Any) -> Any:
            counts[name] += current_thread() is main_thread()
            return method(self, *args, **options)

        monkeypatch.setattr(Flight, name, counted)

    count("send")
    count("together")
    return counts


@pytest.fixture
def world(fresh_postgres_url: str) -> Iterator[World]:
    world = World(fresh_postgres_url, open_store(fresh_postgres_url))
    yield world
    world.close()


def test_a_run_of_one_step_writes_eight_rows_in_few_statements(
    world: World, sent: Counter[str]
) -> None:
    store = world.store
    runs = [world.new() for _ in range(RUNS)]
    lease = world.worker().lease
    claim = Claim(RUNS, [TASK], PYTHON)
    now = world.now()

    def group(*activations: Activation) -> None:
        store.commit(lease, activations, claim, now)

    assert cost(sent, lambda: store.trigger(runs)) == (1, 1)
    assert cost(sent, group) == (9, 1)
    assert cost(sent, lambda: group(*(one_step(run, now) for run in runs))) == (12, 1)
    assert cost(sent, lambda: store.live([run.id for run in runs])) == (2, 1)
    world.close()  # so that the server counts what was done
    with psycopg.connect(world.url, autocommit=True) as connection:
        until(lambda: written(connection) == ROWS)


def test_a_trigger_with_tags_or_a_key_or_a_queue_is_a_transaction_of_more(
    world: World, sent: Counter[str]
) -> None:
    tagged = world.new(tags=["one", "two"])
    keyed = world.new(idempotency_key="once")
    queued = world.new(queue="orders")
    for run in (tagged, keyed, queued):
        assert cost(sent, lambda run=run: world.store.trigger([run])) == (5, 1)


def test_a_run_of_one_step_takes_as_much_room_as_it_needs_where_many_end_at_once(
    world: World,
) -> None:
    store, lease, now = world.store, world.worker().lease, world.now()
    ended: list[Activation] = []
    for _ in range(GROUPS + 1):
        runs = [world.new(batch_id=bytes(16)) for _ in range(GROUP)]
        store.trigger(runs)
        store.commit(lease, ended, Claim(GROUP, [TASK], PYTHON), now)
        ended = [one_step(run, now) for run in runs]
    with psycopg.connect(world.url) as connection:
        found = connection.execute("SELECT relname, pg_relation_size(oid) FROM pg_class")
        bytes_each = {name: size / GROUPS / GROUP for name, size in found if name in ROOM}
    assert {name: round(bytes_each[name]) for name in ROOM if bytes_each[name] > ROOM[name]} == {}


def one_step(run: NewRun, now: int) -> Activation:
    ending = Ending(Status.COMPLETED, b"1", None, now)
    return Activation(run.id, 1, events=[step(2)], ending=ending)


def cost(sent: Counter[str], work: Callable[[], object]) -> tuple[int, int]:
    """Statements, and flights."""
    sent.clear()
    work()
    return sent["send"], sent["together"]


def written(connection: psycopg.Connection) -> dict[str, tuple[float, ...]]:
    counts = connection.execute(
        "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables"
        " WHERE n_tup_ins > 0 AND relname NOT IN ('meta', 'workers', 'runnables')"
    )
    return {row[0]: tuple(number / RUNS for number in row[1:]) for row in counts}
