"""Who watches a worker: the live tree of `wf run`."""

from __future__ import annotations

from typing import Protocol

from wf.engine.core.decisions import RunStep
from wf.history.events import Event
from wf.history.model import Activation, Run


class Observer(Protocol):
    """Called in the worker's thread, after commits."""

    def claimed(self, run: Run, events: list[Event]) -> None: ...
    def step_started(self, run: Run, step: RunStep, attempt: int) -> None: ...
    def committed(self, run: Run, activation: Activation) -> None: ...
