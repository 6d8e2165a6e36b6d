"""The statements of what becomes due: runs that start, go on or expire, tokens that time out."""

from __future__ import annotations

import re
from typing import Final

from wf.history import queues
from wf.history.limits import DUE_ROWS
from wf.history.model import Reason
from wf.history.postgres_sql import note
from wf.history.rows import DueKind

_NEW: Final = int(Reason.NEW)


def _sent(text: str) -> str:
    """With parameters as psycopg writes them."""
    return re.sub(r":(\w+)", r"%(\1)s", text)


_PLAIN: Final = f"""(d.kind = {int(DueKind.RESUME)}
 OR d.kind = {int(DueKind.START)} AND coalesce(r.ttl_ms, 0) = 0)"""
_IS_DUE: Final = "d.environment = %(environment)s AND d.at <= %(now)s"
_WAITED_UNDER: Final = """(
 EXISTS (SELECT FROM tokens x JOIN runs u ON u.id = ANY (ARRAY[x.run_id])
  WHERE x.id = d.id AND %(root)s IN (u.id, u.root_id))
 OR EXISTS (SELECT FROM waits w JOIN runs u ON u.id = ANY (ARRAY[w.run_id])
  WHERE w.target = d.id AND %(root)s IN (u.id, u.root_id)))"""
"""A token that a descendant made or waits for."""
_ANY_UNDER: Final = (
    f" AND (%(root)s IN (r.id, r.root_id) OR d.kind = {int(DueKind.TOKEN)} AND {_WAITED_UNDER})"
)


_FIRST: Final = f"FROM due d WHERE {_IS_DUE} ORDER BY d.at LIMIT {DUE_ROWS}"
_FIRST_UNDER: Final = f"""FROM due d LEFT JOIN runs r ON r.id = ANY (ARRAY[d.id])
 WHERE {_IS_DUE}{_ANY_UNDER} ORDER BY d.at LIMIT {DUE_ROWS}"""
"""The first due rows, alone: a join could be planned from its other end, with a million overdue."""


def _due(first: str) -> str:
    return f"""WITH picked AS MATERIALIZED (
 SELECT d.id, d.kind {first} FOR UPDATE OF d SKIP LOCKED),
seen AS MATERIALIZED (
 SELECT d.id, d.kind, coalesce({_PLAIN}, false) AS plain
 FROM picked d LEFT JOIN runs r ON r.id = ANY (ARRAY[d.id])),
gone AS (DELETE FROM due USING seen WHERE due.id = ANY (ARRAY[seen.id]) AND seen.plain)
SELECT {note("woken", f"seen WHERE plain AND kind = {int(DueKind.RESUME)}")},
 {note("new", f"seen WHERE plain AND kind = {int(DueKind.START)}")},
 (SELECT CASE WHEN count(*) > 0 THEN ('due ' || count(*))::int END FROM seen WHERE NOT plain)"""


DUE: Final = _due(_FIRST)
"""Runs whose time has come are noted for MARK. Where something else is due (an expiry, a token),
fails with invalid_text_representation: the group is written again, the long way."""

DUE_UNDER: Final = _due(_FIRST_UNDER)
"""The same among the descendants of one run; so are all that are called `under`."""


def _unclaimed(first: str) -> str:
    return f"""SELECT m.run_id FROM (SELECT d.id, d.kind {first}) x
JOIN ready m ON m.run_id = ANY (ARRAY[x.id]) AND m.reason = {_NEW} WHERE x.kind = {int(DueKind.TTL)}
ORDER BY x.id FOR UPDATE OF m SKIP LOCKED"""


UNCLAIMED: Final = _unclaimed(_FIRST)
UNCLAIMED_UNDER: Final = _unclaimed(_FIRST_UNDER)
"""Before DUE_RUNS: the marks of runs whose ttl is over, locked before their due rows, as by a
claim: it takes the due row away, too, and would skip it where we held it."""


def _due_runs(first: str) -> str:
    return f"""SELECT d.id, d.kind, d.at, r.ttl_ms FROM (SELECT d.id {first}) x
JOIN due d ON d.id = ANY (ARRAY[x.id]) JOIN runs r ON r.id = ANY (ARRAY[x.id])
WHERE d.kind <> {int(DueKind.TTL)} OR x.id = ANY (%(unclaimed)s::bytea[])
 OR (SELECT count(*) FROM ready m WHERE m.run_id = x.id AND m.reason = {_NEW}) = 0
ORDER BY d.at FOR UPDATE OF d SKIP LOCKED FOR NO KEY UPDATE OF r SKIP LOCKED"""


DUE_RUNS: Final = _due_runs(_FIRST)
DUE_RUNS_UNDER: Final = _due_runs(_FIRST_UNDER)
"""The long way: all runs of which something is due, with their rows locked. One that is being
claimed now is left to its claim."""


def _due_tokens(first: str) -> str:
    return f"""SELECT d.id FROM (SELECT d.id {first}) x
JOIN due d ON d.id = ANY (ARRAY[x.id]) AND d.kind = {int(DueKind.TOKEN)}
JOIN tokens t ON t.id = ANY (ARRAY[x.id])
ORDER BY x.id FOR UPDATE OF d SKIP LOCKED FOR NO KEY UPDATE OF t SKIP LOCKED"""


DUE_TOKENS: Final = _due_tokens(_FIRST)
DUE_TOKENS_UNDER: Final = _due_tokens(_FIRST_UNDER)

DUE_NO_MORE: Final = f"""DELETE FROM due WHERE id = ANY (ARRAY(
 SELECT x.id FROM (SELECT d.id, d.kind {_FIRST}) x
 WHERE x.kind <> {int(DueKind.TOKEN)} AND NOT EXISTS (
  SELECT FROM runs r WHERE r.id = ANY (ARRAY[x.id]))))"""
"""Of runs that somebody has removed."""

UNQUEUE: Final = f"""DELETE FROM ready WHERE run_id = ANY (ARRAY(
 SELECT run_id FROM ready WHERE run_id = ANY (%s::bytea[]) AND reason = {_NEW}
 FOR UPDATE SKIP LOCKED))
RETURNING run_id"""
"""Takes the marks of runs that never began; one that is being claimed is left to its claim."""

QUEUED: Final = "SELECT run_id FROM ready WHERE run_id = ANY (%s::bytea[])"

DUE_TTL: Final = f"""UPDATE due SET at = a.at, kind = {int(DueKind.TTL)}
FROM unnest(%s::bytea[], %s::int8[]) AS a(id, at) WHERE due.id = ANY (ARRAY[a.id])"""

TOKENS_ENDED: Final = """UPDATE tokens SET status = %s, ended_at = %s, data = %s
WHERE id = ANY (%s::bytea[]) AND status = 0"""

NEXT_DUE: Final = f"""SELECT LEAST(
 (SELECT min(at) FROM due WHERE environment = %(environment)s), ({_sent(queues.STIR_DUE)}))"""

NEXT_DUE_UNDER: Final = f"""SELECT LEAST(
 (SELECT min(d.at) FROM due d LEFT JOIN runs r ON r.id = ANY (ARRAY[d.id])
  WHERE d.environment = %(environment)s{_ANY_UNDER}),
 ({_sent(queues.STIR_DUE)} AND {_sent(queues.STIR_OF_ROOT)}))"""
