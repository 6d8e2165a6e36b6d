"""Every hot statement of the Postgres store, and the order in which locks are taken.

*Arrays.* Rows travel as one array per column (`postgres_arrays`), so that a statement's text never
depends on how many there are, and a group is few statements however many runs are in it.

*Notes.* A transaction keeps lists of run ids from one statement to a later one in settings that
die with it (`set_config(…, true)`). So no statement waits for the client to read an answer, and a
group travels in one round trip.

*Following statements.* At READ COMMITTED each statement sees what was committed before it began.
Who waits for a lock sees what he waited for only in the statement after. So locks are taken first
and what they guard is read next: a wait locks its target, then looks whether it has ended; an end
updates its row, then looks who waits; a claim takes marks away, then reads inboxes.

*Joins.* A server that counted a table in a moment in which it was empty believes that reading all
of it costs nothing, and keeps the plan while a burst fills the table: a claim then reads a hundred
thousand rows for each of its own. So a join says `t.id = ANY (ARRAY[a.id])`. That is `t.id = a.id`,
but nothing by which an index could be read in order, so that no way is left but to look up; and
`ORDER BY` names the side that does the asking.

*Order.* A transaction takes locks in this order, each by rising id: its worker (the fence);
idempotency keys; `runs` (all that it ends, waits for, sends to, cancels or writes notes about, in
one statement: the one that ends them where there is nothing else); `queues` that its triggers make
or change; `tokens`; `waits` of what has
ended; `gathers` of those who waited; the marks of all that it wakes, in one statement, last. What
comes after, the claim, waits for nobody: it skips what is locked. So do the pass over due rows,
which comes in the middle, and the removal of an ended run's own marks and waits, which others
remove as well. What is left where a row was skipped is harmless: a mark of an ended run is dropped
by whom it reaches. What deadlocks remain (they need two runs that share keys crosswise) are tried
again.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from wf.history import blobs
from wf.history.model import InboxKind, Reason
from wf.history.rows import (
    GOES_ON_WAITING,
    MARK_PRIORITY,
    NEW_RUN_COLUMNS,
    NEW_RUN_USUAL,
    TOKEN_STATUS,
    DueKind,
)

CLOCK: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::int8"
_NEW, _RESUME = int(Reason.NEW), int(Reason.RESUME)
_STATUS_NAME: Final = (
    "(ARRAY['COMPLETED','FAILED','CANCELED','EXPIRED','TIMED_OUT'])[{}]"  # by STORED
)
_TOKEN_NAME: Final = (
    "CASE {} "
    + " ".join(f"WHEN {number} THEN '{name}'" for name, number in TOKEN_STATUS.items())
    + " END"
)


def note(name: str, ids: str) -> str:
    """Keep the ids of a query, with those noted before, for later statements of the transaction."""
    found = f"(SELECT coalesce(array_agg(id), '{{}}') FROM {ids})"
    return f"set_config('wf.{name}', ({noted(name)} || {found})::text, true)"


def noted(name: str) -> str:
    return f"coalesce(nullif(current_setting('wf.{name}', true), ''), '{{}}')::bytea[]"


def stir_marks(marks: str) -> str:
    """Stirs for what was marked: those of a CTE, with MARKED."""
    return f"""INSERT INTO stirs (environment, task, queue, key)
 SELECT DISTINCT environment, task, queue, key FROM {marks} WHERE queue <> '' AND owner IS NULL"""


MARKED: Final = "environment, task, queue, key, owner"


def stir_slots(slots: str) -> str:
    """Stirs for what is owned no more: those of a CTE, with SLOT."""
    return f"""INSERT INTO stirs (environment, queue, key)
 SELECT DISTINCT environment, queue, key FROM {slots} WHERE queue IS NOT NULL"""


SLOT: Final = "owned.environment, owned.queue, owned.key"


@cache
def looked_up(text: str) -> str:
    """What both stores share, with its joins as here: see *Joins*. The left side is looked up."""
    return re.sub(r"(\w+\.\w+) = (\w+\.\w+)", r"\1 = ANY (ARRAY[\2])", text)


_GOES_ON_WAITING: Final = looked_up(GOES_ON_WAITING)

# --- the frame -----------------------------------------------------------------------------------

BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"


def _settings(**settings: str) -> str:
    each = ", ".join(f"set_config('{name}', {value}, true)" for name, value in settings.items())
    return f"SELECT {each}"


_OFF: Final = "'off'"
_LOOK_UP: Final = {
    "enable_seqscan": _OFF,
    "enable_indexonlyscan": _OFF,
    "enable_hashjoin": _OFF,
    "enable_mergejoin": _OFF,
    "enable_material": _OFF,
    "jit": _OFF,
}
"""Plans may be made without statistics, or with those of an empty table, while it grows to millions
of rows: whatever its size, they look each of their few rows up in an index."""
_KEPT: Final = {**_LOOK_UP, "plan_cache_mode": "'force_generic_plan'"}
"""So one plan is as good as another, and is made once: for a small group the server would choose to
plan anew each time, which takes longer than what is planned."""
LIST_SETTINGS: Final = _settings(enable_bitmapscan=_OFF, join_collapse_limit="'1'", **_LOOK_UP)
"""In the order of its index, from where a page begins: the server believes that few runs fit, and
would read and sort all below. Joins as they are written: to try all orders of nine takes longer
than the page."""
LOOK_SETTINGS: Final = _settings(**_KEPT)
SETTINGS: Final = _settings(idle_in_transaction_session_timeout="%s", **_KEPT)
"""(half a lease, in ms, as text) Of the transaction only. A process that is stopped in the middle
holds its locks for half a lease at most."""

FENCE: Final = f"""WITH hit AS (
 UPDATE workers SET group_no = group_no + 1, beat = {CLOCK}
 WHERE id = %s AND group_no = %s RETURNING 1)
