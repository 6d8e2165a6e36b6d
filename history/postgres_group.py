"""A group of activations on Postgres: one pipeline, one pass per kind of row.

The order of the statements is the order of locks in `postgres_sql`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from msgspec import Struct

from wf.history import postgres_sql as sql
from wf.history import postgres_sql_due as due
from wf.history import postgres_sql_messages as messages
from wf.history import postgres_sql_workers as workers
from wf.history.blobs import Blobs
from wf.history.events import Status
from wf.history.handing import hand_messages, hand_news
from wf.history.lanes import shared
from wf.history.messages import Message
from wf.history.model import (
    Activation,
    Among,
    Claim,
    Claimed,
    InboxRow,
    Lease,
    NewRun,
    Reason,
    Triggered,
)
from wf.history.postgres_arrays import byteas, int8s, table, texts
from wf.history.postgres_flight import Cursor, Statement
from wf.history.postgres_notes import write_notes
from wf.history.postgres_pool import Connection, send
from wf.history.postgres_rows import (
    EVENT_KINDS,
    Answer,
    cancel_runs,
    end_never_begun,
    end_runs,
    end_tokens,
    insert_runs,
    insert_tokens,
    put,
    send_messages,
    take_keys,
    transaction,
)
from wf.history.postgres_slots import Looking
from wf.history.rows import RUN_WIDTH, DueKind, event_row, run_of
from wf.history.settling import settlements
from wf.history.store import Meanwhile, in_rows, nothing


class Group(Struct):
    lease: Lease
    activations: Sequence[Activation]
    claim: Claim | None
    now: int
    looks: bool = False
    """Queues may be stirred: the claim looks at them."""
    meanwhile: Meanwhile = nothing
    aboard: Callable[[], Statement | None] = nothing
    """What tells others, where it can be taken along."""


class Written(Struct):
    claimed: list[Claimed]
    told: bool
    """Marks were made or runs ended."""
    marked: bool
    """There is something to claim that was not there before."""
    is_sent: bool = False
    """Others know it already."""
    stirred: bool = False
    """There is something to look at in queues, or was."""
    again: bool = False
    is_cut: bool = False


def write(connection: Connection, group: Group, *, all_due: bool) -> Written:
    """Commit a group. With `all_due` also what is due and is no simple mark; without, fails with
    InvalidTextRepresentation where there is such a thing. DivisionByZero: fenced, or landed."""
    activations = sorted(group.activations, key=attrgetter("run_id"))
    handed = Handed()
    lease = group.lease
    with transaction(connection, lease.lease_ms, group.meanwhile):
        send(connection, sql.FENCE, [lease.worker, lease.group_no, sql.tag(lease.worker)])
        if not all_due and group.claim is not None:
            _simple_due(connection, group)
        told = bool(activations) and _activations(connection, group, activations)
        released = _let_go(connection, lease, activations)
        if all_due:
            told = _all_due(connection, group) or told
        behind = connection.flight.behind = group.aboard() if told else None
        marked = send(connection, sql.MARK, [group.now])
        if group.claim is not None:
            handed = _claim(connection, group, group.claim)
    claimed, stirred, is_cut = _claimed(handed)
    marks = handed.told or marked.rowcount > 0 or _has_stirred(released)
    is_sent = behind is not None
    looked = stirred or handed.looked
    return Written(claimed, told or marks, marks, is_sent, looked, handed.again, is_cut)


def _has_stirred(released: Cursor | None) -> bool:
    return released is not None and bool(released.fetchall()[0][1])


# --- activations ---------------------------------------------------------------------------------


def _activations(connection: Connection, group: Group, activations: list[Activation]) -> bool:
    """Answers whether others want to know."""
    blobs = Blobs()
    events = [
        event_row(a.run_id, a.chapter, event, blobs)
        for a in _spread(activations)
        for event in a.events
    ]
    children = [(a, child) for a in activations for child in a.children]
    runs = [child for _, child in children]
    answers = take_keys(connection, runs)
    _lock_runs(connection, activations, runs, answers)
    if events:
        send(connection, sql.EVENTS, table(EVENT_KINDS, events))
        put(connection, blobs)
    consumed = [(a.run_id, row) for a in activations for row in a.consumed]
    if consumed:
        send(connection, sql.CONSUMED, table("bi", consumed))
    received = [(a.run_id, row) for a in activations for row in a.received]
    if received:
        send(connection, messages.RECEIVED, table("bi", received))
    if children:
        insert_runs(connection, runs, answers)
        _settle(connection, children, answers, group.now)
    tokens = [token for a in activations for token in a.tokens]
    if tokens:
        insert_tokens(connection, tokens)
    _open_waits(connection, activations, _stands_for(runs, answers), group.now)
    notes = [note for a in activations for note in a.notes]
    write_notes(connection, notes, group.now)
    _send(connection, activations, group.now)
    _listen(connection, activations)
    cancels = [run_id for a in activations for run_id in a.cancels]
    if cancels:
        cancel_runs(connection, cancels, group.now)
    _turn(connection, activations, group.now)
    endings = [(a.run_id, a.ending) for a in activations if a.ending]
    gathered = [run_id for run_id, ending in endings if ending.gathered]
    if gathered:
        send(connection, sql.GATHERED, [byteas(gathered)])
    if endings:
        end_runs(connection, endings)
    return bool(children or notes or cancels or endings)


def _spread(activations: list[Activation]) -> list[Activation]:
    """Every eighth, then the next ones, …: so the pages of the events' key, full of first events
    side by side, grow evenly. In order, each would be split in halves as soon as it is filled, of
    which one is never written again."""
    return [a for start in range(8) for a in activations[start::8]]


def _stands_for(runs: Sequence[NewRun], answers: Sequence[Answer]) -> dict[bytes, bytes]:
    return {run.id: run_id for run, (run_id, _) in zip(runs, answers, strict=True)}


def _lock_runs(
    connection: Connection,
    activations: Sequence[Activation],
    children: Sequence[NewRun],
    answers: Sequence[Answer],
) -> None:
    """All runs that this group ends, where it also waits for others, sends to some, cancels some,
    begins to listen or writes notes about them, with those. Children that it makes are nobody
    else's to lock yet."""
    made = {
        run.id
        for run, (_, how) in zip(children, answers, strict=True)
        if how is Triggered.MADE and not run.idempotency_key
    }
    stands_for = _stands_for(children, answers)
    ids = {run_id for a in activations for run_id in a.cancels}
    ids |= {stands_for.get(w.target, w.target) for a in activations for w in a.waits}
    ids |= {message.run_id for a in activations for message in a.sends}
    ids |= {a.run_id for a in activations if a.listening}
    ids |= {note.run_id for a in activations for note in a.notes}
    if ids - made:
        ids |= {a.run_id for a in activations if a.ending or a.next_chapter}
        send(connection, sql.LOCK_RUNS, [byteas(in_rows(ids))])


