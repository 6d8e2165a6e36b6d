"""The statements of queues: made and changed, and their slots given out. The theory is in `queues`.

A claim locks the rows of the queues first, skipping those that others have locked, and counts in
statements that follow: one that locks and counts would count what was there before it waited. It
waits for nobody, as the rest of the claim.
"""

from __future__ import annotations

from typing import Final

from wf.history import queues
from wf.history.lanes import BACK, FAIR_TURNS, NEW, PAGE_HEADS, STIRS
from wf.history.model import Reason

# --- made and changed ----------------------------------------------------------------------------

QUEUES: Final = """INSERT INTO queues (environment, name)
SELECT environment, name FROM unnest(%s::text[], %s::text[]) AS a(environment, name)
ON CONFLICT DO NOTHING"""

SAID: Final = """UPDATE queues SET said = a.said
FROM unnest(%s::text[], %s::text[], %s::text[]) AS a(environment, name, said)
WHERE queues.environment = ANY (ARRAY[a.environment]) AND queues.name = a.name
 AND queues.said <> a.said
RETURNING queues.environment, queues.name"""
"""What code says of queues; answers those of which it says something new, locked."""

FOUND: Final = "SELECT 1 FROM queues WHERE environment = %s AND name = %s FOR NO KEY UPDATE"

_SETS: Final = ", ".join(f"{column} = %s" for column in queues.LIMIT_COLUMNS.split(", "))
LIMITS: Final = f"""UPDATE queues AS q
SET ceiling = ({queues.HELD}), key_ceiling = ({queues.MOST_OF_A_KEY}), {_SETS}
WHERE environment = %s AND name = %s"""
"""Follows a lock of the row."""

PAUSED: Final = "UPDATE queues SET paused = %s WHERE environment = %s AND name = %s"

CHANGED: Final = """INSERT INTO stirs (environment, queue, key)
SELECT q.environment, q.name, k.key FROM queues q CROSS JOIN LATERAL (
 SELECT '' AS key
 UNION SELECT o.key FROM owned o WHERE o.environment = q.environment AND o.queue = q.name
 UNION SELECT s.key FROM starts s WHERE s.environment = q.environment AND s.queue = q.name) k
WHERE q.environment = %s AND q.name = %s"""
"""Keys that were full may be full no more."""

# --- what is looked at ---------------------------------------------------------------------------

STIRRED: Final = f"""SELECT id, task, queue, key FROM stirs
WHERE environment = %(environment)s AND at <= %(now)s
 AND task = ANY (array_prepend('', %(tasks)s::text[]))
LIMIT {STIRS} FOR UPDATE SKIP LOCKED"""

EATEN: Final = "DELETE FROM stirs WHERE id = ANY (%s::int8[])"

LOCKED: Final = f"""SELECT name, paused, turn, {queues.LIMIT_COLUMNS} FROM queues
WHERE environment = %(environment)s AND name = ANY (%(queues)s::text[])
ORDER BY name FOR NO KEY UPDATE SKIP LOCKED"""

COUNTED: Final = f"""SELECT q.name,
 CASE WHEN q.concurrency_limit IS NULL THEN 0 ELSE ({queues.HELD}) END, w.count, w.oldest
FROM queues q CROSS JOIN LATERAL (
 SELECT count(*) AS count, min(s.at) AS oldest FROM starts s
 WHERE q.rate_limit IS NOT NULL AND s.environment = q.environment AND s.queue = q.name
  AND s.at > %(now)s - q.rate_ms) w
WHERE q.environment = %(environment)s AND q.name = ANY (%(queues)s::text[])"""
"""Slots that are held, and first starts that count. Follows LOCKED."""

_WAITS: Final = "m.environment = %(environment)s AND m.queue <> '' AND m.owner IS NULL"
_BEST: Final = "(m.reason = 0), m.priority DESC, m.at, m.run_id"
_RANK: Final = f"CASE WHEN m.reason = {int(Reason.NEW)} THEN {NEW} ELSE {BACK} END"

_OF_KEY: Final = """CROSS JOIN LATERAL (
 SELECT count(*) AS held FROM owned o
 WHERE l.key <> '' AND o.environment = %(environment)s AND o.queue = l.queue AND o.key = l.key) h
CROSS JOIN LATERAL (
 SELECT count(*) AS count, min(s.at) AS oldest FROM queues q JOIN starts s
  ON s.environment = q.environment AND s.queue = q.name AND s.key = l.key
   AND s.at > %(now)s - q.key_rate_ms
 WHERE q.environment = %(environment)s AND q.name = l.queue AND q.key_rate_limit IS NOT NULL
  AND l.key <> '') w"""