SELECT 1 / count(*), set_config('application_name', %s, true) FROM hit"""
"""(worker, group before, `tag` of the worker). Fails with division_by_zero where the worker is gone
or further on. The name lets those who take over find a transaction that stands still."""


def tag(worker: int) -> str:
    """The application_name of a worker's group."""
    return f"wf {worker}"


GROUP_NO: Final = "SELECT group_no FROM workers WHERE id = %s FOR UPDATE"
"""FOR UPDATE: waits until a group that is under way has an outcome."""

LANDED, BURNT = 1, 2
"""How far `group_no` is ahead of a lease whose group landed, and of one whose number was used
up."""

BURN: Final = f"""UPDATE workers SET group_no = group_no + {BURNT}, beat = {CLOCK}
WHERE id = %s AND group_no = %s"""
"""(worker, group before). Uses a number up, so that a group whose bytes still lie in some buffer of
the server can never commit. Waits for one that is under way. May be done twice."""

IDLE: Final = """SELECT
 EXISTS (SELECT FROM workers WHERE id = %s),
 EXISTS (SELECT FROM ready WHERE owner = %s)
 OR EXISTS (SELECT FROM due WHERE environment = %s AND at <= %s)
 OR EXISTS (SELECT FROM unnest(%s::text[]) t(task) CROSS JOIN LATERAL (
  SELECT FROM ready WHERE environment = %s AND task = t.task AND owner IS NULL AND queue = ''
  LIMIT 1) m),
 EXISTS (SELECT FROM stirs WHERE environment = %s AND at <= %s
  AND task = ANY (array_prepend('', %s::text[])))"""
"""(worker, worker, environment, now, tasks, environment, environment, now, tasks): is this worker
alive; is there anything to do; is there in queues? Writes nothing: that is what a poll costs."""

# --- runs that are made --------------------------------------------------------------------------

KEYS: Final = """INSERT INTO idempotency AS i (environment, task, key, run_id, expires_at, digest)
SELECT a.environment, a.task, a.key, a.run_id, a.expires_at, a.digest
FROM unnest(%s::text[], %s::text[], %s::text[], %s::bytea[], %s::int8[], %s::bytea[])
 AS a(environment, task, key, run_id, expires_at, digest)
WHERE NOT EXISTS (SELECT FROM runs WHERE id = a.run_id)
ORDER BY a.environment COLLATE "C", a.task COLLATE "C", a.key COLLATE "C"
ON CONFLICT (environment, task, key) DO UPDATE SET (run_id, expires_at, digest) = (
 SELECT v.run_id, v.expires_at, v.digest FROM (VALUES
  (true, excluded.run_id, excluded.expires_at, excluded.digest),
  (false, i.run_id, i.expires_at, i.digest)) v(expired, run_id, expires_at, digest)
 WHERE v.expired = (i.expires_at <> 0 AND i.expires_at <= %s))
RETURNING environment, task, key, run_id, digest"""
"""Takes or finds idempotency keys, and locks them. A run that is there already (a repeat) takes
none."""

