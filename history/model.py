"""What is written to the store, handed out by it and read from it: plain data, the same for both
stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum

from msgspec import Struct

from wf.history.events import Event, Status
from wf.history.limits import LEASE_MS
from wf.history.messages import Message, NewMessage
from wf.history.notes import Note
from wf.history.queues import Limits
from wf.history.turns import Ending, NextChapter

# --- what clients write
# --------------------------------------------------------------------------------------


class Debounced(Struct, frozen=True):
    """Triggers with one key (in an environment, of a task) within the delay are one run."""

    key: str
    delay_ms: int
    is_leading: bool = False
    """The first payload stays; else the last one wins."""
    max_delay_ms: int = 0
    """After the first trigger; 0: pushed again and again."""


class NewRun(Struct):
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
    """"" : it waits in none."""
    key: str = ""
    """Concurrency key, within the queue."""
    limits: Limits | None = None
    """What its trigger says of the queue, which is made or changed; None: nothing."""
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
    payload_digest: bytes = b""
    """Of a payload that is sealed: the digest of what it was before, for its idempotency key."""
    settle: int = 0
    """For a child with an idempotency key: the operation of the parent that learns, by a
    CHILD_STARTED inbox row written in the same transaction, which run it is. For all children of a
    batch in which one has a key: by one BATCH_STARTED row."""
    batch_id: bytes | None = None
    schedule_id: bytes | None = None
    origin_id: bytes | None = None
    """The run that it replays, or is forked from."""
    debounce: Debounced | None = None
    is_strict: bool = False
    """An idempotency key that another payload has taken is an error: nothing is made."""


class Triggered(IntEnum):
    MADE = 0
    CACHED = 1
    """The idempotency key was taken, or the run of a debounce pushed: that run's id is answered,
    and no run was made."""
    CACHED_DIFFERS = 2
    """The same, and its payload is another one."""


class NewToken(Struct):
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


class InboxRow(Struct):
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


class Wait(Struct):
    """Operation `ordinal` of this run waits for the end of a run or a token. Where it has ended,
    its inbox row is written in the same transaction."""

    target: bytes
    ordinal: int
    of_token: bool = False
    place: int = 0
    """Which of those that the operation waits for."""
    among: Among = Among.ALONE


class Blocked(Struct):
    """The run cannot go on by itself: `reason` (nondeterminism, poisoned, …), `detail` for people,
    `next` command."""

    reason: str
    detail: str
    since: int
    next: str = ""


class Activation(Struct):
    """What one run adds in one group commit. All of it happens, or none."""

    run_id: bytes
    chapter: int
    events: list[Event] = []
    consumed: list[int] = []
    """Inbox rows that have become facts (or were dropped)."""
    children: list[NewRun] = []
    """Inserted where their id is not there yet; those with an idempotency key by the rule of
    `trigger`, with a CHILD_STARTED inbox row for this run. A `Wait` on the asked id of such a child
    is opened on the run that it is."""
    tokens: list[NewToken] = []
    waits: list[Wait] = []
    """Opened after children and tokens are made. None where a next chapter begins."""
    received: list[int] = []
    """Messages that have become facts."""
    sends: list[NewMessage] = []
    listening: Sequence[str] | None = None
    """The names of all messages that the run waits for from now on; None: as before."""
    cancels: list[bytes] = []
    """Runs (awaited children) to cancel, by the rule of `cancel`."""
    notes: list[Note] = []
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

    @property
    def has_rows(self) -> bool:
        """It adds something; else at most it gives the run back."""
        return bool(
            self.events
            or self.consumed
            or self.children
            or self.waits
            or self.listening is not None
            or self.cancels
            or self.notes
            or self.ending
        )


class Claim(Struct):
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


class Claimed(Struct):
    run: Run
    reason: Reason
    seq: int
    """The last seq of the run's chapter, with what the claim wrote."""
    inbox: list[InboxRow]
    """All unread rows, in order of id."""
    messages: list[Message] = []
    """Of every name that the run listens to the first MESSAGES_AHEAD, in order of id."""


class Lease(Struct):
    """A worker's place in the store. `group_no` counts its transactions."""

    worker: int
    environment: str
    group_no: int = 0
    lease_ms: int = LEASE_MS
    """How long it lives without a beat. Its owner says so where it is another than usual."""


class Committed(Struct):
    claimed: list[Claimed] = []
    again: bool = False
    """There may be more at once: in queues that were not looked at, or not to their ends; or where
    nothing was asked for, and something was marked."""
    is_cut: bool = False
    """There is more in the inboxes of runs that were handed out than NEWS_BYTES: when these rows
    are consumed, a claim with `resync` answers the rest."""


# --- what people read
# --------------------------------------------------------------------------------------------


class Run(Struct):
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
    tags: list[str] = []
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
    origin_id: bytes | None = None
    """The run that it replays, or was forked from."""
    forked_at: int = 0
    """Of a fork: the fact of the other run at which it begins."""
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


class Token(Struct):
    id: bytes
    environment: str
    created_at: int
    status: str = "WAITING"
    """WAITING, COMPLETED, TIMED_OUT, CANCELED"""
    timeout_at: int = 0
    run_id: bytes | None = None
    tags: list[str] = []
    schema: bytes = b"null"
    data: bytes | None = None
    ended_at: int | None = None


class Awaited(Struct):
    """What a run waits for outside itself: runs and tokens, and names of messages."""

    targets: Sequence[bytes] = ()
    names: Sequence[str] = ()


class RunFilter(Struct):
    """Hook runs are left out, unless `task` names theirs, or those below a run are asked for."""

    environment: str
    status: Sequence[Status] = ()
    task: str = ""
    tag: str = ""
    version: str = ""
    metadata: Sequence[tuple[str, str | float | bool | None]] = ()
    """Keys of the metadata, each with the value that stands there."""
    parent_id: bytes | None = None
    root_id: bytes | None = None
    """A run, and all that are below it."""
    batch_id: bytes | None = None
    schedule_id: bytes | None = None
    origin_id: bytes | None = None
    since: int = 0
    """Runs whose id is not older; an id is as old as its run, that of a schedule's as its slot."""
    until: int = 0
    """Runs whose id is older; 0: all."""
    before: bytes | None = None
    """Keyset cursor: runs with a smaller id (newest first)."""
    limit: int = 50


class WorkerInfo(Struct):
    """For people: who works here."""

    host: str = ""
    pid: int = 0
    tasks: Sequence[str] = ()
    code: str = ""
    """A content hash of the worker's code."""
    hooks: Mapping[str, int] = {}
    """By task that has hooks for ends: of which ends (`history.hooks.bit`)."""
    queues: Mapping[str, str] = {}
    """Of tasks that have one: who triggers them by name goes there."""
