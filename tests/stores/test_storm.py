"""Many lives at once on one database; when the storm is over the rows are as they must be."""

from __future__ import annotations

from functools import partial
from typing import cast

from tests.stores.invariants import audit
from tests.stores.test_random_lives import TASKS, Held, Life, Queried
from tests.stores.world import PYTHON, World, at_once
from wf.history.model import Claim

LIVES = 4
MOVES = 80
LONG_AGO_MS = 1_000_000_000


class Shared(Life):
    """A life that meets others: what they have committed it may wait for, cancel and complete."""

    def __init__(self, world: World, seed: int, runs: list[bytes], tokens: list[bytes]) -> None:
        super().__init__(world, seed)
        self.all_runs, self.all_tokens = runs, tokens

    def move(self) -> None:
        self.runs, self.tokens = list(self.all_runs), list(self.all_tokens)
        runs, tokens = len(self.runs), len(self.tokens)
        super().move()
        self.all_runs += self.runs[runs:]
        self.all_tokens += self.tokens[tokens:]

    def die(self) -> None:
        """One worker of our own: those of others are theirs to lose."""
        if self.workers:
            lease, _ = self.workers.pop(self.random.choice(list(self.workers)))
            gone = self.world.store.take_over(self.world.now(), LONG_AGO_MS, [lease.worker])
            assert gone == [lease.worker]

    def commit(self) -> None:
        if not self.workers:
            return
        lease, held = self.random.choice(list(self.workers.values()))
        chosen = [run_id for run_id in held if self.random.random() < 0.5]
        activations = [self.act(run_id, held) for run_id in chosen]
        claim = Claim(self.random.randrange(8), TASKS, PYTHON)
        answer = self.world.store.commit(lease, activations, claim, self.world.now())
        held |= {each.run.id: Held(each) for each in answer.claimed}

    def rest(self) -> None:
        """Our workers take whatever there is. Marks that were written while a run got or lost its
        owner are freed or sent on by that, and taken the next time."""
        self.world.store.take_over(self.world.now(), LONG_AGO_MS)
        for lease, _ in self.workers.values():
            self.world.store.commit(lease, [], Claim(1_000, TASKS, PYTHON), self.world.now())


def test_after_a_storm_the_rows_are_as_they_must_be(world: World) -> None:
    runs: list[bytes] = []
    tokens: list[bytes] = []
    lives = [
        Shared(World(world.url, world.another_store()), seed, runs, tokens) for seed in range(LIVES)
    ]

    def live(life: Shared) -> None:
        for _ in range(MOVES):
            life.move()

    at_once(*(partial(live, life) for life in lives))
    for life in lives * 2:
        life.rest()
    audit(cast("Queried", world.store)._query)  # pyright: ignore[reportPrivateUsage]
    assert runs
