"""Every error of wf, in one tree, split by whose fault it is.

Each class has a stable `code` (WF1xxx: the author's code, WF2xxx: the operator's set-up, WF3xxx: a
run's own outcome, WF4xxx: the world outside). A message says what happened and ends with what to do
next.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar


class Error(Exception):
    """Base of all errors of wf."""

    code: ClassVar[str] = "WF0000"


# --- the author: something in the code of a task or step
# --------------------------------------------------


class AuthorError(Error):
    """The code of a task, a step or a call has to change."""

    code = "WF1000"


class NonDeterminism(AuthorError):
    """The body asks for something else than its history recorded. The run is parked, never failed.

    `diff` is the aligned report; `ordinal` the operation at which the two part.
    """

    code = "WF1001"

    def __init__(self, message: str, *, ordinal: int = 0, diff: str = "") -> None:
        super().__init__(message)
        self.ordinal = ordinal
        self.diff = diff


class NotDeterministic(AuthorError):
    """A body asked the loop for something that is not durable (a socket, a thread, a
    subprocess)."""

    code = "WF1002"


class OperationNeverAwaited(AuthorError):
    """An operation was called in a body and never awaited."""

    code = "WF1003"


class DeclarationError(AuthorError):
    """A decorator refuses the function or the option that it was given."""

    code = "WF1004"


class PayloadError(AuthorError):
    """A value does not fit its annotation, or does not survive the round trip through JSON; names
    the field."""

    code = "WF1005"


class PayloadTooLarge(PayloadError):
    """A value is over the limit of bytes."""

    code = "WF1006"


class StepBudgetExceeded(AuthorError):
    """A body went round and round without ever waiting for an operation."""

    code = "WF1007"


class UnknownTask(AuthorError):
    """No task of that id is known here."""

    code = "WF1008"


class CannotLoad(AuthorError):
    """A file or module with tasks cannot be imported; names the line."""

    code = "WF1009"


class CannotJoin(AuthorError):
    """A connection whose transaction a call is to be part of: not of this database, or of no known
    kind, or in no transaction."""

    code = "WF1010"


class TransactionTooLong(AuthorError):
    """A step held the only writer of a SQLite file for too long: its transaction was rolled
    back."""

    code = "WF1011"


class BodyBlocked(AuthorError):
    """A body computed on and on without awaiting anything, and all runs of its worker waited. It
    was interrupted, and its run is parked."""

    code = "WF1012"


class NotInStep(AuthorError):
    """A step calls what only bodies can: to wait for a run, a time, a token or a message; or it
    triggers where an executor runs it, without a store."""

    code = "WF1013"


class InitFailed(AuthorError):
    """A function that is to be called before a worker begins (`init`) raised. Nothing was begun."""

    code = "WF1014"


class NotInRun(AuthorError):
    """`scope="run"` where no run triggers: there is no parent to narrow the idempotency key to."""

    code = "WF1015"


# --- the operator: where wf runs
# ---------------------------------------------------------------------------


class OperatorError(Error):
    """The set-up has to change: a database, a URL, a version."""

    code = "WF2000"


class NotConnected(OperatorError):
    """No store was named."""

    code = "WF2001"


class StoreUnavailable(OperatorError):
    """The database cannot be reached, is locked, or is out of space. Trying again may help.

    `outcome_unknown`: the connection was lost while a commit was under way, so it may have
    happened.
    """

    code = "WF2002"

    def __init__(self, message: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class StoreNewer(OperatorError):
    """The database was made by a newer wf than this one."""

    code = "WF2003"


class BadURL(OperatorError):
    """A database URL, or the file that it names, cannot be used."""

    code = "WF2004"


class Fenced(OperatorError):
    """This worker was taken over: its row is gone, nothing it holds may be written any more."""

    code = "WF2005"


class NotFound(OperatorError):
    """No run, token or other object of that id in this environment."""

    code = "WF2006"


class AlreadyEnded(OperatorError):
    """The run or token has ended: it takes no more messages, cancels or data."""

    code = "WF2007"


class UnknownExecutor(OperatorError):
    """A step names an executor that this worker was not given."""

    code = "WF2008"


class ConfigError(OperatorError):
    """The project's wf_config.py or `[tool.wf]` cannot be used; names the line or the setting."""

    code = "WF2009"


class HistoryUnreadable(OperatorError):
    """A row of a history is damaged (its data is no JSON), or of a kind that only a newer wf knows.
    The run is parked."""

    code = "WF2010"


