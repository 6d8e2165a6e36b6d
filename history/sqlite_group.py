"""A group of activations, as rows of a SQLite store: one pass per kind of row, not per run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from wf.history.rows import GOES_ON_WAITING, RUN_STATUS, TOKEN_NAME, DueKind
from wf.history.settling import settlements
from wf.history.sqlite_notes import write_notes
from wf.history.sqlite_rows import (
    INSERT_DUE,
    INSERT_EVENTS,
    INSERT_INBOX,
    End,
    RunEnd,
    Transaction,
    cancel_runs,
    end_runs,
    make_runs,
    make_tokens,
    mark,
    tell,
)
from wf.history.store import Activation, Among, InboxKind, Lease, NextChapter

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
    tx.db.executemany(
        INSERT_EVENTS,
        [
            (a.run_id, a.chapter, seq, int(kind), ordinal, at, name, digest, attempt, took, data)
            for a in group
            for seq, kind, ordinal, at, name, digest, attempt, took, data in a.events
        ],
    )
    consumed = [(row,) for a in group for row in a.consumed]
    if consumed:
        tx.db.executemany("DELETE FROM inbox WHERE id = ?", consumed)
    stands_for = _make_children(tx, group)
    tokens = [token for a in group for token in a.tokens]
    if tokens:
        make_tokens(tx, tokens)
    _open_waits(tx, group, stands_for)
    write_notes(tx, [note for a in group for note in a.notes])
    cancels = [run_id for a in group for run_id in a.cancels]
    if cancels:
        cancel_runs(tx, cancels)
    for a in group:
        if a.next_chapter is not None:
            _turn(tx, a, a.next_chapter)
    end_runs(
        tx,
        {
            a.run_id: RunEnd(a.ending.status, a.ending.output, a.ending.failure, a.ending.at)
            for a in group
            if a.ending is not None
        },
    )
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


def _turn(tx: Transaction, a: Activation, chapter: NextChapter) -> None:
    """The next chapter begins, with what is kept of the old one."""
    forget = json.dumps(list(chapter.forget))
    tx.db.execute(_KEEP, (chapter.number, a.run_id, a.chapter, chapter.before_seq, forget))
    last = tx.db.execute(
        "SELECT coalesce(max(seq), 0) FROM events WHERE run_id = ? AND chapter = ?",
        (a.run_id, chapter.number),
    ).fetchone()[0]
    tx.db.executemany(
        INSERT_EVENTS,
        [
            (
                a.run_id,
                chapter.number,
                seq,
                int(kind),
                ordinal,
                at,
                name,
                digest,
                attempt,
                took,
                data,
            )
            for seq, (_, kind, ordinal, at, name, digest, attempt, took, data) in enumerate(
                chapter.events, last + 1
            )
        ],
    )
    tx.db.execute(
        "UPDATE runs SET chapter = ?, attempt = attempt + 1 WHERE id = ?",
        (chapter.number, a.run_id),
    )


def _let_go(tx: Transaction, lease: Lease, released: Sequence[Activation]) -> None:
    """These runs are nobody's any more: marks that were routed are for all. A parked run is marked
    again by what comes, not by what it could not read."""
    if not released:
        return
    ids = [a.run_id for a in released]
    tx.execute("DELETE FROM owned WHERE run_id IN", ids)
    tx.execute("UPDATE ready SET owner = NULL WHERE owner IS NOT NULL AND run_id IN", ids)
    resting = [a for a in released if a.blocked is None]
    unread = {
        row[0]
        for row in tx.rows(
            "SELECT DISTINCT run_id FROM inbox i WHERE run_id IN",
            [a.run_id for a in resting if not a.is_put_off],
            f"AND kind <> {InboxKind.MESSAGE.value} AND NOT {GOES_ON_WAITING}",
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
