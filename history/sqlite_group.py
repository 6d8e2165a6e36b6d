"""A group of activations, as rows of a SQLite store: one pass per kind of row, not per run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from wf.history.blobs import UNUSED, Blobs
from wf.history.events import Kind
from wf.history.model import Activation, Among, InboxKind, Lease
from wf.history.rows import GOES_ON_WAITING, RUN_STATUS, TOKEN_NAME, DueKind, event_row
from wf.history.settling import settlements
from wf.history.sqlite_notes import write_notes
from wf.history.sqlite_rows import (
    INSERT_DUE,
    INSERT_EVENTS,
    INSERT_INBOX,
    End,
    RunEnd,
    cancel_runs,
    end_runs,
    end_tokens,
    make_runs,
    make_tokens,
    mark,
    send_messages,
    tell,
)
from wf.history.sqlite_transaction import (
    MARKED,
    OWNED,
    UNROUTE,
    Transaction,
    give_back_slots,
    stir_marks,
)
from wf.history.turns import NextChapter

_KEEP: Final = """INSERT INTO events
 (run_id, chapter, seq, kind, ordinal, at, name, digest, attempt, took, data)
SELECT run_id, ?, row_number() OVER (ORDER BY seq), kind, ordinal, at, name, digest, attempt,
 took, data
FROM events WHERE run_id = ? AND chapter = ? AND seq < ?
 AND (ordinal = 0 OR ordinal NOT IN (SELECT value FROM json_each(?)))"""
_BLOCK: Final = """INSERT OR REPLACE INTO blocked
 (run_id, environment, task, reason, detail, next, since, code)
