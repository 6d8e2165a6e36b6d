"""`wf.Queue` and `wf.Rate`: how many runs may be at work at once, how many may start in a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import asdict

from wf.engine.core.durations import Duration, milliseconds
from wf.engine.core.names import check_name
from wf.history.errors import DeclarationError
from wf.history.queues import Limits

MAX_LIMIT: Final = 2**31 - 1
"""As databases store it."""
MAX_STARTS: Final = 10_000
"""Of a rate: so many starts are remembered and counted, to be exact."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` first starts within any time of the length `per`: `wf.Rate(50, per="30s")`.
    A run that goes on after a wait has started before. Raises DeclarationError."""

    limit: int
    per: Duration

    def __post_init__(self) -> None:
        _check(self.limit, "wf.Rate: limit", MAX_STARTS)
        if milliseconds(self.per, "per") < 1:
            raise DeclarationError(f'wf.Rate: per={self.per!r}: give a duration, per="30s"')


@dataclass(frozen=True, slots=True)
class Queue:
    """Where runs wait for a slot. A run holds one while a step of it is in flight or its body has
    something to do, and none while it only waits.

    `name`: what tasks share that share it; None: the task's own. `concurrency_limit`: slots over
    all keys, None: no limit. `per_key_limit`: slots of runs with one `concurrency_key`.
    `rate_limit`, `per_key_rate_limit`: a wf.Rate. Raises DeclarationError.
    """

    name: str | None = None
    concurrency_limit: int | None = None
    per_key_limit: int = 1
    rate_limit: Rate | None = None
    per_key_rate_limit: Rate | None = None

    def __post_init__(self) -> None:
        if self.concurrency_limit is not None:
            _check(self.concurrency_limit, "wf.Queue: concurrency_limit")
        _check(self.per_key_limit, "wf.Queue: per_key_limit")
        for name in ("rate_limit", "per_key_rate_limit"):
            rate = getattr(self, name)
            if rate is not None and not isinstance(rate, Rate):
                raise DeclarationError(
                    f'wf.Queue: {name}={rate!r}: give a rate, wf.Rate(50, per="30s")'
                )

    @property
    def limits(self) -> Limits:
        rate, key_rate = self.rate_limit, self.per_key_rate_limit
        return Limits(
            self.concurrency_limit,
            self.per_key_limit,
            rate.limit if rate is not None else None,
            milliseconds(rate.per, "per") if rate is not None else 0,
            key_rate.limit if key_rate is not None else None,
            milliseconds(key_rate.per, "per") if key_rate is not None else 0,
        )


def queue_name(queue: Any, task: str) -> str | None:
    """Which queue `queue=` of a decorator means: its name, or a wf.Queue; None: none. Raises
    DeclarationError."""
    if queue is None:
        return None
    if isinstance(queue, Queue):
        return task if queue.name is None else check_name(queue.name, "wf.Queue: name")
    return check_name(queue, "queue")


def queue_option(queue: Any) -> str | dict[str, Any]:
    """`queue=` of a trigger: a name, or {"name" (None: the task's own), "limits"}. Raises
    DeclarationError."""
    if isinstance(queue, Queue):
        return {"name": queue_name(queue, "") or None, "limits": asdict(queue.limits)}
    return check_name(queue, "queue")


def _check(value: Any, what: str, most: int = MAX_LIMIT) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise DeclarationError(f"{what}={value!r}: give a whole number from 1 to {most:,}")
