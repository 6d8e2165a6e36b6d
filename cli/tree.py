"""A run and what it started, as a tree of plain data: what the live view of `wf run` shows.

`Tree` is an Observer: the worker tells it what was committed, in its own thread; on `--resume` it
is filled from the history first. Both go through the same `_apply`, one event at a time, and what
was applied before is not applied again. `tell` hears of every change, for those who print lines.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

from wf.engine.core.decisions import RunStep
from wf.history.events import MOMENTS_FROM_MS, Event, Failure, Kind, Status
from wf.history.model import Activation, Run, Token


class State(Enum):
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"
    PARKED = "parked"

    @property
    def is_over(self) -> bool:
        return self in {State.DONE, State.FAILED, State.CANCELED}


class Node(Struct):
    """What all lines of the tree have. Times in ms of the engine's clock; `began`: monotonic s."""

    ordinal: int
    name: str
    state: State = State.QUEUED
    attempt: int = 1
    took_ms: int | None = None
    began: float | None = None
    until: int = 0
    """When it goes on: a retry, a wait, a token's time-out. 0: not by time."""
    error: str = ""


class StepNode(Node):
    pass


class WaitNode(Node):
    pass


class TokenNode(Node):
    token_id: bytes = b""
    schema: bytes = b"null"
    is_awaited: bool = False


class MessageNode(Node):
    """The next message of that name, which the body waits for."""


class BatchNode(Node):
    """Many runs in one line."""

    total: int = 0
    done: int = 0
    failed: int = 0


class RunNode(Node):
    run_id: bytes = b""
    batch_id: bytes = b""
    is_awaited: bool = True
    chapter: int = 0
    seq: int = 0
    """The last event that is in the tree."""
    started_at: int = 0
    was_taken: bool = False
    items: dict[int, Node] = {}
    started: dict[bytes, Node] = {}
    """What it has no operation of: the runs that its steps started, or their batches, by id."""
    waits_until: int = 0
    """It sleeps, and goes on by itself then. 0: it does not."""

    def waiting(self) -> WaitNode | None:
        """The timer that it sleeps for now."""
        if not self.waits_until or self.state is not State.WAITING:
            return None
        if any(item.until == self.waits_until for item in self.items.values()):
            return None
        return WaitNode(0, "wait", State.WAITING, until=self.waits_until)

    def ordered(self) -> list[Node]:
        """Its operations in the order in which the body issued them, then what its steps started,
        the open wait last."""
        items = [self.items[ordinal] for ordinal in sorted(self.items)]
        items += self.started.values()
        waiting = self.waiting()
        return [*items, waiting] if waiting is not None else items


Tell = Callable[[RunNode, Node | None, str], None]
"""(run, operation or None, what happened): called with the tree's lock held."""


def _nobody(run: RunNode, node: Node | None, what: str) -> None: ...


