"""Which runnables a process knows, by id."""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from types import ModuleType
from typing import Any, cast

from wf.engine.core.hooks import NO_HOOKS, Hooks, Init
from wf.engine.core.runnable import Runnable
from wf.engine.middleware import Middleware, surrounded
from wf.history.errors import DeclarationError, UnknownTask
from wf.history.hooks import is_of_hooks
from wf.history.queues import Limits

AnyRunnable = Runnable[..., Any]


def check_runnable(value: object) -> None:
    """Raise DeclarationError for what is no step or task."""
    if not isinstance(value, Runnable):
        name = getattr(value, "__name__", repr(value))
        raise DeclarationError(f"{name} is no task: put @wf.task above its `async def`")


class Registry:
    """Runnables by id. The same function seen twice is one; two functions with one id are an error
    naming both lines."""

    def __init__(self, items: Iterable[AnyRunnable | ModuleType] = ()) -> None:
        self._by_id: dict[str, AnyRunnable] = {}
        self._hooks: dict[str, Hooks] = {}
        self.inits: tuple[Init, ...] = ()
        """What a worker calls before it begins."""
        for item in items:
            if isinstance(item, ModuleType):
                self.add_module(item)
            else:
                self.add(item)

    def add(self, runnable: AnyRunnable) -> None:
        check_runnable(runnable)
        known = self._by_id.get(runnable.id)
        if known is not None and known.location != runnable.location:
            raise DeclarationError(
                f"two runnables are called {runnable.id!r}: {known.location} and "
                f"{runnable.location}; give one of them another id="
            )
        self._by_id[runnable.id] = runnable

    def replace(self, runnable: AnyRunnable) -> None:
        """The newer wins (notebooks, reload)."""
        self._by_id[runnable.id] = runnable

    def add_module(self, module: ModuleType) -> None:
        """What a module's globals define."""
        for value in list(vars(module).values()):
            if isinstance(value, Runnable):
                self.add(cast("AnyRunnable", value))

    def with_hooks(self, everywhere: Hooks = NO_HOOKS) -> Registry:
        """The same with what its hooks ask for, and those that hold `everywhere`: for each runnable
        that has some, the task of its hook runs; and each `init` once."""
        hooked = Registry(self)
        given = [everywhere, *(runnable.hooks for runnable in self)]
        hooked.inits = tuple(dict.fromkeys(init for hooks in given for init in hooks.init))
        for runnable in self:
            hooks = everywhere + runnable.hooks
            if hooks:
                from wf.engine.telling import hooks_task

                hooked._hooks[runnable.id] = hooks
                hooked.add(hooks_task(runnable, hooks))
        return hooked

    def with_middleware(self, around: Sequence[Middleware]) -> Registry:
        """The same with these around the bodies of its tasks, but for those that tell hooks."""
        for runnable in list(self) if around else ():
            if runnable.kind == "task" and not is_of_hooks(runnable.id):
                self.replace(surrounded(runnable, around))
        return self

    @property
    def has_hooks(self) -> bool:
        return bool(self._hooks)

    def hooks_of(self, id: str) -> Hooks:
        return self._hooks.get(id, NO_HOOKS)

    @property
    def hooked_ends(self) -> dict[str, int]:
        """As `WorkerInfo.hooks`."""
        return {id: hooks.ends for id, hooks in self._hooks.items() if hooks.ends}

    def get(self, id: str) -> AnyRunnable:
        try:
            return self._by_id[id]
        except KeyError:
            raise UnknownTask(
                f"no task {id!r} here; there are {', '.join(sorted(self._by_id)) or 'none'}"
            ) from None

    def __contains__(self, id: str) -> bool:
        return id in self._by_id

    def __iter__(self) -> Iterator[AnyRunnable]:
        return iter(self._by_id.values())

    @property
    def ids(self) -> list[str]:
        return list(self._by_id)

    @property
    def queues(self) -> dict[str, str]:
        """Task by task that has one."""
        found = {runnable.id: runnable.settings.queue for runnable in self}
        return {task: queue for task, queue in found.items() if queue is not None}

    @property
    def limits(self) -> dict[str, Limits]:
        """What decorators say of queues. Raises DeclarationError where two contradict each
        other."""
        found: dict[str, tuple[Limits, AnyRunnable]] = {}
        for runnable in self:
            queue, limits = runnable.settings.queue, runnable.settings.limits
            if queue is None or limits is None:
                continue
            known, first = found.setdefault(queue, (limits, runnable))
            if known != limits:
                raise DeclarationError(
                    f"the queue {queue!r} has other limits at {runnable.location} than at "
                    f"{first.location}: name one wf.Queue(…), and give that to both"
                )
        return {queue: limits for queue, (limits, _) in found.items()}

    @property
    def code(self) -> str:
        """A content hash of the code of all runnables: parked runs are tried again where it
        differs."""
        digest = blake2b(digest_size=8)
        for id, runnable in sorted(self._by_id.items()):
            digest.update(id.encode() + marshal.dumps(runnable.fn.__code__))
        return digest.hexdigest()
