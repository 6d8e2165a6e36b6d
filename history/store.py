"""The store: what the engine asks of a database. SQLite and Postgres stand behind it with one
conformance suite.

*One writer per history.* The worker that owns a run appends to its history; all others (children
that end, tokens, cancels) put a row into the run's inbox and mark the run ready, in one
transaction of their own. The owner moves inbox rows into the history.

*Marks.* A row in `ready` says: there is something to do for this run. It is routed to the run's
owner where there is one (`ready.owner`), else any worker that knows the task may claim it. A claim
takes the mark away, makes the worker the owner, and hands out the inbox. A sender that finds a mark
locks it (an upsert that changes nothing), so that a claim under way and a new inbox row cannot miss
each other.

*The fence.* A worker is one row, `workers(id, group_no, beat)`. Every transaction of a worker
begins with `UPDATE workers SET group_no = n, beat = now WHERE id = me AND group_no = n - 1`, in a
form that makes the whole transaction fail when no row is hit.

*Time.* `now` arguments are milliseconds since the epoch, from the worker's clock, which follows the
database's (`Store.now()`). Leases and beats use the database's own clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

from wf.history.events import Event, Status
from wf.history.limits import LEASE_MS
from wf.history.messages import Message, NewMessage, Sent
from wf.history.notes import Chunk, Note
from wf.history.schedules import ScheduleStore
from wf.history.step import StepStore
from wf.history.turns import Ending, NextChapter

# --- what clients write
# --------------------------------------------------------------------------------------


@dataclass(slots=True)
class NewRun:
    """A run to be made. Payload and options are JSON."""

    id: bytes
    environment: str
    task: str
    payload: bytes
    created_at: int
    parent_id: bytes | None = None
    root_id: bytes | None = None
    """None: the run is its own root."""
    tags: Sequence[str] = ()
    queue: str = ""
    """"" is the task's own queue."""
    key: str = ""
    """concurrency key"""
    priority: int = 0
    start_at: int = 0
    """Not before this time (a delay); 0: at once."""
    ttl_ms: int = 0
    """0: none."""
    idempotency_key: str = ""
    """"" : none. Scoped by the caller (a `run` scope has the parent's id in it)."""
    idempotency_expires_at: int = 0
    """Compared with `created_at` of the run that asks for the key; 0: never."""
    version: str = ""
    options: bytes = b"{}"
    """The rest, that only the engine reads: max_attempts, max_duration, metadata, …"""
    settle: int = 0
    """For a child with an idempotency key: the operation of the parent that learns, by a
    CHILD_STARTED inbox row written in the same transaction, which run it is. For all children of a
    batch in which one has a key: by one BATCH_STARTED row."""
    batch_id: bytes | None = None
    schedule_id: bytes | None = None


class Triggered(IntEnum):
    MADE = 0
    CACHED = 1
    """The idempotency key was taken: that run's id is answered, and no run was made."""
    CACHED_DIFFERS = 2
    """The same, and its payload is another one."""


@dataclass(slots=True)
class NewToken:
    id: bytes
    environment: str
    created_at: int
    timeout_at: int = 0
    """0: never."""
    run_id: bytes | None = None
    """The run that made it: its open tokens are canceled when it ends."""
    tags: Sequence[str] = ()
    schema: bytes = b"null"
    """JSON Schema of the data; data is validated where it is completed."""
    idempotency_key: str = ""


# --- what a worker writes
# --------------------------------------------------------------------------------------


class InboxKind(IntEnum):
    """Stored numbers."""

    CHILD_ENDED = 1
    """`name`: status, `data`: output or Failure, `ordinal` of the operation that waits."""
    TOKEN_ENDED = 2
    """`name`: COMPLETED, TIMED_OUT or CANCELED; `data`: JSON."""
    CANCEL = 3
    STEP_DONE = 5
    """A step that wrote its result in its own transaction. `data`: the result, `name`: the
    milliseconds it took; `at`: 0, its owner has the time."""
    CHILD_STARTED = 6
    """A trigger with an idempotency key is settled. `data`: the id of the run that it is; `name`:
    the name of a Triggered member."""
    BATCH_STARTED = 7
    """The keys of a batch are settled. `data`: as the event's."""
    SEND_SETTLED = 8
    """A message that the run sent. `name`: that of a Sent member."""


