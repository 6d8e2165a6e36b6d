"""The statements that workers live by: the claim, joining, leaving, taking over, the clock.

The order of locks is told in `postgres_sql`. A claim comes last in a transaction and waits for
nobody.
"""

from __future__ import annotations

from typing import Final

from wf.history.events import Kind
from wf.history.limits import LOAD_BYTES, NEWS_BYTES
from wf.history.model import InboxKind, Reason
from wf.history.postgres_sql import CLOCK, MARKED, SLOT, note, noted, stir_marks, stir_slots
from wf.history.rows import EVENT_COLUMNS, MARK_PRIORITY, columns
from wf.history.sealing import KEY_LOST

_NEW, _RESUME, _TAKEN = (int(reason) for reason in Reason)

# --- the claim -----------------------------------------------------------------------------------

_CLAIM: Final = f"""WITH mine AS MATERIALIZED (
 {{mine}} FOR UPDATE OF m SKIP LOCKED),
general AS MATERIALIZED (
 {{general}}),
others AS MATERIALIZED (
 SELECT p.run_id, o.worker
 FROM (SELECT run_id FROM mine UNION ALL SELECT run_id FROM general) p
 JOIN owned o ON o.run_id = ANY (ARRAY[p.run_id])
 JOIN workers w ON w.id = ANY (ARRAY[o.worker]) WHERE o.worker <> %(worker)s),
rerouted AS (
 UPDATE ready SET owner = others.worker FROM others
  WHERE ready.run_id = ANY (ARRAY[others.run_id])),
taken AS (
 DELETE FROM ready USING (SELECT * FROM mine UNION ALL SELECT * FROM general) p
 WHERE ready.run_id = ANY (ARRAY[p.run_id]) AND NOT EXISTS (SELECT FROM others x
  WHERE x.run_id = p.run_id)
 RETURNING ready.run_id, ready.reason, ready.priority, ready.at),
live AS MATERIALIZED (
 SELECT {columns("r")}, t.reason, t.priority AS rank, t.at AS marked_at,
  CASE WHEN t.reason = {_NEW} THEN 0 ELSE coalesce(e.seq, 0) END AS seq,
  GREATEST(e.at, %(now)s) AS at
 FROM taken t JOIN runs r ON r.id = ANY (ARRAY[t.run_id]) AND r.status = 0 LEFT JOIN LATERAL (
  SELECT seq, at FROM events WHERE run_id = r.id AND chapter = r.chapter AND t.reason <> {_NEW}
  ORDER BY seq DESC LIMIT 1) e ON true),
began AS (
 INSERT INTO events (run_id, chapter, seq, kind, at, name)
 SELECT id, chapter, seq + 1,
  CASE WHEN seq = 0 THEN {int(Kind.STARTED)} ELSE {int(Kind.TAKEN)} END, at,
  CASE WHEN seq = 0 THEN %(python)s ELSE '' END
 FROM live WHERE seq = 0 OR reason = {_TAKEN}),
own AS (
 {{own}}),
undue AS (
 DELETE FROM due WHERE id = ANY (ARRAY(
  SELECT d.id FROM live JOIN due d ON d.id = ANY (ARRAY[live.id]) FOR UPDATE OF d SKIP LOCKED))),
unblocked AS (DELETE FROM blocked USING live WHERE blocked.run_id = ANY (ARRAY[live.id])),
dropped AS (
 DELETE FROM inbox
 WHERE run_id = ANY (ARRAY(SELECT run_id FROM taken EXCEPT ALL SELECT id FROM live))),
noted AS MATERIALIZED (SELECT {note("claimed", "live")}){{more}}
SELECT {columns("live")},
 CASE WHEN live.seq = 0 THEN {_NEW} ELSE live.reason END,
 CASE WHEN live.seq = 0 OR live.reason = {_TAKEN} THEN live.seq + 1 ELSE live.seq END,
 s.stirred
FROM (SELECT {{stirred}} AS stirred) s LEFT JOIN (live CROSS JOIN noted) ON true
ORDER BY live.rank DESC, live.marked_at, live.id"""

_MINE: Final = """SELECT m.run_id, m.reason FROM ready m WHERE m.owner = %(worker)s
 AND (m.queue = '' OR (SELECT o.worker FROM owned o WHERE o.run_id = m.run_id) = %(worker)s)"""
_FREE: Final = """SELECT m.run_id, m.reason FROM unnest(%(tasks)s::text[]) AS t(task)
 CROSS JOIN LATERAL (
  SELECT q.run_id, q.reason, q.priority, q.at FROM ready q{root}
  WHERE q.environment = %(environment)s AND q.task = t.task AND q.owner IS NULL AND q.queue = ''
  ORDER BY q.priority DESC, q.at, q.run_id LIMIT %(limit)s FOR UPDATE OF q SKIP LOCKED) m
 ORDER BY m.priority DESC, m.at, m.run_id LIMIT %(limit)s"""