SELECT id, environment, task, ?, ?, ?, ?, (SELECT code FROM workers WHERE id = ?)
FROM runs WHERE id = ? AND status = 0"""


def write_group(tx: Transaction, lease: Lease, activations: Sequence[Activation]) -> None:
    """All that these activations add."""
    group = sorted(activations, key=attrgetter("run_id"))
    blobs = Blobs()
    put = blobs.put
    tx.db.executemany(
        INSERT_EVENTS,
        [event_row(a.run_id, a.chapter, event, blobs) for a in group for event in a.events],
    )
    consumed = [(row,) for a in group for row in a.consumed]
    if consumed:
        tx.db.executemany("DELETE FROM inbox WHERE id = ?", consumed)
    received = [(row,) for a in group for row in a.received]
    if received:
        tx.db.executemany("DELETE FROM messages WHERE id = ?", received)
    stands_for = _make_children(tx, group)
    tokens = [token for a in group for token in a.tokens]
    if tokens:
        make_tokens(tx, tokens)
    _open_waits(tx, group, stands_for)
    notes = [note for a in group for note in a.notes]
    if notes:
        write_notes(tx, notes)
    _send(tx, group)
    _listen(tx, group)
    cancels = [run_id for a in group for run_id in a.cancels]
    if cancels:
        cancel_runs(tx, cancels)
    for a in group:
        if a.next_chapter is not None:
            _turn(tx, a, a.next_chapter)
    end_runs(
        tx,
        {
            a.run_id: RunEnd(
                a.ending.status,
                put(a.run_id, a.ending.output),
                put(a.run_id, a.ending.failure),
                a.ending.at,
            )
            for a in group
            if a.ending is not None
        },
    )
    tx.put(blobs)
    _let_go(tx, lease, [a for a in group if a.ending is None and (a.release or a.blocked)])


def _make_children(tx: Transaction, group: Sequence[Activation]) -> dict[bytes, bytes]:
    """Answers which run a child that was asked for is, where it is another one."""
    children = [(a, child) for a in group for child in a.children]
    if not children:
        return {}
    answers = make_runs(tx, [child for _, child in children])
    settled = settlements(children, answers, tx.now)
    if settled:
        tx.db.executemany(INSERT_INBOX, settled)
        mark(tx, {row[0] for row in settled})
    return {
        child.id: run_id
        for (_, child), (run_id, _) in zip(children, answers, strict=True)
        if run_id != child.id
    }


def _open_waits(
    tx: Transaction, group: Sequence[Activation], stands_for: dict[bytes, bytes]
) -> None:
    """Where the target has ended already, it is told at once."""
    rows: list[tuple[Any, ...]] = []
    runs: set[bytes] = set()
    tokens: set[bytes] = set()
    gathers: Counter[tuple[bytes, int, int, bool]] = Counter()
    for a in group:
        chapter = a.chapter if a.next_chapter is None else a.next_chapter.number
        for wait in a.waits:
            target = stands_for.get(wait.target, wait.target)
            rows.append((target, a.run_id, chapter, wait.ordinal, wait.place))
            (tokens if wait.of_token else runs).add(target)
            if wait.among:
                eager = wait.among is Among.UNTIL_FAILURE
                gathers[a.run_id, chapter, wait.ordinal, eager] += 1
    if not rows:
        return
    tx.db.executemany(
        "INSERT OR IGNORE INTO waits (target, run_id, chapter, ordinal, place)"
        " VALUES (?, ?, ?, ?, ?)",
        rows,
    )
    tx.db.executemany(
        "INSERT INTO gathers (run_id, chapter, ordinal, eager, missing) VALUES (?, ?, ?, ?, ?)",
        [(*key, missing) for key, missing in gathers.items()],
    )
    ended = "SELECT id, status, output, failure FROM runs WHERE status <> 0 AND id IN"
    tell(
        tx,
        InboxKind.CHILD_ENDED,
        {
            run_id: End(RUN_STATUS[status].value, failure if output is None else output)
            for run_id, status, output, failure in tx.rows(ended, runs)
        },
    )
    ended = "SELECT id, status, data FROM tokens WHERE status <> 0 AND id IN"
    tell(
        tx,
        InboxKind.TOKEN_ENDED,
        {token: End(TOKEN_NAME[status], data) for token, status, data in tx.rows(ended, tokens)},
    )


def _send(tx: Transaction, group: Sequence[Activation]) -> None:
    """Messages to other runs; who sends one learns what became of it."""
    sends = [(a, message) for a in group for message in a.sends]
    if not sends:
        return
    answers = send_messages(tx, [message for _, message in sends])
    kind = InboxKind.SEND_SETTLED.value
    tx.db.executemany(
        INSERT_INBOX,
        [
            (a.run_id, kind, a.chapter, message.settle, tx.now, how.name, None, 0)
            for (a, message), how in zip(sends, answers, strict=True)
        ],
    )
    mark(tx, dict.fromkeys(a.run_id for a, _ in sends))


def _listen(tx: Transaction, group: Sequence[Activation]) -> None:
    """To which names runs listen from now on. What is there already is told at once."""
    asked = [a.run_id for a in group if a.listening or a.received]
    changed = {a.run_id: a.listening for a in group if a.listening is not None}
    if not asked and not changed:
        return
    tx.execute("DELETE FROM listening WHERE run_id IN", changed)
    tx.db.executemany(
        "INSERT INTO listening (run_id, name) VALUES (?, ?)",
        [(run_id, name) for run_id, names in changed.items() for name in names],
    )
    heard = (
        "SELECT DISTINCT l.run_id FROM listening l WHERE EXISTS"
        " (SELECT 1 FROM messages m WHERE m.run_id = l.run_id AND m.name = l.name)"
        " AND l.run_id IN"
    )
    mark_all = {row[0] for row in tx.rows(heard, asked)}
    if mark_all:
        mark(tx, mark_all)


_CUT: Final = f"""SELECT id FROM tokens t WHERE run_id = ? AND status = 0 AND NOT EXISTS
 (SELECT 1 FROM events e WHERE e.run_id = t.run_id AND e.chapter = ?
  AND e.kind = {Kind.TOKEN_CREATED.value} AND e.data = t.id)"""
_DROP: Final = """DELETE FROM events
WHERE run_id = ? AND chapter < ? AND NOT (chapter = 1 AND seq = 1)"""


def _turn(tx: Transaction, a: Activation, chapter: NextChapter) -> None:
    """The next chapter begins, with what is kept of the old one."""
    forget = json.dumps(list(chapter.forget))
    tx.db.execute(_KEEP, (chapter.number, a.run_id, a.chapter, chapter.before_seq, forget))
    last = tx.db.execute(
        "SELECT coalesce(max(seq), 0) FROM events WHERE run_id = ? AND chapter = ?",
        (a.run_id, chapter.number),
    ).fetchone()[0]
    blobs = Blobs()
    added = [event.but(seq=seq) for seq, event in enumerate(chapter.events, last + 1)]
    rows = [event_row(a.run_id, chapter.number, event, blobs) for event in added]
    tx.db.executemany(INSERT_EVENTS, rows)
    tx.put(blobs)
    tx.db.execute(
        "UPDATE runs SET chapter = ?, attempt = ? WHERE id = ?",
        (chapter.number, chapter.attempt, a.run_id),
    )
    if chapter.oldest > 1:
        tx.db.execute(_DROP, (a.run_id, chapter.oldest))
        tx.db.execute(UNUSED, (a.run_id,))
    for table in ("waits", "gathers", "listening"):
        tx.execute(f"DELETE FROM {table} WHERE run_id IN", [a.run_id])
    cut = [row[0] for row in tx.db.execute(_CUT, (a.run_id, chapter.number))]
    end_tokens(tx, dict.fromkeys(cut, End("CANCELED", None)))


def _let_go(tx: Transaction, lease: Lease, released: Sequence[Activation]) -> None:
    """These runs are nobody's any more: marks that were routed are for all. A parked run is marked
    again by what comes, not by what it could not read."""
    if not released:
        return
    ids = [a.run_id for a in released]
    give_back_slots(tx, tx.rows("DELETE FROM owned WHERE run_id IN", ids, OWNED))
    stir_marks(tx, tx.rows(f"{UNROUTE} owner IS NOT NULL AND run_id IN", ids, MARKED))
    resting = [a for a in released if a.blocked is None]
    unread = {
        row[0]
        for row in tx.rows(
            "SELECT DISTINCT run_id FROM inbox i WHERE run_id IN",
            [a.run_id for a in resting if not a.is_put_off],
            f"AND NOT {GOES_ON_WAITING}",
        )
    }
    if unread:
        mark(tx, unread)
    tx.db.executemany(
        INSERT_DUE,
        [
            (a.run_id, a.due_at, DueKind.RESUME.value, lease.environment)
            for a in resting
            if a.due_at
        ],
    )
    parked = [(a.run_id, a.blocked) for a in released if a.blocked is not None]
    tx.execute("DELETE FROM due WHERE id IN", [run_id for run_id, _ in parked])
    tx.db.executemany(
        _BLOCK,
        [(b.reason, b.detail, b.next, b.since, lease.worker, run_id) for run_id, b in parked],
    )
