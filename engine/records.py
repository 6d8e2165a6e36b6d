"""Between a body and the store: decisions as rows of an activation, rows of the inbox as facts."""

from __future__ import annotations

from typing import Final

from wf.engine.core.decisions import (
    AwaitRun,
    AwaitToken,
    CancelRun,
    CreateToken,
    TriggerChild,
)
from wf.engine.core.runs import child_run
from wf.history.events import Event, Kind
from wf.history.store import Activation, InboxKind, InboxRow, NewToken, Run, Triggered, Wait

Made = TriggerChild | AwaitRun | CancelRun | CreateToken | AwaitToken
"""Decisions that touch something outside the run: they happen in the commit."""


def write(activation: Activation, run: Run, decision: Made, at: int) -> None:
    """What a decision does in the store, besides its own row in the history."""
    match decision:
        case TriggerChild():
            activation.children.append(child_run(run, decision, at))
            if decision.awaited:
                activation.waits.append(Wait(decision.child_id, decision.ordinal))
        case AwaitRun():
            activation.waits.append(Wait(decision.run_id, decision.ordinal))
        case CancelRun():
            activation.cancels.append(decision.run_id)
        case CreateToken():
            activation.tokens.append(
                NewToken(
                    decision.token_id,
                    run.environment,
                    at,
                    decision.timeout_at,
                    run.id,
                    decision.tags,
                    decision.schema,
                )
            )
        case AwaitToken():
            activation.waits.append(Wait(decision.token_id, decision.ordinal, of_token=True))


_ENDS: Final = {
    InboxKind.CHILD_ENDED: Kind.CHILD_ENDED,
    InboxKind.TOKEN_ENDED: Kind.TOKEN_ENDED,
}


def fact_of(row: InboxRow, at: int) -> Event | None:
    """The fact of a row that an operation of the body waits for; None: of this kind there is
    none."""
    if row.kind == InboxKind.CHILD_STARTED:
        cached = Triggered[row.name].value
        return Event(0, Kind.CHILD_STARTED, row.ordinal, at, attempt=cached, data=row.data)
    kind = _ENDS.get(InboxKind(row.kind))
    return Event(0, kind, row.ordinal, at, row.name, data=row.data) if kind is not None else None
