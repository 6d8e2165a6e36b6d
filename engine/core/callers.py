"""What starts runs, where a step's code calls it: a plain call there, done when it returns.

In an async step it does not hold up the other ones: it is under way when the call returns, and done
when it is awaited, or when the step ends.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from wf.engine.core.operation import Operation
from wf.history.errors import NotInStep

if TYPE_CHECKING:
    from wf.engine.core.batches import BatchHandle
    from wf.engine.core.decisions import Member
    from wf.engine.core.handles import RunHandle
    from wf.engine.core.runnable import Runnable

H = TypeVar("H")
H_co = TypeVar("H_co", covariant=True)


class Begun(Protocol[H_co]):
    """Runs that a step has called for."""

    is_under_way: bool
    """False: it begins when it is awaited."""

    @property
    def handle(self) -> H_co:
        """Raises RuntimeError where it has to be awaited first."""
        ...

    def __await__(self) -> Generator[Any, Any, H_co]: ...


class StepCaller(Protocol):
    """The step whose code calls: makes runs for it. Raises NotInStep, and what the store raises."""

    def trigger(
        self, runnable: Runnable[..., Any], payload: bytes, options: dict[str, Any]
    ) -> Begun[RunHandle[Any]]: ...

    def batch_trigger(
        self, runnable: Runnable[..., Any], members: Sequence[Member], connection: Any
    ) -> Begun[BatchHandle[Any]]: ...


class Trigger(Operation[H]):
    """Starts runs and goes on. Await it for the handle; in a step the plain call starts them, and
    has the handle."""

    __slots__ = ("_begun",)
    _begun: Begun[H]

    def begin_in(self, step: StepCaller) -> bool:
        self._begun = self.call_in(step)
        return self._begun.is_under_way

    def call_in(self, step: StepCaller) -> Begun[H]:
        raise NotImplementedError

    @property
    def handle(self) -> H:
        """In a step: of what it started. Raises RuntimeError where it has to be awaited first (in
        bodies, in async steps)."""
        begun = getattr(self, "_begun", None)
        if begun is None:
            raise RuntimeError(f"a {self.verb} has its handle when it was awaited: write `await`")
        return begun.handle

    @property
    def id(self) -> str:
        """Of the handle."""
        handle: Any = self.handle
        return handle.id

    def outside(self) -> Coroutine[Any, Any, H]:
        begun = getattr(self, "_begun", None)
        return self.just_do() if begun is None else _awaited(begun)

    def just_do(self) -> Coroutine[Any, Any, H]:
        """What awaiting it does where neither a body nor a step is running."""
        raise NotImplementedError


def cannot_wait(what: str, instead: str = "") -> NotInStep:
    remedy = f", or start it and go on, `{instead}`" if instead else ""
    return NotInStep(
        f"a step cannot wait for {what}, it would hold its worker meanwhile: "
        f"wait in the body of a task{remedy}"
    )


async def _awaited(begun: Begun[H]) -> H:
    return await begun
