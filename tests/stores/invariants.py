"""What is true of the rows of a store after every transaction, whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

Query = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]

NEVER: Final = {
    "a history has a gap or does not begin with 1": """
        SELECT run_id FROM events GROUP BY run_id, chapter
        HAVING min(seq) <> 1 OR max(seq) <> count(*)""",
    "an end stands in a history": "SELECT run_id FROM events WHERE kind = 20",
    "a run has a part of an end": """
        SELECT id FROM runs WHERE (status <> 0) <> (ended_at IS NOT NULL)
        OR (status = 1) <> (output IS NOT NULL) OR (status > 1) <> (failure IS NOT NULL)""",
    "a live run has nothing that will wake it": """
        SELECT r.id FROM runs r WHERE r.status = 0
        AND NOT EXISTS (SELECT 1 FROM ready x WHERE x.run_id = r.id)
        AND NOT EXISTS (SELECT 1 FROM owned x WHERE x.run_id = r.id)
        AND NOT EXISTS (SELECT 1 FROM due x WHERE x.id = r.id)
        AND NOT EXISTS (SELECT 1 FROM waits x WHERE x.run_id = r.id)
        AND NOT EXISTS (SELECT 1 FROM listening x WHERE x.run_id = r.id)
        AND NOT EXISTS (SELECT 1 FROM blocked x WHERE x.run_id = r.id)""",
    **{
        f"an ended run has a row in {table}": f"""
        SELECT r.id FROM runs r JOIN {table} x ON x.{column} = r.id WHERE r.status <> 0"""
        for table, column in (
            # Not "ready" and "inbox": a sender may be late. The next claim drops both.
            ("owned", "run_id"),
            ("due", "id"),
            ("waits", "run_id"),
            ("blocked", "run_id"),
            ("messages", "run_id"),
            ("listening", "run_id"),
        )
    },
    "an owned run has a mark that is not its owner's": """
        SELECT o.run_id FROM owned o JOIN ready m ON m.run_id = o.run_id
        WHERE m.owner IS NULL OR m.owner <> o.worker""",
    "a mark is routed to somebody who does not own the run": """
        SELECT m.run_id FROM ready m WHERE m.owner IS NOT NULL AND NOT EXISTS
        (SELECT 1 FROM owned o WHERE o.run_id = m.run_id AND o.worker = m.owner)""",
    "a run is owned by a worker that is not there": """
        SELECT run_id FROM owned WHERE worker NOT IN (SELECT id FROM workers)""",
    "an owned run is due, or parked": """
        SELECT o.run_id FROM owned o WHERE EXISTS (SELECT 1 FROM due d WHERE d.id = o.run_id)
        OR EXISTS (SELECT 1 FROM blocked b WHERE b.run_id = o.run_id)""",
    "an inbox of nobody's has no mark": """
        SELECT i.run_id FROM inbox i JOIN runs r ON r.id = i.run_id
        WHERE r.status = 0
        AND NOT EXISTS (SELECT 1 FROM ready x WHERE x.run_id = i.run_id)
        AND NOT EXISTS (SELECT 1 FROM owned x WHERE x.run_id = i.run_id)
        AND NOT EXISTS (SELECT 1 FROM blocked x WHERE x.run_id = i.run_id)""",
    "a message that its run listens to has no mark": """
        SELECT l.run_id FROM listening l JOIN messages m ON m.run_id = l.run_id AND m.name = l.name
        WHERE NOT EXISTS (SELECT 1 FROM ready x WHERE x.run_id = l.run_id)
        AND NOT EXISTS (SELECT 1 FROM owned x WHERE x.run_id = l.run_id)
        AND NOT EXISTS (SELECT 1 FROM blocked x WHERE x.run_id = l.run_id)""",
    "somebody waits for what has ended": """
        SELECT w.run_id FROM waits w
        WHERE EXISTS (SELECT 1 FROM runs r WHERE r.id = w.target AND r.status <> 0)
        OR EXISTS (SELECT 1 FROM tokens t WHERE t.id = w.target AND t.status <> 0)""",
    "a token of an ended run is open": """
        SELECT t.id FROM tokens t JOIN runs r ON r.id = t.run_id
        WHERE t.status = 0 AND r.status <> 0""",
    "an ended token is due": """
        SELECT t.id FROM tokens t JOIN due d ON d.id = t.id WHERE t.status <> 0""",
    "a run that ended badly has its key": """
        SELECT r.id FROM runs r JOIN idempotency k ON k.run_id = r.id WHERE r.status > 1""",
    "a run that has begun has a mark, a delay or a ttl of a new one": """
        SELECT e.run_id FROM events e WHERE e.chapter = 1 AND e.seq = 1 AND (
        EXISTS (SELECT 1 FROM ready m JOIN runs r ON r.id = m.run_id
         WHERE m.run_id = e.run_id AND m.reason = 0 AND r.status = 0)
        OR EXISTS (SELECT 1 FROM due d WHERE d.id = e.run_id AND d.kind IN (1, 2)))""",
}


def audit(query: Query) -> None:
    """Raises AssertionError naming what is broken, and by which runs or tokens."""
    broken = {
        what: [row[0].hex() for row in rows]
        for what, sql in NEVER.items()
        if (rows := query(sql, ()))
    }
    assert not broken, broken
