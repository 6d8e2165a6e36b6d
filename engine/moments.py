"""The moments of a run that its hooks are told of, and of which they were told.

What begins (the body, a wait, what follows a wait) is written into the history with the id of its
hook run, so that it is told once, however often the body is built again. The end of a run happens
once by itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from wf.engine.core.execution import Execution
from wf.engine.core.hooks import Hooks
from wf.engine.core.index import OF_CLAIMS
from wf.history.events import Event, Kind, Status
from wf.history.hooks import RESUMED, STARTED, WAITING, Subject, hook_run
from wf.history.model import Activation, NewRun, Run


class Moments:
    """Of a run whose runnable has hooks."""

    def __init__(self, run: Run, hooks: Hooks) -> None:
        self._run = run
        self._hooks = hooks
        self._last: bytes | None = None
        """The latest hook run."""
        self._waits_at = -1
        """How many operations had been issued when the wait began; -1: the run does not wait."""
        self._has_begun = False

    def recall(self, events: Iterable[Event]) -> str:
        """What the history tells of them. Answers the moment that is still to be told: STARTED,
        where the worker was lost that was handed the run first; "": none."""
        for event in events:
            self._has_begun = self._has_begun or event.kind not in OF_CLAIMS
            if event.kind == Kind.HOOKED:
                self._told(event)
        return self._start()

    def _told(self, event: Event) -> None:
        self._last = event.data or self._last
        self._waits_at = event.took if event.name == WAITING else -1

    def _start(self) -> str:
        begins = self._hooks.on_start and self._run.chapter == 1 and not self._has_begun
        return STARTED if begins else ""

    def after(self, fact: Event, execution: Execution) -> str:
        """The moment that this fact, which the body has just been given, is; "": none."""
        if fact.kind == Kind.STARTED:
            return self._start()
        goes_on = execution.ordinal > self._waits_at or execution.ended is not None
        if self._waits_at >= 0 and goes_on and not execution.cancel_requested:
            return RESUMED
        return ""

    def at_rest(self, execution: Execution) -> str:
        """WAITING, where nothing is to be done now, unless the last facts did not move the body,
        and it waits as it did before; "": it does."""
        has_hooks = self._hooks.on_wait or self._hooks.on_resume
        return WAITING if has_hooks and execution.ordinal > self._waits_at else ""

    def tell(self, activation: Activation, moment: str, seq: int, at: int, issued: int) -> None:
        """The record of a moment, and its hook run. `issued`: how many operations the body has."""
        run: NewRun | None = None
        if self._hooks.of(moment):
            run = hook_run(self._subject, moment, at, seq=seq, after=self._last)
            activation.children.append(run)
        data = run.id if run is not None else None
        event = Event(seq, Kind.HOOKED, 0, at, moment, took=issued, data=data)
        activation.events.append(event)
        self._told(event)

    def end(self, activation: Activation, status: Status, at: int) -> None:
        """The run ends."""
        if self._hooks.of(status):
            run = hook_run(self._subject, status.value, at, after=self._last)
            activation.children.append(run)

    @property
    def _subject(self) -> Subject:
        run = self._run
        return Subject(run.id, run.environment, run.task, run.root_id)
