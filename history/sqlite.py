"""The store on a SQLite file: the `Store` protocol, transaction by transaction."""

from __future__ import annotations

import asyncio
import json
import random as chance
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wf.history.blobs import Blobs
from wf.history.borrowed import async_driver_of, driver_of
from wf.history.cold import Looks
from wf.history.errors import AlreadyEnded, Fenced, NotFound, StoreUnavailable
from wf.history.events import Event
from wf.history.ids import show
from wf.history.limits import BUSY_TIMEOUT_MS
from wf.history.listing import marks
from wf.history.messages import NewMessage, Sent
from wf.history.model import (
    Activation,
    Claim,
    Committed,
    InboxKind,
    Lease,
    NewRun,
    NewToken,
    Token,
    Triggered,
    WorkerInfo,
)
from wf.history.notes import Note
from wf.history.queues import STIR_DUE, STIR_OF_ROOT, Limits, QueueChange
from wf.history.rows import TOKEN_COLUMNS, token_of
from wf.history.schedules import DROP, INSERT, MOVE, Move, Schedule, move_of, row_of
from wf.history.sealing import KEY_LOST
from wf.history.settling import refuse_conflicts
from wf.history.sqlite_claim import (
    OF_ROOT,
    free_orphans,
    give_back,
    hand_out,
    pass_time,
)
from wf.history.sqlite_database import Database
from wf.history.sqlite_group import write_group
from wf.history.sqlite_join import join
from wf.history.sqlite_notes import has_metadata, write_notes
from wf.history.sqlite_operations import fork, prune, reschedule, unblock
from wf.history.sqlite_queues import change_queue, declare
from wf.history.sqlite_rows import (
    End,
    cancel_runs,
    end_tokens,
    make_runs,
    make_runs_in,
    make_tokens,
    mark,
    send_messages,
)
from wf.history.sqlite_step import AsyncSQLiteStep, SQLiteStep
from wf.history.sqlite_transaction import Transaction
from wf.history.step import StepPlace
from wf.history.store import Meanwhile, nothing
from wf.history.wakeups import Wakeups


def _wall_clock() -> int:
    return time.time_ns() // 1_000_000