_UNSAID: Final = {
    name: repr(usual.decode() if isinstance(usual, bytes) else usual)
    for name, usual in NEW_RUN_USUAL.items()
    if usual is not None and name not in {"queue", "key"}
}


def said(names: str) -> str:
    """These columns of `runs` as they are written: NULL where a trigger says nothing."""
    unsaid = rf"(?:\w+\.)?\b({'|'.join(_UNSAID)})\b"
    return re.sub(unsaid, lambda name: f"nullif({name[0]}, {_UNSAID[name[1]]})", names)


_NEW_RUN: Final = re.sub(r"\b(queue|key)\b", r"coalesce(\1, '')", said(NEW_RUN_COLUMNS))
"""A column that comes empty (`postgres_arrays.sparse`) is NULL for all."""

RUNS: Final = f"""WITH made AS (
 INSERT INTO runs ({NEW_RUN_COLUMNS})
 SELECT {_NEW_RUN} FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::bytea[], %s::int8[],
  %s::bytea[], %s::bytea[], %s::text[], %s::text[], %s::text[], %s::int8[], %s::int8[], %s::int8[],
  %s::text[], %s::text[], %s::bytea[], %s::bytea[], %s::bytea[]) AS a({NEW_RUN_COLUMNS})
 ON CONFLICT (id) DO NOTHING
 RETURNING id, environment, task, queue, key, coalesce(priority, 0) AS priority, created_at,
  coalesce(start_at, 0) AS start_at, coalesce(ttl_ms, 0) AS ttl_ms),
marked AS (
 INSERT INTO ready (run_id, environment, task, queue, key, priority, at, reason)
 SELECT id, environment, task, queue, key, priority, created_at, {_NEW}
 FROM made WHERE start_at <= created_at
 RETURNING {MARKED}),
stirred AS ({stir_marks("marked")}),
later AS (
 INSERT INTO due (id, environment, at, kind)
 SELECT id, environment,
  CASE WHEN start_at > created_at THEN start_at ELSE created_at + ttl_ms END,
  CASE WHEN start_at > created_at THEN {int(DueKind.START)} ELSE {int(DueKind.TTL)} END
 FROM made WHERE start_at > created_at OR ttl_ms > 0)
SELECT id FROM made"""
"""Inserts runs that are not there, with their marks or due times."""

TAGS: Final = """INSERT INTO tags (environment, tag, run_id)
SELECT * FROM unnest(%s::text[], %s::bytea[], %s::bytea[]) ON CONFLICT DO NOTHING"""

ORIGINS: Final = """WITH there AS (
 SELECT r.id FROM runs r WHERE r.id = ANY (%s::bytea[]) ORDER BY r.id FOR KEY SHARE)
UPDATE runs SET origin_id = a.origin_id
FROM unnest(%s::bytea[], %s::bytea[]) AS a(id, origin_id) JOIN there ON there.id = a.origin_id
WHERE runs.id = ANY (ARRAY[a.id])"""
"""What only replays have: other runs are inserted without it. One whose origin is being removed
stays without it, too."""

TOKENS: Final = f"""WITH made AS (
 INSERT INTO tokens (id, environment, created_at, timeout_at, run_id, tags, schema, idempotency_key)
 SELECT * FROM unnest(%s::bytea[], %s::text[], %s::int8[], %s::int8[], %s::bytea[], %s::text[],
  %s::bytea[], %s::text[])
 ON CONFLICT (id) DO NOTHING
 RETURNING id, environment, timeout_at)
INSERT INTO due (id, environment, at, kind)
SELECT id, environment, timeout_at, {int(DueKind.TOKEN)} FROM made WHERE timeout_at > 0"""

# --- what activations write ----------------------------------------------------------------------

BLOB: Final = blobs.PUT.replace("?", "%s")