_OWN: Final = """INSERT INTO owned (run_id, worker) SELECT id, %(worker)s FROM live
 ON CONFLICT (run_id) DO UPDATE SET worker = excluded.worker"""
_STRAYS: Final = f""",
strays AS (
 UPDATE ready SET owner = NULL WHERE run_id = ANY (ARRAY(
  SELECT m.run_id FROM ready m WHERE m.owner = %(worker)s AND m.queue <> ''
  AND (SELECT o.worker FROM owned o WHERE o.run_id = m.run_id) IS DISTINCT FROM %(worker)s
  FOR UPDATE OF m SKIP LOCKED))
 RETURNING {MARKED}),
restirred AS ({stir_marks("strays")})"""
"""Marks in queues that were routed to us after we had let go: those runs need slots again."""


def _claim(parts: dict[str, str]) -> str:
    text = _CLAIM
    for name, part in parts.items():
        text = text.replace(f"{{{name}}}", part)
    return text


_BASE: Final = {"mine": _MINE, "own": _OWN, "more": _STRAYS}

CLAIM: Final = _claim(
    _BASE
    | {
        "general": _FREE.replace("{root}", ""),
        "stirred": """EXISTS (SELECT FROM stirs WHERE environment = %(environment)s
 AND at <= %(now)s AND task = ANY (array_prepend('', %(tasks)s::text[])))""",
    }
)
"""Takes marks away, the worker's own and the best of its tasks, and answers their runs. A mark of a
run that has ended is dropped with its inbox; one of a run that another live worker owns is routed
to that worker, also where it was ours: its sender may have seen us own the run before we let go.
The last column of all rows, of which there is one at least, says whether queues are stirred."""

CLAIM_UNDER: Final = _claim(
    _BASE
    | {
        "general": _FREE.replace(
            "{root}",
            " JOIN runs u ON u.id = ANY (ARRAY[q.run_id]) AND %(root)s IN (u.id, u.root_id)",
        ),
        "stirred": """EXISTS (SELECT FROM ready q JOIN runs u ON u.id = ANY (ARRAY[q.run_id])
 WHERE q.environment = %(environment)s AND q.queue <> '' AND q.owner IS NULL
 AND %(root)s IN (u.id, u.root_id))""",
    }
)
"""The same among the descendants of one run."""

CLAIM_CHOSEN: Final = _claim(
    {
        "mine": """SELECT m.run_id, m.reason FROM unnest(%(chosen)s::bytea[]) AS c(id)
 JOIN ready m ON m.run_id = ANY (ARRAY[c.id]) WHERE m.owner IS NULL""",
        "general": "SELECT run_id, reason FROM mine WHERE false",
        "own": """INSERT INTO owned (run_id, worker, environment, queue, key)
 SELECT id, %(worker)s, environment, queue, key FROM live
 ON CONFLICT (run_id) DO UPDATE SET worker = excluded.worker, environment = excluded.environment,
  queue = excluded.queue, key = excluded.key""",
        "more": "",
        "stirred": "false",
    }
)
"""Takes the marks of these runs, to which queues give slots."""

_ROWS: Final = "i.id, i.run_id, i.kind, i.chapter, i.ordinal, i.at, i.name, i.data, i.place"

_READ: Final = f"""SELECT {_ROWS} FROM (
 SELECT i.*, sum(octet_length(i.data)) OVER (ORDER BY i.id + 0) AS upto FROM {{}}) i
WHERE coalesce(i.upto - octet_length(i.data), 0) < {NEWS_BYTES}
 OR i.kind = {int(InboxKind.CANCEL)} ORDER BY i.id"""

INBOXES: Final = _READ.format(
    f"unnest({noted('claimed')}) AS c(id) JOIN inbox i ON i.run_id = ANY (ARRAY[c.id])"
)
"""Follows CLAIM."""

OWNED: Final = f"""SELECT {columns("r")}, {_RESUME}, coalesce((SELECT max(seq) FROM events e
 WHERE e.run_id = r.id AND e.chapter = r.chapter), 0)
FROM owned o JOIN runs r ON r.id = o.run_id WHERE o.worker = %s ORDER BY r.id"""

OWNED_INBOXES: Final = _READ.format(
    "owned o JOIN inbox i ON i.run_id = o.run_id WHERE o.worker = %s"
)

LOAD: Final = f"""WITH sized AS MATERIALIZED (
 SELECT a.run_id, a.chapter, sum((SELECT sum(octet_length(e.data)) FROM events e
  WHERE e.run_id = a.run_id AND e.chapter = a.chapter)) OVER (ORDER BY a.run_id) AS upto
 FROM unnest(%s::bytea[], %s::int8[]) AS a(run_id, chapter))
SELECT a.run_id, {EVENT_COLUMNS} FROM sized a
LEFT JOIN events e ON e.run_id = a.run_id AND e.chapter = a.chapter
WHERE coalesce(a.upto, 0) <= {LOAD_BYTES} OR a.run_id = %s
ORDER BY a.run_id, e.seq"""
"""(runs, chapters, the first of these runs) As many whole histories as LOAD_BYTES hold, and that of
the first run. Of a run without events, one row without a seq. They are added up before they are
read: to sort the events themselves for it took as long again as to read them."""

