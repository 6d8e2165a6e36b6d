"""A store whose values are sealed: the payloads, options, results, failures, messages, tokens,
notes, chunks and reasons that pass through it to another store and back.

What stays readable is what the store looks for or compares: ids, names, times, tags, keys, and the
digests of values. They are taken of what is sealed, before it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from wf.history.errors import AlreadyEnded, PayloadError
from wf.history.events import Event, Kind
from wf.history.limits import MAX_LIST
from wf.history.messages import NewMessage, Sent
from wf.history.model import (
    Activation,
    Claim,
    Committed,
    InboxKind,
    Lease,
    NewRun,
    NewToken,
    Run,
    RunFilter,
    Token,
    Triggered,
)
from wf.history.notes import Chunk, Note, NoteKind, first_metadata
from wf.history.rows import payload_digest
from wf.history.schedules import Move, Schedule
from wf.history.sealing import KEY_LOST, Codec, Sealing, is_sealed
from wf.history.step import AsyncStepTransaction, StepPlace, StepTransaction
from wf.history.store import Meanwhile, Store, nothing

OF_IDS: Final = frozenset(
    {
        Kind.CHILD_TRIGGERED,
        Kind.CHILD_AWAITED,
        Kind.CHILD_STARTED,
        Kind.TOKEN_CREATED,
        Kind.TOKEN_AWAITED,
        Kind.MESSAGE_SENT,
        Kind.FORKED,
        Kind.BATCH_TRIGGERED,
        Kind.BATCH_STARTED,
        Kind.BATCH_AWAITED,
        Kind.HOOKED,
    }
)
"""Events whose data are ids, which the store compares. All others hold values."""
_OF_IDS_TOO: Final = frozenset({InboxKind.CHILD_STARTED, InboxKind.BATCH_STARTED})


class SealedStore:
    """A `Store` before `inner`. `codec`: seals and opens."""

    def __init__(self, inner: Store, codec: Codec) -> None:
        self.inner = inner
        self.sealing = Sealing(codec)
        self.url = inner.url
        # In these there are no values.
        self.now = inner.now
        self.birth_time = inner.birth_time
        self.close = inner.close
        self.cancel = inner.cancel
        self.live = inner.live
        self.has_worker = inner.has_worker
        self.is_done = inner.is_done
        self.join = inner.join
        self.beat = inner.beat
        self.landed = inner.landed
        self.workers = inner.workers
        self.take_over = inner.take_over
        self.leave = inner.leave
        self.next_due = inner.next_due
        self.listen = inner.listen
        self.hint = inner.hint
        self.reschedule = inner.reschedule
        self.unblock = inner.unblock
        self.awaited = inner.awaited
        self.prune = inner.prune
        self.declare_queues = inner.declare_queues
        self.change_queue = inner.change_queue
        self.list_queues = inner.list_queues
        self.get_queue = inner.get_queue
        self.queue_of = inner.queue_of
        self.slot_holders = inner.slot_holders
        self.scrub = inner.scrub
        self.drop_schedules = inner.drop_schedules
        self.next_schedule_at = inner.next_schedule_at

    # doors: from anywhere

    def trigger(self, runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
        return self.inner.trigger(self._runs(runs))

    def trigger_in(self, connection: Any, runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
        return self.inner.trigger_in(connection, self._runs(runs))

    async def trigger_in_async(
        self, connection: Any, runs: Sequence[NewRun]
    ) -> list[tuple[bytes, Triggered]]:
        return await self.inner.trigger_in_async(connection, self._runs(runs))

    def fork(self, run: NewRun, events: Sequence[Event]) -> None:
        (sealed,) = self._runs([run])
        self.inner.fork(sealed, [self._event(event) for event in events])

    def send(self, messages: Sequence[NewMessage], now: int) -> list[Sent]:
        return self.inner.send(self._messages(messages), now)

    def create_tokens(self, tokens: Sequence[NewToken]) -> None:
        self.inner.create_tokens(self._tokens(tokens))

    def end_token(self, token_id: bytes, status: str, data: bytes | None, now: int) -> Token:
        try:
            ended = self.inner.end_token(token_id, status, self.sealing.seal(data), now)
        except AlreadyEnded:
            token = self.get_token(token_id)
            if token is None or (token.status, token.data) != (status, data):
                raise
            return token
        return self._opened_token(ended)

    def note(self, notes: Sequence[Note], now: int) -> None:
        self.inner.note(self._notes(notes), now)

    # looks: for people

    def get_runs(self, run_ids: Sequence[bytes]) -> dict[bytes, Run]:
        return {
            run_id: self._opened_run(run) for run_id, run in self.inner.get_runs(run_ids).items()
        }

    def ended(self, run_ids: Sequence[bytes]) -> dict[bytes, Run]:
        return {run_id: self._opened_run(run) for run_id, run in self.inner.ended(run_ids).items()}

    def list_runs(self, filter: RunFilter) -> list[Run]:
        """Values of the metadata are looked for here, page by page: the database cannot read
        them."""
        if not filter.metadata:
            return [self._opened_run(run) for run in self.inner.list_runs(filter)]
        found: list[Run] = []
        page = replace(filter, metadata=(), limit=MAX_LIST)
        while len(found) < filter.limit:
            runs = [self._opened_run(run) for run in self.inner.list_runs(page)]
            found += [run for run in runs if _has(run, filter.metadata)]
            if len(runs) < MAX_LIST:
                break
            page.before = runs[-1].id
        return found[: filter.limit]

    def get_token(self, token_id: bytes) -> Token | None:
        token = self.inner.get_token(token_id)
        return None if token is None else self._opened_token(token)

    def list_tokens(
        self, environment: str, *, status: str = "", run_id: bytes | None = None, limit: int = 50
    ) -> list[Token]:
        found = self.inner.list_tokens(environment, status=status, run_id=run_id, limit=limit)
        return [self._opened_token(token) for token in found]

    def history(
        self, run_id: bytes, chapter: int | None = None, after: tuple[int, int] = (0, 0)
    ) -> list[tuple[int, Event]]:
        rows = self.inner.history(run_id, chapter, after)
        return [(number, self._opened_event(event)) for number, event in rows]

    def fetch(self, references: Sequence[bytes]) -> dict[bytes, bytes]:
        found = self.inner.fetch(references)
        return {reference: self.sealing.open(data) for reference, data in found.items()}

    def read_stream(self, run_id: bytes, name: str, after: int = 0) -> list[Chunk]:
        return [
            chunk._replace(data=self.sealing.open(chunk.data))
            for chunk in self.inner.read_stream(run_id, name, after)
        ]

    def prunable(
        self, wanted: RunFilter, ended_before: int
    ) -> tuple[list[bytes], RunFilter | None]:
        if wanted.metadata:
            raise PayloadError(
                "metadata is sealed, no run is found by it here: say which by task=, tag=, since="
            )
        return self.inner.prunable(wanted, ended_before)

    # the worker

    def commit(
        self,
        lease: Lease,
        activations: Sequence[Activation],
        claim: Claim | None,
        now: int,
        meanwhile: Meanwhile = nothing,
    ) -> Committed:
        sealed = [self._activation(activation) for activation in activations]
        committed = self.inner.commit(lease, sealed, claim, now, meanwhile)
        for claimed in committed.claimed:
            self._opened_run(claimed.run)
            for row in claimed.inbox:
                if row.kind not in _OF_IDS_TOO:
                    row.data = self.sealing.open(row.data)
            for message in claimed.messages:
                message.data = self.sealing.open(message.data)
        return committed

    def load(self, runs: Sequence[tuple[bytes, int]]) -> dict[bytes, list[Event]]:
        return {
            run_id: [self._opened_event(event) for event in events]
            for run_id, events in self.inner.load(runs).items()
        }

    # steps

    def begin(self, place: StepPlace | None) -> StepTransaction:
        return _SealedStep(self.inner.begin(place), self.sealing)

    async def begin_async(self, place: StepPlace | None) -> AsyncStepTransaction:
        return _AsyncSealedStep(await self.inner.begin_async(place), self.sealing)

    # schedules

    def add_schedules(self, schedules: Sequence[Schedule]) -> None:
        self.inner.add_schedules([self._schedule(schedule) for schedule in schedules])

    def move_schedules(self, moves: Sequence[Move], now: int) -> list[bool]:
        sealed = [
            Move(self._schedule(move.schedule), self._runs(move.runs), move.cancels)
            for move in moves
        ]
        return self.inner.move_schedules(sealed, now)

    def get_schedules(self, ids: Sequence[bytes]) -> dict[bytes, Schedule]:
        found = self.inner.get_schedules(ids)
        return {id: self._opened_schedule(schedule) for id, schedule in found.items()}

    def schedule_of_key(self, environment: str, key: str) -> Schedule | None:
        found = self.inner.schedule_of_key(environment, key)
        return None if found is None else self._opened_schedule(found)

    def list_schedules(
        self, environment: str, *, task: str = "", external_id: str = "", limit: int = 1_000
    ) -> list[Schedule]:
        found = self.inner.list_schedules(
            environment, task=task, external_id=external_id, limit=limit
        )
        return self._opened_schedules(found)

    def declared_schedules(self, environment: str) -> list[Schedule]:
        return self._opened_schedules(self.inner.declared_schedules(environment))

    def due_schedules(
        self, environment: str, tasks: Sequence[str], now: int, limit: int
    ) -> list[Schedule]:
        return self._opened_schedules(self.inner.due_schedules(environment, tasks, now, limit))

    # -- on the way in

    def _runs(self, runs: Iterable[NewRun]) -> list[NewRun]:
        return [
            replace(
                run,
                payload=self.sealing.seal(run.payload),
                options=self.sealing.seal_given(run.options),
                payload_digest=payload_digest(run.payload) if run.idempotency_key else b"",
            )
            for run in runs
        ]

    def _messages(self, messages: Iterable[NewMessage]) -> list[NewMessage]:
        return [replace(message, data=self.sealing.seal(message.data)) for message in messages]

    def _tokens(self, tokens: Iterable[NewToken]) -> list[NewToken]:
        return [replace(token, schema=self.sealing.seal_given(token.schema)) for token in tokens]

    def _notes(self, notes: Iterable[Note]) -> list[Note]:
        """What is done to metadata is done in the store, which opens and seals it for that."""
        return [
            replace(note, data=self.sealing.seal(note.data))
            if note.kind is NoteKind.CHUNK
            else replace(note, sealing=self.sealing)
            for note in notes
        ]

    def _event(self, event: Event) -> Event:
        if event.data is None or event.kind in OF_IDS:
            return event
        return event.but(data=self.sealing.seal(event.data))

    def _activation(self, given: Activation) -> Activation:
        sealed = replace(
            given,
            events=[self._event(event) for event in given.events],
            children=self._runs(given.children),
            tokens=self._tokens(given.tokens),
            sends=self._messages(given.sends),
            notes=self._notes(given.notes),
        )
        turn, ending, blocked = given.next_chapter, given.ending, given.blocked
        if turn is not None:
            sealed.next_chapter = replace(turn, events=[self._event(one) for one in turn.events])
        if ending is not None:
            sealed.ending = replace(
                ending,
                output=self.sealing.seal(ending.output),
                failure=self.sealing.seal(ending.failure),
            )
        if blocked is not None and blocked.reason != KEY_LOST:
            sealed.blocked = replace(blocked, detail=self.sealing.seal_text(blocked.detail))
        return sealed

    def _schedule(self, schedule: Schedule) -> Schedule:
        return replace(schedule, options=self.sealing.seal_given(schedule.options))

    # -- on the way out, in place

    def _opened_run(self, run: Run) -> Run:
        opened = self.sealing.open
        was_sealed = is_sealed(run.options)
        run.payload = opened(run.payload)
        run.options = opened(run.options)
        run.output = opened(run.output)
        run.failure = opened(run.failure)
        run.restarted_with = opened(run.restarted_with)
        if is_sealed(run.metadata):
            run.metadata = opened(run.metadata)
        elif was_sealed:
            options = run.options
            run.metadata = options if is_sealed(options) else first_metadata(options)
        if run.blocked is not None:
            run.blocked.detail = self.sealing.open_text(run.blocked.detail)
        return run

    def _opened_token(self, token: Token) -> Token:
        token.schema = self.sealing.open(token.schema)
        token.data = self.sealing.open(token.data)
        return token

    def _opened_event(self, event: Event) -> Event:
        if event.data is None or event.kind in OF_IDS:
            return event
        return event.but(data=self.sealing.open(event.data))

    def _opened_schedule(self, schedule: Schedule) -> Schedule:
        schedule.options = self.sealing.open(schedule.options)
        return schedule

    def _opened_schedules(self, schedules: Iterable[Schedule]) -> list[Schedule]:
        return [self._opened_schedule(schedule) for schedule in schedules]

    def _query(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Rows as they are stored, for the audit."""
        inner: Any = self.inner
        return inner._query(sql, parameters)