def _settle(
    connection: Connection,
    children: Sequence[tuple[Activation, NewRun]],
    answers: Sequence[Answer],
    now: int,
) -> None:
    """Parents of keyed children learn which run it is."""
    rows = settlements(children, answers, now)
    if rows:
        send(connection, sql.INBOX, table("biiiitbi", rows))
        send(connection, sql.NOTE_WOKEN, [byteas([row[0] for row in rows])])


def _open_waits(
    connection: Connection,
    activations: Sequence[Activation],
    stands_for: dict[bytes, bytes],
    now: int,
) -> None:
    rows: dict[bool, list[tuple[Any, ...]]] = {False: [], True: []}
    gathers: list[tuple[Any, ...]] = []
    for a in activations:
        chapter = a.next_chapter.number if a.next_chapter else a.chapter
        for wait in a.waits:
            target = stands_for.get(wait.target, wait.target)
            rows[wait.of_token].append((target, a.run_id, chapter, wait.ordinal, wait.place))
            if wait.among:
                eager = wait.among is Among.UNTIL_FAILURE
                gathers.append((target, a.run_id, chapter, wait.ordinal, eager))
    if gathers:
        send(connection, sql.GATHER, table("bbiii", gathers))
    if rows[False]:
        send(connection, sql.WAIT_FOR_RUNS, [*table("bbiii", rows[False]), now])
    if rows[True]:
        targets = in_rows(row[0] for row in rows[True])
        send(connection, sql.LOCK_TOKENS, [byteas(targets)])
        send(connection, sql.WAIT_FOR_TOKENS, [*table("bbiii", rows[True]), now])


def _send(connection: Connection, activations: Sequence[Activation], now: int) -> None:
    """Messages to other runs; who sends one learns what became of it."""
    rows = [
        (one.run_id, one.name, one.data, a.run_id, a.chapter, one.settle)
        for a in activations
        for one in a.sends
    ]
    if rows:
        send_messages(connection, rows, now)


