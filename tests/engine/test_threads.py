"""The threads in which sync steps run."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any

import pytest

from tests.observing import DEADLINE_SECONDS, until
from wf.engine import steps
from wf.engine.steps import Threads


class Slow(SimpleQueue[Any]):
    """Who takes something goes on when `gate` is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked = 0

    def get(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        order = super().get()
        self.gate.wait(DEADLINE_SECONDS)
        return order


def test_a_step_that_lasts_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the one either that comes when a thread has taken an order, and not begun it."""
    orders = Slow()
    monkeypatch.setattr(steps, "SimpleQueue", lambda: orders)
    meeting = threading.Barrier(3)

    def run(order: Any) -> None:
        if order:
            meeting.wait(DEADLINE_SECONDS)

    threads = Threads(8, run, "test")
    orders.gate.set()
    nothing: Any = False
    lasting: Any = True
    threads.start(nothing)
    until(lambda: orders.asked == 2)
    orders.gate.clear()
    threads.start(lasting)
    until(lambda: orders.qsize() == 0)
    threads.start(lasting)
    orders.gate.set()
    meeting.wait(DEADLINE_SECONDS / 6)
    threads.stop()
