"""What leaves a worker after a commit."""

from __future__ import annotations

from msgspec import Struct

from wf.engine.core.decisions import Log, RunStep


class Effects(Struct):
    """What leaves after the commit."""

    run_steps: list[RunStep] = []
    stop_steps: list[int] = []
    logs: list[Log] = []