EVENTS: Final = """INSERT INTO events
 (run_id, chapter, seq, kind, ordinal, at, name, digest, attempt, took, data)
SELECT * FROM unnest(%s::bytea[], %s::int8[], %s::int8[], %s::int8[], %s::int8[], %s::int8[],
 %s::text[], %s::int8[], %s::int8[], %s::int8[], %s::bytea[])"""

CONSUMED: Final = "DELETE FROM inbox WHERE run_id = ANY (%s::bytea[]) AND id = ANY (%s::int8[])"

INBOX: Final = """INSERT INTO inbox (run_id, kind, chapter, ordinal, at, name, data, place)
SELECT * FROM unnest(%s::bytea[], %s::int8[], %s::int8[], %s::int8[], %s::int8[], %s::text[],
 %s::bytea[], %s::int8[])"""

LOCK_RUNS: Final = """SELECT count(*) FROM (
 SELECT id FROM runs WHERE id = ANY (%s::bytea[]) ORDER BY id FOR NO KEY UPDATE) locked"""

LOCK_TOKENS: Final = """SELECT count(*) FROM (
 SELECT id FROM tokens WHERE id = ANY (%s::bytea[]) ORDER BY id FOR NO KEY UPDATE) locked"""


GATHER: Final = """INSERT INTO gathers (run_id, chapter, ordinal, eager, missing)
SELECT a.run_id, a.chapter, a.ordinal, bool_or(a.eager = 1), count(*)
FROM unnest(%s::bytea[], %s::bytea[], %s::int8[], %s::int8[], %s::int8[])
 AS a(target, run_id, chapter, ordinal, eager)
WHERE (SELECT r.status FROM runs r WHERE r.id = a.target) = 0
GROUP BY a.run_id, a.chapter, a.ordinal"""
"""Operations that wait for many runs: how many of them are still to end. After LOCK_RUNS."""

GATHERED: Final = "DELETE FROM gathers WHERE run_id = ANY (%s::bytea[])"
"""Of runs that end. Before any mark of theirs is locked."""


def _wait(table: str, kind: int, name: str, data: str) -> str:
    return f"""WITH asked AS (
 SELECT * FROM unnest(%s::bytea[], %s::bytea[], %s::int8[], %s::int8[], %s::int8[])
  AS a(target, run_id, chapter, ordinal, place)),
over AS (
 SELECT a.*, t.status, {name} AS name, {data} AS data
 FROM asked a JOIN {table} t ON t.id = ANY (ARRAY[a.target]) WHERE t.status <> 0),
opened AS (
 INSERT INTO waits (target, run_id, chapter, ordinal, place)
 SELECT a.* FROM asked a
 WHERE NOT EXISTS (SELECT FROM over o WHERE o.run_id = a.run_id AND o.ordinal = a.ordinal
  AND o.target = a.target)
 ON CONFLICT DO NOTHING),
told AS (
 INSERT INTO inbox (run_id, kind, chapter, ordinal, at, name, data, place)
 SELECT run_id, {kind}, chapter, ordinal, %s, name, data, place FROM over),
waking AS (SELECT i.run_id AS id FROM over i WHERE NOT {_GOES_ON_WAITING})
SELECT {note("woken", "waking")}"""


_OUTCOME: Final = "CASE WHEN t.status = 1 THEN t.output ELSE t.failure END"

WAIT_FOR_RUNS: Final = _wait(
    "runs", int(InboxKind.CHILD_ENDED), _STATUS_NAME.format("t.status"), _OUTCOME
)
"""Opens waits; where the target has ended, writes the inbox row instead. After LOCK_RUNS."""

WAIT_FOR_TOKENS: Final = _wait(
    "tokens", int(InboxKind.TOKEN_ENDED), _TOKEN_NAME.format("t.status"), "t.data"
)
"""The same for tokens. After LOCK_TOKENS."""

