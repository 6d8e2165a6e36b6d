"""What happens to rows of a SQLite store, whoever asks: runs are made, marked, told and ended.

Every function works within a transaction that is open (BEGIN IMMEDIATE, so nobody else writes
meanwhile), on as many rows as there are, with a number of statements that does not depend on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from wf.history.blobs import Blobs
from wf.history.debouncing import debounced
from wf.history.errors import IdempotencyConflict
from wf.history.events import STORED, Status
from wf.history.hooks import Subject, bit, hook_run
from wf.history.limits import CANCEL_PRIORITY
from wf.history.messages import NewMessage, Sent
from wf.history.model import InboxKind, NewRun, NewToken, Reason, Triggered
from wf.history.rows import (
    MARK_PRIORITY,
    NEVER_BEGAN,
    NEW_RUN_COLUMNS,
    NEW_RUN_WIDTH,
    TOKEN_STATUS,
    DueKind,
    digest_of,
    new_run_row,
    tag_rows,
    tags_json,
)
from wf.history.settling import refuse_conflicts
from wf.history.sqlite_debounce import debounce
from wf.history.sqlite_queues import queues_of
from wf.history.sqlite_transaction import (
    MARKED,
    OWNED,
    Transaction,
    give_back_slots,
    stir,
    stir_marks,
)

INSERT_EVENTS: Final = (
    "INSERT INTO events "
    "(run_id, chapter, seq, kind, ordinal, at, name, digest, attempt, took, data) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_RUN: Final = (
    f"INSERT INTO runs ({NEW_RUN_COLUMNS}) VALUES ({', '.join('?' * NEW_RUN_WIDTH)})"
)
_INSERT_TAG: Final = "INSERT OR IGNORE INTO tags (environment, tag, run_id) VALUES (?, ?, ?)"
_INSERT_READY: Final = (
    "INSERT INTO ready (run_id, environment, task, queue, key, priority, at, reason) "
    f"VALUES (?, ?, ?, ?, ?, ?, ?, {Reason.NEW.value})"
)
INSERT_DUE: Final = "INSERT OR REPLACE INTO due (id, at, kind, environment) VALUES (?, ?, ?, ?)"
INSERT_INBOX: Final = (
    "INSERT INTO inbox (run_id, kind, chapter, ordinal, at, name, data, place)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_MARK: Final = f"""INSERT INTO ready
 (run_id, environment, task, queue, key, priority, at, reason, owner)
SELECT r.id, r.environment, r.task, r.queue, r.key, {MARK_PRIORITY}, r.created_at,
 {Reason.RESUME.value}, o.worker