LANES: Final = f"""SELECT l.queue, l.task, l.key, l.served, h.held, w.count, w.oldest,
 m.rank, m.sunk, m.at, m.run_id
FROM unnest(%(queues)s::text[]) AS a(queue) CROSS JOIN LATERAL (
 SELECT a.queue, x.* FROM unnest(%(tasks)s::text[]) AS t(task) CROSS JOIN LATERAL (
  SELECT n.task, n.key, n.rank, n.priority, n.served, n.at FROM lanes n
  WHERE n.environment = %(environment)s AND n.queue = a.queue AND n.task = t.task
   AND n.at IS NOT NULL
  ORDER BY n.rank, n.priority DESC, n.served, n.at, n.key LIMIT %(skip)s::int8 + %(count)s::int8) x
 ORDER BY x.rank, x.priority DESC, x.served, x.at, x.key, x.task
 LIMIT %(count)s::int8 OFFSET %(skip)s::int8) l
{_OF_KEY}
LEFT JOIN LATERAL (
 SELECT {_RANK} AS rank, -m.priority AS sunk, m.at, m.run_id FROM ready m
 WHERE {_WAITS} AND m.queue = l.queue AND m.key = l.key AND m.task = l.task
 ORDER BY {_BEST} LIMIT {PAGE_HEADS}) m ON true
ORDER BY l.queue, l.rank, l.priority DESC, l.served, l.at, l.key, l.task,
 m.rank, m.sunk, m.at, m.run_id"""
"""The best open lanes of each queue, with the best marks of each, the slots of its key and its
first starts."""

HEADS: Final = f"""SELECT {_RANK}, -m.priority, m.at, m.run_id FROM ready m
WHERE {_WAITS} AND m.queue = %(queue)s AND m.key = %(key)s AND m.task = %(task)s
ORDER BY {_BEST} LIMIT %(count)s OFFSET %(skip)s"""

UNDER: Final = f"""SELECT m.queue, m.key, m.task, {_RANK}, -m.priority, m.at, m.run_id
FROM ready m JOIN runs u ON u.id = ANY (ARRAY[m.run_id]) AND %(root)s IN (u.id, u.root_id)
WHERE {_WAITS} AND m.task = ANY (%(tasks)s::text[]) ORDER BY {_BEST}"""
"""What waits among the descendants of one run."""

KEYS: Final = f"""SELECT l.queue, l.key, h.held, w.count, w.oldest
FROM unnest(%(queues)s::text[], %(keys)s::text[]) AS l(queue, key) {_OF_KEY}"""

# --- what is written -----------------------------------------------------------------------------

_NEXT: Final = f"""CROSS JOIN LATERAL (
 SELECT m.task, {_RANK} AS rank, m.priority, m.at FROM ready m
 WHERE {_WAITS} AND m.queue = p.queue AND m.key = p.key{{after}}
 ORDER BY m.task, {_BEST} LIMIT 1) h"""

SET_LANES: Final = f"""WITH RECURSIVE asked AS (
 SELECT queue, key FROM unnest(%(queues)s::text[], %(keys)s::text[]) AS a(queue, key)),
heads AS (
 SELECT p.queue, p.key, h.* FROM asked p {_NEXT.format(after="")}
 UNION ALL
 SELECT p.queue, p.key, h.* FROM heads p {_NEXT.format(after=" AND m.task > p.task")}),
opened AS (
 INSERT INTO lanes (environment, queue, key, task, rank, priority, at, served)
 SELECT q.environment, h.queue, h.key, h.task, h.rank, h.priority, h.at,
  GREATEST(q.turn - {FAIR_TURNS}, (SELECT max(x.served) FROM lanes x
   WHERE x.environment = q.environment AND x.queue = h.queue AND x.key = h.key))
 FROM heads h JOIN queues q ON q.environment = %(environment)s AND q.name = h.queue
 ON CONFLICT (environment, queue, key, task) DO UPDATE SET rank = excluded.rank,
  priority = excluded.priority, at = excluded.at, served = excluded.served)
UPDATE lanes SET at = NULL FROM asked a
WHERE lanes.environment = %(environment)s AND lanes.queue = a.queue AND lanes.key = a.key
 AND lanes.at IS NOT NULL AND NOT EXISTS (SELECT FROM heads h
  WHERE h.queue = lanes.queue AND h.key = lanes.key AND h.task = lanes.task)"""
