"""Hooks: functions that are told of a moment of a run.

A hook takes one event (`wf.engine.telling`) and may be `def`, `async def` or a `@wf.step`, whose
own retry policy then holds for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypedDict, TypeVar, cast

from wf.history.errors import DeclarationError
from wf.history.events import Status
from wf.history.hooks import RESUMED, STARTED, WAITING, bit

if TYPE_CHECKING:
    from wf.engine import telling

R = TypeVar("R")
T = TypeVar("T")

Hook = Callable[[Any], object]
"""It is given the event; what it returns is dropped (a coroutine is awaited)."""
GivenHooks = Hook | Iterable[Hook]
"""One, or several in the order in which they are called."""


Init = Callable[[], object]
GivenInits = Init | Iterable[Init]


class HookOptions(TypedDict, total=False):
    """What decorators and `wf.Config` take."""

    init: GivenInits
    on_start: GivenHooks
    on_wait: GivenHooks
    on_resume: GivenHooks
    on_success: GivenHooks
    on_failure: GivenHooks
    on_cancel: GivenHooks
    on_complete: GivenHooks


_NAMES: Final = {
    STARTED: ("on_start",),
    WAITING: ("on_wait",),
    RESUMED: ("on_resume",),
    Status.COMPLETED.value: ("on_success", "on_complete"),
    Status.FAILED.value: ("on_failure", "on_complete"),
    Status.TIMED_OUT.value: ("on_failure", "on_complete"),
    Status.EXPIRED.value: ("on_failure", "on_complete"),
    Status.CANCELED.value: ("on_cancel", "on_complete"),
}
"""By moment: whose turn it is."""
MOMENTS: Final = tuple(_NAMES)


@dataclass(frozen=True, slots=True)
class Hooks:
    """Of a runnable, or of a project. Those of one moment are called in order, one after the
    other. `init`: before a worker begins."""

    init: tuple[Init, ...] = ()
    on_start: tuple[Hook, ...] = ()
    on_wait: tuple[Hook, ...] = ()
    on_resume: tuple[Hook, ...] = ()
    on_success: tuple[Hook, ...] = ()
    on_failure: tuple[Hook, ...] = ()
    on_cancel: tuple[Hook, ...] = ()
    on_complete: tuple[Hook, ...] = ()

    def __add__(self, others: Hooks) -> Hooks:
        """First these, then the others."""
        return Hooks(*(getattr(self, name) + getattr(others, name) for name in HOOK_NAMES))

    def __bool__(self) -> bool:
        """A run has moments of which somebody is told."""
        return bool(
            self.on_complete
            or self.on_failure
            or self.on_success
            or self.on_cancel
            or self.on_start
            or self.on_wait
            or self.on_resume
        )

    def of(self, moment: str) -> list[tuple[str, Hook]]:
        """(name of the hook, function), in order. `moment`: see `history.hooks`."""
        return [(name, hook) for name in _NAMES[moment] for hook in getattr(self, name)]

    @property
    def ends(self) -> int:
        """Which ends have hooks, as `runnables.hooks` holds it."""
        return sum(bit(status) for status in Status if status.ended and self.of(status))


HOOK_NAMES: Final = tuple(field.name for field in fields(Hooks))
NO_HOOKS: Final = Hooks()


def hooks_of(options: Mapping[str, Any], where: str) -> Hooks:
    """The hooks among options. Raises DeclarationError for what cannot be called with one event."""
    given: dict[str, Any] = {name: options.get(name) for name in HOOK_NAMES}
    checked: dict[str, Any] = {
        name: _checked(hooks, name, where) for name, hooks in given.items() if hooks
    }
    return Hooks(**checked)


def _checked(given: Any, name: str, where: str) -> tuple[Hook, ...]:
    if callable(given):
        return (cast("Hook", given),)
    several = isinstance(given, Iterable) and not isinstance(given, str)
    found: list[Any] = list(given) if several else [given]  # pyright: ignore[reportUnknownArgumentType]
    for hook in found:
        if not callable(hook):
            raise DeclarationError(
                f"{where}: {name}={hook!r}: give a function of one event, or a list of them"
            )
    return tuple(found)


class Hookable(Generic[R]):
    """What has hooks, to which more are added by decorators: `@onboarding.on_failure`."""

    hooks: Hooks

    def init(self, function: Callable[[], T], /) -> Callable[[], T]:
        """Once in each worker, before its first run."""
        return self._add("init", function)

    def on_start(self, hook: Callable[[telling.Started], T], /) -> Callable[[telling.Started], T]:
        """The body begins for the first time: once for each run."""
        return self._add("on_start", hook)

    def on_wait(self, hook: Callable[[telling.Waiting], T], /) -> Callable[[telling.Waiting], T]:
        """Nothing of the run is under way until something outside happens: once for each wait."""
        return self._add("on_wait", hook)

    def on_resume(self, hook: Callable[[telling.Resumed], T], /) -> Callable[[telling.Resumed], T]:
        """The run goes on after a wait."""
        return self._add("on_resume", hook)

    def on_success(
        self, hook: Callable[[telling.Succeeded[R]], T], /
    ) -> Callable[[telling.Succeeded[R]], T]:
        """COMPLETED."""
        return self._add("on_success", hook)

    def on_failure(self, hook: Callable[[telling.Failed], T], /) -> Callable[[telling.Failed], T]:
        """FAILED, TIMED_OUT, EXPIRED."""
        return self._add("on_failure", hook)

    def on_cancel(
        self, hook: Callable[[telling.Canceled], T], /
    ) -> Callable[[telling.Canceled], T]:
        """CANCELED, also before the body began."""
        return self._add("on_cancel", hook)

    def on_complete(
        self, hook: Callable[[telling.Completed[R]], T], /
    ) -> Callable[[telling.Completed[R]], T]:
        """Ended, in whatever way; after the hooks of that way."""
        return self._add("on_complete", hook)

    def _add(self, name: str, hook: Any) -> Any:
        [checked] = _checked(hook, name, f"@{name}")
        self.hooks = replace(self.hooks, **{name: (*getattr(self.hooks, name), checked)})
        return hook
