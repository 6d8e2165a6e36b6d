"""Batches that were triggered outside any body."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from wf.client.handles import Handle, output_of
from wf.engine.core.durations import Duration, milliseconds
from wf.history.cold import chunks
from wf.history.errors import RunError
from wf.history.ids import show
from wf.history.model import Run, Triggered

if TYPE_CHECKING:
    from wf.client.client import Client

T = TypeVar("T")


class Batch(Generic[T]):
    """Runs that a Client started together: `.id` (batch_…), `.results()`; iteration gives their
    handles, in the order of the items."""

    def __init__(
        self,
        client: Client,
        batch_id: bytes,
        task: str,
        decode: Callable[[bytes | None], T],
        runs: Sequence[tuple[bytes, Triggered]],
    ) -> None:
        self._client = client
        self._handles = [Handle(client, run_id, task, decode, how) for run_id, how in runs]
        self.decode = decode
        self.raw_id = batch_id
        self.task = task
        self.id = show("batch", batch_id)

    def __len__(self) -> int:
        return len(self._handles)

    def __iter__(self) -> Iterator[Handle[T]]:
        return iter(self._handles)

    def __getitem__(self, index: int) -> Handle[T]:
        return self._handles[index]

    @overload
    def results(
        self, timeout: Duration | None = None, *, return_exceptions: Literal[False] = False
    ) -> list[T]: ...
    @overload
    def results(
        self, timeout: Duration | None = None, *, return_exceptions: bool
    ) -> list[T | RunError]: ...
    def results(
        self, timeout: Duration | None = None, *, return_exceptions: bool = False
    ) -> list[Any]:
        """The outputs in the order of the items, when all runs have ended.

        Raises the error of the first item whose run did not complete; with `return_exceptions`
        errors stand in the list instead. TimeoutError after `timeout` for all of them.
        """
        ends_at = None
        if timeout is not None:
            ends_at = time.monotonic() + milliseconds(timeout, "timeout") / 1_000
        found: list[Any] = []
        for part in chunks(self._handles):
            with closing(self._ended(part, ends_at)) as runs:
                for handle, run in zip(part, runs, strict=True):
                    try:
                        found.append(output_of(run, handle.decode))
                    except RunError as error:
                        if not return_exceptions:
                            raise
                        found.append(error)
        return found

    def _ended(self, handles: Sequence[Handle[T]], ends_at: float | None) -> Generator[Run]:
        """Their runs in order, each when it has ended. All are waited for at once, so that one look
        into the database tells of many."""
        runs = self._client.store.get_runs([handle.raw_id for handle in handles])
        ends = ends_of(self._client, runs, [handle.raw_id for handle in handles])
        try:
            for handle in handles:
                end = ends.get(handle.raw_id)
                if end is None:
                    yield runs[handle.raw_id]
                else:
                    left = None if ends_at is None else max(0.0, ends_at - time.monotonic())
                    yield self._client.wait_for_end(handle.raw_id, left, end)
        finally:
            for end in ends.values():
                end.cancel()

    def __repr__(self) -> str:
        return f"<Batch {self.task} {self.id}>"


def ends_of(
    client: Client, runs: Mapping[bytes, Run], run_ids: Iterable[bytes]
) -> dict[bytes, Future[Run]]:
    """By id, for those whose run has not ended. `runs`: those that were found a moment ago."""
    found: dict[bytes, Future[Run]] = {}
    for run_id in run_ids:
        run = runs.get(run_id)
        if run is None or not run.status.ended:
            found[run_id] = client.end_of(run_id)
    return found