@dataclass(slots=True)
class InboxRow:
    id: int
    """Rises with the order in which the store took them."""
    run_id: bytes
    kind: int
    chapter: int
    ordinal: int
    at: int
    name: str = ""
    data: bytes | None = None
    place: int = 0
    """Of an end that is awaited with others: which of them it is."""


class Among(IntEnum):
    """An operation that waits for many runs is told of each end, and woken by the last one."""

    ALONE = 0
    ALL = 1
    UNTIL_FAILURE = 2  # or by one that did not complete


@dataclass(slots=True)
class Wait:
    """Operation `ordinal` of this run waits for the end of a run or a token. Where it has ended,
    its inbox row is written in the same transaction."""

    target: bytes
    ordinal: int
    of_token: bool = False
    place: int = 0
    """Which of those that the operation waits for."""
    among: Among = Among.ALONE


@dataclass(slots=True)
class Blocked:
    """The run cannot go on by itself: `reason` (nondeterminism, poisoned, …), `detail` for people,
    `next` command."""

    reason: str
    detail: str
    since: int
    next: str = ""


@dataclass(slots=True)
class Activation:
    """What one run adds in one group commit. All of it happens, or none."""

    run_id: bytes
    chapter: int
    events: list[Event] = field(default_factory=list[Event])
    consumed: list[int] = field(default_factory=list[int])
    """Inbox rows that have become facts (or were dropped)."""
    children: list[NewRun] = field(default_factory=list[NewRun])
    """Inserted where their id is not there yet; those with an idempotency key by the rule of
    `trigger`, with a CHILD_STARTED inbox row for this run. A `Wait` on the asked id of such a child
    is opened on the run that it is."""
    tokens: list[NewToken] = field(default_factory=list[NewToken])
    waits: list[Wait] = field(default_factory=list[Wait])
    """Opened after children and tokens are made. None where a next chapter begins."""
    received: list[int] = field(default_factory=list[int])
    """Messages that have become facts."""
    sends: list[NewMessage] = field(default_factory=list[NewMessage])
    listening: Sequence[str] | None = None
    """The names of all messages that the run waits for from now on; None: as before."""
    cancels: list[bytes] = field(default_factory=list[bytes])
    """Runs (awaited children) to cancel, by the rule of `cancel`."""
    notes: list[Note] = field(default_factory=list[Note])
    next_chapter: NextChapter | None = None
    ending: Ending | None = None
    """The run ends: it is no longer owned, ready or due; its waiters get inbox rows; open tokens
    that it made are canceled; FAILED, CANCELED, EXPIRED, TIMED_OUT free its idempotency key."""
    blocked: Blocked | None = None
    """The run is parked: no longer owned or due, until `join` brings a worker with other code, or
    an inbox row comes."""
    release: bool = False
    """Nothing to do now: the run is no longer owned, and due at `due_at` (0: not by time)."""
    due_at: int = 0
    is_put_off: bool = False
    """With `release`: what is unread waits until then, too. Only what comes later wakes the run
    earlier."""


@dataclass(slots=True)
class Claim:
    """What a worker wants handed out at the end of its commit."""

    limit: int
    """New ownerships at most. Marks routed to this worker come on top."""
    tasks: Sequence[str]
    python: str
    """Python minor, for STARTED."""
    root: bytes | None = None
    """Only this run and its descendants."""
    resync: bool = False
    """Answer every run that this worker owns, with its inbox: after an answer was lost."""


class Reason(IntEnum):
    """Why a run is handed out; also `ready.reason`."""

    NEW = 0
    """The claim wrote STARTED as its first event."""
    RESUME = 1
    TAKEN = 2
    """Its worker was lost; the claim wrote TAKEN."""


@dataclass(slots=True)
class Claimed:
    run: Run
    reason: Reason
    seq: int
    """The last seq of the run's chapter, with what the claim wrote."""
    inbox: list[InboxRow]
    """All unread rows, in order of id."""
    messages: list[Message] = field(default_factory=list[Message])
    """Of every name that the run listens to the first MESSAGES_AHEAD, in order of id."""


