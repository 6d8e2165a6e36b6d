"""Every sample is forked at every fact of its history; each fork comes to the same."""

from __future__ import annotations

import json

import pytest

from tests.faults.samples import ANY, REGISTRY, SAMPLES, Sample
from wf.engine.core.runs import fork_of
from wf.engine.replaying import replay_all
from wf.history.audit import audit
from wf.history.events import Event, Status
from wf.history.forking import FORKABLE
from wf.history.ids import derived_id
from wf.testing.ledger import using
from wf.testing.noted import note_breaches
from wf.testing.world import World

_MET: dict[str, str] = {
    "letters": "its letters were sent to the other run",
    "restarting": "its letters were sent to the other run",
    "advised": "its letters were sent to the other run",
    "deposits": "its bank has the money already",
    "canceled": "nobody cancels the fork",
    "barred": "nobody cancels the fork",
    "lined": "whom it asks for a second time is the other run's",
    "tokens": "a token that was completed comes back at once, and its time-out does not",
}
"""Samples whose forks do not meet what the first one met, and why."""


def fork_all(world: World, run_id: bytes) -> list[bytes]:
    """A fork at every fact of the last chapter, each made twice, as by who got no answer."""
    origin, forks = world.run(run_id), list[bytes]()
    events: list[Event] = [one for _, one in world.store.history(run_id, origin.chapter)]
    for event in events:
        if event.kind in FORKABLE:
            now = world.clock.now()
            fork_id = derived_id(now, run_id, 0, event.seq)
            fork = fork_of(origin, events, fork_id, now, at=event.seq, payload=None, results={})
            world.store.fork(*fork)
            world.store.fork(*fork)
            forks.append(fork_id)
    return forks


def lived(sample: Sample, url: str = "") -> None:
    world = World(url, REGISTRY, outside=sample.outside)
    try:
        with using(world.ledger):
            run_id = world.trigger(sample.task, sample.payload)
            world.start()
            world.live([run_id])
            forks = fork_all(world, run_id)
            assert forks
            if sample.name not in _MET:
                world.live(forks)
        for fork in [] if sample.name in _MET else forks:
            run = world.run(fork)
            assert run.status is Status.COMPLETED, (run.forked_at, run.failure)
            output = json.loads(run.output or b"")
            assert sample.output is ANY or output == sample.output, run.forked_at
        assert [str(one) for one in (*audit(world.store), *replay_all(world.store, REGISTRY))] == []
        ids = [run.id for run in world.runs()]
        if sample.name not in _MET:
            assert note_breaches(world.store, world.store.get_runs(ids), REGISTRY) == []
    finally:
        world.close()


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_a_fork_at_any_fact_comes_to_the_same(sample: Sample) -> None:
    lived(sample)


def test_so_it_does_on_postgres(empty_postgres_url: str) -> None:
    (sample,) = [sample for sample in SAMPLES if sample.task.id == "parents"]
    lived(sample, empty_postgres_url)
