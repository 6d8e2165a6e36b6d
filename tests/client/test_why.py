"""Every sentence of `wf why`, for a situation that differs in one thing from its neighbours'."""

from __future__ import annotations

from typing import Any, Final

import pytest

from wf.client.why import Situation, explain
from wf.history.events import Event, Failure, Kind, Status
from wf.history.ids import show
from wf.history.limits import LEASE_MS
from wf.history.model import Awaited, Blocked, Run, Token, WorkerInfo
from wf.history.queues import Limits, QueueState

RUN, OTHER = bytes(16), bytes(15) + b"\x01"
NOW: Final = 1_000_000
FAILED: Final = Failure("Boom", "bang").encode()
CHILD: Final = Run(OTHER, "dev", "child", b"", 0, status=Status.QUEUED)
TOKEN: Final = Token(OTHER, "dev", 0, timeout_at=60_000)
INFO: Final = WorkerInfo("host", 7)


BORN: Final[dict[str, Any]] = {
    "id": RUN,
    "environment": "dev",
    "task": "task",
    "payload": b"",
    "created_at": 0,
}


def at(
    status: Status, *, has_worker: bool = True, run: dict[str, Any] | None = None, **more: Any
) -> Situation:
    columns = BORN | (run or {})
    return Situation(Run(**columns, status=status), NOW, has_worker, **more)


def queue(running: int = 0, *, paused: bool = False, **limits: Any) -> QueueState:
    return QueueState("dev", "q", Limits(**limits), paused, running, 5)


def event(kind: Kind, **more: Any) -> Event:
    return Event(1, kind, 1, more.pop("at", 0), **more)


def waiting(**more: Any) -> Situation:
    return at(Status.WAITING, **more)


def targets(count: int, **more: Any) -> Situation:
    return waiting(awaited=Awaited(targets=[OTHER] * count), **more)


TAKEN: Final = event(Kind.TAKEN)
TRIED: Final = event(Kind.STEP_ATTEMPT_FAILED, name="s", attempt=2, took=9_000, data=FAILED)
AGAIN: Final = event(Kind.ATTEMPT_FAILED, took=9_000, data=FAILED)
DUE: Final = {"due_at": 9_000}
HELD: Final = {"worker": 3, "worker_beat": NOW}
EXECUTING, QUEUED = Status.EXECUTING, Status.QUEUED

