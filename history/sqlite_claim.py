"""What a worker of a SQLite store is handed out: what is due, what is marked for it, what is marked
for all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

from wf.history.events import Kind, Status
from wf.history.handing import hand_messages, hand_news
from wf.history.lanes import shared
from wf.history.limits import DUE_ROWS, MESSAGES_AHEAD, NEWS_BYTES
from wf.history.messages import Message
from wf.history.model import Claim, Claimed, Committed, InboxKind, InboxRow, Lease, Reason, Run
from wf.history.rows import MARK_PRIORITY, RUN_COLUMNS, DueKind, run_of
from wf.history.sqlite_rows import INSERT_DUE, INSERT_EVENTS, End, end_never_begun, end_tokens, mark
from wf.history.sqlite_slots import NO_SLOT, Admitted, Slot, admit, admit_under, stirred
from wf.history.sqlite_transaction import (
    MARKED,
    OWNED,
    UNROUTE,
    Transaction,
    give_back_slots,
    stir,
    stir_marks,
)

OF_ROOT: Final = f"""(CASE WHEN d.kind = {DueKind.TOKEN.value} THEN
 EXISTS (SELECT 1 FROM tokens t JOIN runs r ON r.id = t.run_id
  WHERE t.id = d.id AND :root IN (r.id, r.root_id))
 OR EXISTS (SELECT 1 FROM waits w JOIN runs r ON r.id = w.run_id
  WHERE w.target = d.id AND :root IN (r.id, r.root_id))
 ELSE EXISTS (SELECT 1 FROM runs r WHERE r.id = d.id AND :root IN (r.id, r.root_id)) END)"""
"""A due time that belongs to a run and its descendants, or to a token that one of them made or
waits for."""

_MARK_NEW: Final = f"""INSERT INTO ready
 (run_id, environment, task, queue, key, priority, at, reason)
SELECT id, environment, task, queue, key, priority, ?, {Reason.NEW.value}
FROM runs WHERE id = ? AND status = 0 ON CONFLICT DO NOTHING"""
_LANES_OF: Final = "SELECT DISTINCT environment, task, queue, key FROM ready WHERE run_id IN"
_TAKE: Final = f"""INSERT INTO ready
 (run_id, environment, task, queue, key, priority, at, reason)
SELECT r.id, r.environment, r.task, r.queue, r.key, {MARK_PRIORITY}, r.created_at,
 {Reason.TAKEN.value}
FROM owned o JOIN runs r ON r.id = o.run_id WHERE o.worker NOT IN (SELECT id FROM workers)
ON CONFLICT (run_id) DO UPDATE SET reason = excluded.reason, owner = NULL"""


_UNREAD: Final = """SELECT id, run_id, kind, chapter, ordinal, at, name, data, place
FROM (SELECT *, sum(length(data)) OVER (ORDER BY id) AS upto FROM inbox WHERE run_id IN"""
_UNREAD_END: Final = f""") WHERE coalesce(upto - length(data), 0) < {NEWS_BYTES}
 OR kind = {InboxKind.CANCEL.value}"""
_MESSAGES: Final = f"""SELECT m.id, m.run_id, m.name, m.at, m.data FROM listening l
JOIN messages m ON m.id IN (SELECT x.id FROM messages x
 WHERE x.run_id = l.run_id AND x.name = l.name ORDER BY x.id LIMIT {MESSAGES_AHEAD})
