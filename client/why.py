"""Why a run is not moving, in one sentence, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Final

from wf.client.timeline.operations import failure_line, one_line
from wf.engine.core.durations import from_ms, show_duration
from wf.history.events import Event, Kind, Status
from wf.history.ids import show
from wf.history.limits import LEASE_MS
from wf.history.model import Awaited, Run, Token, WorkerInfo
from wf.history.queues import QueueState

if TYPE_CHECKING:
    from wf.history.store import Store

_NAMED: Final = 3
"""Things that are waited for that are named; of more it is told how many there are."""


@dataclass(frozen=True, slots=True)
class Why:
    """`reason`: why the run is where it is, a sentence without its full stop; `next`: the command
    that tells more, or lets it go on."""

    run: str
    status: Status
    reason: str
    next: str

    def __str__(self) -> str:
        return f"{self.run} {self.reason}: `{self.next}`"

    def to_json(self) -> dict[str, str]:
        return {
            "run": self.run,
            "status": self.status.value,
            "reason": self.reason,
            "next": self.next,
        }


@dataclass(slots=True)
class Situation:
    """All that is known of a run that is looked at. `awaited`, `runs`, `tokens`: for what it
    waits."""

    run: Run
    now: int
    has_worker: bool
    workers: dict[int, WorkerInfo] = field(default_factory=dict[int, WorkerInfo])
    history: Sequence[Event] = ()
    awaited: Awaited = field(default_factory=Awaited)
    runs: dict[bytes, Run] = field(default_factory=dict[bytes, Run])
    tokens: dict[bytes, Token] = field(default_factory=dict[bytes, Token])
    queue: QueueState | None = None
    holders: Sequence[bytes] = ()
    """Runs with its key that hold slots."""

    @property
    def id(self) -> str:
        return show("run", self.run.id)


def read(store: Store, run: Run) -> Situation:
    """The only I/O."""
    found = Situation(
        run, store.now(), run.status.ended or store.has_worker(run.environment, run.task)
    )
    if run.queue and run.status in (Status.QUEUED, Status.WAITING):
        found.queue = store.get_queue(run.environment, run.queue)
        if run.key:
            found.holders = store.slot_holders(run.environment, run.queue, run.key)
    if run.status is Status.EXECUTING:
        found.workers = dict(store.workers(run.environment))
    if run.status in (Status.EXECUTING, Status.WAITING):
        found.history = [event for _, event in store.history(run.id)]
    if run.status is Status.WAITING:
        found.awaited = store.awaited(run.id)
        named = found.awaited.targets[:_NAMED]
        found.runs = store.get_runs(named)
        for target in named:
            token = store.get_token(target) if target not in found.runs else None
            if token is not None:
                found.tokens[target] = token
    return found


def explain(at: Situation) -> Why:
    """The sentence for what was read."""
    reason, following = _explained(at)
    return Why(at.id, at.run.status, reason, following)


def _explained(at: Situation) -> tuple[str, str]:
    run = at.run
    if run.status.ended:
        return _of_ended(at)
    if run.blocked is not None:
        detail = one_line(run.blocked.detail.split("\n")[0])
        parked = f"is parked since {moment(run.blocked.since)}, {run.blocked.reason}: {detail}"
        return f"{parked}; start a worker with mended code, or try it again", _unblock(at)
    match run.status:
        case Status.PENDING_VERSION:
            never = f"none in environment {run.environment!r} has ever known the task {run.task!r}"
            return f"waits for a worker: {never}", _worker(at)
        case Status.DELAYED:
            return f"is delayed until {moment(run.due_at)}", f"wf runs reschedule {at.id} 0s"
        case Status.QUEUED:
            return _of_queued(at)
        case Status.EXECUTING:
            return _of_executing(at)
        case _:
            return _of_waiting(at)


def _of_ended(at: Situation) -> tuple[str, str]:
    run = at.run
    ended = f"has ended {run.status} at {moment(run.ended_at)}"
    if run.status is Status.COMPLETED:
        return ended, f"wf runs show {at.id}"
    return f"{ended}, {failure_line(run.failure)}", f"wf runs replay {at.id}"


def _of_queued(at: Situation) -> tuple[str, str]:
    if not at.has_worker:
        return f"waits for a worker: {_nobody(at)}", _worker(at)
    since = moment(at.run.start_at or at.run.created_at)
    if at.queue is not None:
        why, following = _of_queue(at, at.queue)
        return f"stands in the queue {at.queue.name!r} since {since}: {why}", following
    queue = at.run.queue or at.run.task
    stands = f"stands in the queue {queue!r} since {since}"
    return f"{stands}, and no live worker has come to it yet", "wf runs list --status executing"


def _of_queue(at: Situation, queue: QueueState) -> tuple[str, str]:
    """Why a run that has something to do gets no slot."""
    limits, show_it = queue.limits, f"wf queues show {shlex.quote(queue.name)}"
    if queue.paused:
        return "it is paused", f"wf queues resume {shlex.quote(queue.name)}"
    if limits.concurrency_limit is not None and queue.running >= limits.concurrency_limit:
        held = f"{queue.running:,} of its {limits.concurrency_limit:,} slots are held"
        return f"{held}, {queue.waiting:,} runs wait", show_it
    if at.holders and len(at.holders) >= limits.per_key_limit:
        holder = show("run", at.holders[0])
        return f"the key {at.run.key!r} is held by {holder}", f"wf why {holder}"
    if at.run.status is Status.QUEUED and (limits.rate_limit or limits.key_rate_limit):
        return "its rate lets no more start now", show_it
    return "no live worker has come to it yet", show_it


def _of_executing(at: Situation) -> tuple[str, str]:
    run = at.run
    info = at.workers.get(run.worker or 0)
    worker = f"worker {info.host} (pid {info.pid})" if info is not None else "a worker"
    silent_ms = at.now - (run.worker_beat or at.now)
    if silent_ms > LEASE_MS:
        silence = show_duration(silent_ms // 1_000 * 1_000)
        held = f"is held by {worker}, which has given no sign of life for {silence}"
        return f"{held}, and nobody has taken it over", _worker(at)
    last = at.history[-1] if at.history else None
    if any(event.kind == Kind.CANCEL_REQUESTED for event in at.history):
        return (
            f"is being canceled by {worker}: what it has in flight ends first",
            f"wf runs tail {at.id}",
        )
    since = f" since {moment(last.at)}" if last is not None else ""
    return f"is at work, {_in_flight(at.history)}{since} in {worker}", f"wf runs tail {at.id}"


def _in_flight(history: Sequence[Event]) -> str:
    """A step leaves a row when it ends; one that runs at most once when it begins, too."""
    last = history[-1] if history else None
    if last is not None and last.kind == Kind.STEP_STARTED:
        return f"with the step {last.name} in flight"
    return "with a step in flight"


def _of_waiting(at: Situation) -> tuple[str, str]:
    what, following = _awaited(at)
    if at.has_worker:
        return f"waits for {what}", following
    return f"waits for {what}; and {_nobody(at)}", _worker(at)


def _awaited(at: Situation) -> tuple[str, str]:
    parts = list(_parts(at))
    if not parts and at.queue is not None:
        why, following = _of_queue(at, at.queue)
        return f"a slot of the queue {at.queue.name!r}: {why}", following
    if not parts:
        return "a worker to go on with it", f"wf show {at.id}"
    words = [what for what, _ in parts]
    left = len(at.awaited.targets) - _NAMED
    if left > 0:
        words.append(f"{left:,} more")
    joined = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    return joined, parts[0][1]


def _parts(at: Situation) -> Iterator[tuple[str, str]]:
    """What it waits for, each with a command: what somebody can do first."""
    for target in at.awaited.targets[:_NAMED]:
        yield _target(at, target)
    for name in at.awaited.names:
        yield f"a message {name!r}", f"wf send {at.id} {name} DATA"
    due = at.run.due_at
    if due is not None:
        yield _due(at, due), f"wf show {at.id}"


def _target(at: Situation, target: bytes) -> tuple[str, str]:
    run, token = at.runs.get(target), at.tokens.get(target)
    if run is not None:
        shown = show("run", target)
        return f"the run {shown} of {run.task} ({run.status})", f"wf why {shown}"
    if token is not None:
        shown = show("token", target)
        until = f", which times out {moment(token.timeout_at)}" if token.timeout_at else ""
        return f"the token {shown}{until}", f"wf tokens complete {shown} DATA"
    return f"{show('run', target)}, which is not there (any more)", f"wf runs cancel {at.id}"


def _due(at: Situation, due: int) -> str:
    """A step's back-off, a task's, a suspect's, or a timer of the body."""
    lost = 0
    for event in reversed(at.history):
        if event.kind != Kind.TAKEN:
            break
        lost += 1
    if lost > 1:
        return f"its next try at {moment(due)}, for its worker was lost {lost} times in a row"
    for event in reversed(at.history):
        if event.kind == Kind.STEP_ATTEMPT_FAILED and event.at + event.took == due:
            return (
                f"the step {event.name} to be tried again at {moment(due)}, after attempt "
                f"{event.attempt} failed: {failure_line(event.data)}"
            )
        if event.kind == Kind.ATTEMPT_FAILED and event.at + event.took == due:
            return f"its next attempt at {moment(due)}, after {failure_line(event.data)}"
    others = at.awaited.targets or at.awaited.names
    return f"a time-out at {moment(due)}" if others else f"a timer until {moment(due)}"


def _nobody(at: Situation) -> str:
    return f"no live worker in environment {at.run.environment!r} knows the task {at.run.task!r}"


def _worker(at: Situation) -> str:
    return f"wf worker FILE --env {at.run.environment}"


def _unblock(at: Situation) -> str:
    return f"wf runs unblock {at.id}"


def moment(ms: int | None) -> str:
    """UTC, to the second."""
    return f"{from_ms(ms or 0).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
