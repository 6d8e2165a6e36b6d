"""A ledger outside the store: what steps really did to the world, as far as the world can tell.

A step calls `note()`; the line stays, whatever happens to the worker and its store afterwards. So a
test can count effects: at least one for every step that completed, one per idempotency key after
equal keys are collapsed (as a vendor's API does), at most one for a step that is `at_most_once`.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from wf.engine.author import StepCallInfo, current
from wf.engine.chapters import run_info
from wf.engine.core.execution import Execution
from wf.engine.core.index import History
from wf.engine.core.info import RunInfo
from wf.engine.core.mismatch import Issued
from wf.engine.registry import AnyRunnable, Registry
from wf.engine.silence import silent
from wf.engine.steps import StepOrder
from wf.history.events import Event, Kind
from wf.history.ids import show
from wf.history.model import Run
from wf.history.store import Store


class Effect(NamedTuple):
    """One thing that was done. `run`: its shown id; `key`: the step's idempotency key."""

    run: str
    step: str
    key: str
    attempt: int
    run_attempt: int = 1
    note: str = ""


class Ledger(Protocol):
    def write(self, effect: Effect) -> None: ...
    def read(self) -> list[Effect]: ...


class MemoryLedger:
    """For workers in this process."""

    def __init__(self) -> None:
        self._effects: list[Effect] = []

    def write(self, effect: Effect) -> None:
        self._effects.append(effect)

    def read(self) -> list[Effect]:
        return list(self._effects)


class FileLedger:
    """For workers that are killed: one line per effect, appended in one write."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def write(self, effect: Effect) -> None:
        line = json.dumps(effect).encode() + b"\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line)
        finally:
            os.close(file)

    def read(self) -> list[Effect]:
        if not self.path.exists():
            return []
        return [Effect(*json.loads(line)) for line in self.path.read_bytes().splitlines()]


_open: Final[list[Ledger]] = []


@contextmanager
def using(ledger: Ledger) -> Generator[Ledger]:
    """`note` writes here, in all threads of the process. Tests that nest see the innermost."""
    _open.append(ledger)
    try:
        yield ledger
    finally:
        _open.remove(ledger)


def note(text: str = "") -> None:
    """Called in a step: its effect has happened."""
    if _open:
        context = current()
        step = context.step
        assert step is not None, "note() is for steps: a body has no effects"
        _open[-1].write(
            Effect(
                context.run.id,
                step.id,
                step.idempotency_key,
                step.attempt,
                context.run.attempt,
                text,
            )
        )


def begun(order: StepOrder) -> None:
    """An attempt begins, and from here on its effect may have happened."""
    if _open:
        info = order.info
        run = show("run", order.run_id)
        _open[-1].write(
            Effect(run, info.step, info.idempotency_key, info.attempt, info.run.attempt)
        )


# --- what must be true of it ----------------------------------------------------------------------


def breaches(
    effects: Iterable[Effect], store: Store, run_ids: Iterable[bytes], registry: Registry
) -> list[str]:
    """What the ledger and the histories of these runs do not agree on, in sentences. Every step of
    these runs has to call `note` once per attempt."""
    done: defaultdict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
    by_run: defaultdict[str, set[str]] = defaultdict(set)
    for effect in effects:
        done[effect.key][effect.step, effect.run_attempt] += 1
        by_run[effect.run].add(effect.key)
    found: list[str] = []
    for run in store.get_runs(list(run_ids)).values():
        asked: set[str] = set()
        for step, key, is_finished in _steps_of(run, store.history(run.id), registry):
            asked.add(key)
            kinds = done.get(key, Counter())
            if is_finished and not kinds:
                found.append(f"{run.task}: step {step} completed without any effect")
            if len({name for name, _ in kinds}) > 1:
                found.append(f"{run.task}: one key for {sorted(kinds)}")
            is_once = step in registry and registry.get(step).settings.at_most_once
            if is_once and max(kinds.values(), default=0) > 1:
                found.append(f"{run.task}: {step} is at_most_once and ran {kinds} times")
        strange = by_run[show("run", run.id)] - asked
        found += [f"{run.task}: effects under a key of no step: {done[key]}" for key in strange]
    return found


def _steps_of(
    run: Run, history: list[tuple[int, Event]], registry: Registry
) -> Iterator[tuple[str, str, bool]]:
    """The steps that each chapter asked for: name, idempotency key, whether it finished. By a
    replay, because calls that were given up leave no row, and count among equal ones."""
    for _, rows in groupby(history, key=lambda row: row[0]):
        events = [event for _, event in rows]
        info = run_info(run, events[0])
        finished = {event.ordinal for event in events if event.kind == Kind.STEP_FINISHED}
        equal: Counter[tuple[str, int]] = Counter()
        for one in _issued(registry.get(run.task), info, events):
            if one.verb == "step":
                repeat = equal[one.name, one.digest]
                equal[one.name, one.digest] += 1
                call = StepCallInfo(info, one.name, 1, one.digest, repeat)
                yield one.name, call.idempotency_key, one.ordinal in finished


def _issued(runnable: AnyRunnable, info: RunInfo, events: list[Event]) -> list[Issued]:
    if not events or events[0].kind != Kind.STARTED:
        return []
    with silent():
        history = History(events)
        execution = Execution(runnable, info, history)
        execution.issued = []
        for fact in history.facts:
            execution.apply(fact)
        issued = list(execution.issued)
        execution.close()
    return issued
