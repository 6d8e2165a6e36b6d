"""The worker: claim → apply → commit → let out, in groups. A state machine of (store, clock,
inbox), without threads.

`tick()` does one round: what came back from steps and what is due becomes facts; facts become
decisions; one transaction writes them all and claims what is next; only then steps are handed out.
`engine.Engine` calls `tick` from one thread; a simulator calls it step by step.

A commit that is refused (the worker was taken over) or a body that cannot be applied throws memory
away, never history. A commit whose answer was lost is looked up: it has landed, or it is sent
again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Container
from logging import ERROR
from random import Random

from wf.engine.alarms import NEVER, Alarms
from wf.engine.attempts import StepOutcome
from wf.engine.body import Body
from wf.engine.cache import Cache
from wf.engine.clock import Clock
from wf.engine.core.decisions import RunStep
from wf.engine.group import Group
from wf.engine.lines import say
from wf.engine.observer import Observer
from wf.engine.orders import Orders, new_order
from wf.engine.parking import begin, dropped, feed, is_canceled, new_body, parked, why
from wf.engine.registry import Registry
from wf.engine.results import Results
from wf.engine.room import room, take_in
from wf.engine.settings import CLAIM_LIMIT
from wf.engine.settings import WorkerSettings as WorkerSettings
from wf.engine.steps import StepOrder
from wf.engine.trials import Trials, is_poisoned, what_is_known
from wf.engine.watch import Watch
from wf.history.blobs import whole_claim
from wf.history.errors import Fenced, StoreMoved, StoreUnavailable
from wf.history.events import Event, Kind
from wf.history.ids import show
from wf.history.model import Activation, Claim, Claimed, Lease, Reason, WorkerInfo
from wf.history.store import Store

log = logging.getLogger("wf.worker")
run_log = logging.getLogger("wf.run")


class Worker:
    """See the module. `random` draws jitter; `orders.runner` runs steps and reports by
    `deliver`."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        clock: Clock,
        settings: WorkerSettings,
        info: WorkerInfo,
        random: Random | None = None,
    ) -> None:
        self.store = store
        self.registry = registry
        self.clock = clock
        self.settings = settings
        self.info = info
        self.random = random or Random()
        self.orders = Orders()
        self.watch = Watch()
        self.observer: Observer | None = None
        self.is_draining = False
        self.lease: Lease | None = None
        self.bodies: dict[bytes, Body] = {}
        """Owned runs."""
        self._cache = Cache(settings.cache_size, settings.cache_bytes, self._close)
        self._dirty: dict[bytes, Body] = {}
        self._results = Results()
        self._alarms = Alarms()
        self._trials = Trials(settings.back_offs_ms)
        self._ticked_at = 0
        self._parked: list[Activation] = []
        self._new: list[tuple[Claimed, int]] = []
        """Runs that were handed out and are not begun yet, and when: their STARTED says so."""
        self.sent: Group | None = None
        """Its commit is under way, or what became of it is not known."""
        self._refused: deque[Group] = deque()
        self._resync = False
        self._is_hinted = True
        self._has_room = True
        """For runs, when it last asked. Without, a hint waits for a commit that makes some."""
        # By the monotonic clock: a database whose clock is set back must not stop beats.
        self._polled_at = -NEVER
        self._store_due = NEVER
        self.beaten_at = -NEVER
        self._swept_at = -NEVER

    # -- from outside (any thread)

    def deliver(self, order: StepOrder, outcome: StepOutcome) -> None:
        self._results.add(order, outcome)

    def hint(self) -> None:
        """Something may have changed in the store."""
        self._is_hinted = True

    def body_of(self, run_id: bytes) -> Body | None:
        """The live body of a run, if it is here."""
        return self.bodies.get(run_id) or self._cache.look(run_id)

    # -- one round

    def tick(self) -> bool:
        """One round. True: something happened, or is to be done now. Raises StoreUnavailable, with
        everything kept for the next try; being taken over is dealt with here."""
        try:
            return self._tick()
        except Fenced:
            log.warning("this worker was taken over; it drops what it holds and starts again")
            self.drop()
            return True

    def _tick(self) -> bool:
        now = self.clock.now()
        self._ticked_at = self.clock.monotonic()
        lease = self._joined(now)
        if self.sent is not None:
            self._settle(self.sent, lease, now)
            return True
        if self._refused:
            self._commit(lease, self._refused.popleft(), None, now)
            return True
        worked = self._take_results(now) | self._take_due(now)
        group = Group(self._ready_to_commit(), self._parked)
        claim = self._claim(group, now)
        self._parked = []
        if group or claim is not None or self._ticked_at - self.beaten_at >= self.settings.beat_ms:
            self._commit(lease, group, claim, now)
            worked = worked or bool(group)
        if not self._results:
            self._begin_new(now)
        return worked or self._has_more()

    def _settle(self, group: Group, lease: Lease, now: int) -> None:
        """The last commit raised: it has landed, or the same group is sent again."""
        if self.store.landed(lease):
            self._resync = True
            self._is_hinted = True
            self.beaten_at = self._ticked_at
            self.sent = None
            self._let_out(group.bodies, now)
        elif group:
            self._commit(lease, group, self._claim(group, now), now)
        else:
            self.sent = None

    def wait_ms(self) -> int:
        """After how long to tick again without a hint; 0: there is more to do now."""
        asks = not self.is_draining and (self._resync or (self._is_hinted and self._has_room))
        if asks or self.sent or self._has_more():
            return 0
        now, passed = self.clock.now(), self.clock.monotonic()
        waits = [
            self.beaten_at + self.settings.beat_ms - passed,
            self._alarms.next - now,
            self.orders.next_grace - passed,
        ]
        if not self.is_draining:
            waits += [self._polled_at + self.settings.poll_ms - passed, self._store_due - now]
        return max(0, min(waits))

    def _has_more(self) -> bool:
        """To write, to apply: whatever others do."""
        return bool(self._dirty or self._results or self._parked or self._refused)

    def _joined(self, now: int) -> Lease:
        if self.lease is None:
            limits = self.registry.limits
            if limits:
                self.store.declare_queues(self.settings.environment, [*limits.items()])
            self.lease = self.store.join(self.settings.environment, self.info)
            self.lease.lease_ms = self.settings.lease_ms
            self.beaten_at = self._ticked_at
            self._is_hinted = True
        if self._ticked_at - self._swept_at >= self.settings.lease_ms // 2:
            self._swept_at = self._ticked_at
            self._sync()
            self.store.take_over(now, self.settings.lease_ms)
        return self.lease

    def _sync(self) -> None:
        """Take the database's time, unless the answer was long under way."""
        database_ms = self.store.now()
        if self.clock.monotonic() - self._ticked_at < self.settings.lease_ms // 20:
            self.clock.sync(database_ms)

    # -- facts in

    def _take_results(self, now: int, but: Container[bytes] = ()) -> bool:
        worked = False
        for order, outcome in self._results.take(but):
            worked = True
            body = self.bodies.get(order.run_id)
            self._is_hinted = self._is_hinted or outcome.is_recorded
            if self.orders.came_back(order) and body is not None:
                self._guard(body, body.finish_step, outcome, now, self.random)
        return worked

    def _take_due(self, now: int) -> bool:
        worked = False
        while (run_id := self._alarms.ring(now)) is not None:
            body = self.bodies.get(run_id)
            if body is not None:
                worked = True
                self._guard(body, body.tick, now)
        for order in self.orders.overdue(self._ticked_at):
            body = self.bodies.get(order.run_id)
            if body is not None:
                worked = True
                self._guard(body, body.abandon, order.ordinal, now)
        return worked

    def _guard(self, body: Body, apply: Callable[..., object], *args: object) -> None:
        """Apply facts to a body; one that cannot go on is parked with the reason. Whatever it
        raises is this run's trouble: the others go on."""
        error = self.watch.apply(body.run, apply, *args)
        if error is None:
            self._dirty[body.run.id] = body
        else:
            self._park(body, *why(error))

    def _park(
        self, body: Body, reason: str, detail: str, mistake: BaseException | None = None
    ) -> None:
        """The run waits for other code or for a person. What was not committed is thrown away: it
        is pure."""
        run = body.run
        shown = show("run", run.id)
        say(log, ERROR, "%s %s is parked: %s", run.task, shown, detail, error=mistake)
        self.orders.give_up(run.id, body.in_flight)
        self._dirty.pop(run.id, None)
        self._disown(run.id)
        self._close(body)
        self._parked.append(parked(run, reason, detail, self.clock.now()))

    def _close(self, body: Body) -> None:
        """Out of memory. Its `finally` blocks run now, and may do anything."""
        if body.is_over:
            body.close()
            return
        error = self.watch.apply(body.run, body.close)
        if error is not None:
            shown = show("run", body.run.id)
            say(log, ERROR, "the body of %s %s ends badly", body.run.task, shown, error=error)

    def _disown(self, run_id: bytes) -> None:
        self.bodies.pop(run_id, None)
        self._alarms.forget(run_id)
        self._trials.end(run_id)

    # -- the commit

    def _claim(self, group: Group, now: int) -> Claim | None:
        """What to ask for with this group; it makes room for as many as it gives back."""
        if (
            self.is_draining
            or self._new
            or not (
                self._is_hinted
                or self._resync
                or self._ticked_at >= self._polled_at + self.settings.poll_ms
                or now >= self._store_due
            )
        ):
            return None
        self._is_hinted = False
        self._polled_at = self._ticked_at
        settings, tasks = self.settings, self.registry.ids
        free = max(0, settings.max_owned - len(self.bodies) + len(group.leaving))
        limit = room(self.bodies, group.leaving, settings.live_bytes, min(CLAIM_LIMIT, free))
        self._has_room = limit > 0
        return Claim(limit, tasks, settings.python, settings.root, resync=self._resync)

    def _ready_to_commit(self) -> list[Body]:
        """Bodies with something to write. Those without let their effects out at once."""
        ready: list[Body] = []
        free: list[Body] = []
        for body in self._dirty.values():
            body.settle_ownership()
            if body.has_ended:
                self.orders.revoke(body.run.id, body.in_flight)
            (ready if body.has_rows or body.activation.release else free).append(body)
        self._dirty = {}
        if free:
            self._let_out(free, self.clock.now())
        return ready

    def _commit(self, lease: Lease, group: Group, claim: Claim | None, now: int) -> None:
        activations = group.activations
        if claim is None and not self.is_draining and group.makes_work:
            self._is_hinted = True
            claim = self._claim(group, now)
        self.sent = group
        runs = {body.run.id for body in group.bodies}

        def meanwhile() -> None:  # other runs go on while the database writes these
            self._begin_new(now)
            self._take_results(now, runs)

        try:
            committed = self.store.commit(lease, activations, claim, now, meanwhile)
        except Exception as error:
            self._is_hinted = self._is_hinted or claim is not None
            if isinstance(error, StoreUnavailable | StoreMoved | Fenced):
                raise
            self._isolate(group, error)
            return
        self.sent = None
        self.beaten_at = self._ticked_at
        self._let_out(group.bodies, now)
        if committed.again or (claim is not None and len(committed.claimed) >= claim.limit):
            self._is_hinted = True
        if claim is not None:
            self._resync = committed.is_cut or (self._resync and not claim.resync)
            self._take_claims(lease, committed.claimed, claim, now)

    def _isolate(self, group: Group, error: Exception) -> None:
        """The store cannot hold something that is in this group, and has written none of it. It is
        tried in halves, down to the run whose it is; that one is parked."""
        self.sent = None
        if len(group.bodies) == 1 and not group.parked:
            self._park(group.bodies[0], *why(error))
        elif group.bodies:
            self._refused.extendleft(reversed(group.halves))
        else:
            raise error

    def _let_out(self, bodies: list[Body], now: int) -> None:
        """The commit has happened (or there was nothing to write): effects leave."""
        orders: list[StepOrder] = []
        for body in bodies:
            activation = body.activation
            effects = body.committed()
            run = body.run
            if activation.events:
                self._trials.end(run.id)
            if self.observer is not None and (activation.has_rows or activation.release):
                self.observer.committed(run, activation)
            for line in effects.logs:
                say(run_log, line.level, line.message)
            for ordinal in effects.stop_steps:
                self.orders.stop(run.id, ordinal, self._ticked_at + self.settings.grace_ms)
            if activation.ending is not None or activation.next_chapter is not None:
                self._disown(run.id)
                self._close(body)
            elif activation.release:
                self._disown(run.id)
                self._store_due = min(self._store_due, activation.due_at or NEVER)
                self._cache.keep(body)
            else:
                orders += self._orders_of(body, effects.run_steps, now)
                for due in (body.execution.timers.next_due(), body.time_out_at):
                    if due:
                        self._alarms.set(run.id, due)
        if orders:
            self.orders.start(orders)

    def _orders_of(self, body: Body, steps: list[RunStep], now: int) -> list[StepOrder]:
        """The steps that are handed out. A worker that is about to leave holds back what it can:
        an `at_most_once` step is written down as begun, and would never run."""
        if self.is_draining:
            out = [step for step in steps if step.runnable.settings.at_most_once]
            body.holds_back = body.holds_back or len(out) < len(steps)
            steps = out
        assert self.lease is not None
        orders: list[StepOrder] = []
        for step in steps:
            attempt = body.handed_out(step, now)
            orders.append(new_order(body, step, attempt, self.store, self.lease.worker))
            if self.observer is not None:
                self.observer.step_started(body.run, step, attempt)
        return orders

    # -- the claim

    def _take_claims(self, lease: Lease, claimed: list[Claimed], claim: Claim, now: int) -> None:
        if not claimed:
            due = self.store.next_due(self.settings.environment, self.settings.root) or NEVER
            # Without room it cannot act on what is due in queues.
            self._store_due = due if claim.limit else max(due, now + self.settings.poll_ms)
            return
        try:
            limit = self.settings.live_bytes
            histories, out = take_in(self.store, claimed, self.bodies, self._must_load, limit)
            back = self._trials.put_off(claimed, histories, out, now)
            if back:
                self._store_due = min([self._store_due, *(one.due_at for one in back)])
                self._commit(lease, Group([], back), None, now)
            put_off = {activation.run_id for activation in back}
            for one in claimed:
                if one.run.id not in put_off:
                    is_live = one.run.id in self.bodies or self._cache.fits(one)
                    whole_claim(one, self.store.fetch, is_live=is_live)
                    if one.reason is Reason.NEW:
                        self._new.append((one, now))
                    else:
                        self._take_up(one, histories.get(one.run.id), now)
        except StoreUnavailable:
            self._resync = True
            raise
        self._let_go(now)

    def _begin_new(self, now: int) -> None:
        new, self._new = self._new, []
        for one, at in new:
            self._take_up(one, None, at)
        if new:
            self._let_go(now)

    def _let_go(self, now: int) -> None:
        """What has only steps to run does not wait for a commit."""
        free = [body for body in self._dirty.values() if not body.has_rows and body.is_busy]
        for body in free:
            del self._dirty[body.run.id]
        self._let_out(free, now)

    def _must_load(self, claimed: Claimed) -> bool:
        return (
            claimed.run.id not in self.bodies
            and claimed.reason is not Reason.NEW
            and not self._cache.fits(claimed)
        )

    def _take_up(self, claimed: Claimed, history: list[Event] | None, now: int) -> None:
        run = claimed.run
        known = self.bodies.get(run.id)
        is_writing = known is not None and known.has_rows
        body = known or self._body_of(claimed, history, now)
        if body is not None:
            self.bodies[run.id] = body
            if self.observer is not None:
                self.observer.claimed(run, history or [])
            self._guard(body, feed, body, claimed, now)
            is_due = claimed.reason is Reason.RESUME and not (claimed.inbox or claimed.messages)
            if is_due and body.execution.timers.next_due() > now:
                # Due by another worker's clock: this one is behind. It asks the database.
                self._swept_at = -NEVER
        if run.id not in self.bodies and is_canceled(claimed) and not is_writing:
            # It has just been parked, and could be canceled in no other way.
            told = [event.at for event in history or []] + ([body.execution.now] if body else [])
            self._parked[-1] = dropped(claimed, max([now, *told]), self.registry.hooks_of(run.task))

    def _body_of(self, claimed: Claimed, history: list[Event] | None, now: int) -> Body | None:
        """Kept, or built. None: it cannot be built, and the run is parked."""
        body = self._cache.take(claimed)
        if body is not None:
            return body
        run = claimed.run
        body = new_body(run, self.registry, self.settings)
        events = history or [Event(1, Kind.STARTED, 0, now, self.settings.python)]
        if is_poisoned(claimed, events):
            self._park(body, "poisoned", what_is_known(events))
            return None
        error = self.watch.apply(run, begin, body, events, claimed)
        if error is None:
            return body
        self._park(body, *why(error))
        return None

    # -- the end

    def drop(self) -> None:
        """Forget everything: this worker owns nothing any more."""
        self.orders.clear()
        for body in self.bodies.values():
            self._close(body)
        self.bodies.clear()
        self._cache.clear()
        self._dirty.clear()
        self._alarms.clear()
        self._trials.clear()
        self._parked.clear()
        self._new.clear()
        self._refused.clear()
        self.sent = None
        self._resync = False
        self._is_hinted = self._has_room = True
        self.lease = None

    @property
    def steps_in_flight(self) -> int:
        return len(self.orders)

    def leave(self) -> None:
        """The graceful end: what is still owned goes back, for other workers to take up at once."""
        if self.lease is not None:
            lease = self.lease
            self.drop()
            self.store.leave(lease, self.clock.now())