def _listen(connection: Connection, activations: Sequence[Activation]) -> None:
    """To which names runs listen from now on. What is there already is told at once."""
    changed = [(a.run_id, a.listening) for a in activations if a.listening is not None]
    if changed:
        send(connection, messages.HUSHED, [byteas([run_id for run_id, _ in changed])])
    rows = [(run_id, name) for run_id, names in changed for name in names]
    if rows:
        send(connection, messages.LISTENING, table("bt", rows))
    asked = [a.run_id for a in activations if a.listening or a.received]
    if asked:
        send(connection, messages.HEARD, [byteas(asked)])


def _turn(connection: Connection, activations: Sequence[Activation], now: int) -> None:
    turning = [(a, a.next_chapter) for a in activations if a.next_chapter]
    if not turning:
        return
    kept = [(a.run_id, a.chapter, n.number, n.before_seq) for a, n in turning]
    forget = [(a.run_id, ordinal) for a, n in turning for ordinal in n.forget]
    ordinals = [byteas([row[0] for row in forget]), int8s([row[1] for row in forget])]
    send(connection, sql.KEPT, [*table("biii", kept), *ordinals])
    blobs = Blobs()
    added = [
        event_row(a.run_id, n.number, event.but(seq=place), blobs)
        for a, n in turning
        for place, event in enumerate(n.events, 1)
    ]
    if added:
        send(connection, sql.APPENDED, table(EVENT_KINDS, added))
        put(connection, blobs)
    numbers = [(a.run_id, n.number, n.attempt) for a, n in turning]
    send(connection, messages.TURN, table("bii", numbers))
    oldest = [(a.run_id, n.oldest) for a, n in turning if n.oldest > 1]
    if oldest:
        send(connection, messages.DROPPED, table("bi", oldest))
    send(connection, messages.CUT, [*table("bi", [row[:2] for row in numbers]), now])
    ids = byteas([a.run_id for a, _ in turning])
    nothing = byteas(())
    send(connection, messages.HUSHED, [ids])
    send(connection, sql.GATHERED, [ids])
    send(connection, sql.TELL, [nothing, ids, nothing, ids, ids])


def _let_go(
    connection: Connection, lease: Lease, activations: Sequence[Activation]
) -> Cursor | None:
    """Runs that are nobody's any more. Answers what RELEASED does."""
    resting = [a for a in activations if a.release and not a.ending and not a.blocked]
    parked = [(a.run_id, a.blocked) for a in activations if a.blocked and not a.ending]
    if not resting and not parked:
        return None
    parked_ids = [run_id for run_id, _ in parked]
    rest = [a.run_id for a in resting if not a.is_put_off]
    put_off = [a.run_id for a in resting if a.is_put_off]
    released = send(connection, sql.RELEASED, [byteas(rest + put_off + parked_ids), byteas(rest)])
    due_rows = [(a.run_id, a.due_at) for a in resting if a.due_at]
    if due_rows:
        send(connection, sql.DUE_AT, [lease.environment, *table("bi", due_rows)])
    if parked:
        rows = [(run_id, b.reason, b.detail, b.since, b.next) for run_id, b in parked]
        send(connection, sql.DELETE_DUE, [byteas(parked_ids)])
        send(connection, sql.BLOCKED, [lease.worker, *table("bttit", rows)])
    return released


# --- what is due ---------------------------------------------------------------------------------


def _scope(group: Group) -> tuple[bool, dict[str, Any]]:
    """Whether only the descendants of one run are meant, and the parameters that say so."""
    root = group.claim.root if group.claim else None
    values = {"environment": group.lease.environment, "now": group.now, "root": root}
    return root is not None, values


def _simple_due(connection: Connection, group: Group) -> None:
    under, values = _scope(group)
    send(connection, due.DUE_UNDER if under else due.DUE, values)


def _all_due(connection: Connection, group: Group) -> bool:
    """Runs that start, go on or expire, tokens that time out. Answers whether runs ended."""
    under, values = _scope(group)
    marks = send(connection, due.UNCLAIMED_UNDER if under else due.UNCLAIMED, values).fetchall()
    values["unclaimed"] = byteas([row[0] for row in marks])
    rows = send(connection, due.DUE_RUNS_UNDER if under else due.DUE_RUNS, values)
    resumed: list[bytes] = []
    started: list[bytes] = []
    ttl: list[tuple[bytes, int]] = []
    late: list[bytes] = []
    queued: list[bytes] = []
    for run_id, kind, at, ttl_ms in rows.fetchall():
        match DueKind(kind):
            case DueKind.RESUME:
                resumed.append(run_id)
            case DueKind.START if not ttl_ms:
                started.append(run_id)
            case DueKind.START if at + ttl_ms > group.now:
                started.append(run_id)
                ttl.append((run_id, at + ttl_ms))
            case DueKind.START:
                late.append(run_id)
            case _:
                queued.append(run_id)
    late += _unqueue(connection, queued)
    done = {*resumed, *started} - {run_id for run_id, _ in ttl}
    send(connection, sql.DELETE_DUE, [byteas(in_rows(done))])
    if ttl:
        send(connection, due.DUE_TTL, table("bi", ttl))
    end_never_begun(connection, late, Status.EXPIRED, group.now)
    send(connection, sql.NOTE_WOKEN, [byteas(resumed)])
    send(connection, sql.NOTE_NEW, [byteas(started)])
    tokens = send(connection, due.DUE_TOKENS_UNDER if under else due.DUE_TOKENS, values).fetchall()
    if tokens:
        ids = in_rows(row[0] for row in tokens)
        end_tokens(connection, ids, "TIMED_OUT", None, group.now)
    send(connection, due.DUE_NO_MORE, values)
    return bool(late)