class Tree:
    """See the module. Read it under `lock`."""

    def __init__(self, clock: Callable[[], int], tell: Tell = _nobody) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.root: RunNode | None = None
        self.runs: dict[bytes, RunNode] = {}
        self.batches: dict[bytes, BatchNode] = {}
        self.version = 0
        """Rises with every change."""
        self.changed: Callable[[], None] = lambda: None
        self.tell = tell

    # -- filled from the store, on --resume

    def fill(self, run: Run, history: Sequence[tuple[int, Event]]) -> None:
        """Add a run as it is in the store; parents before children."""
        with self.lock:
            tell, self.tell = self.tell, _nobody
            node = self._run_node(run)
            for chapter, event in history:
                if chapter == run.chapter:
                    self._apply(node, event)
            self.tell = tell
            self._set_due(node, run.due_at or 0)

    def fill_token(self, token: Token) -> None:
        with self.lock:
            for node in self.runs.values():
                for item in node.items.values():
                    if isinstance(item, TokenNode) and item.token_id == token.id:
                        item.schema = token.schema
                        item.until = token.timeout_at if not item.state.is_over else 0

    # -- the worker's observer

    def claimed(self, run: Run, events: list[Event]) -> None:
        with self._changing():
            chapter = self.runs[run.id].chapter if run.id in self.runs else 0
            node = self._run_node(run)
            node.waits_until = 0
            if not node.state.is_over:
                node.state = State.RUNNING
            if not node.started_at:
                node.started_at = self.clock()
                self.tell(node, None, "started")
            elif chapter != run.chapter:
                self.tell(node, None, "again")
            for event in events:
                self._apply(node, event)

    def step_started(self, run: Run, step: RunStep, attempt: int) -> None:
        with self._changing():
            node = self._run_node(run)
            item = self._step(node, step.ordinal, step.step)
            item.state, item.attempt, item.until = State.RUNNING, attempt, 0
            item.began = time.monotonic()
            self.tell(node, item, "running")

    def committed(self, run: Run, activation: Activation) -> None:
        with self._changing():
            node = self._run_node(run)
            for event in activation.events:
                self._apply(node, event)
            for token in activation.tokens:
                for item in node.items.values():
                    if isinstance(item, TokenNode) and item.token_id == token.id:
                        item.schema, item.until = token.schema, token.timeout_at
                        self.tell(node, item, "token")
            awaited = {wait.target for wait in activation.waits}
            for child in activation.children:
                made = self.runs.get(child.id)
                if made is not None:
                    made.is_awaited = child.id in awaited
                    self.tell(node, made, "child")
            if activation.ending is not None:
                end = activation.ending
                self._run_ended(node, end.status, end.failure, end.at)
            elif activation.next_chapter is not None:
                node.state = State.RETRYING
                node.until = activation.due_at
                self.tell(node, None, "retrying")
            elif activation.release:
                self._set_due(node, activation.due_at)
                self._tell_wait(node)

    # -- inside

    def _changing(self) -> _Changing:
        return _Changing(self)

    def _run_node(self, run: Run) -> RunNode:
        node = self.runs.get(run.id)
        if node is None:
            node = RunNode(0, run.task, run_id=run.id, batch_id=run.batch_id or b"")
            self.runs[run.id] = node
            self.root = self.root or node
            self._place(node, run)
        if not node.started_at:
            node.started_at = run.started_at or 0
        if node.chapter != run.chapter:
            node.chapter, node.seq, node.attempt = run.chapter, 0, run.attempt
            node.until = 0
            node.items = {}
        return node

    def _place(self, node: RunNode, run: Run) -> None:
        """Below the run whose step started it, where no operation did."""
        above = self.runs.get(run.parent_id) if run.parent_id is not None else None
        if above is None:
            return
        if run.batch_id is None:
            node.is_awaited = False
            above.started[run.id] = node
            return
        if run.batch_id not in self.batches:
            batch = BatchNode(0, run.task)
            self.batches[run.batch_id] = above.started[run.batch_id] = batch
        if run.batch_id in above.started:
            batch = self.batches[run.batch_id]
            batch.state, batch.total = State.RUNNING, batch.total + 1

    def _set_due(self, node: RunNode, due_at: int) -> None:
        if node.state.is_over:
            return
        node.waits_until = due_at
        node.state = State.WAITING if node.started_at else State.QUEUED

    def _tell_wait(self, node: RunNode) -> None:
        waiting = node.waiting()
        if waiting is not None:
            self.tell(node, waiting, "waiting")
        for item in node.items.values():
            is_awaited = isinstance(item, MessageNode) or (
                isinstance(item, TokenNode) and item.is_awaited
            )
            if is_awaited and not item.state.is_over:
                self.tell(node, item, "awaited")

    def _step(self, node: RunNode, ordinal: int, name: str) -> Node:
        item = node.items.get(ordinal)
        if item is None:
            item = node.items[ordinal] = StepNode(ordinal, name)
        return item

    def _apply(self, node: RunNode, event: Event) -> None:
        if event.seq <= node.seq:
            return
        node.seq = event.seq
        kind = Kind(event.kind)
        if kind in _OF_STEPS:
            self._apply_step(node, event, kind)
        elif kind in _OF_CHILDREN:
            self._apply_child(node, event, kind)
        elif kind in _OF_TOKENS:
            self._apply_token(node, event, kind)
        elif kind in _OF_MESSAGES:
            self._apply_message(node, event, kind)
        elif kind is Kind.BATCH_TRIGGERED:
            self._apply_batch(node, event)
        elif kind is Kind.TIMER_FIRED:
            moment = event.digest if event.digest >= MOMENTS_FROM_MS else 0
            took = None if moment else event.digest
            fired = WaitNode(event.ordinal, "wait", State.DONE, took_ms=took, until=moment)
            node.items[event.ordinal] = fired
            self.tell(node, fired, "fired")
        elif kind is Kind.STARTED:
            node.started_at = node.started_at or event.at
            node.state = State.RUNNING
        elif kind is Kind.TAKEN:
            node.was_taken = True
            self.tell(node, None, "taken")
        elif kind is Kind.CANCEL_REQUESTED:
            self.tell(node, None, "canceling")
        elif kind is Kind.ATTEMPT_FAILED:
            node.error = failure_line(event.data)
        elif kind is Kind.ENDED:
            self._run_ended(node, Status(event.name), event.data, event.at)

    def _apply_step(self, node: RunNode, event: Event, kind: Kind) -> None:
        item = self._step(node, event.ordinal, event.name)
        item.attempt = event.attempt or item.attempt
        item.until = 0
        if kind is Kind.STEP_STARTED:
            return
        if kind is Kind.STEP_FINISHED:
            item.state, item.took_ms, item.error = State.DONE, event.took, ""
        elif kind is Kind.STEP_FAILED:
            item.state, item.took_ms = State.FAILED, event.took
            item.error = failure_line(event.data)
        else:
            item.state, item.until = State.RETRYING, event.at + event.took
            item.error = failure_line(event.data)
        self.tell(node, item, item.state.value)

    def _apply_child(self, node: RunNode, event: Event, kind: Kind) -> None:
        if kind is Kind.CHILD_ENDED:
            child = node.items.get(event.ordinal)
            if isinstance(child, RunNode) and not child.state.is_over:
                self._end(child, Status(event.name), event.data)
            return
        target = event.data or b""
        child = self.runs.get(target)
        if kind is Kind.CHILD_AWAITED:
            if child is not None:
                child.is_awaited = True
            return
        if child is None:
            child = self.runs[target] = RunNode(event.ordinal, event.name, run_id=target)
        before = node.items.get(event.ordinal)
        child.name = child.name or event.name or (before.name if before is not None else "")
        if isinstance(before, RunNode) and before is not child:
            self.runs.pop(before.run_id, None)
        child.ordinal = event.ordinal
        node.items[event.ordinal] = child
        node.started.pop(target, None)

    def _apply_batch(self, node: RunNode, event: Event) -> None:
        batch_id = event.data or b""
        batch = self.batches.get(batch_id)
        if batch is None:
            batch = BatchNode(event.ordinal, event.name, State.RUNNING, total=event.took)
            self.batches[batch_id] = batch
            self.tell(node, batch, "batch")
        if node.started.pop(batch_id, None) is not None:
            batch.ordinal, batch.total = event.ordinal, event.took
        node.items[event.ordinal] = batch
        self._settle(batch)

    def _count(self, node: RunNode) -> None:
        """A run of a batch has ended: the batch's line counts it."""
        batch = self.batches.get(node.batch_id)
        if batch is not None:
            batch.done += node.state is State.DONE
            batch.failed += node.state is not State.DONE
            self._settle(batch)

    def _settle(self, batch: BatchNode) -> None:
        if batch.done + batch.failed >= batch.total:
            batch.state = State.FAILED if batch.failed else State.DONE

    def _apply_token(self, node: RunNode, event: Event, kind: Kind) -> None:
        if kind is Kind.TOKEN_CREATED:
            made = TokenNode(event.ordinal, "token", State.WAITING, token_id=event.data or b"")
            node.items[event.ordinal] = made
        elif kind is Kind.TOKEN_AWAITED:
            for item in node.items.values():
                if isinstance(item, TokenNode) and item.token_id == event.data:
                    item.is_awaited = True
                    node.items[event.ordinal] = item
                    if item.ordinal != event.ordinal:
                        node.items.pop(item.ordinal, None)
                        item.ordinal = event.ordinal
                    return
            waited = TokenNode(event.ordinal, "token", State.WAITING, token_id=event.data or b"")
            waited.is_awaited = True
            node.items[event.ordinal] = waited
        else:
            ended = node.items.get(event.ordinal)
            if ended is not None:
                ended.state = _TOKEN_STATES[event.name]
                ended.until = 0
                ended.error = "" if event.name == "COMPLETED" else _TOKEN_WORDS[event.name]
                self.tell(node, ended, "answered")

    def _apply_message(self, node: RunNode, event: Event, kind: Kind) -> None:
        if kind is Kind.MESSAGE_AWAITED:
            until = event.at + event.digest if event.digest else 0
            awaited = MessageNode(event.ordinal, event.name, State.WAITING, until=until)
            node.items[event.ordinal] = awaited
            return
        item = node.items.get(event.ordinal)
        if item is not None:
            came = kind is Kind.MESSAGE_RECEIVED
            item.state, item.until = State.DONE if came else State.FAILED, 0
            item.error = "" if came else "nobody sent it in time"
            self.tell(node, item, "answered")

    def _run_ended(self, node: RunNode, status: Status, failure: bytes | None, at: int) -> None:
        self._end(node, status, failure)
        node.took_ms = max(0, at - node.started_at) if node.started_at else None
        self.tell(node, None, "ended")

    def _end(self, node: RunNode, status: Status, data: bytes | None) -> None:
        node.state = _RUN_STATES[status]
        self._count(node)
        node.waits_until = node.until = 0
        node.error = "" if status is Status.COMPLETED else _ending(status, data)
        for item in node.items.values():
            if not isinstance(item, RunNode) and not item.state.is_over:
                item.state, item.until = State.CANCELED, 0

    def __iter__(self) -> Iterator[RunNode]:
        return iter(self.runs.values())

    def is_moving(self) -> bool:
        """Something is under way now, so that its clock runs in tenths of seconds."""
        return any(
            item.state is State.RUNNING and item.began is not None
            for node in self.runs.values()
            if not node.state.is_over
            for item in node.items.values()
        )

    def is_timed(self) -> bool:
        """Something counts down."""
        return any(
            node.waits_until or node.until or any(item.until for item in node.items.values())
            for node in self.runs.values()
            if not node.state.is_over
        )