class WrongStatus(OperatorError):
    """What was asked of a run is not for one of its status: only a delayed run can be rescheduled,
    only a parked one unblocked."""

    code = "WF2011"


class IdempotencyConflict(OperatorError):
    """The idempotency key is taken by a run that was given another payload. `.run_id` names it."""

    code = "WF2012"

    def __init__(self, message: str, *, run_id: str = "") -> None:
        super().__init__(message)
        self.run_id = run_id


class CodecError(OperatorError):
    """A value is sealed, and cannot be opened here: there is no codec, or it has lost the key; or
    the codec failed to seal one. A run that meets such a value is parked until the key is there."""

    code = "WF2013"


class CannotFork(OperatorError):
    """A run cannot be forked there: the number is not that of a fact, or what is to have another
    result has not ended by then."""

    code = "WF2014"


class StoreMoved(OperatorError):
    """The file has been promoted, or is being promoted: its runs go on in another database, which
    the message names."""

    code = "WF2015"


class CannotPromote(OperatorError):
    """The database cannot be moved there: the target is not empty, or workers are at work."""

    code = "WF2016"


# --- outcomes that a body or a caller receives
# --------------------------------------------------------------


class Abort(Error):
    """Raise in a step or a body: fail, and do not try again."""

    code = "WF3000"


class RetryAfter(Error):
    """Raise in a step: this attempt failed; try again after so many seconds (a vendor's
    `Retry-After`), or at a moment (aware)."""

    code = "WF3001"

    def __init__(self, seconds: float | datetime, message: str = "") -> None:
        self.at = seconds if isinstance(seconds, datetime) else None
        self.seconds = None if isinstance(seconds, datetime) else seconds
        if self.at is not None and self.at.tzinfo is None:
            raise DeclarationError(f"RetryAfter({self.at!r}): a moment needs a zone, tzinfo=UTC")
        when = f"at {self.at}" if self.at is not None else f"after {seconds} s"
        super().__init__(message or f"retry {when}")


class OperationError(Error):
    """An operation that a body awaited ended badly. `ordinal`: its place in the history (0:
    none)."""

    code = "WF3010"

    def __init__(
        self, message: str, *, type: str = "", traceback: str = "", ordinal: int = 0
    ) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.traceback = traceback
        self.ordinal = ordinal

    def matches(self, kind: type[BaseException] | str) -> bool:
        """True if the error behind this one was of that class (by its name: history holds names,
        not classes)."""
        name = kind if isinstance(kind, str) else kind.__qualname__
        return self.type == name or self.type.rpartition(".")[2] == name.rpartition(".")[2]


class StepFailed(OperationError):
    """A step failed for good: `.type`, `.message` and `.traceback` tell of its last attempt."""

    code = "WF3011"


class StepTimedOut(StepFailed):
    """The last attempt of a step ran over its `timeout`."""

    code = "WF3012"


class StepInterrupted(StepFailed):
    """An `at_most_once` step was cut short by a lost worker: whether it took effect is not
    known."""

    code = "WF3013"


class ProcessDied(Error):
    """The process in which a step ran has ended under it."""

    code = "WF3014"


class RunError(OperationError):
    """A run ended otherwise than by completing. `.run_id` names it."""

    code = "WF3020"

    def __init__(
        self,
        message: str,
        *,
        run_id: str = "",
        type: str = "",
        traceback: str = "",
        ordinal: int = 0,
    ) -> None:
        super().__init__(message, type=type, traceback=traceback, ordinal=ordinal)
        self.run_id = run_id


class RunFailed(RunError):
    """The run's body raised."""

    code = "WF3021"


class RunCanceled(RunError):
    """The run was canceled."""

    code = "WF3022"


class RunDropped(RunCanceled):
    """The run was parked when it was canceled: it ended without its body, which cleaned up
    nothing."""

    code = "WF3025"


class RunExpired(RunError):
    """The run did not start within its ttl, and never will."""

    code = "WF3023"


class RunTimedOut(RunError):
    """The run was active for longer than its `max_duration`."""

    code = "WF3024"


class TokenTimedOut(OperationError, TimeoutError):
    """Nobody completed the token in time."""

    code = "WF3030"


class TokenCanceled(OperationError):
    """The token was canceled."""

    code = "WF3031"


class MessageTimedOut(OperationError, TimeoutError):
    """No message of that name arrived in time."""

    code = "WF3032"