FROM runs r LEFT JOIN owned o ON o.run_id = r.id WHERE r.status = 0 AND r.id IN"""
_END_RUN: Final = "UPDATE runs SET status = ?, output = ?, failure = ?, ended_at = ? WHERE id = ?"
_ASKED_TO_END: Final = "UPDATE runs SET canceled_at = ? WHERE id = ? AND canceled_at IS NULL"
_FIRST: Final = f"UPDATE ready SET priority = {CANCEL_PRIORITY} WHERE"
_FREE_KEY: Final = """DELETE FROM idempotency WHERE run_id = ? AND (environment, task, key) =
 (SELECT environment, task, idempotency_key FROM runs WHERE id = ?)"""
_HOOKED: Final = """SELECT r.id, r.environment, r.task, r.root_id
FROM runs r JOIN runnables n ON n.environment = r.environment AND n.task = r.task WHERE r.id IN"""
_OF_A_LIVE_RUN: Final = (
    ("ready", "run_id"),
    ("due", "id"),
    ("inbox", "run_id"),
    ("blocked", "run_id"),
    ("waits", "run_id"),
    ("gathers", "run_id"),
    ("messages", "run_id"),
    ("listening", "run_id"),
)


class End(NamedTuple):
    """A run or token that ends: what its waiters are told."""

    name: str
    data: bytes | None


# --- made -----------------------------------------------------------------------------------------


def make_runs(tx: Transaction, runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
    """Those whose id is not there yet and whose idempotency key is free; one answer per run."""
    there = {row[0] for row in tx.rows("SELECT id FROM runs WHERE id IN", [run.id for run in runs])}
    answers: list[tuple[bytes, Triggered]] = []
    fresh: list[NewRun] = []
    pushing = debounced([run for run in runs if run.id not in there])
    pushed = debounce(tx, pushing) if pushing else {}
    for run in runs:
        answer = run.id, Triggered.MADE
        if run.id not in there:
            if run.id in pushed:
                answer = pushed[run.id]
            elif run.idempotency_key:
                answer = _take_key(tx, run)
            if answer[1] is Triggered.MADE:
                there.add(run.id)
                fresh.append(run)
        answers.append(answer)
    if fresh or pushed:
        queues_of(tx, runs)
    if fresh:
        _insert_runs(tx, fresh)
    return answers


def make_runs_in(tx: Transaction, runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
    """`make_runs`, in a transaction that is somebody else's: what a refused trigger wrote is taken
    back, for the caller may go on."""
    if not any(run.is_strict for run in runs):
        return make_runs(tx, runs)
    tx.db.execute("SAVEPOINT wf_keys")
    answers = make_runs(tx, runs)
    try:
        refuse_conflicts(runs, answers)
    except IdempotencyConflict:
        tx.db.execute("ROLLBACK TO wf_keys")
        raise
    finally:
        tx.db.execute("RELEASE wf_keys")
    return answers


def _take_key(tx: Transaction, run: NewRun) -> tuple[bytes, Triggered]:
    key = (run.environment, run.task, run.idempotency_key)
    digest = digest_of(run)
    holder = tx.db.execute(
        "SELECT run_id, digest FROM idempotency WHERE environment = ? AND task = ? AND key = ?"
        " AND (expires_at = 0 OR expires_at > ?)",
        (*key, run.created_at),
    ).fetchone()
    if holder is not None:
        same = holder[1] == digest
        return holder[0], Triggered.CACHED if same else Triggered.CACHED_DIFFERS
    tx.db.execute(
        "INSERT OR REPLACE INTO idempotency (environment, task, key, run_id, expires_at, digest)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (*key, run.id, run.idempotency_expires_at, digest),
    )
    return run.id, Triggered.MADE


def _insert_runs(tx: Transaction, runs: Sequence[NewRun]) -> None:
    ready: list[tuple[Any, ...]] = []
    due: list[tuple[Any, ...]] = []
    for run in runs:
        if run.start_at > run.created_at:
            due.append((run.id, run.start_at, DueKind.START.value, run.environment))
            continue
        if run.ttl_ms:
            due.append((run.id, run.created_at + run.ttl_ms, DueKind.TTL.value, run.environment))
        ready.append(
            (run.id, run.environment, run.task, run.queue, run.key, run.priority, run.created_at)
        )
    blobs = Blobs()
    tx.db.executemany(_INSERT_RUN, [new_run_row(run, blobs) for run in runs])
    tx.put(blobs)
    tags = tag_rows(runs)
    if tags:
        tx.db.executemany(_INSERT_TAG, tags)
    origins = [(run.origin_id, run.id) for run in runs if run.origin_id is not None]
    if origins:
        tx.db.executemany("UPDATE runs SET origin_id = ? WHERE id = ?", origins)
    if ready:
        tx.db.executemany(_INSERT_READY, ready)
        stir(tx, ((row[1], row[2], row[3], row[4]) for row in ready if row[3]))
        tx.marked = True
    if due:
        tx.db.executemany(INSERT_DUE, due)
    tx.told = True


def make_tokens(tx: Transaction, tokens: Sequence[NewToken]) -> None:
    """Those whose id is not there yet."""
    ids = [token.id for token in tokens]
    there = {row[0] for row in tx.rows("SELECT id FROM tokens WHERE id IN", ids)}
    fresh = [token for token in tokens if token.id not in there]
    tx.db.executemany(
        "INSERT INTO tokens (id, environment, created_at, timeout_at, run_id, tags, schema,"
        " idempotency_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (t.id, t.environment, t.created_at, t.timeout_at, t.run_id, tags_json(t.tags), t.schema,
             t.idempotency_key)
            for t in fresh
        ],
    )  # fmt: skip
    tx.db.executemany(
        INSERT_DUE,
        [(t.id, t.timeout_at, DueKind.TOKEN.value, t.environment) for t in fresh if t.timeout_at],
    )


# --- marked and told ------------------------------------------------------------------------------


def mark(tx: Transaction, run_ids: Iterable[bytes]) -> None:
    """There is something to do for these runs. Routed to their owners where they have one."""
    stir_marks(tx, tx.rows(_MARK, dict.fromkeys(run_ids), f"ON CONFLICT DO NOTHING {MARKED}"))
    tx.told = tx.marked = True


NOTHING_DUE: Final[Mapping[bytes, int]] = {}


def tell(
    tx: Transaction,
    kind: InboxKind,
    ends: dict[bytes, End],
    due: Mapping[bytes, int] = NOTHING_DUE,
) -> None:
    """Who waits for these runs or tokens gets an inbox row and waits no more: in the order in which
    they were due, and then as the body asked. It is marked, unless it waits for others beside
    them."""
    waiting = "SELECT target, run_id, chapter, ordinal, place FROM waits WHERE target IN"
    rows = [
        (run_id, kind.value, chapter, ordinal, tx.now, *ends[target], place)
        for target, run_id, chapter, ordinal, place in sorted(
            tx.rows(waiting, ends), key=lambda row: (due.get(row[0], 0), *row[1:])
        )
    ]
    if not rows:
        return
    tx.execute("DELETE FROM waits WHERE target IN", ends)
    tx.db.executemany(INSERT_INBOX, rows)
    still = _count_down(tx, rows)
    mark(tx, {row[0] for row in rows if (row[0], row[2], row[3]) not in still})


def _count_down(tx: Transaction, told: Sequence[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """The operations that wait for many runs, and go on waiting after these inbox rows."""
    gathers = {
        row[:3]: row[3:]
        for row in tx.rows(
            "SELECT run_id, chapter, ordinal, missing, eager FROM gathers WHERE run_id IN",
            dict.fromkeys(row[0] for row in told),
        )
    }
    if not gathers:
        return set()
    ended = Counter((row[0], row[2], row[3]) for row in told)
    badly = {(row[0], row[2], row[3]) for row in told if row[5] != Status.COMPLETED}
    left = {key: gathers[key][0] - ended[key] for key in ended if key in gathers}
    tx.db.executemany(
        "UPDATE gathers SET missing = ? WHERE run_id = ? AND chapter = ? AND ordinal = ?",
        [(missing, *key) for key, missing in left.items() if missing],
    )
    tx.db.executemany(
        "DELETE FROM gathers WHERE run_id = ? AND chapter = ? AND ordinal = ?",
        [key for key, missing in left.items() if not missing],
    )
    return {key for key, missing in left.items() if missing} - {
        key for key in badly if key in gathers and gathers[key][1]
    }


def send_messages(tx: Transaction, messages: Sequence[NewMessage]) -> list[Sent]:
    """One answer per message. Runs that listen to one are marked."""
    status: dict[bytes, int] = dict(
        tx.rows("SELECT id, status FROM runs WHERE id IN", {one.run_id for one in messages})
    )
    sent = [one for one in messages if status.get(one.run_id) == 0]
    blobs = Blobs()
    tx.db.executemany(
        "INSERT INTO messages (run_id, name, at, data) VALUES (?, ?, ?, ?)",
        [(one.run_id, one.name, tx.now, blobs.put(one.run_id, one.data)) for one in sent],
    )
    tx.put(blobs)
    listens = "SELECT 1 FROM listening WHERE run_id = ? AND name = ?"
    heard = {
        run_id
        for run_id, name in dict.fromkeys((one.run_id, one.name) for one in sent)
        if tx.db.execute(listens, (run_id, name)).fetchone() is not None
    }
    if heard:
        mark(tx, sorted(heard))
    return [
        Sent.SENT if number == 0 else Sent.UNKNOWN if number is None else Sent.ENDED
        for number in (status.get(one.run_id) for one in messages)
    ]


# --- ended ----------------------------------------------------------------------------------------


class RunEnd(NamedTuple):
    status: Status
    output: bytes | None
    failure: bytes | None
    at: int


def end_runs(tx: Transaction, ends: dict[bytes, RunEnd]) -> None:
    """Live runs end."""
    if not ends:
        return
    tx.db.executemany(
        _END_RUN,
        [(STORED[end.status], end.output, end.failure, end.at, run) for run, end in ends.items()],
    )
    give_back_slots(tx, tx.rows("DELETE FROM owned WHERE run_id IN", ends, OWNED))
    for table, column in _OF_A_LIVE_RUN:
        tx.execute(f"DELETE FROM {table} WHERE {column} IN", ends)
    badly = [(run, run) for run, end in ends.items() if end.status is not Status.COMPLETED]
    if badly:
        tx.db.executemany(_FREE_KEY, badly)
    tell(
        tx,
        InboxKind.CHILD_ENDED,
        {
            run: End(end.status.value, end.failure if end.output is None else end.output)
            for run, end in ends.items()
        },
    )
    tokens = [
        row[0] for row in tx.rows("SELECT id FROM tokens WHERE run_id IN", ends, "AND status = 0")
    ]
    end_tokens(tx, dict.fromkeys(tokens, End("CANCELED", None)))
    tx.told = True


def end_never_begun(tx: Transaction, run_ids: Iterable[bytes], status: Status) -> None:
    """Runs without a history end CANCELED or EXPIRED."""
    failure = NEVER_BEGAN[status]
    ids = list(run_ids)
    if not ids:
        return
    end_runs(tx, dict.fromkeys(ids, RunEnd(status, None, failure, tx.now)))
    hooked = [Subject(*row) for row in tx.rows(_HOOKED, ids, f"AND n.hooks & {bit(status)} <> 0")]
    if hooked:
        make_runs(tx, [hook_run(run, status.value, tx.now) for run in hooked])


def end_tokens(
    tx: Transaction, ends: dict[bytes, End], due: Mapping[bytes, int] = NOTHING_DUE
) -> None:
    """Waiting tokens end: who waits for them is told. `due`: when each of them timed out."""
    if not ends:
        return
    tx.db.executemany(
        "UPDATE tokens SET status = ?, data = ?, ended_at = ? WHERE id = ?",
        [(TOKEN_STATUS[end.name], end.data, tx.now, token) for token, end in ends.items()],
    )
    tx.execute("DELETE FROM due WHERE id IN", ends)
    tell(tx, InboxKind.TOKEN_ENDED, ends, due)
    tx.told = True


def cancel_runs(tx: Transaction, run_ids: Sequence[bytes]) -> set[bytes]:
    """Runs that never began end here, the others get an inbox row. Answers those that were
    alive."""
    began: dict[bytes, bool] = dict(
        tx.rows(
            "SELECT r.id, EXISTS (SELECT 1 FROM events e WHERE e.run_id = r.id)"
            " FROM runs r WHERE r.status = 0 AND r.id IN",
            run_ids,
        )
    )
    end_never_begun(tx, [run for run, has in began.items() if not has], Status.CANCELED)
    running = [run for run, has in began.items() if has]
    asked = {
        row[0]
        for row in tx.rows(
            "SELECT run_id FROM inbox WHERE run_id IN",
            running,
            f"AND kind = {InboxKind.CANCEL.value}",
        )
    }
    fresh = [run for run in running if run not in asked]
    if fresh:
        cancel = InboxKind.CANCEL.value
        tx.db.executemany(INSERT_INBOX, [(run, cancel, 0, 0, tx.now, "", None, 0) for run in fresh])
        tx.db.executemany(_ASKED_TO_END, [(tx.now, run) for run in fresh])
        stir_marks(tx, tx.rows(f"{_FIRST} run_id IN", fresh, MARKED))
        mark(tx, fresh)
    return set(began)
