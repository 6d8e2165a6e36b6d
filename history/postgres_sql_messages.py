"""The statements of messages, and of what ends with a chapter.

Who sends to a run, and the group in which it begins to listen, lock its row first (LOCK_RUNS). So
either the sender sees that it listens, or its group sees the message.
"""

from __future__ import annotations

from typing import Final

from wf.history import blobs
from wf.history.events import Kind
from wf.history.limits import MESSAGES_AHEAD
from wf.history.messages import Sent
from wf.history.model import InboxKind
from wf.history.postgres_sql import looked_up, note, noted
from wf.history.rows import TOKEN_STATUS

# --- messages ------------------------------------------------------------------------------------

SEND: Final = f"""WITH asked AS MATERIALIZED (
 SELECT a.*, CASE WHEN r.id IS NULL THEN {int(Sent.UNKNOWN)}
  WHEN r.status = 0 THEN {int(Sent.SENT)} ELSE {int(Sent.ENDED)} END AS outcome
 FROM unnest(%s::bytea[], %s::text[], %s::bytea[], %s::bytea[], %s::int8[], %s::int8[], %s::int8[])
  AS a(run_id, name, data, sender, chapter, ordinal, place)
 LEFT JOIN runs r ON r.id = ANY (ARRAY[a.run_id])),
sent AS (
 INSERT INTO messages (run_id, name, at, data)
 SELECT run_id, name, %s, data FROM asked WHERE outcome = {int(Sent.SENT)} ORDER BY place
 RETURNING run_id, name),
settled AS (
 INSERT INTO inbox (run_id, kind, chapter, ordinal, at, name)
 SELECT sender, {int(InboxKind.SEND_SETTLED)}, chapter, ordinal, %s,
  (ARRAY['SENT','ENDED','UNKNOWN'])[outcome + 1]
 FROM asked WHERE sender IS NOT NULL ORDER BY place
 RETURNING run_id),
heard AS (
 SELECT s.run_id AS id FROM sent s JOIN listening l ON l.run_id = ANY (ARRAY[s.run_id])
  AND l.name = s.name
 UNION SELECT run_id FROM settled)
SELECT {note("woken", "heard")}, (SELECT array_agg(outcome ORDER BY place) FROM asked)"""
"""(…, now, now) In the order of `place`. Follows LOCK_RUNS."""

BLOB: Final = """INSERT INTO blobs (owner, reference, data)
SELECT %s, %s, %s WHERE EXISTS (SELECT FROM messages WHERE run_id = %s AND data = %s)
ON CONFLICT DO NOTHING"""
"""A large message, where it was taken. Follows SEND."""

RECEIVED: Final = """DELETE FROM messages
WHERE run_id = ANY (%s::bytea[]) AND id = ANY (%s::int8[])"""

HUSHED: Final = "DELETE FROM listening WHERE run_id = ANY (%s::bytea[])"

LISTENING: Final = """INSERT INTO listening (run_id, name)
SELECT run_id, name FROM unnest(%s::bytea[], %s::text[]) AS a(run_id, name)"""

HEARD: Final = f"""WITH heard AS (
 SELECT DISTINCT a.id FROM unnest(%s::bytea[]) AS a(id)
 JOIN listening l ON l.run_id = ANY (ARRAY[a.id])
 WHERE EXISTS (
  SELECT FROM messages m WHERE m.run_id = ANY (ARRAY[l.run_id]) AND m.name = l.name))
SELECT {note("woken", "heard")}"""
"""Runs that listen to what is there already. Follows LISTENING."""

_AHEAD: Final = f"""SELECT m.id, m.run_id, m.name, m.at, m.data FROM {{claimed}}
JOIN listening l ON l.run_id = ANY (ARRAY[c.id]) CROSS JOIN LATERAL (
 SELECT x.id, x.run_id, x.name, x.at, x.data FROM messages x
 WHERE x.run_id = l.run_id AND x.name = l.name
 ORDER BY x.run_id, x.name, x.id LIMIT {MESSAGES_AHEAD}) m
ORDER BY m.id"""

MESSAGES: Final = _AHEAD.format(claimed=f"unnest({noted('claimed')}) AS c(id)")
"""Follows CLAIM."""

OWNED_MESSAGES: Final = _AHEAD.format(
    claimed="(SELECT run_id AS id FROM owned WHERE worker = %s) AS c"
)

# --- the end of a chapter ------------------------------------------------------------------------

TURN: Final = """UPDATE runs SET chapter = n.number, attempt = n.attempt
FROM unnest(%s::bytea[], %s::int8[], %s::int8[]) AS n(id, number, attempt)
WHERE runs.id = ANY (ARRAY[n.id])"""

DROPPED: Final = f"""WITH dropped AS (
 DELETE FROM events e USING unnest(%s::bytea[], %s::int8[]) AS n(id, oldest)
 WHERE e.run_id = ANY (ARRAY[n.id]) AND e.chapter < n.oldest AND NOT (e.chapter = 1 AND e.seq = 1)
 RETURNING e.run_id, e.data, n.oldest)
{looked_up(blobs.UNUSED_OF_DROPPED)}"""

CUT: Final = f"""WITH n AS MATERIALIZED (
 SELECT *, 0 AS live FROM unnest(%s::bytea[], %s::int8[]) AS n(run_id, number)),
cut AS MATERIALIZED (
 SELECT t.id FROM n JOIN tokens t ON t.run_id = ANY (ARRAY[n.run_id]) AND t.status = n.live
 WHERE NOT EXISTS (SELECT FROM events e WHERE e.run_id = n.run_id AND e.chapter = n.number
  AND e.kind = {int(Kind.TOKEN_CREATED)} AND e.data = ANY (ARRAY[t.id]))
 ORDER BY t.id || '' FOR NO KEY UPDATE OF t),
canceled AS (
 UPDATE tokens SET status = {TOKEN_STATUS["CANCELED"]}, ended_at = %s
 WHERE id = ANY (ARRAY(SELECT id FROM cut)))
DELETE FROM due WHERE id = ANY (ARRAY(SELECT id FROM cut))"""
"""Tokens whose making is not kept. Follows KEPT; TELL comes next. `live`: as in ENDED."""
