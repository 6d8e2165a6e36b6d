"""`client.runs`: look at runs, and act on them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Unpack

from msgspec.structs import replace

from wf.client.asking import any_json, parse_id, plain
from wf.client.feeds import Chunks, HistoryRows, RunChanges, follow
from wf.client.filters import RunFilters, check_named, ended, live, run_filter
from wf.client.handles import Handle
from wf.client.views import ChunkView, EventView, RunView, event_view, run_view
from wf.client.why import Why, explain, read
from wf.engine.core.durations import Duration, milliseconds, to_ms
from wf.engine.core.messages import encode_message
from wf.engine.core.runs import fork_of, replay_of
from wf.history.blobs import whole
from wf.history.errors import AlreadyEnded, NotFound, WrongStatus
from wf.history.hooks import SUFFIX, task_of_hooks
from wf.history.ids import new_id, show
from wf.history.limits import MAX_LIST
from wf.history.model import Run, RunFilter, Triggered

if TYPE_CHECKING:
    from wf.client.client import Client
    from wf.client.timeline.model import Timeline

SAME: Final[Any] = object()
"""The payload of a replay, where no other one is given."""
PAGE: Final = 500
"""Runs that are canceled or replayed in one transaction, where many are: it is over soon, so that
workers do not wait for it."""


class Runs:
    """`client.runs`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(
        self, *, limit: int = 50, cursor: str = "", **filters: Unpack[RunFilters]
    ) -> list[RunView]:
        """Newest first. `cursor`: the id of the last run of the page before. All filters that are
        given have to fit.

        Raises PayloadError, NotFound (an id that is none).
        """
        wanted = replace(
            self._filter(filters),
            before=parse_id("run", cursor) if cursor else None,
            limit=limit,
        )
        return [run_view(run) for run in self._client.store.list_runs(wanted)]

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

    def cancel_all(self, *, dry_run: bool = False, **filters: Unpack[RunFilters]) -> Sequence[str]:
        """Ask all live runs that fit for cancellation, in pages; answers their ids. `dry_run`: only
        answer. Runs that are started meanwhile are not canceled.

        Raises PayloadError without any filter.
        """
        check_named(filters, "cancel")
        store = self._client.store
        reached: list[bytes] = []
        for page in self._pages(live(self._filter(filters))):
            ids = [run.id for run in page]
            reached += ids if dry_run else store.cancel(ids, store.now())
        return [show("run", run_id) for run_id in reached]

    def replay(self, run_id: str, payload: Any = SAME) -> Handle[Any]:
        """Start a run anew: a new run of its task, with its options (no delay, no idempotency key)
        and its payload, or with another one. Its `replayed_from` is this run.

        Raises NotFound, PayloadError.
        """
        store, origin = self._client.store, self._get(run_id)
        now = store.now()
        data = origin.payload if payload is SAME else any_json.encode(payload)
        [(made, how)] = store.trigger([replay_of(origin, new_id(now), data, now)])
        return Handle(self._client, made, origin.task, plain, how)

    def replay_all(self, *, dry_run: bool = False, **filters: Unpack[RunFilters]) -> dict[str, str]:
        """Replay all ended runs that fit, in pages; answers the id of each with that of its new run
        ("" with `dry_run`, which starts none).

        Raises PayloadError without any filter.
        """
        check_named(filters, "replay")
        store = self._client.store
        found: dict[str, str] = {}
        for page in self._pages(ended(self._filter(filters))):
            now = store.now()
            runs = [
                replay_of(run, new_id(now), whole(run.payload, store.fetch), now) for run in page
            ]
            if not dry_run:
                store.trigger(runs)
            for origin, run in zip(page, runs, strict=True):
                found[show("run", origin.id)] = "" if dry_run else show("run", run.id)
        return found

    def fork(
        self,
        run_id: str,
        *,
        at: int | None = None,
        payload: Any = SAME,
        results: Mapping[str, Any] | None = None,
    ) -> Handle[Any]:
        """A new run that shares the history up to the fact `at` (its `seq` in `history`), and goes
        on from there, live. What was still open then is asked for anew, as its own.

        results: what steps, children, tokens and messages are to have come to instead, by the name
        of a step, task or message, by `token`, or by `#3` (an operation); plain JSON values.
        Without `at` the fork begins at the fact that ends the last of them. payload: another one;
        where the shared part depends on it, the fork is parked.

        Raises NotFound, CannotFork, PayloadError.
        """
        store, origin = self._client.store, self._get(run_id)
        events = [event for _, event in store.history(origin.id, origin.chapter)]
        given = {name: any_json.encode(value) for name, value in (results or {}).items()}
        data = None if payload is SAME else any_json.encode(payload)
        now = store.now()
        forked = fork_of(origin, events, new_id(now), now, at=at, payload=data, results=given)
        store.fork(*forked)
        return Handle(self._client, forked[0].id, origin.task, plain, Triggered.MADE)

    def reschedule(self, run_id: str, delay: Duration | datetime) -> RunView:
        """A delayed run starts at another time: so long from now, or at a moment.

        Raises NotFound, WrongStatus.
        """
        store, run = self._client.store, self._get(run_id)
        now = store.now()
        at = to_ms(delay, "delay") if isinstance(delay, datetime) else now + _ms(delay)
        if not store.reschedule(run.id, max(at, now), now):
            status = self._get(run_id).status
            raise WrongStatus(
                f"{run_id} is {status}: only a run that is DELAYED has a time to move"
            )
        return self.retrieve(run_id)

    def unblock(self, *run_ids: str) -> Sequence[str]:
        """Parked runs are tried again, by the workers that are there; answers their ids. One id:
        raises NotFound, WrongStatus."""
        ids = [parse_id("run", shown) for shown in run_ids]
        store = self._client.store
        if len(ids) == 1 and self._get(run_ids[0]).blocked is None:
            raise WrongStatus(
                f"{run_ids[0]} is not parked: `wf why {run_ids[0]}` tells what it does"
            )
        return [show("run", run_id) for run_id in store.unblock(ids, store.now())]

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

    def why(self, run_id: str) -> Why:
        """Why it is where it is, in one sentence, and the next command. Raises NotFound."""
        return explain(read(self._client.store, self._get(run_id)))

    def tail(self, run_id: str) -> Generator[EventView]:
        """The rows of its history, those to come too, until it has ended. Raises NotFound when it
        is iterated."""
        return follow(self._client.store, self.rows(run_id))

    def hooks(self, run_id: str) -> Sequence[RunView]:
        """The runs in which its hooks were told of it, oldest first: `.payload["moment"]`, and
        `.status` FAILED with `.error` where a hook failed. Raises NotFound."""
        run = self._get(run_id)
        wanted = RunFilter(run.environment, task=task_of_hooks(run.task), parent_id=run.id)
        wanted.limit = MAX_LIST
        return [run_view(one) for one in reversed(self._client.store.list_runs(wanted))]

    def timeline(self, run_id: str) -> Timeline:
        """What it and the runs below it did, over time: in a notebook, a picture. Raises
        NotFound."""
        from wf.client.timeline.reading import read as read_timeline

        return read_timeline(self._client.store, self._get(run_id))

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

    def rows(self, run_id: str) -> HistoryRows:
        """What `tail` follows."""
        raw = parse_id("run", run_id)
        return HistoryRows(self._client.store, raw, lambda: self.retrieve(run_id))

    def _filter(self, filters: RunFilters) -> RunFilter:
        return run_filter(self._client.environment, self._client.store.now(), filters)

    def _pages(self, wanted: RunFilter) -> Iterator[Sequence[Run]]:
        """All that fit, newest first. None that is started meanwhile is among them, nor one that
        tells hooks of another run."""
        wanted = replace(wanted, limit=PAGE)
        while page := self._client.store.list_runs(wanted):
            yield [run for run in page if not run.task.endswith(SUFFIX)]
            wanted = replace(wanted, before=page[-1].id)

    def _get(self, shown: str) -> Run:
        run_id = parse_id("run", shown)
        run = self._client.store.get_runs([run_id]).get(run_id)
        if run is None or run.environment != self._client.environment:
            raise NotFound(
                f"there is no run {shown} in {self._client.place}: "
                "`wf runs list` shows those that are there"
            )
        return run


def _ms(delay: Duration) -> int:
    return milliseconds(delay, "delay")
