"""What a step writes in the store by itself: its own rows, and its result with them."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

from wf.history.errors import Error


class StepPlace(Struct, frozen=True):
    """Which step it is, and the worker that handed it out."""

    worker: int
    run_id: bytes
    chapter: int
    ordinal: int


class StepTransaction(Protocol):
    """An open transaction of a step, that is ended by one of these, once."""

    @property
    def connection(self) -> Any:
        """The driver's. It cannot end the transaction."""
        ...

    @property
    def lost(self) -> Error | None:
        """Why it was rolled back meanwhile."""
        ...

    def commit(self, took_ms: int, data: bytes) -> None:
        """With the step's result as a STEP_DONE row and a mark. Raises Fenced where the run is no
        longer its worker's; StoreUnavailable, perhaps with `outcome_unknown`: then ask `is_done`.
        """
        ...

    def roll_back(self) -> None: ...


class AsyncStepTransaction(Protocol):
    """The same, awaited."""

    @property
    def connection(self) -> Any: ...
    @property
    def lost(self) -> Error | None: ...
    async def commit(self, took_ms: int, data: bytes) -> None: ...
    async def roll_back(self) -> None: ...


class StepStore(Protocol):
    """What a store does for steps, from their threads."""

    def begin(self, place: StepPlace | None) -> StepTransaction:
        """A transaction of a step (None: of none, and nothing is recorded at its end)."""
        ...

    async def begin_async(self, place: StepPlace | None) -> AsyncStepTransaction:
        """The same for code on a loop, which is not blocked."""
        ...

    def is_done(self, place: StepPlace) -> bool:
        """Is the step's result in the inbox? Waits for a transaction of it that is just
        committing."""
        ...
