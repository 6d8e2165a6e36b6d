"""`wf.transaction()`: a step writes its own rows and its result in one transaction of the store, so
that both are there or neither, whatever dies when.

The transaction commits when the step has returned, with what it returned. So a crash before that
leaves nothing and the step runs again; a crash after it leaves the rows, and the result in the
run's inbox, which whoever owns the run reads before it hands out any step.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from wf.engine.author import StepCallInfo, step_call
from wf.engine.core.operation import current_execution
from wf.history.errors import Error, StoreUnavailable

if TYPE_CHECKING:
    from wf.engine.steps import StepOrder
    from wf.history.step import AsyncStepTransaction, StepPlace, StepTransaction
    from wf.history.store import Store

BACK_OFF_SECONDS: Final = (0.05, 5.0)
"""Between looks whether a commit whose answer was lost has happened: from, to."""


def transaction() -> TransactionBlock:
    """In a step, `with wf.transaction() as conn:` (`async with` in an async one): a connection of
    the run's store, a psycopg.Connection (psycopg.AsyncConnection) on Postgres, a
    sqlite3.Connection on SQLite.

    What is written there and the step's result are committed together when the step returns, which
    it should do right after the block: on SQLite nobody else can write meanwhile, 5 s at most.
    Where the block, the rest of the step or the commit fails, all of it is rolled back, and the
    attempt has failed. One block per step. Runs are triggered in it by `connection=conn`. Outside
    any run it commits where the block ends.
    """
    return TransactionBlock()


class TransactionBlock:
    """What `wf.transaction()` answers."""

    def __init__(self) -> None:
        self._call: StepCallInfo | None = None
        self._open: Any = None

    def __enter__(self) -> Any:
        store, place = self._prepare()
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            raise Error("this would block all async steps: write `async with wf.transaction()`")
        self._open = store.begin(place)
        return self._entered()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._left()
            self._open.roll_back()
            if self._open.lost is not None:
                raise self._open.lost from error
        elif self._call is None:
            self._open.commit(0, b"")

    async def __aenter__(self) -> Any:
        store, place = self._prepare()
        self._open = await store.begin_async(place)
        return self._entered()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._left()
            await self._open.roll_back()
            if self._open.lost is not None:
                raise self._open.lost from error
        elif self._call is None:
            await self._open.commit(0, b"")

    def _prepare(self) -> tuple[Store, StepPlace | None]:
        if current_execution() is not None:
            raise Error("wf.transaction() in a body: put it into a @wf.step, and call that")
        call = self._call = step_call.get(None)
        if call is None:
            from wf.client.ambient import client

            return client().store, None
        if call.store is None or call.place is None:
            raise Error(
                "wf.transaction() has no store where an executor runs the step: "
                "return the value, and write it in a step without executor="
            )
        if call.transaction is not None:
            raise Error("a step has one wf.transaction(): put all that it writes into one block")
        return call.store, call.place

    def _entered(self) -> Any:
        if self._call is not None:
            self._call.transaction = self._open
        return self._open.connection

    def _left(self) -> None:
        if self._call is not None:
            self._call.transaction = None


# --- the end of the step --------------------------------------------------------------------------


def commit(order: StepOrder, data: bytes, took_ms: int) -> bool:
    """Commit a step's transaction with its result. False: it has none. Raises what kept it from
    that."""
    opened: StepTransaction | None = order.info.transaction
    if opened is None:
        return False
    order.info.transaction = None
    if not order.claim_end():
        opened.roll_back()
        raise Error("nobody waits for this step any more: its transaction is rolled back")
    try:
        opened.commit(took_ms, data)
    except StoreUnavailable as error:
        if not error.outcome_unknown or not _has_landed(order.info):
            raise
    return True


async def commit_async(order: StepOrder, data: bytes, took_ms: int) -> bool:
    """The same on the loop. A cancel that comes meanwhile comes too late."""
    opened: AsyncStepTransaction | None = order.info.transaction
    if opened is None:
        return False
    order.info.transaction = None
    if not order.claim_end():
        await opened.roll_back()
        raise Error("nobody waits for this step any more: its transaction is rolled back")
    task = asyncio.ensure_future(opened.commit(took_ms, data))
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    try:
        task.result()
    except StoreUnavailable as error:
        if not error.outcome_unknown or not await asyncio.to_thread(_has_landed, order.info):
            raise
    return True


def roll_back(order: StepOrder, error: BaseException) -> BaseException:
    """The step has failed. Answers what it failed by: where it lost its transaction, by that."""
    opened: StepTransaction | None = order.info.transaction
    if opened is None:
        return error
    order.info.transaction = None
    opened.roll_back()
    return error if opened.lost is None else opened.lost


async def roll_back_async(order: StepOrder, error: BaseException) -> BaseException:
    opened: AsyncStepTransaction | None = order.info.transaction
    if opened is None:
        return error
    order.info.transaction = None
    await opened.roll_back()
    return error if opened.lost is None else opened.lost


def _has_landed(info: StepCallInfo) -> bool:
    """After a lost answer: nothing is told before this is known."""
    assert info.store is not None
    assert info.place is not None
    delay, pause = BACK_OFF_SECONDS[0], threading.Event()
    while True:
        try:
            return info.store.is_done(info.place)
        except StoreUnavailable:
            pause.wait(delay)
            delay = min(delay * 2, BACK_OFF_SECONDS[1])
