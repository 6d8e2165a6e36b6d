"""What must never be in a store beside its histories: one statement for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from wf.history.blobs import REFERENCE, REFERENCE_LENGTH
from wf.history.events import Kind
from wf.history.hooks import SUFFIX
from wf.history.ids import show
from wf.history.limits import CANCEL_PRIORITY
from wf.history.model import InboxKind, Reason
from wf.history.queues import HELD, MOST_OF_A_KEY
from wf.history.rows import GOES_ON_WAITING, STATUS_NAME, TOKEN_NAME, DueKind
from wf.history.sealing import SEALED
from wf.history.store import Query

MAX_OF_ONE: Final = 1_000
"""Breaches of one kind that are listed: more tell nothing new."""


class Breach(Struct, frozen=True):
    """One thing that is not as it must be. `subject`: the run, token or queue."""

    invariant: str
    subject: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.subject}: {self.what}"

    def to_json(self) -> dict[str, str]:
        return {"invariant": self.invariant, "subject": self.subject, "what": self.what}


class Check(Struct, frozen=True):
    """A statement that finds what must never be: rows of (id, detail…)."""

    invariant: str
    what: str
    sql: str
    of: str = "run"
    values: Sequence[Any] = ()

    def breaches(self, query: Query) -> Iterator[Breach]:
        for row in query(f"{self.sql} LIMIT {MAX_OF_ONE}", self.values):
            subject = str(row[0]) if self.of == "queue" else show(self.of, bytes(row[0]))
            yield Breach(self.invariant, subject, self.what.format(*row[1:]))


_TOKENS_ENDED: Final = " ".join(
    f"WHEN {number} THEN '{name}'" for number, name in TOKEN_NAME.items()
)
_IDS: Final = (
    f"({Kind.CHILD_TRIGGERED.value}, {Kind.CHILD_AWAITED.value}, {Kind.CHILD_STARTED.value})"
)


def _differ(copy: str, original: str) -> str:
    """But for an original that is not sealed and a copy that is: one that was written before there
    was a codec, or by the store, which has none. `?`: SEALED, twice."""
    is_sealed_since = f"substr({copy}, 1, 2) = ? AND substr({original}, 1, 2) <> ?"
    return f"({copy} <> {original} AND NOT ({is_sealed_since}))"


def _nothing_wakes() -> Check:
    nowhere = " ".join(
        f"AND NOT EXISTS (SELECT 1 FROM {table} x WHERE x.{column} = r.id)"
        for table, column in _LIVES_IN
    )
    sql = f"SELECT r.id FROM runs r WHERE r.status = 0 {nowhere}"
    return Check("I5", "it is live, and nothing will ever wake it", sql)


_LIVES_IN: Final = (
    ("ready", "run_id"),
    ("owned", "run_id"),
    ("due", "id"),
    ("waits", "run_id"),
    ("listening", "run_id"),
    ("blocked", "run_id"),
)
_OF_ANOTHER: Final = f"""EXISTS (SELECT 1 FROM events f WHERE f.run_id = e.run_id
 AND f.chapter = e.chapter AND f.kind = {Kind.FORKED.value} AND f.seq + f.attempt >= e.seq)"""
"""Of an event `e`: it was shared with the run that this one was forked from."""
_COUNTED: Final = """SELECT g.run_id, g.ordinal, g.missing, (SELECT count(*) FROM waits w
 WHERE w.run_id = g.run_id AND w.chapter = g.chapter AND w.ordinal = g.ordinal) AS waits