@dataclass(slots=True)
class Lease:
    """A worker's place in the store. `group_no` counts its transactions."""

    worker: int
    environment: str
    group_no: int = 0
    lease_ms: int = LEASE_MS
    """How long it lives without a beat. Its owner says so where it is another than usual."""


@dataclass(slots=True)
class Committed:
    claimed: list[Claimed] = field(default_factory=list[Claimed])


# --- what people read
# --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Run:
    """A run as the store knows it. In a `Claimed`, what is not of its birth is not filled in."""

    id: bytes
    environment: str
    task: str
    payload: bytes
    created_at: int
    chapter: int = 1
    attempt: int = 1
    parent_id: bytes | None = None
    root_id: bytes | None = None
    tags: list[str] = field(default_factory=list[str])
    queue: str = ""
    key: str = ""
    priority: int = 0
    start_at: int = 0
    ttl_ms: int = 0
    idempotency_key: str = ""
    version: str = ""
    options: bytes = b"{}"
    batch_id: bytes | None = None
    schedule_id: bytes | None = None
    status: Status = Status.QUEUED
    started_at: int | None = None
    ended_at: int | None = None
    due_at: int | None = None
    output: bytes | None = None
    failure: bytes | None = None
    blocked: Blocked | None = None
    worker: int | None = None
    worker_beat: int | None = None
    """When the worker that owns it last gave a sign of life."""
    metadata: bytes = b"{}"
    added_tags: Sequence[str] = ()
    """Beside `tags`, which it was born with."""
    restarted_with: bytes | None = None
    """The payload of the last restart. `payload` is that of the trigger for ever."""


@dataclass(slots=True)
class Token:
    id: bytes
    environment: str
    created_at: int
    status: str = "WAITING"
    """WAITING, COMPLETED, TIMED_OUT, CANCELED"""
    timeout_at: int = 0
    run_id: bytes | None = None
    tags: list[str] = field(default_factory=list[str])
    schema: bytes = b"null"
    data: bytes | None = None
    ended_at: int | None = None


@dataclass(slots=True)
class RunFilter:
    environment: str
    status: Sequence[Status] = ()
    task: str = ""
    tag: str = ""
    parent_id: bytes | None = None
    root_id: bytes | None = None
    batch_id: bytes | None = None
    schedule_id: bytes | None = None
    since: int = 0
    before: bytes | None = None
    """Keyset cursor: runs with a smaller id (newest first)."""
    limit: int = 50


@dataclass(slots=True)
class WorkerInfo:
    """For people: who works here."""

    host: str = ""
    pid: int = 0
    tasks: Sequence[str] = ()
    code: str = ""
    """A content hash of the worker's code."""


