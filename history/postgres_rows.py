"""Pieces of a Postgres transaction that doors and groups share: runs made, canceled, ended.

Each is called inside a transaction and, mostly, a pipeline: a statement whose answer nobody asks
for costs no round trip. MARK is the caller's, once, at the end.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from wf.history import postgres_sql as sql
from wf.history import postgres_sql_due as due
from wf.history import postgres_sql_messages as messages
from wf.history import postgres_sql_workers as workers
from wf.history.blobs import Blobs
from wf.history.borrowed import Plan
from wf.history.cold import chunks
from wf.history.debouncing import debounced
from wf.history.errors import IdempotencyConflict
from wf.history.events import STORED, Status
from wf.history.hooks import Subject, bit, hook_run
from wf.history.limits import LEASE_MS
from wf.history.messages import Sent
from wf.history.model import NewRun, NewToken, Triggered
from wf.history.postgres_arrays import byteas, sparse, table
from wf.history.postgres_debounce import debouncing
from wf.history.postgres_flight import Cursor, Values
from wf.history.postgres_pool import Connection, send
from wf.history.postgres_queues import follow, making_queues
from wf.history.rows import (
    NEVER_BEGAN,
    NEW_RUN_COLUMNS,
    NEW_RUN_USUAL,
    TOKEN_STATUS,
    digest_of,
    new_run_row,
    tag_rows,
    tags_json,
)
from wf.history.settling import refuse_conflicts
from wf.history.store import Meanwhile, in_rows, nothing
from wf.history.turns import Ending

EVENT_KINDS: Final = "biiiiitiiib"
_USUAL: Final = [NEW_RUN_USUAL.get(name, ...) for name in NEW_RUN_COLUMNS.split(", ")]
_NOTHING: Final = byteas(())
_EVENT: Final = itemgetter(slice(1, None))
"""What follows the run in a row of LOAD."""

Answer = tuple[bytes, Triggered]


@contextmanager
def transaction(
    connection: Connection, lease_ms: int = LEASE_MS, meanwhile: Meanwhile = nothing
) -> Generator[Connection]:
    """BEGIN … COMMIT, in one round trip as far as no answer is asked for; `meanwhile` is called
    when all of it has left. Where the process stands still in the middle, its locks are gone after
    half a lease."""
    with connection.flight.together(meanwhile):
        send(connection, sql.BEGIN)
        send(connection, sql.SETTINGS, [str(lease_ms // 2)])
        yield connection
        send(connection, "COMMIT")


def look(
    connection: Connection, statement: str, values: Values = (), *, kept: bool = True
) -> list[tuple[Any, ...]]:
    """One statement and its rows; its plan is kept, or made each time. The two of a flight are one
    transaction, so that it runs with our settings."""
    with connection.flight.together():
        send(connection, sql.LOOK_SETTINGS if kept else sql.LIST_SETTINGS)
        cursor = send(connection, statement, values, prepare=kept)
    return cursor.fetchall()


def by_run(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[bytes, Iterable[Sequence[Any]]]]:
    """Of LOAD: each run, and its events."""
    for run_id, found in groupby(rows, key=itemgetter(0)):
        events = [*map(_EVENT, found)]
        yield run_id, events if events[0][0] is not None else []


# --- made ----------------------------------------------------------------------------------------


def make_runs(connection: Connection, runs: Sequence[NewRun]) -> list[Answer]:
    """`trigger`. Where it takes one statement and no answer, that is a transaction by itself."""
    if not any(run.idempotency_key or run.debounce or run.queue or run.tags for run in runs):
        answers = _as_asked(runs)
        statements = [*_made(runs, answers)]
        if len(statements) == 1:
            send(connection, *statements[0])
            return answers
    with transaction(connection):
        answers = take_keys(connection, runs)
        refuse_conflicts(runs, answers)
        insert_runs(connection, runs, answers)
    return answers


def _as_asked(runs: Sequence[NewRun]) -> list[Answer]:
    return [(run.id, Triggered.MADE) for run in runs]


def take_keys(connection: Connection, runs: Sequence[NewRun]) -> list[Answer]:
    """Which run each of these is. Locks their keys, and pushes the runs of debounces."""
    plan = _settling(runs)
    rows: list[tuple[Any, ...]] = []
    try:
        statement, values = next(plan)
        while True:
            cursor = send(connection, statement, values)
            rows = cursor.fetchall() if _is_asked(statement) else []
            statement, values = plan.send(rows)
    except StopIteration as done:
        return done.value


def _is_asked(statement: str) -> bool:
    """Somebody reads its answer. Within a pipeline the cursor does not know that yet."""
    return statement.startswith("SELECT") or "RETURNING" in statement


def making(runs: Sequence[NewRun]) -> Plan[list[Answer]]:
    """`trigger`, for a connection that is somebody else's: what a refused one wrote is taken back,
    for the caller may go on."""
    is_strict = any(run.is_strict for run in runs)
    if is_strict:
        yield "SAVEPOINT wf_keys", ()
    answers = yield from _settling(runs)
    try:
        refuse_conflicts(runs, answers)
    except IdempotencyConflict:
        yield "ROLLBACK TO SAVEPOINT wf_keys", ()
        raise
    yield from making_queues(runs)
    yield from _made(runs, answers)
    return answers


def _settling(runs: Sequence[NewRun]) -> Plan[list[Answer]]:
    first = _first_of_key(runs)
    rows = (yield sql.KEYS, _keys(runs, first)) if first else []
    pushing = debounced(runs)
    pushed = (yield from debouncing(pushing)) if pushing else {}
    answers = _answers(runs, first, rows)
    return [pushed.get(run.id, answer) for run, answer in zip(runs, answers, strict=True)]


def _first_of_key(runs: Sequence[NewRun]) -> dict[tuple[str, str, str], NewRun]:
    first: dict[tuple[str, str, str], NewRun] = {}
    for run in runs:
        if run.idempotency_key:
            first.setdefault((run.environment, run.task, run.idempotency_key), run)
    return first


def _keys(runs: Sequence[NewRun], first: dict[tuple[str, str, str], NewRun]) -> list[Any]:
    asked = [
        (*key, run.id, run.idempotency_expires_at, digest_of(run)) for key, run in first.items()
    ]
    return [*table("tttbib", asked), max(run.created_at for run in runs)]


def _answers(
    runs: Sequence[NewRun],
    first: dict[tuple[str, str, str], NewRun],
    rows: Sequence[Sequence[Any]],
) -> list[Answer]:
    if not first:
        return _as_asked(runs)
    held = {(row[0], row[1], row[2]): (bytes(row[3]), bytes(row[4])) for row in rows}
    answers: list[Answer] = []
    for run in runs:
        key = (run.environment, run.task, run.idempotency_key)
        holder = first.get(key, run)
        run_id, digest = held.get(key, (holder.id, digest_of(holder)))
        same = digest == digest_of(run)
        how = Triggered.CACHED if same else Triggered.CACHED_DIFFERS
        answers.append((run_id, Triggered.MADE if run_id == run.id else how))
    return answers


def insert_runs(connection: Connection, runs: Sequence[NewRun], answers: Sequence[Answer]) -> None:
    """Those that are to be made, by the answers of `take_keys`; and their queues."""
    follow(connection, making_queues(runs))
    for statement, values in _made(runs, answers):
        send(connection, statement, values)


def _made(
    runs: Sequence[NewRun], answers: Sequence[Answer]
) -> Generator[tuple[str, Sequence[Any]], Any]:
    """Statements: their rows, as many at a time as one takes, and what only some of them have."""
    made = [run for run, (_, how) in zip(runs, answers, strict=True) if how is Triggered.MADE]
    blobs = Blobs()
    for part in chunks([new_run_row(run, blobs) for run in made]):
        yield sql.RUNS, sparse("bttbibbttt" + "iii" + "ttbbb", _USUAL, part)
    yield from putting(blobs)
    for part in chunks(tag_rows(made)):
        yield sql.TAGS, table("tbb", part)
    origins = [(run.id, run.origin_id) for run in made if run.origin_id is not None]
    for part in chunks(origins):
        yield sql.ORIGINS, [byteas(in_rows(origin for _, origin in part)), *table("bb", part)]


def putting(blobs: Blobs) -> Generator[tuple[str, Sequence[Any]], Any]:
    """Large values, of which each is large enough for a statement of its own."""
    for row in blobs.rows:
        yield sql.BLOB, row


def put(connection: Connection, blobs: Blobs) -> None:
    for row in blobs.rows:
        send(connection, sql.BLOB, row)


def insert_tokens(connection: Connection, tokens: Sequence[NewToken]) -> None:
    rows = [
        (
            token.id,
            token.environment,
            token.created_at,
            token.timeout_at,
            token.run_id,
            tags_json(token.tags),
            token.schema,
            token.idempotency_key,
        )
        for token in tokens
    ]
    send(connection, sql.TOKENS, table("btiibtbt", rows))


def send_messages(connection: Connection, rows: Sequence[tuple[Any, ...]], now: int) -> Cursor:
    """Rows of (to, name, data, sender or None, its chapter and operation). The runs that they are
    sent to are locked by the caller. Answers what `outcomes` reads."""
    blobs = Blobs()
    placed = [
        (run_id, name, blobs.put(run_id, data), *sender, place)
        for place, (run_id, name, data, *sender) in enumerate(rows)
    ]
    sent = send(connection, messages.SEND, [*table("btbbiii", placed), now, now])
    for row in blobs.rows:
        send(connection, messages.BLOB, [*row, row[0], row[1]])
    return sent


def outcomes(cursor: Cursor) -> list[Sent]:
    ((_, found),) = cursor.fetchall()
    return [Sent(number) for number in found]


# --- ended ---------------------------------------------------------------------------------------


def end_runs(connection: Connection, endings: Sequence[tuple[bytes, Ending]]) -> None:
    """Locks their rows, where the caller has not."""
    blobs = Blobs()
    rows = [
        (
            run_id,
            STORED[ending.status],
            ending.at,
            blobs.put(run_id, ending.output),
            blobs.put(run_id, ending.failure),
        )
        for run_id, ending in endings
    ]
    put(connection, blobs)
    send(connection, sql.ENDED, table("biibb", rows))
    ids = byteas([run_id for run_id, _ in endings])
    send(connection, sql.TELL, [ids, ids, _NOTHING, ids, ids])


def end_never_begun(
    connection: Connection, run_ids: Iterable[bytes], status: Status, now: int
) -> None:
    """Runs without a history end CANCELED or EXPIRED."""
    ids = in_rows(run_ids)
    if not ids:
        return
    failure = NEVER_BEGAN[status]
    end_runs(connection, [(run_id, Ending(status, None, failure, now)) for run_id in ids])
    hooked = send(connection, workers.HOOKED, [byteas(ids), bit(status)]).fetchall()
    if hooked:
        runs = [hook_run(Subject(*row), status.value, now) for row in hooked]
        insert_runs(connection, runs, take_keys(connection, runs))


def end_tokens(
    connection: Connection, tokens: Sequence[bytes], status: str, data: bytes | None, now: int
) -> None:
    """Waiting tokens end, and who waits for them is told. Their rows are locked by the caller."""
    ids = byteas(tokens)
    send(connection, due.TOKENS_ENDED, [TOKEN_STATUS[status], now, data, ids])
    send(connection, sql.DELETE_DUE, [ids])
    send(connection, sql.TELL, [_NOTHING, _NOTHING, ids, _NOTHING, _NOTHING])


def cancel_runs(connection: Connection, run_ids: Sequence[bytes], now: int) -> set[bytes]:
    """Runs that never began end here, the others get an inbox row. Answers those that were alive.

    Their rows are locked by the caller, so that two who cancel do not meet.
    """
    ids = byteas(in_rows(run_ids))
    delayed = send(connection, sql.CANCEL_DELAYED, [ids])
    queued = send(connection, sql.CANCEL_QUEUED, [ids])
    living = send(connection, sql.LIVE, [ids])
    live = {bytes(row[0]) for row in living}
    never = {bytes(row[0]) for cursor in (delayed, queued) for row in cursor} & live
    end_never_begun(connection, never, Status.CANCELED, now)
    begun = in_rows(live - never)
    if begun:
        send(connection, sql.CANCEL_SENT, [now, byteas(begun)])
    return live