# --- workers -------------------------------------------------------------------------------------

JOIN: Final = f"""INSERT INTO workers
 (id, group_no, beat, started_at, pid, environment, host, tasks, code)
VALUES (%s, 0, {CLOCK}, {CLOCK}, %s, %s, %s, %s, %s)"""

BEAT: Final = f"UPDATE workers SET beat = {CLOCK} WHERE id = %s"

RUNNABLES: Final = f"""INSERT INTO runnables AS n (environment, task, first_seen, hooks, queue)
SELECT %s, task, {CLOCK}, hooks, queue
FROM unnest(%s::text[], %s::int8[], %s::text[]) AS t(task, hooks, queue)
ORDER BY task COLLATE "C"
ON CONFLICT (environment, task) DO UPDATE SET hooks = excluded.hooks, queue = excluded.queue
WHERE n.hooks <> excluded.hooks OR n.queue <> excluded.queue"""

HOOKED: Final = """SELECT r.id, r.environment, r.task, r.root_id
FROM unnest(%s::bytea[]) AS a(id) JOIN runs r ON r.id = ANY (ARRAY[a.id])
JOIN runnables n ON n.environment = ANY (ARRAY[r.environment]) AND n.task = r.task
WHERE n.hooks & %s::int4 <> 0"""
"""Of runs that end without a body, those whose task has hooks for such an end."""

UNPARK: Final = f"""WITH parked AS (
 SELECT run_id AS id FROM blocked WHERE environment = %s AND task = ANY (%s::text[])
 AND (code <> %s OR reason = '{KEY_LOST}'))
SELECT {note("woken", "parked")}, (SELECT count(*) FROM parked)"""

ANY_LOST: Final = f"""SELECT EXISTS (SELECT FROM workers WHERE beat < {CLOCK} - %s)
 OR EXISTS (SELECT FROM owned o WHERE NOT EXISTS (SELECT FROM workers w WHERE w.id = o.worker))
 OR EXISTS (SELECT FROM ready m WHERE m.owner IS NOT NULL
  AND NOT EXISTS (SELECT FROM workers w WHERE w.id = m.owner))"""
"""Is there anything to take over? Mostly not, and then nothing is locked."""

STUCK: Final = f"""SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
JOIN workers w ON a.application_name = 'wf ' || w.id
WHERE w.beat < {CLOCK} - %s AND a.xact_start < now() - %s * interval '1 ms'
 AND a.datname = current_database() AND a.usename = current_user"""
"""(lease, half of it) Ends the groups of lost workers that stand still. Where a process is stopped
between two flushes of its pipeline the server waits for more, and no timeout of its own runs."""

LOST: Final = f"""DELETE FROM workers WHERE id IN (
 SELECT id FROM workers WHERE beat < {CLOCK} - %s OR id = ANY (%s::int8[])
 FOR UPDATE SKIP LOCKED) RETURNING id"""

LEAVE: Final = "DELETE FROM workers WHERE id = %s"

ORPHANED: Final = f"""WITH gone AS (
 DELETE FROM owned WHERE worker = ANY (%s::int8[])
  OR NOT EXISTS (SELECT FROM workers w WHERE w.id = owned.worker) RETURNING run_id, {SLOT}),
freed AS ({stir_slots("gone")}),
marked AS (
 INSERT INTO ready AS m (run_id, environment, task, queue, key, priority, at, reason)
 SELECT r.id, r.environment, r.task, r.queue, r.key, {MARK_PRIORITY}, %s, %s
 FROM gone JOIN runs r ON r.id = gone.run_id WHERE r.status = 0 ORDER BY r.id
 ON CONFLICT (run_id) DO UPDATE SET owner = NULL,
  reason = CASE WHEN m.reason = {_NEW} THEN {_NEW} ELSE excluded.reason END
 RETURNING {MARKED})
{stir_marks("marked")}"""
"""(workers, now, reason): what they owned is marked."""

UNROUTED: Final = f"""WITH freed AS (
 UPDATE ready SET owner = NULL WHERE run_id IN (
  SELECT m.run_id FROM ready m WHERE m.owner IS NOT NULL
  AND NOT EXISTS (SELECT FROM workers w WHERE w.id = m.owner) FOR UPDATE OF m SKIP LOCKED)
 RETURNING {MARKED})
{stir_marks("freed")}"""
"""Frees marks whose owner is gone. One that is being written now is freed by the next take-over."""

NOW: Final = f"SELECT {CLOCK}"