KEPT: Final = """INSERT INTO events
 (run_id, chapter, seq, kind, ordinal, at, name, digest, attempt, took, data)
SELECT e.run_id, n.number, row_number() OVER (PARTITION BY n.run_id ORDER BY e.seq),
 e.kind, e.ordinal, e.at, e.name, e.digest, e.attempt, e.took, e.data
FROM unnest(%s::bytea[], %s::int8[], %s::int8[], %s::int8[]) AS n(run_id, old, number, before_seq)
JOIN events e ON e.run_id = ANY (ARRAY[n.run_id]) AND e.chapter = n.old AND e.seq < n.before_seq
WHERE e.ordinal = 0 OR NOT EXISTS (
 SELECT FROM unnest(%s::bytea[], %s::int8[]) AS f(run_id, ordinal)
 WHERE f.run_id = e.run_id AND f.ordinal = e.ordinal)"""
"""The next chapter begins with the prefix of the old one, but for what (run, ordinal) names."""

APPENDED: Final = """INSERT INTO events
 (run_id, chapter, seq, kind, ordinal, at, name, digest, attempt, took, data)
SELECT a.run_id, a.chapter, a.place + coalesce((SELECT max(e.seq) FROM events e
  WHERE e.run_id = a.run_id AND e.chapter = a.chapter), 0),
 a.kind, a.ordinal, a.at, a.name, a.digest, a.attempt, a.took, a.data
FROM unnest(%s::bytea[], %s::int8[], %s::int8[], %s::int8[], %s::int8[], %s::int8[],
 %s::text[], %s::int8[], %s::int8[], %s::int8[], %s::bytea[])
 AS a(run_id, chapter, place, kind, ordinal, at, name, digest, attempt, took, data)"""
"""… and goes on with these."""

ENDED: Final = f"""WITH a AS (
 SELECT *, 0 AS live
 FROM unnest(%s::bytea[], %s::int8[], %s::int8[], %s::bytea[], %s::bytea[])
  AS a(id, status, at, output, failure) ORDER BY id),
ended AS (
 UPDATE runs SET status = a.status, ended_at = a.at, output = a.output, failure = a.failure
 FROM a WHERE runs.id = ANY (ARRAY[a.id]) AND runs.status = a.live),
failed AS MATERIALIZED (
 SELECT r.id, r.environment, r.task, r.idempotency_key AS key
 FROM a JOIN runs r ON r.id = ANY (ARRAY[a.id]) WHERE a.status <> 1 AND r.idempotency_key <> ''),
freed AS (
 DELETE FROM idempotency i USING failed f
 WHERE i.environment = ANY (ARRAY[f.environment]) AND i.task = f.task AND i.key = f.key
  AND i.run_id = f.id),
canceled AS (
 UPDATE tokens SET status = 3, ended_at = a.at FROM a
 WHERE tokens.run_id = ANY (ARRAY[a.id]) AND tokens.status = a.live
 RETURNING tokens.id),
disowned AS (DELETE FROM owned USING a WHERE owned.run_id = ANY (ARRAY[a.id]) RETURNING {SLOT}),
stirred AS ({stir_slots("disowned")}),
unmarked AS (
 DELETE FROM ready WHERE run_id = ANY (ARRAY(
  SELECT run_id FROM ready WHERE run_id = ANY (ARRAY(SELECT id FROM a)) FOR UPDATE SKIP LOCKED))),
unread AS (DELETE FROM inbox USING a WHERE inbox.run_id = ANY (ARRAY[a.id])),
deaf AS (DELETE FROM listening USING a WHERE listening.run_id = ANY (ARRAY[a.id])),
unblocked AS (DELETE FROM blocked USING a WHERE blocked.run_id = ANY (ARRAY[a.id]))
DELETE FROM due WHERE id = ANY (ARRAY(SELECT id FROM a UNION ALL SELECT id FROM canceled))"""
"""Runs end, by rising id: each is looked up for its row of `a`. `live` is a column, so that no plan
begins with the few rows that `status = 0` is believed to leave, and walks the table to find them. A
sender that has a mark locked removes nothing of ours: the mark outlives the run, and is dropped by
whom it reaches."""