WHERE l.run_id IN"""


# --- time -----------------------------------------------------------------------------------------


def pass_time(tx: Transaction, environment: str, root: bytes | None) -> None:
    """Due times that are over become marks and ends: DUE_ROWS of them, the earliest first."""
    sql = "SELECT d.id, d.kind, d.at FROM due d WHERE d.environment = :environment AND d.at <= :now"
    if root is not None:
        sql += f" AND {OF_ROOT}"
    rows = tx.db.execute(
        f"{sql} ORDER BY d.at LIMIT {DUE_ROWS}",
        {"root": root, "environment": environment, "now": tx.now},
    ).fetchall()
    if not rows:
        return
    tx.execute("DELETE FROM due WHERE id IN", [row[0] for row in rows])
    late = [row[0] for row in rows if row[1] == DueKind.TTL]
    late += _start(tx, [(row[0], row[2]) for row in rows if row[1] == DueKind.START])
    end_never_begun(tx, late, Status.EXPIRED)
    tokens = {row[0]: row[2] for row in rows if row[1] == DueKind.TOKEN}
    end_tokens(tx, dict.fromkeys(tokens, End("TIMED_OUT", None)), tokens)
    mark(tx, [row[0] for row in rows if row[1] == DueKind.RESUME])


def _start(tx: Transaction, delayed: Sequence[tuple[bytes, int]]) -> list[bytes]:
    """Delays are over. Answers the runs whose ttl is over, too."""
    late: list[bytes] = []
    ttl: list[tuple[Any, ...]] = []
    limits = "SELECT id, environment, ttl_ms FROM runs WHERE ttl_ms <> 0 AND id IN"
    start = dict(delayed)
    for run_id, environment, ttl_ms in tx.rows(limits, start):
        until = start[run_id] + ttl_ms
        if until <= tx.now:
            late.append(run_id)
        else:
            ttl.append((run_id, until, DueKind.TTL.value, environment))
    gone = set(late)
    begin = [(at, run_id) for run_id, at in delayed if run_id not in gone]
    tx.db.executemany(_MARK_NEW, begin)
    stir(tx, tx.rows(_LANES_OF, [run_id for _, run_id in begin], "AND queue <> ''"))
    tx.db.executemany(INSERT_DUE, ttl)
    return late


# --- handing out ----------------------------------------------------------------------------------


def hand_out(tx: Transaction, lease: Lease, claim: Claim) -> Committed:
    """Runs of this worker that were marked (or all of them), new ones by priority and age, and
    those that get slots of queues."""
    mine = _mine(tx, lease, claim)
    fresh: dict[bytes, int] = {}
    admitted = Admitted()
    if claim.limit > 0 and claim.tasks:
        stirs = stirred(tx, lease, claim) if claim.root is None else []
        share = shared(claim.limit, lease) if stirs else claim.limit
        chosen = _choose(tx, lease, claim, share)
        taken = tx.rows("DELETE FROM ready WHERE run_id IN", chosen, "RETURNING run_id, reason")
        fresh = dict(taken)
        fresh = {run_id: fresh[run_id] for run_id in chosen}
        if claim.root is not None:
            admitted = admit_under(tx, lease, claim, claim.limit - len(chosen))
        elif stirs:
            admitted = admit(tx, lease, claim, claim.limit - len(chosen), stirs)
            admitted.again = admitted.again or len(chosen) == share
        fresh |= admitted.reasons
    reasons = dict.fromkeys(mine, Reason.RESUME.value) | fresh
    runs = _live(tx, reasons)
    _own(tx, lease, [run_id for run_id in fresh if run_id in runs], admitted.slots)
    known = [(runs[run_id], why) for run_id, why in reasons.items() if run_id in runs]
    opened, is_cut = _open(tx, known, claim)
    return Committed(opened, admitted.again, is_cut)


def _live(tx: Transaction, run_ids: Iterable[bytes]) -> dict[bytes, Run]:
    """Those that have not ended; of the others nothing is left."""
    runs: dict[bytes, Run] = {}
    ended: list[bytes] = []
    for row in tx.rows(f"SELECT {RUN_COLUMNS}, status FROM runs WHERE id IN", run_ids):
        if row[-1]:
            ended.append(row[0])
        else:
            runs[row[0]] = run_of(row)
    for table in ("inbox", "owned"):
        tx.execute(f"DELETE FROM {table} WHERE run_id IN", ended)
    return runs


def _own(tx: Transaction, lease: Lease, fresh: Sequence[bytes], slots: dict[bytes, Slot]) -> None:
    """These runs are the worker's, with their slots."""
    tx.db.executemany(
        "INSERT INTO owned (run_id, worker, environment, queue, key) VALUES (?, ?, ?, ?, ?)",
        [(run_id, lease.worker, *slots.get(run_id, NO_SLOT)) for run_id in fresh],
    )
    tx.execute("DELETE FROM due WHERE id IN", fresh)
    tx.execute("DELETE FROM blocked WHERE run_id IN", fresh)


