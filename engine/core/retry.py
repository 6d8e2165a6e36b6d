"""When a failed attempt is tried again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from wf.engine.core.durations import Duration, milliseconds, to_ms
from wf.history.errors import (
    Abort,
    DeclarationError,
    OperationError,
    PayloadError,
    RetryAfter,
)

_HOPELESS: Final = {Abort.__name__, PayloadError.__name__, DeclarationError.__name__}


class Elsewhere(Exception):
    """Stands for what a step raised in another process: the names of its classes, and the
    `seconds` of a RetryAfter."""

    def __init__(self, kinds: Iterable[str], seconds: float | None = None) -> None:
        super().__init__()
        self.kinds = frozenset(kinds)
        self.seconds = seconds


def kinds_of(error: BaseException) -> frozenset[str]:
    """The names of its class and of those that this is made from. What an operation reported
    counts by its own type."""
    if isinstance(error, Elsewhere):
        return error.kinds
    names = {cls.__name__ for cls in type(error).__mro__}
    if isinstance(error, OperationError):
        names.add(str(error.type).rpartition(".")[2])
    return frozenset(names)


Decide = Callable[[Exception, int], "type[Abort] | Exception | None"]
"""Asked for each attempt that failed, with its error and its number (1, 2, …). None: as the policy
says. `wf.Abort`: no further attempt, and the error stays. `wf.RetryAfter(…)`: the next attempt is
then, as long as `max_attempts` allows one, whatever `give_up_on` says. Another exception takes the
place of the error, and the policy is applied to that. It is called in the worker's own thread, so
it may look and compute, and not wait; what it raises is logged, and counts as None."""


@dataclass(frozen=True, slots=True)
class Retry:
    """A policy: attempt n+1 starts `min_delay * factor**(n-1)` after attempt n failed, at most
    `max_delay` later.

    max_attempts: with the first one. jitter: each delay is drawn between half of it and the whole.
    give_up_on: exception classes (or their names) that are not tried again. fresh: a task starts
    over with an empty history instead of keeping what is completed. decide: see Decide.
    """

    max_attempts: int = 3
    factor: float = 2
    min_delay: Duration = "1s"
    max_delay: Duration = "30s"
    jitter: bool = True
    give_up_on: tuple[type[BaseException] | str, ...] = ()
    fresh: bool = False
    decide: Decide | None = None
    min_ms: int = field(init=False, repr=False)
    max_ms: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "min_ms", milliseconds(self.min_delay, "min_delay"))
        object.__setattr__(self, "max_ms", milliseconds(self.max_delay, "max_delay"))
        if self.max_attempts < 1:
            raise DeclarationError(
                f"max_attempts={self.max_attempts}: the first attempt counts, give 1 or more"
            )
        if self.factor < 1:
            raise DeclarationError(f"factor={self.factor}: give 1 (steady) or more")
        if self.decide is not None and (
            not callable(self.decide) or inspect.iscoroutinefunction(self.decide)
        ):
            raise DeclarationError(f"decide={self.decide!r}: give a plain def of (error, attempt)")

    def gives_up(self, error: BaseException) -> bool:
        """True for errors that another attempt cannot mend."""
        names = kinds_of(error)
        if names & _HOPELESS:
            return True
        return any(
            (kind if isinstance(kind, str) else kind.__name__) in names for kind in self.give_up_on
        )

    def delay_ms(
        self, attempt: int, error: BaseException | None, random: Random, at: int = 0
    ) -> int:
        """Milliseconds between the failure of attempt `attempt` (1, 2, …), which was `at` (ms), and
        the next one."""
        if isinstance(error, RetryAfter) and error.at is not None:
            return max(0, to_ms(error.at, "at") - at)
        if isinstance(error, RetryAfter | Elsewhere) and error.seconds is not None:
            try:
                return milliseconds(max(0.0, float(error.seconds)), "seconds")
            except (TypeError, ValueError, DeclarationError):
                """No time that one could wait for: the policy's own."""
        try:
            delay = min(self.min_ms * self.factor ** (attempt - 1), self.max_ms)
        except OverflowError:
            delay = self.max_ms
        return round(delay * random.uniform(0.5, 1)) if self.jitter else round(delay)


DEFAULT_STEP_RETRY = Retry()
"""3 attempts, factor 2, 1 s to 30 s, jitter: for steps, inline or as runs, without a policy of
their own."""
NO_RETRY = Retry(max_attempts=1)
"""A task makes one attempt unless it says otherwise: its steps have their own."""
