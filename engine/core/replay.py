"""A body built again from its history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wf.engine.core.decisions import Decision, RunStep
from wf.engine.core.execution import Execution
from wf.engine.core.index import History
from wf.engine.core.info import RunInfo
from wf.history.errors import NonDeterminism
from wf.history.events import Event

if TYPE_CHECKING:
    from wf.engine.core.runnable import Runnable


def replay(
    runnable: Runnable[..., Any], run: RunInfo, events: list[Event]
) -> tuple[Execution, list[Decision]]:
    """Build a body again from its history. Answers it with the decisions that the history does not
    hold.

    Raises NonDeterminism where the body does not fit; then it is replayed once more with a trace,
    for the message.
    """
    try:
        return _rebuild(runnable, run, events, trace=False)
    except NonDeterminism as first:
        try:
            _rebuild(runnable, run, events, trace=True)
        except NonDeterminism as traced:
            raise traced from None
        raise first


def _rebuild(
    runnable: Runnable[..., Any], run: RunInfo, events: list[Event], *, trace: bool
) -> tuple[Execution, list[Decision]]:
    history = History(events, run.chapter)
    execution = Execution(runnable, run, history)
    if trace:
        execution.issued = []
    pending: list[Decision] = []
    apply = execution.apply
    try:
        with execution.inside():
            for fact in history.facts:
                pending += apply(fact)
        execution.check_rebuilt()
    except BaseException:
        execution.close()
        raise
    return execution, pending


def decision_of(pending: list[Decision], ordinal: int) -> RunStep | None:
    """The step that this operation asks for."""
    return next(
        (one for one in pending if isinstance(one, RunStep) and one.ordinal == ordinal), None
    )