def _unqueue(connection: Connection, run_ids: list[bytes]) -> list[bytes]:
    """Those whose ttl is over: the runs that still have not begun, and now never will."""
    if not run_ids:
        return []
    ids = byteas(run_ids)
    taken = send(connection, due.UNQUEUE, [ids]).fetchall()
    marked = send(connection, due.QUEUED, [ids]).fetchall()
    late = [bytes(row[0]) for row in taken]
    begun = set(run_ids) - set(late) - {bytes(row[0]) for row in marked}
    send(connection, sql.DELETE_DUE, [byteas(in_rows(begun))])
    return late


# --- the claim -----------------------------------------------------------------------------------


class Handed(Struct):
    """What a claim has sent; its answers are read when the group is committed."""

    runs: list[Cursor] = []
    rest: list[Cursor] = []
    """Inboxes, and messages."""
    again: bool = False
    told: bool = False
    looked: bool = False
    """Queues were stirred."""


def _claim(connection: Connection, group: Group, claim: Claim) -> Handed:
    worker = group.lease.worker
    tasks = list(dict.fromkeys(claim.tasks))
    values = {
        "worker": worker,
        "environment": group.lease.environment,
        "tasks": texts(tasks if claim.limit > 0 else []),
        "limit": max(claim.limit, 0),
        "root": claim.root,
        "python": claim.python,
        "now": group.now,
    }
    text = workers.CLAIM if claim.root is None else workers.CLAIM_UNDER
    handed = Handed()
    if group.looks and claim.limit > 0 and tasks:
        _look(connection, group, claim, values, handed)
    else:
        handed.runs = [send(connection, text, values)]
    if claim.resync:
        handed.runs.append(send(connection, workers.OWNED, [worker]))
        handed.rest = [
            send(connection, workers.OWNED_INBOXES, [worker]),
            send(connection, messages.OWNED_MESSAGES, [worker]),
        ]
    else:
        handed.rest = [send(connection, workers.INBOXES), send(connection, messages.MESSAGES)]
    return handed


def _look(
    connection: Connection, group: Group, claim: Claim, values: dict[str, Any], handed: Handed
) -> None:
    """Runs of no queue, and those that get slots of queues."""
    looking = Looking(connection, values)
    if claim.root is not None:
        looking.look_under()
        handed.runs = [send(connection, workers.CLAIM_UNDER, values)]
        share = claim.limit
    else:
        handed.looked = looking.look()
        share = shared(claim.limit, group.lease) if handed.looked else claim.limit
        handed.runs = [send(connection, workers.CLAIM, values | {"limit": share})]
    if looking.queues:
        free = [row for row in handed.runs[0].fetchall() if row[0] is not None]
        handed.runs += looking.admit(claim.limit - len(free))
        looking.again = looking.again or share <= len(free) < claim.limit
    handed.again, handed.told = looking.again, looking.told


def _claimed(handed: Handed) -> tuple[list[Claimed], bool, bool]:
    """And whether queues are stirred, and inboxes cut."""
    claimed: dict[bytes, Claimed] = {}
    stirred = is_cut = False
    for cursor in handed.runs:
        for row in cursor.fetchall():
            stirred = stirred or bool(row[RUN_WIDTH + 2 :] and row[RUN_WIDTH + 2])
            if row[0] is not None and row[0] not in claimed:
                why, seq = row[RUN_WIDTH : RUN_WIDTH + 2]
                claimed[row[0]] = Claimed(run_of(row), Reason(why), seq, [])
    if handed.rest:
        inboxes, unread = handed.rest
        is_cut = hand_news(claimed, (InboxRow(*row) for row in inboxes.fetchall()))
        hand_messages(claimed, (Message(*row) for row in unread.fetchall()))
    return list(claimed.values()), stirred, is_cut