def _mine(tx: Transaction, lease: Lease, claim: Claim) -> list[bytes]:
    routed = tx.db.execute(
        "DELETE FROM ready WHERE owner = ? RETURNING run_id", (lease.worker,)
    ).fetchall()
    if claim.resync:
        routed = tx.db.execute(
            "SELECT run_id FROM owned WHERE worker = ?", (lease.worker,)
        ).fetchall()
    return sorted(row[0] for row in routed)


def _choose(tx: Transaction, lease: Lease, claim: Claim, limit: int) -> list[bytes]:
    """The first `limit` marks that are for all and in no queue. Each task's own are read in the
    order of its index."""
    found: list[tuple[int, int, bytes]] = []
    sql = "SELECT -m.priority, m.at, m.run_id FROM ready m"
    where = "m.owner IS NULL AND m.queue = '' AND m.environment = ? AND m.task = ?"
    values: list[Any] = []
    if claim.root is not None:
        sql += " CROSS JOIN runs r ON r.id = m.run_id"
        where += " AND ? IN (r.id, r.root_id)"
        values.append(claim.root)
    text = f"{sql} WHERE {where} ORDER BY m.priority DESC, m.at, m.run_id LIMIT ?"
    for task in dict.fromkeys(claim.tasks):
        found += tx.db.execute(text, (lease.environment, task, *values, limit))
    found.sort()
    return [run_id for _, _, run_id in found[:limit]]


by_id: Final = attrgetter("id")


def _open(
    tx: Transaction, claimed: Iterable[tuple[Run, int]], claim: Claim
) -> tuple[list[Claimed], bool]:
    """Write how each goes on, and add its inbox and its messages. Answers also what `hand_news`
    does."""
    answers: list[Claimed] = []
    events: list[tuple[Any, ...]] = []
    last_event = (
        "SELECT seq, at FROM events WHERE run_id = ? AND chapter = ? ORDER BY seq DESC LIMIT 1"
    )
    for run, why in claimed:
        reason = Reason(why)
        last = None
        if reason is not Reason.NEW:
            last = tx.db.execute(last_event, (run.id, run.chapter)).fetchone()
        if last is None:
            reason, seq = Reason.NEW, 1
            events.append(_event(run, seq, Kind.STARTED, tx.now, claim.python))
        elif reason is Reason.TAKEN:
            seq = last[0] + 1
            events.append(_event(run, seq, Kind.TAKEN, max(tx.now, last[1]), ""))
        else:
            seq = last[0]
        answers.append(Claimed(run, reason, seq, []))
    tx.db.executemany(INSERT_EVENTS, events)
    began = {answer.run.id: answer for answer in answers if answer.reason is not Reason.NEW}
    news = sorted((InboxRow(*row) for row in tx.rows(_UNREAD, began, _UNREAD_END)), key=by_id)
    is_cut = hand_news(began, news)
    hand_messages(began, sorted((Message(*row) for row in tx.rows(_MESSAGES, began)), key=by_id))
    return answers, is_cut


def _event(run: Run, seq: int, kind: Kind, at: int, name: str) -> tuple[Any, ...]:
    return (run.id, run.chapter, seq, kind.value, 0, at, name, 0, 0, 0, None)


# --- giving back and taking over ------------------------------------------------------------------


def give_back(tx: Transaction, lease: Lease) -> None:
    """The worker goes; what it owns is marked for all, and goes on as if it had been let go."""
    worker = (lease.worker,)
    tx.db.execute("DELETE FROM workers WHERE id = ?", worker)
    stir_marks(tx, tx.db.execute(f"{UNROUTE} owner = ? {MARKED}", worker))
    owned = tx.db.execute(f"DELETE FROM owned WHERE worker = ? {OWNED}", worker).fetchall()
    give_back_slots(tx, owned)
    if owned:
        mark(tx, [row[0] for row in owned])
    tx.told = True


def free_orphans(tx: Transaction) -> None:
    """What belongs to workers that have no row any more is marked for all."""
    lost = "NOT IN (SELECT id FROM workers)"
    taken = tx.db.execute(f"{_TAKE} {MARKED}").fetchall()
    stir_marks(tx, taken)
    give_back_slots(tx, tx.db.execute(f"DELETE FROM owned WHERE worker {lost} {OWNED}"))
    freed = tx.db.execute(f"{UNROUTE} owner {lost} {MARKED}").fetchall()
    stir_marks(tx, freed)
    tx.told = tx.told or bool(taken or freed)