class _Changing:
    """The lock, and word of the change at its end."""

    __slots__ = ("_tree",)

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def __enter__(self) -> None:
        self._tree.lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._tree.version += 1
        self._tree.lock.release()
        self._tree.changed()


_OF_STEPS: Final = frozenset(
    {Kind.STEP_STARTED, Kind.STEP_FINISHED, Kind.STEP_FAILED, Kind.STEP_ATTEMPT_FAILED}
)
_OF_CHILDREN: Final = frozenset(
    {Kind.CHILD_TRIGGERED, Kind.CHILD_AWAITED, Kind.CHILD_STARTED, Kind.CHILD_ENDED}
)
_OF_TOKENS: Final = frozenset({Kind.TOKEN_CREATED, Kind.TOKEN_AWAITED, Kind.TOKEN_ENDED})
_OF_MESSAGES: Final = frozenset(
    {Kind.MESSAGE_AWAITED, Kind.MESSAGE_RECEIVED, Kind.MESSAGE_TIMED_OUT}
)
_RUN_STATES: Final = {
    Status.COMPLETED: State.DONE,
    Status.FAILED: State.FAILED,
    Status.TIMED_OUT: State.FAILED,
    Status.EXPIRED: State.CANCELED,
    Status.CANCELED: State.CANCELED,
}
_TOKEN_STATES: Final = {
    "COMPLETED": State.DONE,
    "TIMED_OUT": State.FAILED,
    "CANCELED": State.CANCELED,
}
_TOKEN_WORDS: Final = {"TIMED_OUT": "nobody completed it in time", "CANCELED": "canceled"}


def _ending(status: Status, data: bytes | None) -> str:
    if status is Status.CANCELED:
        return "canceled"
    return failure_line(data) or status.value.lower().replace("_", " ")


def failure_line(data: bytes | None) -> str:
    """A Failure in one line."""
    failure = Failure.decode(data)
    message = " ".join(failure.message.split())
    return f"{failure.type}: {message}" if message else failure.type


def parents_first(runs: Iterable[Run], root: bytes) -> list[Run]:
    """The runs below `root`, it included, each after its parent."""
    ordered = sorted(runs, key=lambda run: run.id)
    by_parent: dict[bytes | None, list[Run]] = {}
    for run in ordered:
        by_parent.setdefault(run.parent_id, []).append(run)
    found = [run for run in ordered if run.id == root]
    for run in found:
        found += by_parent.get(run.id, [])
    return found