class Store(StepStore, ScheduleStore, Protocol):
    """Thread-safe. Every method is one transaction, and raises StoreUnavailable where the database
    is out of reach.

    After StoreUnavailable with `outcome_unknown` the same call may be repeated: inserts are
    idempotent by id.
    """

    url: str

    def now(self) -> int:
        """The database's clock."""
        ...

    def close(self) -> None: ...

    # doors: from anywhere
    def trigger(self, runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
        """Make runs, all or none. One answer per run, in order."""
        ...

    def trigger_in(self, connection: Any, runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
        """`trigger` in the transaction of a caller's connection to the same database (see
        `borrowed`): the runs exist if and only if that commits. Raises CannotJoin."""
        ...

    async def trigger_in_async(
        self, connection: Any, runs: Sequence[NewRun]
    ) -> list[tuple[bytes, Triggered]]:
        """The same, also where its work is awaited; others are used in this thread."""
        ...

    def cancel(self, run_ids: Sequence[bytes], now: int) -> list[bytes]:
        """Ask for cancellation. A run that never began ends CANCELED here and now; to others it is
        an inbox row. Answers the ids of live runs that were reached (ended and unknown ones are
        left out)."""
        ...

    def send(self, messages: Sequence[NewMessage], now: int) -> list[Sent]:
        """Send messages, in order. Only a run that listens to a name is woken. Repeated after an
        unknown outcome a message may arrive twice."""
        ...

    def create_tokens(self, tokens: Sequence[NewToken]) -> None: ...

    def end_token(self, token_id: bytes, status: str, data: bytes | None, now: int) -> Token:
        """Complete or cancel a token: its waiters get inbox rows. Raises NotFound, AlreadyEnded.
        Completing twice with equal data is no error: the token is answered as it is. A token whose
        timeout_at has passed is TIMED_OUT here."""
        ...

    def note(self, notes: Sequence[Note], now: int) -> None:
        """Operations on metadata in order, chunks numbered as they come, tags. Those about unknown
        runs are dropped. After an unknown outcome the same notes may be written twice."""
        ...

    # looks: for people
    def get_runs(self, run_ids: Sequence[bytes]) -> dict[bytes, Run]: ...
    def live(self, run_ids: Sequence[bytes]) -> set[bytes]:
        """Those of these runs that are there and have not ended."""
        ...

    def list_runs(self, filter: RunFilter) -> list[Run]: ...
    def get_token(self, token_id: bytes) -> Token | None: ...
    def list_tokens(
        self, environment: str, *, status: str = "", run_id: bytes | None = None, limit: int = 50
    ) -> list[Token]: ...
    def history(self, run_id: bytes, chapter: int | None = None) -> list[tuple[int, Event]]:
        """(chapter, event), in order; of one chapter, or all."""
        ...

    def read_stream(self, run_id: bytes, name: str, after: int = 0) -> list[Chunk]:
        """The chunks that follow `after` (a seq), MAX_CHUNKS at most."""
        ...

    def has_worker(self, environment: str, task: str) -> bool:
        """Does a worker that beats know this task?"""
        ...

    # the worker
    def join(self, environment: str, info: WorkerInfo) -> Lease:
        """A new worker. Parked runs of its tasks whose code hash differs are marked ready; its
        tasks become known."""
        ...

    def commit(
        self, lease: Lease, activations: Sequence[Activation], claim: Claim | None, now: int
    ) -> Committed:
        """One group: fence, activations in order of run id, timers and tokens that are due, then
        the claim.

        Raises Fenced when the worker's row is gone. `lease.group_no` is advanced when the commit is
        known to have happened.
        """
        ...

    def beat(self, lease: Lease) -> None:
        """The worker lives, though it cannot commit now. Takes no part in the fence: a row that is
        gone stays gone, and a group under way is not disturbed. From any thread."""
        ...

    def landed(self, lease: Lease) -> bool:
        """After an unknown outcome: did group `lease.group_no + 1` commit? Advances the lease if
        so. Raises Fenced."""
        ...

    def load(self, runs: Sequence[tuple[bytes, int]]) -> dict[bytes, list[Event]]:
        """Histories of (run, chapter)."""
        ...

    def workers(self, environment: str) -> list[tuple[int, WorkerInfo]]:
        """Who works there, by id; those that were lost and not yet taken over are among them."""
        ...

    def take_over(self, now: int, lease_ms: int, gone: Sequence[int] = ()) -> list[int]:
        """Remove workers that stopped beating, and those of `gone`, whose process is known to have
        ended; their runs are marked TAKEN. Also frees marks whose owner is gone."""
        ...

    def leave(self, lease: Lease, now: int) -> None:
        """A graceful end: the worker's row goes, what it still owns is marked ready (RESUME:
        nothing was lost)."""
        ...

    def next_due(self, environment: str, root: bytes | None = None) -> int | None:
        """The earliest time at which something becomes due, for virtual time."""
        ...

    # wake-ups: hints, never the truth
    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` (from any thread) when something may have changed: marks, ends. Answers how
        to stop it."""
        ...

    def hint(self) -> None:
        """Tell all listeners, of this and other processes. Called by the store itself after commits
        that made marks or ended runs; coalesced."""
        ...


def in_rows(items: Iterable[bytes]) -> list[bytes]:
    """In the order in which rows are locked, without repeats."""
    return sorted(set(items))