TELL: Final = f"""WITH over AS (
 SELECT id, status, ended_at, output, failure, NULL::bytea AS data, false AS token,
  0::int8 AS due
 FROM runs WHERE id = ANY (%s::bytea[])
 UNION ALL
 SELECT id, status, ended_at, NULL, NULL, data, true, timeout_at
 FROM tokens WHERE (run_id = ANY (%s::bytea[]) OR id = ANY (%s::bytea[])) AND status <> 0),
woken AS (
 DELETE FROM waits USING over t WHERE waits.target = ANY (ARRAY[t.id])
 RETURNING waits.run_id, waits.chapter, waits.ordinal, waits.place, t.ended_at, t.token, t.due,
  CASE WHEN t.token THEN {_TOKEN_NAME.format("t.status")}
   ELSE {_STATUS_NAME.format("t.status")} END AS name,
  CASE WHEN t.token THEN t.data ELSE {_OUTCOME} END AS data),
told AS (
 INSERT INTO inbox (run_id, kind, chapter, ordinal, at, name, data, place)
 SELECT run_id,
  CASE WHEN token THEN {int(InboxKind.TOKEN_ENDED)} ELSE {int(InboxKind.CHILD_ENDED)} END,
  chapter, ordinal, ended_at, name, data, place
 FROM woken WHERE run_id <> ALL (%s::bytea[])
 ORDER BY due, run_id, chapter, ordinal, place
 RETURNING run_id, chapter, ordinal, name),
among AS (
 SELECT g.run_id, g.chapter, g.ordinal, t.ended, t.badly FROM (
  SELECT run_id, chapter, ordinal, count(*) AS ended, bool_or(name <> 'COMPLETED') AS badly
  FROM told GROUP BY run_id, chapter, ordinal) t
 JOIN gathers g ON g.run_id = ANY (ARRAY[t.run_id]) AND g.chapter = t.chapter
  AND g.ordinal = t.ordinal
 ORDER BY t.run_id, t.chapter, t.ordinal FOR UPDATE OF g),
counted AS (
 UPDATE gathers g SET missing = g.missing - a.ended FROM among a
 WHERE g.run_id = ANY (ARRAY[a.run_id]) AND g.chapter = a.chapter AND g.ordinal = a.ordinal
 RETURNING g.run_id AS id, g.missing = 0 OR g.eager AND a.badly AS wakes),
waking AS (
 SELECT run_id AS id FROM told t WHERE NOT EXISTS (SELECT FROM among a
  WHERE a.run_id = t.run_id AND a.chapter = t.chapter AND a.ordinal = t.ordinal)
 UNION ALL SELECT id FROM counted WHERE wakes),
unheard AS (DELETE FROM messages USING over t WHERE messages.run_id = ANY (ARRAY[t.id])
 AND NOT t.token),
closed AS (
 DELETE FROM waits WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM waits WHERE run_id = ANY (%s::bytea[]) FOR UPDATE SKIP LOCKED)))
SELECT {note("woken", "waking")}"""
"""(runs, runs, tokens, runs, runs): those who wait for what has just ended get inbox rows, messages
that nobody will read go. What ends in one moment is told in the order of its time-outs, and then as
the body asked. Follows ENDED, which may have waited for a sender. A wait of an ended run
that somebody else has locked is being removed by him, because its target ends."""

BLOCKED: Final = """INSERT INTO blocked
 (run_id, environment, task, reason, detail, since, next, code)
SELECT b.run_id, r.environment, r.task, b.reason, b.detail, b.since, b.next,
 coalesce((SELECT code FROM workers WHERE id = %s), '')
FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::int8[], %s::text[])
 AS b(run_id, reason, detail, since, next) JOIN runs r ON r.id = ANY (ARRAY[b.run_id])
ON CONFLICT (run_id) DO UPDATE SET reason = excluded.reason, detail = excluded.detail,
 since = excluded.since, next = excluded.next, code = excluded.code"""

RELEASED: Final = f"""WITH gone AS (
 DELETE FROM owned USING unnest(%s::bytea[]) AS a(id) WHERE owned.run_id = ANY (ARRAY[a.id])
 RETURNING a.id, {SLOT}),
unrouted AS (
 UPDATE ready SET owner = NULL WHERE run_id = ANY (ARRAY(
  SELECT m.run_id FROM gone JOIN ready m ON m.run_id = ANY (ARRAY[gone.id])
  WHERE m.owner IS NOT NULL FOR UPDATE OF m SKIP LOCKED))
 RETURNING {MARKED}),
freed AS ({stir_slots("gone")} RETURNING 1),
heard AS ({stir_marks("unrouted")} RETURNING 1),
unread AS (
 SELECT DISTINCT run_id AS id FROM inbox i
 WHERE run_id = ANY (%s::bytea[]) AND NOT {_GOES_ON_WAITING})
SELECT {note("woken", "unread")}, EXISTS (SELECT FROM freed) OR EXISTS (SELECT FROM heard)"""
"""(released or parked, released): a run that leaves something unread has something to do; one that
is parked or put off could not read it, and is marked by what comes next. Marks that were routed are
for all. Answers also whether queues are stirred."""