FROM gathers g"""


_UNWOKEN: Final = """
        AND NOT EXISTS (SELECT 1 FROM ready x WHERE x.run_id = {0})
        AND NOT EXISTS (SELECT 1 FROM owned x WHERE x.run_id = {0})
        AND NOT EXISTS (SELECT 1 FROM blocked x WHERE x.run_id = {0})"""


def _of_ended() -> Iterator[Check]:
    """Rows of runs that have ended. Marks and inboxes may come late; the next claim drops them."""
    for table, column in (*_LIVES_IN[1:], ("messages", "run_id"), ("gathers", "run_id")):
        sql = f"SELECT r.id FROM runs r JOIN {table} x ON x.{column} = r.id WHERE r.status <> 0"
        yield Check("I5", f"it has ended, and has a row in {table}", sql)


def _of_unknown() -> Iterator[Check]:
    """Rows of runs that are not there."""
    beside_it = ("events", "inbox", "messages", "gathers", "notes", "streams", "tags")
    for table, column in (*_LIVES_IN, *((table, "run_id") for table in (*beside_it, "debounces"))):
        beside = f"AND x.kind <> {DueKind.TOKEN.value}" if table == "due" else ""
        sql = f"""SELECT x.{column} FROM {table} x
        WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = x.{column}) {beside}"""
        yield Check("orphan", f"{table} has a row of it, and it is not there", sql)


_MAY_REFER: Final = (
    ("runs", "id", "payload", "t.id"),
    ("runs", "id", "output", "t.id"),
    ("runs", "id", "failure", "t.id"),
    ("events", "run_id", "data", "t.run_id"),
    ("messages", "run_id", "data", "t.run_id"),
    ("tokens", "id", "data", "t.id"),
    ("inbox", "run_id", "data", "b.owner"),
)
"""Table, whose row it is, the column that may hold a reference, and who owns the value."""


def _of_blobs() -> Iterator[Check]:
    """Large values that are not there, or have no owner."""
    for table, column, value, owner in _MAY_REFER:
        sql = f"""SELECT t.{column} FROM {table} t WHERE length(t.{value}) = {REFERENCE_LENGTH}
        AND substr(t.{value}, 1, {len(REFERENCE)}) = ? AND NOT EXISTS
        (SELECT 1 FROM blobs b WHERE b.reference = t.{value} AND b.owner = {owner})"""
        of = "token" if table == "tokens" else "run"
        what = f"{table}.{value} of it stands for a large value, which is not there"
        yield Check("I12", what, sql, of, (REFERENCE,))
    sql = """SELECT b.owner FROM blobs b WHERE NOT EXISTS
    (SELECT 1 FROM runs r WHERE r.id = b.owner)
    AND NOT EXISTS (SELECT 1 FROM tokens t WHERE t.id = b.owner)"""
    yield Check("orphan", "blobs has a row of it, and it is not there", sql)


CHECKS: Final[Sequence[Check]] = (
    _nothing_wakes(),
    *_of_ended(),
    *_of_unknown(),
    *_of_blobs(),
    Check(
        "I5",
        "its inbox has something, and nothing will wake it",
        f"""SELECT DISTINCT i.run_id FROM inbox i JOIN runs r ON r.id = i.run_id
        WHERE r.status = 0 AND NOT {GOES_ON_WAITING} {_UNWOKEN.format("i.run_id")}""",
    ),
    Check(
        "I5",
        "it listens to {}, has such a message, and nothing will wake it",
        f"""SELECT l.run_id, l.name FROM listening l
        WHERE EXISTS (SELECT 1 FROM messages m WHERE m.run_id = l.run_id AND m.name = l.name)
        {_UNWOKEN.format("l.run_id")}""",
    ),
    Check(
        "I8",
        "it listens to {}, and no operation of it waits for that",
        f"""SELECT l.run_id, l.name FROM listening l JOIN runs r ON r.id = l.run_id
        WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.run_id = r.id AND e.chapter = r.chapter
         AND e.kind = {Kind.MESSAGE_AWAITED.value} AND e.name = l.name)""",
    ),
    Check(
        "I5",
        "it is owned by worker {}, which is not there",
        """SELECT o.run_id, o.worker FROM owned o
        WHERE NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = o.worker)""",
    ),
    Check(
        "I5",
        "it is owned, and its mark is for somebody else",
        """SELECT o.run_id FROM owned o JOIN ready m ON m.run_id = o.run_id
        WHERE m.owner IS NULL OR m.owner <> o.worker""",
    ),
    Check(
        "I5",
        "its mark is for a worker that does not own it",
        """SELECT m.run_id FROM ready m WHERE m.owner IS NOT NULL AND NOT EXISTS
        (SELECT 1 FROM owned o WHERE o.run_id = m.run_id AND o.worker = m.owner)""",
    ),
    Check(
        "I5",
        "it is owned, and due or parked as well",
        """SELECT o.run_id FROM owned o WHERE EXISTS (SELECT 1 FROM due d WHERE d.id = o.run_id)
        OR EXISTS (SELECT 1 FROM blocked b WHERE b.run_id = o.run_id)""",
    ),
    Check(
        "I5",
        "it has begun, and waits for its beginning",
        f"""SELECT r.id FROM runs r JOIN events e ON e.run_id = r.id AND e.chapter = 1 AND e.seq = 1
        WHERE r.status = 0 AND (EXISTS (SELECT 1 FROM ready m
         WHERE m.run_id = r.id AND m.reason = {Reason.NEW.value})
        OR EXISTS (SELECT 1 FROM due d WHERE d.id = r.id
         AND d.kind IN ({DueKind.START.value}, {DueKind.TTL.value})))""",
    ),
    Check(
        "I9",
        "it waits for what has ended",
        """SELECT w.run_id FROM waits w
        WHERE EXISTS (SELECT 1 FROM runs r WHERE r.id = w.target AND r.status <> 0)
        OR EXISTS (SELECT 1 FROM tokens t WHERE t.id = w.target AND t.status <> 0)""",
    ),
    Check(
        "I9",
        "it waits for what is not there",
        """SELECT w.run_id FROM waits w
        WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = w.target)
        AND NOT EXISTS (SELECT 1 FROM tokens t WHERE t.id = w.target)""",
    ),
    Check(
        "I9",
        "its parent or its root is not there",
        """SELECT c.id FROM runs c WHERE (c.parent_id IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM runs p WHERE p.id = c.parent_id))
        OR (c.root_id IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM runs p WHERE p.id = c.root_id))""",
    ),
    Check(
        "I9",
        "its operation {} waits for {} runs more, and there are {} waits of it",
        f"SELECT run_id, ordinal, missing, waits FROM ({_COUNTED}) c WHERE missing <> waits",
    ),
    Check(
        "I9",
        "its batch of operation {} is not there",
        f"""SELECT e.run_id, e.ordinal FROM events e WHERE e.kind = {Kind.BATCH_TRIGGERED.value}
        AND e.took > 0 AND NOT EXISTS (SELECT 1 FROM runs c WHERE c.batch_id = e.data)
        AND NOT {_OF_ANOTHER}
        AND NOT EXISTS (SELECT 1 FROM events s WHERE s.run_id = e.run_id AND s.chapter = e.chapter
         AND s.ordinal = e.ordinal AND s.kind = {Kind.BATCH_STARTED.value})
        AND NOT EXISTS (SELECT 1 FROM inbox i WHERE i.run_id = e.run_id AND i.chapter = e.chapter
         AND i.ordinal = e.ordinal AND i.kind = {InboxKind.BATCH_STARTED.value})
        AND EXISTS (SELECT 1 FROM runs r WHERE r.id = e.run_id AND r.status = 0
         AND r.chapter = e.chapter)""",
    ),
    Check(
        "I9",
        "its child of operation {} is not there",
        f"""SELECT e.run_id, e.ordinal FROM events e WHERE e.kind = {Kind.CHILD_TRIGGERED.value}
        AND NOT EXISTS (SELECT 1 FROM runs c WHERE c.id = e.data)
        AND NOT {_OF_ANOTHER}
        AND NOT EXISTS (SELECT 1 FROM events s WHERE s.run_id = e.run_id AND s.chapter = e.chapter
         AND s.ordinal = e.ordinal AND s.kind = {Kind.CHILD_STARTED.value})
        AND NOT EXISTS (SELECT 1 FROM inbox i WHERE i.run_id = e.run_id AND i.chapter = e.chapter
         AND i.ordinal = e.ordinal AND i.kind = {InboxKind.CHILD_STARTED.value})
        AND EXISTS (SELECT 1 FROM runs r WHERE r.id = e.run_id AND r.status = 0
         AND r.chapter = e.chapter)""",
    ),
    Check(
        "I9",
        "hooks were told {} by a run that is not there",
        f"""SELECT e.run_id, e.name FROM events e JOIN runs r ON r.id = e.run_id AND r.status = 0
        WHERE e.kind = {Kind.HOOKED.value} AND e.data IS NOT NULL
        AND NOT {_OF_ANOTHER}
        AND NOT EXISTS (SELECT 1 FROM runs h WHERE h.id = e.data)""",
    ),
    Check(
        "I9",
        "it tells hooks of a moment that has not been",
        f"""SELECT h.id FROM runs h JOIN runs r ON r.id = h.parent_id AND r.status = 0
        WHERE h.task = r.task || '{SUFFIX}' AND NOT EXISTS
        (SELECT 1 FROM events e WHERE e.run_id = r.id AND e.data = h.id)""",
    ),
    Check(
        "I9",
        "its operation {} saw a child end {}, and the child's row says otherwise",
        f"""SELECT e.run_id, e.ordinal, e.name FROM events e
        JOIN events a ON a.run_id = e.run_id AND a.chapter = e.chapter AND a.ordinal = e.ordinal
         AND a.kind IN {_IDS}
        JOIN runs c ON c.id = a.data
        WHERE e.kind = {Kind.CHILD_ENDED.value}
        AND NOT {_OF_ANOTHER}
        AND ({STATUS_NAME.format("c.status")} <> e.name
         OR {_differ("e.data", "coalesce(c.output, c.failure)")})""",
        values=(SEALED, SEALED),
    ),
    Check(
        "I12",
        "its operation {} saw a token end {}, and the token's row says otherwise",
        f"""SELECT e.run_id, e.ordinal, e.name FROM events e
        JOIN events a ON a.run_id = e.run_id AND a.chapter = e.chapter AND a.ordinal = e.ordinal
         AND a.kind = {Kind.TOKEN_AWAITED.value}
        JOIN tokens t ON t.id = a.data
        WHERE e.kind = {Kind.TOKEN_ENDED.value}
        AND NOT {_OF_ANOTHER}
        AND (CASE t.status {_TOKENS_ENDED} END <> e.name OR {_differ("e.data", "t.data")})""",
        values=(SEALED, SEALED),
    ),
    Check(
        "I12",
        "it is open, and the run that made it has ended",
        """SELECT t.id FROM tokens t JOIN runs r ON r.id = t.run_id
        WHERE t.status = 0 AND r.status <> 0""",
        "token",
    ),
    Check(
        "I12",
        "it is open, and its making is not in the chapter of the run that made it",
        f"""SELECT t.id FROM tokens t JOIN runs r ON r.id = t.run_id
        WHERE t.status = 0 AND r.status = 0 AND NOT EXISTS (SELECT 1 FROM events e
         WHERE e.run_id = r.id AND e.chapter = r.chapter
         AND e.kind = {Kind.TOKEN_CREATED.value} AND e.data = t.id)""",
        "token",
    ),
    Check(
        "I12",
        "it has ended, and is due",
        "SELECT t.id FROM tokens t JOIN due d ON d.id = t.id WHERE t.status <> 0",
        "token",
    ),
    Check(
        "I11",
        "{} runs hold slots, its limit is {}",
        f"""SELECT q.name, ({HELD}), q.concurrency_limit FROM queues q
        WHERE ({HELD}) > q.concurrency_limit AND ({HELD}) > q.ceiling""",
        "queue",
    ),
    Check(
        "I11",
        "{} runs of one key hold slots, its limit per key is {}",
        f"""SELECT q.name, ({MOST_OF_A_KEY}), q.per_key_limit FROM queues q
        WHERE ({MOST_OF_A_KEY}) > q.per_key_limit AND ({MOST_OF_A_KEY}) > q.key_ceiling""",
        "queue",
    ),
    Check(
        "I11",
        "it has a queue, and is owned without a slot of it, or has none, and holds one",
        """SELECT o.run_id FROM owned o JOIN runs r ON r.id = o.run_id
        WHERE r.queue <> coalesce(o.queue, '') OR r.queue <> '' AND r.key <> o.key
        ORDER BY o.run_id""",
    ),
    Check(
        "I5",
        "it waits in queue {}, which is not there",
        """SELECT m.run_id, m.queue FROM ready m WHERE m.queue <> '' AND NOT EXISTS
        (SELECT 1 FROM queues q WHERE q.environment = m.environment AND q.name = m.queue)""",
    ),
    Check(
        "I5",
        "it waits in queue {} under key {!r}, and nobody will look there",
        """SELECT m.run_id, m.queue, m.key FROM ready m JOIN queues q
         ON q.environment = m.environment AND q.name = m.queue
        WHERE m.queue <> '' AND m.owner IS NULL AND NOT EXISTS (SELECT 1 FROM lanes l
         WHERE l.environment = m.environment AND l.queue = m.queue AND l.key = m.key
         AND l.task = m.task AND l.at IS NOT NULL)
        AND NOT EXISTS (SELECT 1 FROM stirs s
         WHERE s.environment = m.environment AND s.queue = m.queue AND s.key = m.key
         AND s.task IN ('', m.task))
        AND (m.key = '' OR q.per_key_limit > (SELECT count(*) FROM owned o
         WHERE o.environment = m.environment AND o.queue = m.queue AND o.key = m.key))""",
    ),
    Check(
        "I5",
        "it is being canceled since {}, and waits behind others",
        f"""SELECT m.run_id, r.canceled_at FROM ready m JOIN runs r ON r.id = m.run_id
        WHERE r.canceled_at IS NOT NULL AND m.priority <> {CANCEL_PRIORITY}""",
    ),
    Check(
        "I12",
        "its stream {!r} has {} chunks, numbered {} to {}",
        """SELECT run_id, name, count(*), min(seq), max(seq) FROM streams GROUP BY run_id, name
        HAVING min(seq) <> 1 OR max(seq) <> count(*)""",
    ),
    Check(
        "I12",
        "it is {}, and due at {}; its next slot is {}",
        """SELECT id, CASE WHEN active THEN 'active' ELSE 'paused' END, due_at, next_at
        FROM schedules WHERE active <> (due_at IS NOT NULL) OR due_at > next_at""",
        "schedule",
    ),
    Check(
        "orphan",
        "it did not complete, and has its idempotency key still",
        "SELECT r.id FROM runs r JOIN idempotency k ON k.run_id = r.id WHERE r.status > 1",
    ),
    Check(
        "orphan",
        "an idempotency key is its, and it is not there",
        """SELECT k.run_id FROM idempotency k
        WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = k.run_id)""",
    ),
)
