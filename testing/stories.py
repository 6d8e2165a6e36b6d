"""A story that was told: what invariants are asked about, and what people read of a bad one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from wf.client.views import EventView, RunView
from wf.engine.core.durations import show_duration
from wf.engine.registry import AnyRunnable
from wf.history.events import Status
from wf.testing.effects import Effect, Effects
from wf.testing.run import Run
from wf.testing.stand_ins import Call, id_of
from wf.testing.story import failure, value
from wf.testing.telling import Telling

MAX_LINES: Final = 200


@dataclass(frozen=True, slots=True)
class Life:
    """A run of a story, in the end. `lines`: its history in sentences."""

    view: RunView
    history: Sequence[EventView]
    lines: Sequence[str]


@dataclass(frozen=True)
class Story:
    """What came of one telling. `runs`: the run itself first, then those that it started.
    `effects_seen`: all that fakes told of the world outside. `lines`: who did what, ms after the
    beginning."""

    task: str
    payload: Any
    runs: Sequence[Life]
    effects_seen: Effects
    attempts_seen: Sequence[Call]
    lines: Sequence[tuple[int, str]]
    moves: Sequence[Any]
    took: timedelta
    again: Sequence[str] = field(default=(), compare=False)
    """How it is told again."""

    @property
    def status(self) -> Status:
        return self.runs[0].view.status

    @property
    def ended(self) -> bool:
        return self.status.ended

    @property
    def output(self) -> Any:
        """As plain JSON."""
        return self.runs[0].view.output

    @property
    def history(self) -> Sequence[EventView]:
        """Of the run itself."""
        return self.runs[0].history

    def effects(self, what: str) -> Sequence[Effect]:
        """What `wf.testing.effect(what)` told; of those with one key the first."""
        return self.effects_seen.of(what)

    def attempts(self, step: AnyRunnable | str) -> Sequence[Call]:
        """All that were begun, by any worker."""
        return [call for call in self.attempts_seen if call.step == id_of(step)]

    def calls(self, step: AnyRunnable | str) -> Sequence[Call]:
        """The first attempt of each call."""
        return list({call.key: call for call in reversed(self.attempts(step))}.values())[::-1]

    def __repr__(self) -> str:
        end = self._end()
        lines = [
            f"  {number:>3}. +{show_duration(at):<8} {line}"
            if not line.startswith(" ")
            else f"       +{show_duration(at):<8} {line}"
            for number, (at, line) in _numbered(self.lines[:MAX_LINES])
        ]
        return "\n".join(
            [f"the story of {self.task}({self.payload!r})", *lines, f"  {end}", *self.again]
        )

    def _end(self) -> str:
        run = self.runs[0].view
        took = show_duration(round(self.took.total_seconds() * 1_000))
        if run.blocked is not None:
            return f"it is parked after {took}: {run.blocked.detail}"
        if not run.status.ended:
            return f"it has not ended after {took}"
        said = value(run.output) if run.error is None else failure(_told(run))
        return f"it ends {run.status} after {took}: {said}"


def _told(run: RunView) -> dict[str, str]:
    assert run.error is not None
    return {"type": run.error.type, "message": run.error.message}


def _numbered(lines: Sequence[tuple[int, str]]) -> list[tuple[int, tuple[int, str]]]:
    """Effects carry no number of their own."""
    numbered: list[tuple[int, tuple[int, str]]] = []
    count = 0
    for line in lines:
        count += not line[1].startswith(" ")
        numbered.append((count, line))
    return numbered


def story_told(telling: Telling, run: Run[Any], payload: Any, begin_ms: int, test: str) -> Story:
    env = telling.env
    others = [one for one in env.runs if one.raw_id != run.raw_id]
    lives = [Life(one.retrieve(), one.history(), one.story) for one in (run, *others)]
    return Story(
        run.task,
        payload,
        lives,
        telling.effects,
        list(env.stand_ins.calls),
        [(at - begin_ms, line) for at, line in telling.lines],
        list(telling.moves),
        timedelta(milliseconds=env.clock.now() - begin_ms),
        _code(test, payload, telling.moves),
    )


def _code(test: str, payload: Any, moves: Sequence[Any]) -> list[str]:
    return [
        "to tell it again:",
        f"    {test}.retell(",
        f"        {payload!r},",
        "        [",
        *(f"            {move!r}," for move in moves),
        "        ],",
        "    )",
    ]
