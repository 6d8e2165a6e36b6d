"""The store on Postgres, 14 and newer: the `Store` protocol, transaction by transaction."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from psycopg import errors as pg

from wf.history import postgres_queues, postgres_schedules
from wf.history import postgres_sql as sql
from wf.history import postgres_sql_due as due
from wf.history import postgres_sql_workers as workers
from wf.history.blobs import Blobs, whole_histories
from wf.history.borrowed import async_driver_of, driver_of, is_async
from wf.history.cold import Looks
from wf.history.errors import (
    AlreadyEnded,
    CannotJoin,
    Fenced,
    NotFound,
    StoreUnavailable,
)
from wf.history.events import Event
from wf.history.ids import show
from wf.history.messages import NewMessage, Sent
from wf.history.model import (
    Activation,
    Claim,
    Committed,
    Lease,
    NewRun,
    NewToken,
    Reason,
    Token,
    Triggered,
    WorkerInfo,
)
from wf.history.notes import Note
from wf.history.postgres_arrays import byteas, int8s, table, texts
from wf.history.postgres_clock import CarriedClock
from wf.history.postgres_group import Group, Written, write
from wf.history.postgres_join import IDENTITY, carry_out, carry_out_async, joining, psycopg_of
from wf.history.postgres_notes import has_metadata, write_notes
from wf.history.postgres_operations import fork, prune, reschedule, unblock
from wf.history.postgres_pool import Connection, Pool, send
from wf.history.postgres_rows import (
    by_run,
    cancel_runs,
    end_tokens,
    insert_tokens,
    look,
    make_runs,
    outcomes,
    put,
    send_messages,
    transaction,
)
from wf.history.postgres_sql import looked_up
from wf.history.postgres_step import AsyncPostgresStep, PostgresStep, is_done
from wf.history.postgres_sweep import Sweeper
from wf.history.postgres_tables import check_tables
from wf.history.postgres_wake import Wakes
from wf.history.queues import Limits, QueueChange
from wf.history.rows import TOKEN_COLUMNS, token_of
from wf.history.schedules import Move, Schedule
from wf.history.step import StepPlace
from wf.history.store import Meanwhile, in_rows, nothing

_ids: Final = random.SystemRandom()
_T = TypeVar("_T")


class PostgresStore(Looks):
    """A `Store`. Raises BadURL, StoreNewer, StoreUnavailable when it is made."""

    def __init__(self, url: str, *, create: bool = True) -> None:
        self.url = url
        self.pool = Pool(url)
        self._step_pool = Pool(url)
        """Of its own: steps that hold their transactions must not keep a worker from committing."""
        self._wakes = Wakes(self.pool)
        self._sweeper = Sweeper(self.pool)
        self._clock = CarriedClock(self._ask_time)
        self.birth_time = self._clock.carried
        self._beats: dict[int, float] = {}
        self._looks: set[int] = set()
        """Workers that found something to look at in queues: their next claim looks."""
        self._lucky: set[int] = set()
        """Workers that got something the last time that they had nothing to do: the next time they
        take what there is without a look before, which costs who finds nothing less."""
        try:
            self.pool.run(lambda connection: check_tables(connection, url, create=create))
        except BaseException:
            self.pool.close()
            raise

    def now(self) -> int:
        return self._clock.now()

    def _ask_time(self) -> int:
        return int(self.pool.run(lambda c: send(c, workers.NOW).fetchall())[0][0])

    def close(self) -> None:
        self._wakes.close()
        self._sweeper.close()
        self._step_pool.close()
        self.pool.close()

    # --- doors ------------------------------------------------------------------------------------

    def trigger(self, runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
        if not runs:
            return []
        return self._telling(lambda connection: make_runs(connection, runs))

    def trigger_in(self, connection: Any, runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
        driver = psycopg_of(driver_of(connection))
        if is_async(driver):
            raise CannotJoin(
                "the connection is async: use wf.AsyncClient, or `await task.trigger(…)`"
            )
        return carry_out(driver, joining(runs, self._identity()))

    async def trigger_in_async(
        self, connection: Any, runs: Sequence[NewRun]
    ) -> list[tuple[bytes, Triggered]]:
        driver = psycopg_of(await async_driver_of(connection))
        identity = await asyncio.to_thread(self._identity)
        if is_async(driver):
            return await carry_out_async(driver, joining(runs, identity))
        return carry_out(driver, joining(runs, identity))

    def cancel(self, run_ids: Sequence[bytes], now: int) -> list[bytes]:
        def work(connection: Connection) -> set[bytes]:
            with transaction(connection):
                send(connection, sql.LOCK_RUNS, [byteas(in_rows(run_ids))])
                reached = cancel_runs(connection, run_ids, now)
                send(connection, sql.MARK, [now])
            return reached

        reached = self.pool.run(work)
        if reached:
            self.hint()
        return [run_id for run_id in dict.fromkeys(run_ids) if run_id in reached]

    def send(self, messages: Sequence[NewMessage], now: int) -> list[Sent]:
        rows = [(one.run_id, one.name, one.data, None, 0, 0) for one in messages]
        ids = byteas(in_rows(one.run_id for one in messages))

        def work(connection: Connection) -> tuple[list[Sent], bool]:
            with transaction(connection):
                send(connection, sql.LOCK_RUNS, [ids])
                answers = send_messages(connection, rows, now)
                marked = send(connection, sql.MARK, [now])
            return outcomes(answers), marked.rowcount > 0

        if not rows:
            return []
        answers, is_heard = self.pool.run(work, again=False)
        if is_heard:
            self.hint()
        return answers

    def create_tokens(self, tokens: Sequence[NewToken]) -> None:
        def work(connection: Connection) -> None:
            with transaction(connection):
                insert_tokens(connection, tokens)

        if tokens:
            self.pool.run(work)

    def end_token(self, token_id: bytes, status: str, data: bytes | None, now: int) -> Token:
        find = sql.LOCKED_TOKEN.format(TOKEN_COLUMNS)
        shown = show("token", token_id)
        blobs = Blobs()
        stored = blobs.put(token_id, data)

        def work(connection: Connection) -> Token:
            with transaction(connection):
                row = send(connection, find, [token_id]).fetchone()
                if row is None:
                    raise NotFound(f"there is no token {shown}: see `wf tokens list`")
                token = token_of(row)
                if token.status == "WAITING":
                    late = 0 < token.timeout_at <= now
                    token.status = "TIMED_OUT" if late else status
                    token.data = None if late else stored
                    token.ended_at = now
                    end_tokens(connection, [token_id], token.status, token.data, now)
                    if not late:
                        put(connection, blobs)
                    send(connection, sql.MARK, [now])
            return token

        token = self.pool.run(work)
        self.hint()
        if (token.status, token.data) != (status, stored):
            raise AlreadyEnded(f"the token {shown} is {token.status} already: nothing was changed")
        token.data = data
        return token

    def note(self, notes: Sequence[Note], now: int) -> None:
        def work(connection: Connection) -> None:
            with transaction(connection):
                ids = in_rows(note.run_id for note in notes)
                send(connection, sql.LOCK_RUNS, [byteas(ids)])
                write_notes(connection, notes, now)

        if notes:
            self.pool.run(work)
            self.hint()

    # --- operations -------------------------------------------------------------------------------

    def reschedule(self, run_id: bytes, at: int, now: int) -> bool:
        moved = self.pool.run(lambda connection: reschedule(connection, run_id, at))
        if moved:
            self.hint()
        return moved

    def unblock(self, run_ids: Sequence[bytes], now: int) -> list[bytes]:
        parked = self.pool.run(lambda connection: unblock(connection, run_ids, now))
        if parked:
            self.hint()
        return [run_id for run_id in dict.fromkeys(run_ids) if run_id in parked]

    def fork(self, run: NewRun, events: Sequence[Event]) -> None:
        self.pool.run(lambda connection: fork(connection, run, events))
        self.hint()

    def prune(self, run_ids: Sequence[bytes]) -> list[bytes]:
        return self.pool.run(lambda connection: prune(connection, run_ids))

    def scrub(self) -> None:
        """Nothing: the file is the server's, and its VACUUM the one who cleans it."""

    # --- schedules --------------------------------------------------------------------------------

    def add_schedules(self, schedules: Sequence[Schedule]) -> None:
        postgres_schedules.add(self.pool, schedules)

    def move_schedules(self, moves: Sequence[Move], now: int) -> list[bool]:
        answers = postgres_schedules.move(self.pool, moves, now)
        if any(move.runs or move.cancels for move in moves):
            self.hint()
        return answers

    def drop_schedules(self, ids: Sequence[bytes]) -> None:
        postgres_schedules.drop(self.pool, ids)

    # --- queues -----------------------------------------------------------------------------------

    def declare_queues(self, environment: str, queues: Sequence[tuple[str, Limits]]) -> None:
        def work(connection: Connection) -> None:
            with transaction(connection):
                postgres_queues.declare(connection, environment, queues)

        self.pool.run(work)
        self.hint()

    def change_queue(self, environment: str, name: str, change: QueueChange) -> bool:
        def work(connection: Connection) -> bool:
            with transaction(connection):
                return postgres_queues.change(connection, environment, name, change)

        is_there = self.pool.run(work)
        self.hint()
        return is_there

    # --- steps ------------------------------------------------------------------------------------

    def begin(self, place: StepPlace | None) -> PostgresStep:
        return PostgresStep(self._step_pool, place, self.hint)

    async def begin_async(self, place: StepPlace | None) -> AsyncPostgresStep:
        step = AsyncPostgresStep(place, self.hint)
        await step.begin(self._step_pool)
        return step

    def is_done(self, place: StepPlace) -> bool:
        return is_done(self.pool, place)

    # --- the worker -------------------------------------------------------------------------------

    def join(self, environment: str, info: WorkerInfo) -> Lease:
        worker = _ids.getrandbits(63) or 1
        now = self.now()
        tasks = list(dict.fromkeys(info.tasks))
        row = (worker, info.pid, environment, info.host, json.dumps(tasks), info.code)

        def work(connection: Connection) -> bool:
            with transaction(connection):
                send(connection, workers.JOIN, row)
                hooks = int8s([info.hooks.get(task, 0) for task in tasks])
                queues = texts([info.queues.get(task, "") for task in tasks])
                known = [environment, texts(tasks), hooks, queues]
                send(connection, workers.RUNNABLES, known)
                parked = send(connection, workers.UNPARK, [environment, texts(tasks), info.code])
                send(connection, sql.MARK, [now])
            return parked.fetchall()[0][1] > 0

        if self.pool.run(work):
            self.hint()
        return Lease(worker, environment)

    def commit(
        self,
        lease: Lease,
        activations: Sequence[Activation],
        claim: Claim | None,
        now: int,
        meanwhile: Meanwhile = nothing,
    ) -> Committed:
        if (
            not activations
            and claim is not None
            and lease.worker not in self._lucky
            and self._idle(lease, claim, now)
        ):
            return Committed()
        looks, aboard = lease.worker in self._looks, self._wakes.aboard
        group = Group(lease, activations, claim, now, looks, meanwhile, aboard)
        try:
            written = self._write(group, all_due=False)
        except pg.InvalidTextRepresentation:
            written = self._write(group, all_due=True)
        lease.group_no += 1
        self._beats[lease.worker] = time.monotonic()
        if written.told:
            self._wakes.hint(is_sent=written.is_sent)
        self._sweeper.claimed(len(written.claimed))
        if claim is None:
            return Committed(again=written.marked)
        if not activations:
            (self._lucky.add if written.claimed else self._lucky.discard)(lease.worker)
        (self._looks.add if written.stirred else self._looks.discard)(lease.worker)
        again = written.again or (written.stirred and not group.looks)
        return Committed(written.claimed, again, written.is_cut)

    def _write(self, group: Group, *, all_due: bool) -> Written:
        try:
            return self.pool.run(lambda c: write(c, group, all_due=all_due), again=False)
        except pg.DivisionByZero as error:
            raise self._refused(group.lease, self._group_no(group.lease)) from error

    def _idle(self, lease: Lease, claim: Claim, now: int) -> bool:
        """Nothing to hand out, and no need to beat. Raises Fenced."""
        beaten = self._beats.get(lease.worker)
        if claim.resync or beaten is None or time.monotonic() - beaten > lease.lease_ms / 4_000:
            return False
        worker, environment = lease.worker, lease.environment
        tasks = texts(claim.tasks if claim.limit > 0 else ())
        values = [worker, worker, environment, now, tasks, environment, environment, now, tasks]
        ((alive, busy, stirred),) = self.pool.run(lambda c: look(c, sql.IDLE, values))
        if not alive:
            raise self._refused(lease, None)
        if stirred and claim.limit > 0:
            self._looks.add(lease.worker)
            return False
        return not busy

    def beat(self, lease: Lease) -> None:
        self.pool.run(lambda c: send(c, workers.BEAT, [lease.worker]))

    def landed(self, lease: Lease) -> bool:
        """Where the group has not landed, its number is used up, so that it never will."""
        self.pool.run(lambda c: send(c, sql.BURN, [lease.worker, lease.group_no]))
        group_no = self._group_no(lease)
        further = 0 if group_no is None else group_no - lease.group_no
        if group_no is None or further not in {sql.LANDED, sql.BURNT}:
            raise self._refused(lease, None)
        lease.group_no = group_no
        return further == sql.LANDED

    def load(self, runs: Sequence[tuple[bytes, int]]) -> dict[bytes, list[Event]]:
        asked = sorted(runs)
        values = [*table("bi", asked), asked[0][0] if asked else None]
        rows = self.pool.run(lambda c: look(c, workers.LOAD, values)) if runs else []
        return whole_histories(by_run(rows), self.fetch)

    def take_over(self, now: int, lease_ms: int, gone: Sequence[int] = ()) -> list[int]:
        def work(connection: Connection) -> list[int]:
            send(connection, workers.STUCK, [lease_ms, lease_ms // 2])
            with transaction(connection):
                rows = send(connection, workers.LOST, [lease_ms, int8s(gone)]).fetchall()
                lost = sorted(int(row[0]) for row in rows)
                self._orphan(connection, lost, now, Reason.TAKEN)
            return lost

        if not gone and not self.pool.run(lambda c: look(c, workers.ANY_LOST, [lease_ms]))[0][0]:
            return []
        lost = self.pool.run(work)
        self.hint()
        return lost

    def leave(self, lease: Lease, now: int) -> None:
        def work(connection: Connection) -> None:
            with transaction(connection):
                send(connection, workers.LEAVE, [lease.worker])
                self._orphan(connection, [lease.worker], now, Reason.RESUME)

        self.pool.run(work)
        self._beats.pop(lease.worker, None)
        self._looks.discard(lease.worker)
        self._lucky.discard(lease.worker)
        self.hint()

    def _orphan(self, connection: Connection, lost: list[int], now: int, why: Reason) -> None:
        send(connection, workers.ORPHANED, [int8s(lost), now, int(why)])
        send(connection, workers.UNROUTED)

    def next_due(self, environment: str, root: bytes | None = None) -> int | None:
        text = due.NEXT_DUE if root is None else due.NEXT_DUE_UNDER
        values = {"environment": environment, "root": root}
        at: int | None = self.pool.run(lambda c: look(c, text, values))[0][0]
        return at

    # --- wake-ups ---------------------------------------------------------------------------------

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        return self._wakes.listen(wake)

    def hint(self) -> None:
        self._wakes.hint()

    def _telling(self, work: Callable[[Connection], _T]) -> _T:
        """Do a transaction of which others want to know."""
        behind = self._wakes.aboard()

        def telling(connection: Connection) -> _T:
            connection.flight.behind = behind
            return work(connection)

        answer = self.pool.run(telling)
        self._wakes.hint(is_sent=behind is not None)
        return answer

    # --- within -----------------------------------------------------------------------------------

    def _query(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """A list is planned each time: which plan is good depends on its LIMIT. No text of a
        database has a NUL, so nothing is found by one that has."""
        if any(isinstance(one, str) and "\0" in one for one in parameters):
            return []
        text, kept = sql.replace("?", "%s"), "LIMIT" not in sql
        if kept:
            text = looked_up(text)
        return self.pool.run(lambda c: look(c, text, parameters, kept=kept))

    def _any_of(self, run_ids: Sequence[bytes]) -> tuple[str, list[Any]]:
        return "= ANY (?::bytea[])", [byteas(run_ids)]

    def _has_metadata(self, key: str, value: Any) -> tuple[str, list[Any]]:
        return has_metadata(key, value)

    def _identity(self) -> str:
        return str(self.pool.run(lambda c: look(c, IDENTITY))[0][0])

    def _group_no(self, lease: Lease) -> int | None:
        rows = self.pool.run(lambda c: look(c, sql.GROUP_NO, [lease.worker]))
        return int(rows[0][0]) if rows else None

    @staticmethod
    def _refused(lease: Lease, group_no: int | None) -> Fenced | StoreUnavailable:
        if group_no == lease.group_no + 1:
            return StoreUnavailable(
                "this group has been committed before: ask `landed`", outcome_unknown=True
            )
        return Fenced(f"worker {lease.worker} was taken over: drop all runs and join again")
