"""What a policy's `decide` says of an attempt that failed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from logging import ERROR
from typing import Final

from wf.engine.core.retry import Retry
from wf.engine.lines import say
from wf.history.errors import Abort, RetryAfter

log = logging.getLogger("wf.run")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`error`: what takes the place of what was raised. `later`: when the next attempt is to be.
    `aborts`: there is none."""

    error: Exception | None = None
    later: RetryAfter | None = None
    aborts: bool = False

    def again(self, retry: Retry, error: BaseException) -> bool:
        """Is another attempt of use, as far as there may be one?"""
        return self.later is not None or not (self.aborts or retry.gives_up(error))


_AS_THE_POLICY: Final = Verdict()


def judge(retry: Retry, error: BaseException | None, attempt: int) -> Verdict:
    """Never raises: a `decide` that does is told of in the log."""
    if retry.decide is None or not isinstance(error, Exception):
        return _AS_THE_POLICY
    try:
        said = retry.decide(error, attempt)
    except Exception as mistake:
        say(log, ERROR, "decide failed, the policy decides: %s", mistake, error=mistake)
        return _AS_THE_POLICY
    match said:
        case None:
            return _AS_THE_POLICY
        case RetryAfter():
            return Verdict(later=said)
        case Abort():
            return Verdict(aborts=True)
        case Exception():
            return Verdict(error=said)
        case _ if said is Abort:
            return Verdict(aborts=True)
        case _:
            say(log, ERROR, "decide answered %r: give None, wf.Abort or an exception", said)
            return _AS_THE_POLICY