SENTENCES: Final[list[tuple[Situation, str, str]]] = [
    (at(Status.COMPLETED), "has ended COMPLETED", "runs show"),
    (at(Status.FAILED, run={"failure": FAILED}), "has ended FAILED at", "runs replay"),
    (at(Status.PENDING_VERSION, has_worker=False), "has ever known the task", "worker FILE"),
    (at(Status.DELAYED, run=DUE), "is delayed until 1970-01-01 00:00:09", "reschedule"),
    (at(QUEUED, has_worker=False), "waits for a worker: no live worker", "worker FILE"),
    (at(QUEUED), "stands in the queue 'task' since", "list --status executing"),
    (at(QUEUED, run={"queue": "mail"}), "stands in the queue 'mail'", "status executing"),
    (at(QUEUED, run={"start_at": 60_000}), "since 1970-01-01 00:01:00", "status executing"),
    (at(QUEUED, run={"created_at": 60_000}), "since 1970-01-01 00:01:00", "status executing"),
    (at(QUEUED, queue=queue()), "no live worker has come to it yet", "queues show q"),
    (at(QUEUED, queue=queue(paused=True)), "it is paused", "queues resume q"),
    (at(QUEUED, queue=queue(2, concurrency_limit=2)), "2 of its 2 slots are held", "queues show"),
    (at(QUEUED, queue=queue(1, concurrency_limit=2)), "no live worker has come", "queues show"),
    (at(QUEUED, queue=queue(), holders=[OTHER], run={"key": "k"}), "the key 'k' is held", "why"),
    (at(QUEUED, queue=queue(per_key_limit=2), holders=[OTHER]), "no live worker", "queues show"),
    (at(QUEUED, queue=queue(rate_limit=1)), "its rate lets no more start now", "queues show"),
    (at(QUEUED, queue=queue(key_rate_limit=1)), "its rate lets no more", "queues show"),
    (at(EXECUTING, run=HELD), "is at work, with a step in flight in a worker", "runs tail"),
    (at(EXECUTING, run=HELD, workers={3: INFO}), "in worker host (pid 7)", "runs tail"),
    (at(EXECUTING, run=HELD, history=[TRIED]), "a step in flight since 1970", "tail"),
    (at(EXECUTING, run={"worker": 3}), "is at work", "runs tail"),
    (
        at(EXECUTING, run=HELD, history=[event(Kind.STEP_STARTED, name="once")]),
        "with the step once in flight",
        "runs tail",
    ),
    (
        at(EXECUTING, run=HELD, history=[event(Kind.CANCEL_REQUESTED)]),
        "is being canceled by a worker: what it has in flight ends first",
        "runs tail",
    ),
    (
        at(EXECUTING, run={"worker": 3, "worker_beat": NOW - LEASE_MS - 1_000}),
        "has given no sign of life for 11s, and nobody has taken it over",
        "worker FILE",
    ),
    (at(EXECUTING, run={"worker": 3, "worker_beat": NOW - LEASE_MS}), "is at work", "runs tail"),
    (waiting(), "waits for a worker to go on with it", "show"),
    (waiting(has_worker=False), "; and no live worker in environment", "worker FILE"),
    (
        waiting(queue=queue(paused=True)),
        "waits for a slot of the queue 'q': it is paused",
        "resume",
    ),
    (waiting(queue=queue(rate_limit=1)), "'q': no live worker has come to it yet", "queues show"),
    (targets(1, runs={OTHER: CHILD}), "of child (QUEUED)", f"why {show('run', OTHER)}"),
    (targets(1, tokens={OTHER: TOKEN}), "which times out 1970-01-01 00:01:00", "tokens complete"),
    (targets(1, runs={OTHER: CHILD}, queue=queue(paused=True)), "of child (QUEUED)", "why"),
    (targets(1), "which is not there (any more)", "runs cancel"),
    (targets(2, runs={OTHER: CHILD}), "(QUEUED) and the run", "why"),
    (targets(3, runs={OTHER: CHILD}), "(QUEUED), the run", "why"),
    (targets(5, runs={OTHER: CHILD}), "and 2 more", "why"),
    (waiting(awaited=Awaited(names=["go"])), "waits for a message 'go'", "go DATA"),
    (waiting(run=DUE), "waits for a timer until 1970-01-01 00:00:09", "show"),
    (waiting(run=DUE, awaited=Awaited(names=["go"])), "and a time-out at", "go DATA"),
    (targets(1, run=DUE, runs={OTHER: CHILD}), "and a time-out at", "why"),
    (waiting(run=DUE, history=[TAKEN, TAKEN]), "its worker was lost 2 times in a row", "show"),
    (waiting(run=DUE, history=[TAKEN]), "a timer until", "show"),
    (waiting(run=DUE, history=[TRIED]), "s to be tried again at 1970-01-01 00:00:09", "show"),
    (waiting(run={"due_at": 1}, history=[TRIED]), "a timer until", "show"),
    (waiting(run=DUE, history=[AGAIN]), "its next attempt at 1970-01-01 00:00:09", "show"),
    (waiting(run=DUE, history=[event(Kind.STEP_FINISHED, took=9_000)]), "a timer until", "show"),
    (waiting(run={"due_at": 1}, history=[AGAIN]), "a timer until", "show"),
    (
        waiting(run={"blocked": Blocked("nondeterminism", "differs\nat line 3", 0, "")}),
        "is parked since 1970-01-01 00:00:00 UTC, nondeterminism: differs;",
        "runs unblock",
    ),
]


@pytest.mark.parametrize(("situation", "reason", "following"), SENTENCES)
def test_a_situation_has_its_sentence_and_its_next_command(
    situation: Situation, reason: str, following: str
) -> None:
    why = explain(situation)
    assert reason in why.reason
    assert why.next.startswith("wf ")
    assert following in why.next
