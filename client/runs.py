"""`client.runs`: look at runs, and act on them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wf.client.asking import parse_id
from wf.client.feeds import Chunks, RunChanges, follow
from wf.client.views import ChunkView, EventView, RunView, event_view, run_view
from wf.engine.core.durations import to_ms
from wf.engine.core.messages import encode_message
from wf.history.errors import AlreadyEnded, NotFound, PayloadError
from wf.history.events import Status
from wf.history.ids import show
from wf.history.model import Run, RunFilter

if TYPE_CHECKING:
    from wf.client.client import Client
    from wf.client.timeline.model import Timeline


class Runs:
    """`client.runs`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(
        self,
        *,
        status: Status | str | Iterable[Status | str] = (),
        task: str = "",
        tag: str = "",
        parent: str = "",
        batch: str = "",
        since: datetime | None = None,
        limit: int = 50,
        cursor: str = "",
    ) -> list[RunView]:
        """Newest first. `cursor`: the id of the last run of the page before. `since`: created at or
        after."""
        wanted = [status] if isinstance(status, str) else list(status)
        found = self._client.store.list_runs(
            RunFilter(
                environment=self._client.environment,
                status=[_status(one) for one in wanted],
                task=task,
                tag=tag,
                parent_id=parse_id("run", parent) if parent else None,
                batch_id=parse_id("batch", batch) if batch else None,
                since=to_ms(since, "since") if since is not None else 0,
                before=parse_id("run", cursor) if cursor else None,
                limit=limit,
            )
        )
        return [run_view(run) for run in found]

    def retrieve(self, run_id: str) -> RunView:
        """Raises NotFound."""
        return run_view(self._get(run_id))

    def cancel(self, *run_ids: str) -> list[str]:
        """Ask for cancellation; answers the ids of runs that had not ended. One id: raises
        NotFound, AlreadyEnded."""
        ids = [parse_id("run", shown) for shown in run_ids]
        if len(ids) == 1:
            run = self._get(run_ids[0])
            if run.status.ended:
                raise AlreadyEnded(f"{run_ids[0]} has ended: {run.status}")
        store = self._client.store
        return [show("run", run_id) for run_id in store.cancel(ids, store.now())]

    def send(self, run_id: str, name: str, data: Any = None) -> None:
        """Send a run a message, for its `wf.wait.for_message(name)`; it is kept until then. `data`
        is checked where it is read.

        Raises NotFound, AlreadyEnded, PayloadError.
        """
        message = encode_message(name, data)
        self._client.send_encoded(self._get(run_id).id, *message)

    def history(self, run_id: str) -> Sequence[EventView]:
        """All rows, over all chapters. Raises NotFound."""
        run = self._get(run_id)
        return [event_view(chapter, event) for chapter, event in self._client.store.history(run.id)]

    def timeline(self, run_id: str) -> Timeline:
        """What it and the runs below it did, over time: in a notebook, a picture. Raises
        NotFound."""
        from wf.client.timeline.reading import read

        return read(self._client.store, self._get(run_id))

    def subscribe(self, run_id: str) -> Generator[RunView]:
        """The run now, then at each change of its status, metadata, tags or output, until it has
        ended. Raises NotFound when it is iterated."""
        return follow(self._client.store, self.changes(run_id))

    def stream(self, run_id: str, name: str, *, after: int = 0) -> Generator[ChunkView]:
        """The chunks of a stream in order, those to come too, until the run has ended. `after`: the
        `seq` of the last one that was read before. Raises NotFound when it is iterated."""
        return follow(self._client.store, self.chunks(run_id, name, after))

    def changes(self, run_id: str) -> RunChanges:
        """What `subscribe` follows."""
        return RunChanges(lambda: self.retrieve(run_id))

    def chunks(self, run_id: str, name: str, after: int) -> Chunks:
        """What `stream` follows."""
        raw = parse_id("run", run_id)
        return Chunks(self._client.store, raw, name, after, lambda: self.retrieve(run_id))

    def _get(self, shown: str) -> Run:
        run_id = parse_id("run", shown)
        run = self._client.store.get_runs([run_id]).get(run_id)
        if run is None or run.environment != self._client.environment:
            raise NotFound(
                f"there is no run {shown} in {self._client.place}: "
                "`wf runs list` shows those that are there"
            )
        return run


def _status(value: Status | str) -> Status:
    try:
        return Status(value.upper())
    except ValueError:
        raise PayloadError(f"status={value!r}: give one of {', '.join(Status)}") from None
