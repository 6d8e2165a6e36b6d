"""What came back from steps, and is not applied yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from typing import Final

from wf.engine.attempts import StepOutcome
from wf.engine.steps import StepOrder

GROUP_BYTES: Final = 64 * 1024 * 1024
"""Results of steps in one commit: Postgres takes no message of 1 GB."""


class Results:
    """In the order in which they came. Any thread adds."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[StepOrder, StepOutcome]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, order: StepOrder, outcome: StepOutcome) -> None:
        self._waiting.append((order, outcome))

    def take(self, but: Container[bytes] = ()) -> Iterator[tuple[StepOrder, StepOutcome]]:
        """As many as one commit holds; of the runs `but` none, they stay."""
        room = GROUP_BYTES
        later: list[tuple[StepOrder, StepOutcome]] = []
        while self._waiting and room > 0:
            order, outcome = self._waiting.popleft()
            if order.run_id in but:
                later.append((order, outcome))
                continue
            room -= len(outcome.data or b"")
            yield order, outcome
        self._waiting.extendleft(reversed(later))