def _has(run: Run, wanted: Iterable[tuple[str, Any]]) -> bool:
    if is_sealed(run.metadata):
        return False
    metadata = json.loads(run.metadata)
    return all(
        key in metadata
        and metadata[key] == value
        and isinstance(metadata[key], bool) is isinstance(value, bool)
        for key, value in wanted
    )


class _SealedStep:
    """A StepTransaction."""

    def __init__(self, step: StepTransaction, sealing: Sealing) -> None:
        self._step = step
        self._sealing = sealing
        self.roll_back = step.roll_back

    @property
    def connection(self) -> Any:
        return self._step.connection

    @property
    def lost(self) -> Any:
        return self._step.lost

    def commit(self, took_ms: int, data: bytes) -> None:
        try:
            sealed = self._sealing.seal(data)
        except BaseException:
            self._step.roll_back()
            raise
        self._step.commit(took_ms, sealed)


class _AsyncSealedStep:
    """An AsyncStepTransaction."""

    def __init__(self, step: AsyncStepTransaction, sealing: Sealing) -> None:
        self._step = step
        self._sealing = sealing
        self.roll_back = step.roll_back

    @property
    def connection(self) -> Any:
        return self._step.connection

    @property
    def lost(self) -> Any:
        return self._step.lost

    async def commit(self, took_ms: int, data: bytes) -> None:
        try:
            sealed = self._sealing.seal(data)
        except BaseException:
            await self._step.roll_back()
            raise
        await self._step.commit(took_ms, sealed)
