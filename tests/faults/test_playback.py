"""Samples are played back: wherever one goes, and from wherever, the body stands the same."""

from __future__ import annotations

from random import Random

import pytest

from tests.faults.samples import REGISTRY, SAMPLES, Sample
from wf.history.events import FACTS
from wf.testing.ledger import using
from wf.testing.replaying.playback import Playback, play
from wf.testing.world import World


def where(playback: Playback) -> list[list[tuple[str, int, list[str]]]]:
    """Where the body stands, with the names of its variables."""
    return [
        [(frame.f_code.co_name, frame.f_lineno, sorted(frame.f_locals)) for frame in frames]
        for frames in playback.frames()
    ]


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_back_and_forth_a_body_stands_the_same(sample: Sample) -> None:
    world = World("", REGISTRY, outside=sample.outside)
    try:
        with using(world.ledger):
            run_id = world.trigger(sample.task, sample.payload)
            world.start()
            world.live([run_id])
        run = world.run(run_id)
        playback = play(world.store, run, REGISTRY)
        rows = [event for _, event in world.store.history(run_id, run.chapter)]
    finally:
        world.close()
    assert playback.misfit is None
    assert [fact.seq for fact in playback.facts] == [one.seq for one in rows if one.kind in FACTS]
    stood = {fact.seq: where(playback) for fact in playback.facts if playback.go(fact.seq)}
    random = Random(1)
    for _ in range(2 * len(stood)):
        seq = random.choice(list(stood))
        playback.go(seq)
        assert where(playback) == stood[seq]
    playback.close()
