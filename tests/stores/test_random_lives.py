"""Runs that live at random, from a seed; after every transaction the rows are as they must be."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Final, Protocol, cast

import pytest

from tests.stores.invariants import Query, audit
from tests.stores.world import ENVIRONMENT, PYTHON, World, step
from wf.history.errors import AlreadyEnded, Fenced
from wf.history.events import Event, Failure, Kind, Status
from wf.history.messages import NewMessage
from wf.history.model import (
    Activation,
    Blocked,
    Claim,
    Claimed,
    Lease,
    NewRun,
    Reason,
    Wait,
    WorkerInfo,
)
from wf.history.turns import Ending, NextChapter

TASKS: Final = ("a", "b", "c")
SEEDS: Final = range(int(os.environ.get("WF_TEST_SEEDS", "6")))
MOVES: Final = 150
IN_THE_FUTURE_MS: Final = 1_000_000


class Queried(Protocol):
    _query: Query


class Held:
    """A run as its worker knows it."""

    def __init__(self, claimed: Claimed) -> None:
        self.chapter = claimed.run.chapter
        self.seq = claimed.seq
        self.ordinal = claimed.seq
        self.inbox = [row.id for row in claimed.inbox]
        self.messages = [message.id for message in claimed.messages]


class Life:
    """One seed. Each move is a transaction, or a worker that dies between two."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = Random(seed)
        self.runs: list[bytes] = []
        self.tokens: list[bytes] = []
        self.workers: dict[int, tuple[Lease, dict[bytes, Held]]] = {}
        self.code = 0

    def move(self) -> None:
        moves: list[tuple[int, Callable[[], None]]] = [
            (4, self.trigger),
            (12, self.commit),
            (2, self.cancel),
            (2, self.token),
            (4, self.send),
            (2, self.end_token),
            (1, self.die),
            (1, self.leave),
            (2, self.pass_time),
        ]
        if len(self.workers) < 3:
            moves.append((3, self.join))
        weights = [weight for weight, _ in moves]
        self.random.choices([move for _, move in moves], weights)[0]()

    def new(self, parent: bytes | None = None) -> NewRun:
        now = self.world.now()
        run = self.world.new(self.random.choice(TASKS), parent_id=parent)
        if self.random.random() < 0.3:
            run.start_at = now + self.random.randrange(20_000)
        if self.random.random() < 0.3:
            run.ttl_ms = self.random.randrange(1, 20_000)
        if self.random.random() < 0.4:
            run.idempotency_key = self.random.choice("xyz")
            run.idempotency_expires_at = now + self.random.randrange(50_000)
            run.payload = self.random.choice([b"1", b"2"])
        run.priority = self.random.randrange(3)
        return run

    def trigger(self) -> None:
        runs = [self.new() for _ in range(self.random.randrange(1, 4))]
        if self.runs and self.random.random() < 0.2:
            runs[0].id = self.random.choice(self.runs)
        self.runs += [run_id for run_id, _ in self.world.store.trigger(runs)]

    def cancel(self) -> None:
        if self.runs:
            self.world.store.cancel([self.random.choice(self.runs)], self.world.now())

    def send(self) -> None:
        """To any run, as a client does."""
        runs = [self.random.choice(self.runs) for _ in range(3) if self.runs]
        messages = [NewMessage(run_id, self.random.choice("xyz"), b"1") for run_id in runs]
        self.world.store.send(messages, self.world.now())

    def token(self) -> None:
        timeout = self.world.now() + self.random.randrange(30_000)
        token = self.world.token(timeout_at=self.random.choice([0, timeout]))
        self.world.store.create_tokens([token, token][: self.random.randrange(1, 2)])
        self.tokens.append(token.id)

    def end_token(self) -> None:
        if self.tokens:
            token, status = (
                self.random.choice(self.tokens),
                self.random.choice(["COMPLETED", "CANCELED"]),
            )
            data = b"1" if status == "COMPLETED" else None
            try:
                ended = self.world.store.end_token(token, status, data, self.world.now())
            except AlreadyEnded:
                return
            assert (ended.status, ended.data) == (status, data)

    def join(self) -> None:
        self.code += self.random.randrange(2)
        tasks = self.random.sample(TASKS, self.random.randrange(1, 4))
        info = WorkerInfo(tasks=tasks, code=f"c{self.code}")
        lease = self.world.store.join(ENVIRONMENT, info)
        self.workers[lease.worker] = lease, {}

    def die(self) -> None:
        """All workers are taken over."""
        gone = self.world.store.take_over(self.world.now(), -IN_THE_FUTURE_MS)
        assert sorted(gone) == sorted(self.workers)
        for lease, _ in self.workers.values():
            with pytest.raises(Fenced):
                self.world.store.commit(lease, [], None, self.world.now())
            with pytest.raises(Fenced):
                self.world.store.landed(lease)
        self.workers.clear()

    def leave(self) -> None:
        if self.workers:
            lease, _ = self.workers.pop(self.random.choice(list(self.workers)))
            self.world.store.leave(lease, self.world.now())

    def pass_time(self) -> None:
        self.world.skipped_ms += self.random.randrange(15_000)

    def commit(self) -> None:
        if not self.workers:
            return
        lease, held = self.random.choice(list(self.workers.values()))
        chosen = [run_id for run_id in held if self.random.random() < 0.5]
        activations = [self.act(run_id, held) for run_id in chosen]
        claim = Claim(self.random.randrange(5), TASKS, PYTHON, resync=self.random.random() < 0.1)
        claimed = self.world.store.commit(lease, activations, claim, self.world.now()).claimed
        assert len({each.run.id for each in claimed}) == len(claimed)
        for each in claimed:
            others = [other for other, _ in self.workers.values() if other is not lease]
            assert not any(each.run.id in self.workers[o.worker][1] for o in others)
            if each.run.id in held:
                assert each.reason is Reason.RESUME
                assert each.seq == held[each.run.id].seq
            held[each.run.id] = Held(each)

    def act(self, run_id: bytes, held: dict[bytes, Held]) -> Activation:
        run = held[run_id]
        now = self.world.now()
        a = Activation(run_id, run.chapter, consumed=run.inbox)
        run.inbox = []
        for _ in range(self.random.randrange(3)):
            run.seq += 1
            run.ordinal += 1
            a.events.append(step(run.seq, run.ordinal))
        if self.random.random() < 0.3:
            a.children = [self.new(run_id) for _ in range(self.random.randrange(1, 3))]
            for child in a.children:
                child.settle = run.ordinal + 7
            self.runs += [child.id for child in a.children if not child.idempotency_key]
        if self.random.random() < 0.2:
            a.tokens = [self.world.token(run_id=run_id)]
            self.tokens.append(a.tokens[0].id)
        if self.random.random() < 0.3:
            a.listening = self.random.sample("xyz", self.random.randrange(4))
        elif run.messages:
            a.received = run.messages[: self.random.randrange(1, 4)]
        run.messages = []
        if self.random.random() < 0.2:
            target = self.random.choice(self.runs)
            a.sends = [NewMessage(target, "x", b"2", settle=run.ordinal + 8)]
        others = [each for each in self.runs if each != run_id]
        if self.random.random() < 0.1 and others:
            a.cancels = [self.random.choice(others)]
        self.finish(a, run, held, now)
        return a

    def finish(self, a: Activation, run: Held, held: dict[bytes, Held], now: int) -> None:
        match self.random.randrange(6):
            case 0 | 1:
                status = self.random.choice([Status.COMPLETED, Status.FAILED, Status.CANCELED])
                failure = None if status is Status.COMPLETED else Failure("E", "m").encode()
                output = b"1" if failure is None else None
                a.ending = Ending(status, output, failure, now)
                del held[a.run_id]
            case 2:
                a.release, a.due_at = True, now + self.random.randrange(1, 9_000)
                del held[a.run_id]
            case 3:
                self.wait(a, run)
                a.release = True
                del held[a.run_id]
            case 4 if self.random.random() < 0.5:
                a.events.append(Event(run.seq + 1, Kind.ATTEMPT_FAILED, 0, now))
                before = self.random.randrange(1, run.seq + 2)
                events = [Event(0, Kind.STEP_FINISHED, 1, now)]
                oldest = max(1, run.chapter - self.random.randrange(3))
                chapter = NextChapter(run.chapter + 1, before, 2, events=events, oldest=oldest)
                a.next_chapter, a.listening = chapter, None
                run.chapter, run.seq = run.chapter + 1, before
            case 4 if self.random.random() < 0.5:
                a.blocked = Blocked("nondeterminism", "detail", now, "next")
                del held[a.run_id]
            case _:
                if self.random.random() < 0.5:
                    self.wait(a, run)

    def wait(self, a: Activation, run: Held) -> None:
        """For a child of now, any run (perhaps itself ended long ago), or a token."""
        targets = [(child.id, False) for child in a.children]
        targets += [(run_id, False) for run_id in self.runs if run_id != a.run_id][-4:]
        targets += [(token, True) for token in self.tokens[-4:]]
        if not targets:
            targets = [(self.world.trigger("a"), False)]
        target, of_token = self.random.choice(targets)
        a.waits = [Wait(target, run.ordinal + 1, of_token)]


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_the_rows_are_as_they_must_be(world: World, seed: int) -> None:
    query = cast("Queried", world.store)._query  # pyright: ignore[reportPrivateUsage]
    life = Life(world, seed)
    for _ in range(MOVES):
        life.move()
        audit(query)
