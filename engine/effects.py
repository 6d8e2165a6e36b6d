"""What leaves a worker after a commit."""

from __future__ import annotations

from dataclasses import dataclass, field

from wf.engine.core.decisions import Log, RunStep
from wf.history.model import NEW_LIST


@dataclass(slots=True)
class Effects:
    """What leaves after the commit."""

    run_steps: list[RunStep] = field(default_factory=NEW_LIST)
    stop_steps: list[int] = field(default_factory=NEW_LIST)
    logs: list[Log] = field(default_factory=NEW_LIST)
