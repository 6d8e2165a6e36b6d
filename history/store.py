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
from typing import Any, Protocol, cast

from wf.history.events import Event
from wf.history.forking import ForkStore
from wf.history.messages import NewMessage, Sent
from wf.history.model import (
    Activation,
    Claim,
    Committed,
    Lease,
    NewRun,
    NewToken,
    Run,
    RunFilter,
    Token,
    Triggered,
    WorkerInfo,
)
from wf.history.notes import Chunk, Note
from wf.history.operations import OperationStore
from wf.history.pruning import PruneStore
from wf.history.queues import QueueStore
from wf.history.schedules import ScheduleStore
from wf.history.step import StepStore

Meanwhile = Callable[[], None]


def nothing() -> None: ...


class Store(StepStore, ScheduleStore, QueueStore, OperationStore, PruneStore, ForkStore, Protocol):
    """Thread-safe. Every method is one transaction, and raises StoreUnavailable where the database
    is out of reach.

    After StoreUnavailable with `outcome_unknown` the same call may be repeated: inserts are
    idempotent by id.
    """

    url: str

    def now(self) -> int:
        """The database's clock."""
        ...

    def birth_time(self) -> int:
        """The same for what is made now: never ahead of it, and what is behind it costs no look."""
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
    def ended(self, run_ids: Sequence[bytes]) -> dict[bytes, Run]:
        """Those of these runs that have ended, without what they noted: metadata, added tags."""
        ...

    def live(self, run_ids: Sequence[bytes]) -> set[bytes]:
        """Those of these runs that are there and have not ended."""
        ...

    def list_runs(self, filter: RunFilter) -> list[Run]: ...
    def get_token(self, token_id: bytes) -> Token | None: ...
    def list_tokens(
        self, environment: str, *, status: str = "", run_id: bytes | None = None, limit: int = 50
    ) -> list[Token]: ...
    def history(
        self, run_id: bytes, chapter: int | None = None, after: tuple[int, int] = (0, 0)
    ) -> list[tuple[int, Event]]:
        """(chapter, event), in order; of one chapter, or all; those that follow this chapter and
        seq. The last one of a run that has ended is ENDED, which no other look at histories
        tells."""
        ...

    def read_stream(self, run_id: bytes, name: str, after: int = 0) -> list[Chunk]:
        """The chunks that follow `after` (a seq), MAX_CHUNKS at most."""
        ...

    def has_worker(self, environment: str, task: str) -> bool:
        """Does a worker that beats know this task?"""
        ...

    def fetch(self, references: Sequence[bytes]) -> dict[bytes, bytes]:
        """The large values that these stand for (see `blobs`), without those that are gone.

        References stand in what many may be looked at together: in `list_runs`, `list_tokens` and
        what a claim hands out. All others answer whole values."""
        ...

    # the worker
    def join(self, environment: str, info: WorkerInfo) -> Lease:
        """A new worker. Parked runs of its tasks whose code hash differs, or that could not be
        opened, are marked ready; its tasks become known."""
        ...

    def commit(
        self,
        lease: Lease,
        activations: Sequence[Activation],
        claim: Claim | None,
        now: int,
        meanwhile: Meanwhile = nothing,
    ) -> Committed:
        """One group: fence, activations in order of run id, timers and tokens that are due, then
        the claim.

        `meanwhile`, the caller's own work, may be called while the database is at its own. It asks
        nothing of the store and raises nothing.
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
        """Histories of (run, chapter): of as many of these as LOAD_BYTES hold, of one at least. The
        others are asked for again."""
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


Query = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


def query_of(store: Store) -> Query:
    """SQL of one's own, with `?` for values, for those who look through all rows of a store."""
    return cast("Query", store._query)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def in_rows(items: Iterable[bytes]) -> list[bytes]:
    """In the order in which rows are locked, without repeats."""
    return sorted(set(items))