class SQLiteStore(Looks):
    """A `Store`. `clock` (ms since the epoch) and `random` (ids of workers) are a simulator's to
    set."""

    def __init__(
        self,
        path: str | Path,
        *,
        create: bool = True,
        clock: Callable[[], int] = _wall_clock,
        random: chance.Random | None = None,
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
        database: Database | None = None,
    ) -> None:
        """`database`: one that is open already. Raises BadURL, StoreNewer, StoreUnavailable."""
        place = Path(path).absolute()
        self.url = f"sqlite:///{place}"
        self.database = database or Database(place, create=create, busy_timeout_ms=busy_timeout_ms)
        self._clock = clock
        self._random = random or chance.SystemRandom()
        self._wakeups = Wakeups(place)
        self.birth_time = self.now

    def now(self) -> int:
        return self._clock()

    def close(self) -> None:
        self._wakeups.close()
        self.database.close()

    # --- doors ------------------------------------------------------------------------------------

    def trigger(self, runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
        if not runs:
            return []
        with self.database.write() as db:
            tx = Transaction(db, self.now())
            answers = make_runs(tx, runs)
            refuse_conflicts(runs, answers)
        self._tell(tx)
        return answers

    def trigger_in(self, connection: Any, runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
        with self.database.errors():
            db = join(driver_of(connection), self.database.path)
            return make_runs_in(Transaction(db, self.now()), runs)

    async def trigger_in_async(
        self, connection: Any, runs: Sequence[NewRun]
    ) -> list[tuple[bytes, Triggered]]:
        return self.trigger_in(await async_driver_of(connection), runs)

    def cancel(self, run_ids: Sequence[bytes], now: int) -> list[bytes]:
        with self.database.write() as db:
            tx = Transaction(db, now)
            reached = cancel_runs(tx, run_ids)
        self._tell(tx)
        return [run_id for run_id in dict.fromkeys(run_ids) if run_id in reached]

    def send(self, messages: Sequence[NewMessage], now: int) -> list[Sent]:
        with self.database.write() as db:
            tx = Transaction(db, now)
            answers = send_messages(tx, messages)
        self._tell(tx)
        return answers

    def create_tokens(self, tokens: Sequence[NewToken]) -> None:
        with self.database.write() as db:
            make_tokens(Transaction(db, self.now()), tokens)

    def end_token(self, token_id: bytes, status: str, data: bytes | None, now: int) -> Token:
        select = f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE id = ?"
        shown = show("token", token_id)
        blobs = Blobs()
        stored = blobs.put(token_id, data)
        with self.database.write() as db:
            tx = Transaction(db, now)
            row = db.execute(select, (token_id,)).fetchone()
            if row is None:
                raise NotFound(f"there is no token {shown}: see `wf tokens list`")
            before = token_of(row)
            if before.status == "WAITING":
                late = 0 < before.timeout_at <= now
                end = End("TIMED_OUT", None) if late else End(status, stored)
                end_tokens(tx, {token_id: end})
                if not late:
                    tx.put(blobs)
            token = token_of(db.execute(select, (token_id,)).fetchone())
        self._tell(tx)
        if (token.status, token.data) != (status, stored):
            raise AlreadyEnded(f"the token {shown} is {token.status} already: nothing was changed")
        token.data = data
        return token

    def note(self, notes: Sequence[Note], now: int) -> None:
        with self.database.write() as db:
            tx = Transaction(db, now)
            write_notes(tx, notes)
        self._tell(tx)

    # --- operations -------------------------------------------------------------------------------

    def reschedule(self, run_id: bytes, at: int, now: int) -> bool:
        with self.database.write() as db:
            tx = Transaction(db, now)
            moved = reschedule(tx, run_id, at)
        self._tell(tx)
        return moved

    def unblock(self, run_ids: Sequence[bytes], now: int) -> list[bytes]:
        with self.database.write() as db:
            tx = Transaction(db, now)
            parked = unblock(tx, run_ids)
        self._tell(tx)
        return [run_id for run_id in dict.fromkeys(run_ids) if run_id in parked]

    def fork(self, run: NewRun, events: Sequence[Event]) -> None:
        with self.database.write() as db:
            tx = Transaction(db, self.now())
            fork(tx, run, events)
        self._tell(tx)

    def prune(self, run_ids: Sequence[bytes]) -> list[bytes]:
        with self.database.write() as db:
            return prune(Transaction(db, self.now()), run_ids)

    def scrub(self) -> None:
        self.database.rewrite()

    # --- schedules --------------------------------------------------------------------------------

    def add_schedules(self, schedules: Sequence[Schedule]) -> None:
        with self.database.write() as db:
            db.executemany(INSERT, map(row_of, schedules))

    def move_schedules(self, moves: Sequence[Move], now: int) -> list[bool]:
        with self.database.write() as db:
            tx = Transaction(db, now)
            answers = [db.execute(MOVE, move_of(move.schedule)).rowcount > 0 for move in moves]
            happened = [move for move, hit in zip(moves, answers, strict=True) if hit]
            cancel_runs(tx, [run for move in happened for run in move.cancels])
            make_runs(tx, [run for move in happened for run in move.runs])
        self._tell(tx)
        return answers

    def drop_schedules(self, ids: Sequence[bytes]) -> None:
        with self.database.write() as db:
            db.executemany(DROP, [(id,) for id in ids])

    # --- queues -----------------------------------------------------------------------------------

    def declare_queues(self, environment: str, queues: Sequence[tuple[str, Limits]]) -> None:
        with self.database.write() as db:
            tx = Transaction(db, self.now())
            for name, limits in queues:
                declare(tx, environment, name, limits)
        self._tell(tx)

    def change_queue(self, environment: str, name: str, change: QueueChange) -> bool:
        with self.database.write() as db:
            tx = Transaction(db, self.now())
            is_there = change_queue(tx, environment, name, change)
        self._tell(tx)
        return is_there

    # --- steps ------------------------------------------------------------------------------------

    def begin(self, place: StepPlace | None) -> SQLiteStep:
        return SQLiteStep(self.database, place, self.hint)

    async def begin_async(self, place: StepPlace | None) -> AsyncSQLiteStep:
        return AsyncSQLiteStep(await asyncio.to_thread(self.begin, place))

    def is_done(self, place: StepPlace) -> bool:
        sql = "SELECT 1 FROM inbox WHERE run_id = ? AND chapter = ? AND ordinal = ? AND kind = ?"
        key = (place.run_id, place.chapter, place.ordinal, InboxKind.STEP_DONE.value)
        return bool(self._query(sql, key))

    # --- the worker -------------------------------------------------------------------------------

    def join(self, environment: str, info: WorkerInfo) -> Lease:
        worker = self._random.getrandbits(63) or 1
        now = self.now()
        with self.database.write() as db:
            tx = Transaction(db, now)
            db.execute(
                "INSERT INTO workers (id, environment, beat, started_at, host, pid, tasks, code)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (worker, environment, now, now, info.host, info.pid, json.dumps(list(info.tasks)),
                 info.code),
            )  # fmt: skip
            tasks = dict.fromkeys(info.tasks)
            db.executemany(
                "INSERT INTO runnables (environment, task, first_seen, hooks, queue)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET hooks = excluded.hooks,"
                " queue = excluded.queue"
                " WHERE hooks <> excluded.hooks OR queue <> excluded.queue",
                [
                    (environment, task, now, info.hooks.get(task, 0), info.queues.get(task, ""))
                    for task in tasks
                ],
            )
            parked = (
                "SELECT run_id, task FROM blocked"
                " WHERE environment = ? AND (code <> ? OR reason = ?)"
            )
            rows = db.execute(parked, (environment, info.code, KEY_LOST)).fetchall()
            again = [run_id for run_id, task in rows if task in tasks]
            if again:
                mark(tx, again)
        self._tell(tx)
        return Lease(worker, environment)

    def commit(
        self,
        lease: Lease,
        activations: Sequence[Activation],
        claim: Claim | None,
        now: int,
        meanwhile: Meanwhile = nothing,
    ) -> Committed:
        meanwhile()
        with self.database.write() as db:
            tx = Transaction(db, now)
            hit = db.execute(
                "UPDATE workers SET group_no = group_no + 1, beat = ?"
                " WHERE id = ? AND group_no = ?",
                (self.now(), lease.worker, lease.group_no),
            ).rowcount
            if not hit:
                raise self._refused(self._group_no(lease), lease)
            if activations:
                write_group(tx, lease, activations)
            if claim is None:
                answer = Committed(again=tx.marked)
            else:
                pass_time(tx, lease.environment, claim.root)
                answer = hand_out(tx, lease, claim)
        lease.group_no += 1
        self._tell(tx)
        return answer

    def beat(self, lease: Lease) -> None:
        with self.database.write() as db:
            db.execute("UPDATE workers SET beat = ? WHERE id = ?", (self.now(), lease.worker))

    def landed(self, lease: Lease) -> bool:
        group_no = self._group_no(lease)
        if group_no == lease.group_no:
            return False
        if group_no != lease.group_no + 1:
            raise self._refused(None, lease)
        lease.group_no = group_no
        return True

    def take_over(self, now: int, lease_ms: int, gone: Sequence[int] = ()) -> list[int]:
        stale = self.now() - lease_ms
        orphans = (
            "SELECT EXISTS (SELECT 1 FROM workers WHERE beat < ?)"
            " OR EXISTS (SELECT 1 FROM owned WHERE worker NOT IN (SELECT id FROM workers))"
            " OR EXISTS (SELECT 1 FROM ready WHERE owner NOT IN (SELECT id FROM workers))"
        )
        if not gone and not self._query(orphans, (stale,))[0][0]:
            return []
        with self.database.write() as db:
            tx = Transaction(db, now)
            lost = db.execute(
                "DELETE FROM workers WHERE beat < ? OR id IN (SELECT value FROM json_each(?))"
                " RETURNING id",
                (stale, json.dumps(list(gone))),
            ).fetchall()
            free_orphans(tx)
        self._tell(tx)
        return sorted(row[0] for row in lost)

    def leave(self, lease: Lease, now: int) -> None:
        with self.database.write() as db:
            tx = Transaction(db, now)
            give_back(tx, lease)
        self._tell(tx)

    def next_due(self, environment: str, root: bytes | None = None) -> int | None:
        due = "SELECT min(d.at) AS at FROM due d WHERE d.environment = :environment"
        stir = STIR_DUE
        if root is not None:
            due, stir = f"{due} AND {OF_ROOT}", f"{stir} AND {STIR_OF_ROOT}"
        with self.database.read() as db:
            row = db.execute(
                f"SELECT min(at) FROM ({due} UNION ALL {stir})",
                {"root": root, "environment": environment},
            ).fetchone()
        at: int | None = row[0]
        return at

    # --- wake-ups ---------------------------------------------------------------------------------

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        return self._wakeups.listen(wake)

    def hint(self) -> None:
        self._wakeups.hint()

    def _tell(self, tx: Transaction) -> None:
        if tx.told:
            self.hint()

    def _query(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self.database.read() as db:
            return db.execute(sql, parameters).fetchall()

    def _any_of(self, run_ids: Sequence[bytes]) -> tuple[str, list[Any]]:
        return f"IN ({marks(run_ids)})", list(run_ids)

    def _has_metadata(self, key: str, value: Any) -> tuple[str, list[Any]]:
        return has_metadata(key, value)

    def _group_no(self, lease: Lease) -> int:
        rows = self._query("SELECT group_no FROM workers WHERE id = ?", (lease.worker,))
        if not rows:
            raise self._refused(None, lease)
        return int(rows[0][0])

    @staticmethod
    def _refused(group_no: int | None, lease: Lease) -> Fenced | StoreUnavailable:
        if group_no == lease.group_no + 1:
            return StoreUnavailable(
                "this group has been committed before: ask `landed`", outcome_unknown=True
            )
        return Fenced(f"worker {lease.worker} was taken over: drop all runs and join again")
