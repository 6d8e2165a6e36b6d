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
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from wf.engine.author import current
from wf.engine.registry import Registry
from wf.history.events import Event, Kind
from wf.history.store import Run, Store


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


# --- what must be true of it ----------------------------------------------------------------------


def breaches(
    effects: Iterable[Effect], store: Store, run_ids: Iterable[bytes], registry: Registry
) -> list[str]:
    """What the ledger and the histories of these runs do not agree on, in sentences. Every step of
    these runs has to call `note` once per attempt."""
    done: defaultdict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
    for effect in effects:
        done[effect.key][effect.step, effect.run_attempt] += 1
    found: list[str] = []
    for run in store.get_runs(list(run_ids)).values():
        for event, key in _steps_of(run, store.history(run.id)):
            kinds = done.get(key, Counter())
            if event.kind == Kind.STEP_FINISHED and not kinds:
                found.append(f"{run.task}: step {event.name} completed without any effect")
            if len({step for step, _ in kinds}) > 1:
                found.append(f"{run.task}: one key for {sorted(kinds)}")
            if event.name not in registry or not registry.get(event.name).settings.at_most_once:
                continue
            if max(kinds.values(), default=0) > 1:
                found.append(f"{run.task}: {event.name} is at_most_once and ran {kinds} times")
    return found


def _steps_of(run: Run, history: list[tuple[int, Event]]) -> Iterator[tuple[Event, str]]:
    """The ends of steps in each chapter, with the idempotency key that the attempts had."""
    from wf.engine.author import StepCallInfo
    from wf.engine.body import run_info

    chapters: defaultdict[int, list[Event]] = defaultdict(list)
    for chapter, event in history:
        chapters[chapter].append(event)
    info = run_info(run)
    for events in chapters.values():
        equal: Counter[tuple[str, int]] = Counter()
        asked: dict[int, int] = {}
        for event in sorted(events, key=lambda event: event.ordinal):
            if event.kind in _OF_STEPS and event.ordinal not in asked:
                asked[event.ordinal] = equal[event.name, event.digest]
                equal[event.name, event.digest] += 1
        for event in events:
            if event.kind in _ENDS:
                call = StepCallInfo(
                    info, event.name, 1, event.digest, asked[event.ordinal], lambda: False
                )
                yield event, call.idempotency_key


_ENDS: Final = frozenset({Kind.STEP_FINISHED, Kind.STEP_FAILED})
_OF_STEPS: Final = _ENDS | {Kind.STEP_STARTED, Kind.STEP_ATTEMPT_FAILED}
