"""What leaves a worker after a commit."""

from __future__ import annotations

from dataclasses import dataclass, field

from wf.engine.core.decisions import Log, RunStep
from wf.history.model import EMPTY


@dataclass(slots=True)
class Effects:
    """What leaves after the commit."""

    run_steps: list[RunStep] = field(default_factory=EMPTY)
    stop_steps: list[int] = field(default_factory=EMPTY)
    logs: list[Log] = field(default_factory=EMPTY)
