"""Between a body and the store: decisions as rows of an activation, rows of the inbox as facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from wf.engine.core.batches import BatchFuture
from wf.engine.core.decisions import (
    AwaitBatch,
    AwaitMessage,
    AwaitRun,
    AwaitToken,
    CancelRun,
    CreateToken,
    Made,
    RunStep,
    SendMessage,
    TriggerBatch,
    TriggerChild,
)
from wf.engine.core.runs import child_run, child_runs
from wf.history.ends import End, page
from wf.history.events import Event, Failure, Kind, Status
from wf.history.limits import PAGE_BYTES
from wf.history.messages import NewMessage
from wf.history.model import Activation, Among, InboxKind, InboxRow, NewToken, Run, Triggered, Wait


def write(activation: Activation, run: Run, decision: Made, at: int) -> None:
    """What a decision does in the store, besides its own row in the history."""
    match decision:
        case TriggerChild():
            activation.children.append(child_run(run, decision, at))
            if decision.awaited:
                activation.waits.append(Wait(decision.child_id, decision.ordinal))
        case AwaitRun():
            activation.waits.append(Wait(decision.run_id, decision.ordinal))
        case TriggerBatch():
            runs = child_runs(run, decision, at)
            activation.children += runs
            if decision.awaited:
                ids = [one.id for one in runs]
                _await_all(activation, decision.ordinal, ids, decision.return_exceptions)
        case AwaitBatch():
            _await_all(activation, decision.ordinal, decision.run_ids, decision.return_exceptions)
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
        case AwaitMessage():
            pass  # the run's mailbox knows to what it listens
        case SendMessage():
            activation.sends.append(
                NewMessage(decision.run_id, decision.name, decision.message, decision.ordinal)
            )


def _await_all(
    activation: Activation, ordinal: int, run_ids: Sequence[bytes], return_exceptions: bool
) -> None:
    among = Among.ALL if return_exceptions else Among.UNTIL_FAILURE
    activation.waits += [
        Wait(run_id, ordinal, place=place, among=among) for place, run_id in enumerate(run_ids)
    ]


def finished(
    seq: int, step: RunStep, attempt: int, at: int, took_ms: int, data: bytes | None
) -> Event:
    """The fact that a step returned."""
    what = (step.step, step.digest, attempt, took_ms, data)
    return Event(seq, Kind.STEP_FINISHED, step.ordinal, at, *what)


def given_up(step: RunStep, attempt: int, at: int, failure: Failure) -> Event:
    """The fact that a step ended without a result, by the engine's decision."""
    what = (step.step, step.digest, attempt, 0, failure.encode())
    return Event(0, Kind.STEP_FAILED, step.ordinal, at, *what)


_ENDS: Final = {
    InboxKind.CHILD_ENDED: Kind.CHILD_ENDED,
    InboxKind.TOKEN_ENDED: Kind.TOKEN_ENDED,
    InboxKind.SEND_SETTLED: Kind.SEND_SETTLED,
}


def fact_of(row: InboxRow, at: int) -> Event | None:
    """The fact of a row that an operation of the body waits for; None: of this kind there is
    none."""
    if row.kind == InboxKind.CHILD_STARTED:
        cached = Triggered[row.name].value
        return Event(0, Kind.CHILD_STARTED, row.ordinal, at, attempt=cached, data=row.data)
    if row.kind == InboxKind.BATCH_STARTED:
        return Event(0, Kind.BATCH_STARTED, row.ordinal, at, data=row.data)
    kind = _ENDS.get(InboxKind(row.kind))
    return Event(0, kind, row.ordinal, at, row.name, data=row.data) if kind is not None else None


def pages(rows: Iterable[InboxRow]) -> Iterator[list[InboxRow]]:
    """The rows, and those together in a row that tell one operation of the ends of many runs, as
    many as fit into one event."""
    for (_, ordinal, is_end), found in groupby(rows, _same):
        together: list[InboxRow] = []
        size = 0
        for row in found:
            if together and (not (ordinal and is_end) or size >= PAGE_BYTES):
                yield together
                together, size = [], 0
            together.append(row)
            size += len(row.data or b"")
        yield together


def _same(row: InboxRow) -> tuple[int, int, bool]:
    return row.chapter, row.ordinal, row.kind == InboxKind.CHILD_ENDED


def page_of(rows: Sequence[InboxRow], future: BatchFuture, at: int) -> Event:
    """The fact that these runs ended, for the operation that waits for them and others."""
    ends = [End(row.place, row.name, row.data) for row in rows]
    failed = any(future.fails_by(row.name) for row in rows)
    return Event(
        0,
        Kind.BATCH_ENDED,
        rows[0].ordinal,
        at,
        Status.FAILED if failed else Status.COMPLETED,
        attempt=future.missing - len(ends),
        took=len(ends),
        data=page(ends),
    )
