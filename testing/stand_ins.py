"""What stands in for steps and child tasks in a test, and what they were called with."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from wf.engine.core.callables import is_async
from wf.engine.core.runnable import Runnable
from wf.history.errors import DeclarationError
from wf.history.ids import show

if TYPE_CHECKING:
    from wf.engine.steps import StepOrder

EXAMPLES: Final = 20
"""Drawn of a strategy where no `@given` draws: the same ones each time, in turn."""

AnyRunnable = Runnable[..., Any]
StandIn = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt of a step, as the world outside saw it. `arguments`: by name; `key`: its
    idempotency key; `at`: ms since the epoch, in virtual time."""

    step: str
    arguments: dict[str, Any]
    run: str
    attempt: int
    key: str
    at: int


@dataclass
class StandIns:
    """By id of the runnable. `calls`: all attempts that were begun, in order. `only_tasks`:
    somebody else says what runs in the place of steps."""

    by_id: dict[str, StandIn] = field(default_factory=dict[str, StandIn])
    calls: list[Call] = field(default_factory=list[Call])
    only_tasks: bool = False

    def add(self, target: AnyRunnable | str, stand_in: StandIn) -> None:
        self.by_id[id_of(target)] = stand_in

    def take(self, order: StepOrder, at: int) -> None:
        """Note an attempt that begins, and put what stands in for it in its place."""
        runnable = order.runnable
        args, kwargs = runnable.signature.decode_call(order.arguments)
        named = inspect.signature(runnable.signature.fn).bind(*args, **kwargs).arguments
        info = order.info
        run = show("run", order.run_id)
        call = Call(runnable.id, dict(named), run, info.attempt, info.idempotency_key, at)
        self.calls.append(call)
        stand_in = self.by_id.get(runnable.id)
        if stand_in is not None and not self.only_tasks:
            order.runnable = with_fn(runnable, stand_in)

    def of_task(self, task: AnyRunnable) -> AnyRunnable:
        """What runs in the place of a task: a run with one step in it."""
        stand_in = self.by_id.get(task.id)
        if stand_in is None or task.kind == "step":
            return task
        copied = with_fn(task, stand_in)
        copied.kind = "step"
        vars(copied).pop("body", None)
        return copied


def id_of(target: AnyRunnable | str) -> str:
    return target.id if isinstance(target, Runnable) else target


def stand_in_of(by: object) -> StandIn:
    """A function, a runnable's function, or one that draws from a Hypothesis strategy."""
    if isinstance(by, Runnable):
        return by.fn  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if is_strategy(by):
        return partial(_drawn, by, iter(_Drawn(by)))
    if callable(by):
        return by
    raise DeclarationError(
        f"{by!r} cannot stand in for a step: give a function, a strategy, returns= or raises="
    )


def is_strategy(value: object) -> bool:
    """Of Hypothesis, which is not imported for that."""
    return any(kind.__name__ == "SearchStrategy" for kind in type(value).__mro__)


def returning(value: Any) -> StandIn:
    return partial(_returned, value)


def raising(error: BaseException | type[BaseException]) -> StandIn:
    return partial(_raised, error)


def _returned(value: Any, *_: Any, **__: Any) -> Any:
    return copy.deepcopy(value)


def _raised(error: BaseException | type[BaseException], *_: Any, **__: Any) -> Any:
    raise error() if isinstance(error, type) else copy.copy(error)


def _drawn(strategy: Any, values: Iterator[Any], *_: Any, **__: Any) -> Any:
    return next(values)


class _Drawn:
    """Values of a strategy: from the test's own draws under `@given`, else a few that are always
    the same."""

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy

    def __iter__(self) -> Iterator[Any]:
        import hypothesis.control as control

        examples: Iterator[Any] | None = None
        while True:
            if control.currently_in_test_context():
                yield control.current_build_context().data.draw(self._strategy)
            else:
                examples = examples or cycle(examples_of(self._strategy))
                yield next(examples)


def examples_of(strategy: Any) -> list[Any]:
    """The same ones each time."""
    from hypothesis import HealthCheck, Phase, given, settings

    found: list[Any] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(strategy)
    def draw(value: Any) -> None:
        found.append(value)

    draw()
    return found


def with_fn(runnable: AnyRunnable, stand_in: StandIn) -> AnyRunnable:
    copied = copy.copy(runnable)
    copied.is_async = is_async(stand_in)
    copied.fn = _as_async(stand_in) if copied.is_async else stand_in
    return copied


def _as_async(fn: StandIn) -> StandIn:
    """What `inspect` knows to be a coroutine function."""
    if inspect.iscoroutinefunction(fn):
        return fn

    async def call(*args: Any, **kwargs: Any) -> Any:
        return await fn(*args, **kwargs)

    return call
