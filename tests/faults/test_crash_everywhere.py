"""A process is lost before and after every write of the store, and the run goes on as if not.

Every sample is run once in peace; its writes are counted. Then it is run once for every write and
every kind of cut: the process is lost before it, or after it (it has happened, nobody knows), or it
lives on and only the answer is lost (at every other write). What comes of it must be the same.
Of writes in a row that change nothing (a worker looks each second) only the first is cut.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from tests.faults.invariants import store_breaches
from tests.faults.samples import ANY, REGISTRY, SAMPLES, Sample
from tests.postgres_server import empty_database
from wf.history.ends import ends_of
from wf.history.errors import StoreUnavailable
from wf.history.events import Event, Kind, Status
from wf.history.schema import schema
from wf.testing.cuts import Cuts, How
from wf.testing.ledger import breaches, using
from wf.testing.watched import Cut
from wf.testing.world import World

T = TypeVar("T")

PLACES: Final = {
    How.LOST_BEFORE: (1, 1),
    How.LOST_AFTER: (1, 1),
    How.UNKNOWN_NOT_DONE: (1, 2),
    How.UNKNOWN_DONE: (2, 2),
}
"""The first write that is cut so, and how many from one to the next."""
MOST_PAIRS: Final = 50
"""Of cuts, spread evenly over all there are."""
POSTGRES_POINTS: Final = 2
"""Cuts of each kind and sample on Postgres, spread over its writes."""


class Peace(Cuts):
    """No cut, but `places`: the numbers of the writes that are worth one."""

    def __init__(self) -> None:
        super().__init__({})
        self.places: list[int] = []
        self.look: Callable[[], object] = lambda: None
        self._seen: object = None
        self._is_still = False

    def __call__(self, name: str, call: Callable[[], T]) -> T:
        before = self.writes
        answer = super().__call__(name, call)
        if self.writes > before:
            seen = self.look()
            was_still, self._is_still = self._is_still, seen == self._seen
            self._seen = seen
            if not (was_still and self._is_still):
                self.places.append(self.writes)
        return answer


def all_rows(world: World) -> list[Any]:
    """Of a worker only that it is there: it beats."""
    return [
        world.rows(f"SELECT {'id' if name == 'workers' else '*'} FROM {name}")
        for name in schema.tables
    ]


class Lives:
    """Runs a sample on an empty database: in memory, or the one at `url`."""

    def __init__(self, url: str = "") -> None:
        self.url = url

    def peace(self, sample: Sample) -> tuple[list[int], list[Any]]:
        """Which writes are worth a cut, and what is there in the end."""
        door = Peace()
        return door.places, self._live(sample, door)

    def live(self, sample: Sample, at: dict[int, How]) -> tuple[int, list[Any]]:
        """How many writes there were, and what is there in the end."""
        door = Cuts(at)
        story = self._live(sample, door)
        return door.writes, story

    def _live(self, sample: Sample, door: Cuts) -> list[Any]:
        if self.url.startswith("postgres"):
            empty_database(self.url)
        world = World(self.url, REGISTRY, door, outside=sample.outside)
        if isinstance(door, Peace):
            door.look = partial(all_rows, world)
        try:
            with using(world.ledger):
                run_id = insist(lambda: world.trigger(sample.task, sample.payload))
                world.start()
                world.live([run_id])
            check(world, sample, run_id)
            return story_of(world.store, sample)
        finally:
            world.close()


def insist(call: Callable[[], T]) -> T:
    """A client that asks again until it has an answer."""
    while True:
        try:
            return call()
        except (Cut, StoreUnavailable):
            continue


def check(world: World, sample: Sample, run_id: bytes) -> None:
    run = world.run(run_id)
    if sample.output is None:
        assert run.status is Status.CANCELED
    else:
        assert run.status is Status.COMPLETED, run.failure
        assert sample.output is ANY or json.loads(run.output or b"") == sample.output
    assert store_breaches(world.store, world.registry) == []
    ids = [one.id for one in world.runs()]
    assert breaches(world.ledger.read(), world.store, ids, world.registry) == []


_IDS: Final = {
    Kind.CHILD_TRIGGERED,
    Kind.CHILD_AWAITED,
    Kind.CHILD_STARTED,
    Kind.TOKEN_CREATED,
    Kind.TOKEN_AWAITED,
    Kind.BATCH_TRIGGERED,
    Kind.BATCH_STARTED,
    Kind.BATCH_AWAITED,
    Kind.MESSAGE_SENT,
    Kind.HOOKED,
}


def story_of(store: Any, sample: Sample) -> list[Any]:
    """All runs with their histories, without what may differ: ids, times, takeovers, attempts."""
    ids = [row[0] for row in store._query("SELECT id FROM runs", ())]
    told = [
        [run.task, run.status, run.output, tell(store.history(run.id), sample)]
        for run in store.get_runs(ids).values()
    ]
    return sorted(told, key=repr)


_WRITES_IN_STEPS: Final = ("deposits", "starting")


def tell(history: Sequence[tuple[int, Event]], sample: Sample) -> list[Any]:
    rows = [
        (chapter, Kind(e.kind).name, e.name, e.digest, "" if e.kind in _IDS else short(e.data))
        for chapter, e in history
        if e.kind not in (Kind.TAKEN, Kind.BATCH_ENDED)
    ]
    rows += [
        (chapter, f"an end in {e.ordinal}", end.status, end.place, short(end.data))
        for chapter, e in history
        if e.kind == Kind.BATCH_ENDED
        for end in ends_of(e.data)
    ]
    if sample.name == "charges":
        rows = [row for row in rows if not row[1].startswith("STEP")]
    if sample.name in _WRITES_IN_STEPS:  # what is known not to have happened is tried again
        rows = [row for row in rows if row[1] != "STEP_ATTEMPT_FAILED"]
    return rows if sample.in_order else sorted(rows, key=repr)


def short(data: bytes | None) -> Any:
    """Of a failure only its type: messages name runs."""
    value: Any = json.loads(data or b"null")
    return value["type"] if b'"traceback"' in (data or b"") else value


named: Final = pytest.mark.parametrize("sample", SAMPLES, ids=[s.name for s in SAMPLES])


@named
@pytest.mark.parametrize("how", How, ids=[how.name for how in How])
def test_a_cut_at_any_write_changes_nothing(sample: Sample, how: How) -> None:
    lives = Lives()
    places, expected = lives.peace(sample)
    assert len(places) > 3
    first, step = PLACES[how]
    for number in places[first - 1 :: step]:
        _, story = lives.live(sample, {number: how})
        assert story == expected, f"cut at write {number}: {how.value}"


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.short], ids=lambda s: s.name)
def test_two_cuts_change_nothing(sample: Sample) -> None:
    lives = Lives()
    writes, expected = lives.live(sample, {})
    kinds = [How.LOST_AFTER, How.LOST_BEFORE, How.UNKNOWN_DONE]
    tried: Counter[tuple[How, How]] = Counter()
    pairs = list(combinations(range(1, writes + 3), 2))
    for first, second in pairs[:: len(pairs) // MOST_PAIRS + 1]:
        pair = kinds[first % 3], kinds[(first + second) % 3]
        tried[pair] += 1
        _, story = lives.live(sample, {first: pair[0], second: pair[1]})
        assert story == expected, f"cuts at writes {first} and {second}: {pair}"
    assert len(tried) >= 3


@named
def test_postgres_tells_the_same_story_whatever_is_cut(
    sample: Sample, tmp_path: Path, empty_postgres_url: str
) -> None:
    _, expected = Lives(f"sqlite:///{tmp_path}/wf.db").live(sample, {})
    lives = Lives(empty_postgres_url)
    writes, story = lives.live(sample, {})
    if sample.name == "chance":  # its numbers derive from the run's id, which is the same
        assert story[0][2] == expected[0][2]
    assert story == expected
    step = max(1, writes // POSTGRES_POINTS)
    for place, how in enumerate(How):
        for number in range(1 + place % step, writes + 1, step):
            _, story = lives.live(sample, {number: how})
            assert story == expected, f"cut at write {number} of {writes}: {how.value}"
