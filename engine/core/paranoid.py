"""Paranoid mode: a second body is fed the same facts and has to decide the same, arguments
included.

It finds at once what would park the run days later: a clock, chance, an environment variable, a
global that the body reads. The second body is built again from nothing at activations 1, 2, 4, 8, …
and at the end, so that a run costs at most twice the operations in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from wf.engine.core.decisions import Decision, End, Log, RunStep
from wf.engine.core.execution import Execution
from wf.engine.core.info import RunInfo
from wf.engine.core.replay import replay
from wf.history.errors import NonDeterminism
from wf.history.events import Event, Failure
from wf.history.ids import show

if TYPE_CHECKING:
    from wf.engine.core.runnable import Runnable


MAX_SHOWN: Final = 300
"""Characters of a decision in the message: enough to see what differs."""


class Paranoid:
    """The second body of a run.

    `silent`: a context in which nothing that the body prints comes out.
    """

    def __init__(
        self,
        runnable: Runnable[..., Any],
        run: RunInfo,
        events: Sequence[Event],
        silent: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._runnable = runnable
        self._run = run
        self._silent = silent
        self._events = list(events)
        self._activations = 0
        self._twin = self._build()

    def check(self, rows: Sequence[Event], decisions: Sequence[Decision], *, ended: bool) -> None:
        """The live body decided this on a fact. `rows`: the fact and the records of the decisions.

        Raises NonDeterminism where the second body does not decide the same.
        """
        fact = rows[0]
        self._events += rows
        self._activations += 1
        with self._silent():
            self._compare(decisions, self._twin.apply(fact))
        if ended or self._activations & (self._activations - 1) == 0:
            self._twin.close()
            self._twin = self._build()
            if ended:
                self._compare([self._twin.ended] if self._twin.ended else [], decisions[-1:])

    def close(self) -> None:
        with self._silent():
            self._twin.close()

    def _build(self) -> Execution:
        with self._silent():
            return replay(self._runnable, self._run, self._events)[0]

    def _compare(self, decisions: Sequence[Decision], others: Sequence[Decision]) -> None:
        mine = [decision for decision in decisions if not isinstance(decision, Log)]
        theirs = [decision for decision in others if not isinstance(decision, Log)]
        for index in range(max(len(mine), len(theirs))):
            first = mine[index] if index < len(mine) else None
            second = theirs[index] if index < len(theirs) else None
            if first != second and not _end_alike(first, second):
                raise NonDeterminism(
                    f"WF1001 {self._run.task} {show('run', self._run.id)}: "
                    "the body decides differently when it runs again on the same facts\n"
                    f"  - {_describe(first)}\n  + {_describe(second)}\n"
                    "  likely: a clock, chance, the environment or a global variable in the body\n"
                    "  next: use wf.now(), wf.random(), wf.uuid4(), or move it into `@wf.step`",
                    ordinal=getattr(first or second, "ordinal", 0),
                )


def _end_alike(first: Decision | None, second: Decision | None) -> bool:
    """Bodies that fail the same way, if not in the same words: those may hold an address."""
    return (
        isinstance(first, End)
        and isinstance(second, End)
        and (first.status, first.output, first.failed)
        == (second.status, second.output, second.failed)
        and Failure.decode(first.failure).type == Failure.decode(second.failure).type
    )


def _describe(decision: Decision | None) -> str:
    match decision:
        case None:
            return "nothing"
        case RunStep():
            call = f"{decision.step}({decision.arguments.decode()})"
            return f"operation {decision.ordinal}: step {call[:MAX_SHOWN]}"
        case _:
            return repr(decision)[:MAX_SHOWN]