DUE_AT: Final = f"""INSERT INTO due (id, environment, at, kind)
SELECT id, %s, at, {int(DueKind.RESUME)} FROM unnest(%s::bytea[], %s::int8[]) AS a(id, at)
ON CONFLICT (id) DO UPDATE SET at = excluded.at, kind = excluded.kind"""

DELETE_DUE: Final = "DELETE FROM due WHERE id = ANY (%s::bytea[])"

# --- cancel --------------------------------------------------------------------------------------

CANCEL_DELAYED: Final = f"""DELETE FROM due WHERE id = ANY (ARRAY(
 SELECT id FROM due WHERE id = ANY (%s::bytea[]) AND kind = {int(DueKind.START)}
 ORDER BY id FOR UPDATE)) RETURNING id"""

CANCEL_QUEUED: Final = f"""DELETE FROM ready WHERE run_id = ANY (ARRAY(
 SELECT run_id FROM ready WHERE run_id = ANY (%s::bytea[]) AND reason = {_NEW}
 ORDER BY run_id FOR UPDATE)) RETURNING run_id"""
"""Follows CANCEL_DELAYED: a delay that ends while we wait for it has become such a mark."""

CANCEL_SENT: Final = f"""WITH told AS (
 INSERT INTO inbox (run_id, kind, at)
 SELECT id, {int(InboxKind.CANCEL)}, %s FROM unnest(%s::bytea[]) a(id)
 WHERE NOT EXISTS (SELECT FROM inbox i WHERE i.run_id = a.id AND i.kind = {int(InboxKind.CANCEL)})
 RETURNING run_id AS id, at),
asked AS (
 UPDATE runs SET canceled_at = told.at FROM told
 WHERE runs.id = ANY (ARRAY[told.id]) AND runs.canceled_at IS NULL)
SELECT {note("woken", "told")}"""
"""To runs that have begun: one such row is enough."""

LIVE: Final = "SELECT id FROM runs WHERE id = ANY (%s::bytea[]) AND status = 0"

NOTE_WOKEN: Final = f"""WITH a AS (SELECT unnest(%s::bytea[]) AS id)
SELECT {note("woken", "a")}"""

NOTE_NEW: Final = f"""WITH a AS (SELECT unnest(%s::bytea[]) AS id)
SELECT {note("new", "a")}"""
"""For MARK: runs that got an inbox row, or whose time has come; runs that may start."""

# --- marks ---------------------------------------------------------------------------------------

MARK: Final = f"""WITH marked AS (INSERT INTO ready
 (run_id, environment, task, queue, key, priority, at, reason, owner)
SELECT r.id, r.environment, r.task, r.queue, r.key, {MARK_PRIORITY},
 CASE WHEN m.reason = {_NEW} THEN r.start_at ELSE %s END, m.reason, o.worker
FROM (SELECT id, min(reason) AS reason FROM (
  SELECT unnest({noted("new")}) AS id, {_NEW} AS reason
  UNION ALL SELECT unnest({noted("woken")}), {_RESUME}) u GROUP BY id) m
JOIN runs r ON r.id = ANY (ARRAY[m.id]) LEFT JOIN owned o ON o.run_id = ANY (ARRAY[m.id])
ORDER BY m.id
ON CONFLICT (run_id) DO UPDATE SET priority = GREATEST(ready.priority, excluded.priority)
RETURNING {MARKED}),
stirred AS ({stir_marks("marked")})
SELECT 1 FROM marked LIMIT 1"""
"""Marks all runs noted by earlier statements. The update (it changes something where a cancel was
asked) locks a mark that is there: a claim skips it until we have committed, and will see our inbox
rows."""

LOCKED_TOKEN: Final = "SELECT {} FROM tokens WHERE id = %s FOR NO KEY UPDATE"
