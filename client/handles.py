"""A run that a Client triggered, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from wf.client.views import ChunkView, EventView, RunView
from wf.engine.core.durations import Duration
from wf.engine.core.handles import run_error
from wf.engine.core.messages import encode_message
from wf.history.events import Status
from wf.history.ids import show
from wf.history.model import Run, Triggered

if TYPE_CHECKING:
    from wf.client.client import Client
    from wf.client.timeline.model import Timeline

T = TypeVar("T")


class Handle(Generic[T]):
    """A run that was triggered by a Client: `.id` (run_…), `.result()`."""

    def __init__(
        self,
        client: Client,
        run_id: bytes,
        task: str,
        decode: Callable[[bytes | None], T],
        triggered: Triggered,
    ) -> None:
        self._client = client
        self.raw_id = run_id
        self.task = task
        self.decode = decode
        self.is_cached = triggered is not Triggered.MADE
        """An idempotency key was taken, or a debounce pushed: this run was there before."""
        self.payload_differs = triggered is Triggered.CACHED_DIFFERS
        """… and it was given another payload."""

    @cached_property
    def id(self) -> str:
        return show("run", self.raw_id)

    def result(self, timeout: Duration | None = None) -> T:
        """The output, when the run has ended.

        Raises RunFailed, RunCanceled, RunExpired or RunTimedOut; TimeoutError after `timeout`.
        """
        run = self._client.wait_for_end(self.raw_id, timeout)
        return output_of(run, self.decode)

    def retrieve(self) -> RunView:
        return self._client.runs.retrieve(self.id)

    def cancel(self) -> None:
        self._client.runs.cancel(self.id)

    def send(self, name: str, data: Any = None) -> None:
        """Send the run a message. Raises AlreadyEnded, PayloadError."""
        self._client.send_encoded(self.raw_id, *encode_message(name, data))

    def history(self) -> Sequence[EventView]:
        """All rows of its history, over all chapters."""
        return self._client.runs.history(self.id)

    def timeline(self) -> Timeline:
        """What it and the runs below it did, over time: in a notebook, a picture."""
        return self._client.runs.timeline(self.id)

    def subscribe(self) -> Generator[RunView]:
        """The run now, then at each change of its status, metadata, tags or output, until it has
        ended."""
        return self._client.runs.subscribe(self.id)

    def stream(self, name: str, *, after: int = 0) -> Generator[ChunkView]:
        """The chunks of a stream in order, those to come too, until the run has ended. `after`: the
        `seq` of the last one that was read before."""
        return self._client.runs.stream(self.id, name, after=after)

    def __repr__(self) -> str:
        return f"<Handle {self.id}>"


def output_of(run: Run, decode: Callable[[bytes | None], T]) -> T:
    """The output of a run that has ended. Raises the error by which it did otherwise."""
    if run.status is not Status.COMPLETED:
        raise run_error(run.status, run.failure, run.id, run.task)
    return decode(run.output)