"""The lanes of these keys say what goes next; those in which nothing waits are closed."""

TURNS: Final = """UPDATE queues SET turn = a.turn
FROM unnest(%s::text[], %s::text[], %s::int8[]) AS a(environment, name, turn)
WHERE queues.environment = ANY (ARRAY[a.environment]) AND queues.name = a.name"""

SERVED: Final = """UPDATE lanes SET served = a.turn
FROM unnest(%s::text[], %s::text[], %s::text[], %s::int8[]) AS a(environment, queue, key, turn)
WHERE lanes.environment = ANY (ARRAY[a.environment]) AND lanes.queue = a.queue
 AND lanes.key = a.key"""

CLOSED: Final = """UPDATE lanes SET at = NULL
FROM unnest(%s::text[], %s::text[], %s::text[]) AS a(environment, queue, key)
WHERE lanes.environment = ANY (ARRAY[a.environment]) AND lanes.queue = a.queue AND lanes.key = a.key
 AND coalesce(lanes.at, 0) <> 0"""

STARTS: Final = """INSERT INTO starts (environment, queue, key, at)
SELECT o.environment, o.queue, o.key, %(now)s FROM unnest(%(starting)s::bytea[]) AS c(id)
JOIN owned o ON o.run_id = ANY (ARRAY[c.id]) AND o.worker = %(worker)s"""
"""Follows CLAIM_CHOSEN."""

STARTED: Final = """DELETE FROM starts USING queues q
WHERE q.environment = %(environment)s AND q.name = ANY (%(queues)s::text[])
 AND starts.environment = q.environment AND starts.queue = q.name
 AND starts.at <= %(now)s - GREATEST(q.rate_ms, q.key_rate_ms)"""
"""What does not count any more."""

STIR: Final = """INSERT INTO stirs (environment, task, queue, key, at)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::int8[])"""

MISSED: Final = """INSERT INTO stirs (environment, task, queue, key)
SELECT DISTINCT r.environment, r.task, r.queue, r.key FROM unnest(%(chosen)s::bytea[]) AS c(id)
JOIN runs r ON r.id = ANY (ARRAY[c.id]) WHERE NOT EXISTS (
 SELECT FROM owned o WHERE o.run_id = c.id AND o.worker = %(worker)s)"""
"""Chosen, and not taken: somebody was writing their marks. Follows CLAIM_CHOSEN."""

_FIRST_TASK: Final = """CROSS JOIN LATERAL (
 SELECT n.task, n.key FROM lanes n WHERE n.environment = %(environment)s AND n.queue = p.queue
  AND n.at IS NOT NULL{after} ORDER BY n.task LIMIT 1) h"""

OTHERS: Final = f"""WITH RECURSIVE tasks AS (
 SELECT p.queue, h.* FROM unnest(%(roomy)s::text[]) AS p(queue) {_FIRST_TASK.format(after="")}
 UNION ALL
 SELECT p.queue, h.* FROM tasks p {_FIRST_TASK.format(after=" AND n.task > p.task")})
INSERT INTO stirs (environment, task, queue, key)
SELECT %(environment)s, t.task, t.queue, t.key FROM tasks t
WHERE t.task <> ALL (%(tasks)s::text[]) AND NOT EXISTS (SELECT FROM stirs s
 WHERE s.environment = %(environment)s AND s.task = t.task AND s.at = 0 AND s.queue = t.queue)"""
"""Workers of other tasks hear of the room in these queues, once."""

FORGOTTEN: Final = f"""DELETE FROM lanes USING queues q
WHERE q.environment = %(environment)s AND q.name = ANY (%(queues)s::text[])
 AND lanes.environment = q.environment AND lanes.queue = q.name AND lanes.at IS NULL
 AND lanes.served < q.turn - {FAIR_TURNS}"""

STILL: Final = """DELETE FROM stirs s USING unnest(%(queues)s::text[]) AS a(queue)
WHERE s.environment = %(environment)s AND s.queue = a.queue AND NOT EXISTS (
 SELECT FROM ready m WHERE m.environment = s.environment AND m.queue = a.queue
  AND m.queue <> '' AND m.owner IS NULL)"""
"""After a claim for one run: where nobody waits, nobody needs to look."""
