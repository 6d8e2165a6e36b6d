"""`@wf.testing.crash_everywhere`: a test of somebody's, with the worker lost at every place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial, wraps
from itertools import combinations
from typing import Any, Final, TypeVar, overload

from wf.engine.replaying import replay_all
from wf.history.errors import DeclarationError
from wf.testing.cuts import Cuts, How
from wf.testing.environment import Env

F = TypeVar("F", bound=Callable[..., Any])

FACTS: Final = frozenset({"commit", "commit_step", "note"})
"""The writes by which a worker adds to histories."""
MOST_PAIRS: Final = 100
"""Of two cuts in one life; more are spread evenly. A pair takes as long as the test itself."""


@overload
def crash_everywhere(test: F, /) -> F: ...
@overload
def crash_everywhere(*, pairs: bool = True, most_pairs: int = MOST_PAIRS) -> Callable[[F], F]: ...
def crash_everywhere(
    test: Any = None, /, *, pairs: bool = True, most_pairs: int = MOST_PAIRS
) -> Any:
    """Run a test that takes `wf_env` once in peace, then once for every fact that its worker
    writes, with the worker lost before it is written, and again with it lost after; then with two
    losses, at each pair of them (at most `most_pairs`).

    The env is reset before each, all else is the test's own: it makes its fakes itself. Besides the
    test's assertions it must hold that no run is parked, that all histories replay, and that the
    runs end as they did in peace. A failure has a note that says where the worker was lost.
    """
    most = most_pairs if pairs else 0
    return partial(_wrapped, most) if test is None else _wrapped(most, test)


def _wrapped(most_pairs: int, test: Any) -> Any:
    if inspect.iscoroutinefunction(test):

        @wraps(test)
        async def lives_async(*args: Any, **kwargs: Any) -> None:
            for life in _lives(env_of(test, args, kwargs), most_pairs):
                with life:
                    await test(*args, **kwargs)

        return lives_async

    @wraps(test)
    def lives(*args: Any, **kwargs: Any) -> None:
        for life in _lives(env_of(test, args, kwargs), most_pairs):
            with life:
                test(*args, **kwargs)

    return lives


def env_of(test: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Env:
    """Among its arguments. Raises DeclarationError."""
    found = [value for value in (*args, *kwargs.values()) if isinstance(value, Env)]
    if len(found) != 1:
        name = getattr(test, "__name__", "the test")
        raise DeclarationError(f"{name} takes no env: write `def {name}(wf_env)`")
    return found[0]


class _Life:
    """The test, once."""

    def __init__(self, env: Env, cuts: dict[int, How], of: _Life | None) -> None:
        self._env = env
        self._cuts = cuts
        self._peace = of
        self.ends: list[tuple[str, str]] = []
        self.facts = 0
        self._door = Cuts(cuts, FACTS)

    def __enter__(self) -> None:
        self._env.reset(self._door)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is None:
                self._check()
        except AssertionError as breach:
            error = breach
            raise
        finally:
            if error is not None and self._peace is not None:
                error.add_note(self._where(self._peace.facts))
        self.facts = self._door.writes

    def _check(self) -> None:
        env = self._env
        for run in env.runs:
            blocked = run.retrieve().blocked
            assert blocked is None, f"{run.task} is parked: {blocked.detail}"
        self.ends = sorted((run.task, str(run.status)) for run in env.runs)
        if env.world.memory is not None:
            breaches = replay_all(env.world.store, env.world.registry)
            assert not breaches, f"a history does not replay: {breaches[0]}"
        if self._peace is not None:
            assert self.ends == self._peace.ends, "the runs end otherwise than in peace"

    def _where(self, facts: int) -> str:
        lost = " and ".join(
            f"{'before' if how is How.LOST_BEFORE else 'after'} write {number} of {facts}"
            for number, how in self._cuts.items()
        )
        told = "".join(f"\n{run!r}" for run in self._env.runs)
        return f"the worker was lost {lost}; what happened:{told}"


def _lives(env: Env, most_pairs: int) -> Iterator[_Life]:
    peace = _Life(env, {}, None)
    yield peace
    for number in range(1, peace.facts + 1):
        for how in (How.LOST_BEFORE, How.LOST_AFTER):
            yield _Life(env, {number: how}, peace)
    pairs = list(combinations(range(1, peace.facts + 2), 2))
    step = max(1, -(-len(pairs) // most_pairs)) if most_pairs else len(pairs) + 1
    kinds = [How.LOST_AFTER, How.LOST_BEFORE]
    for first, second in pairs[::step] if most_pairs else []:
        both = {first: kinds[first % 2], second: kinds[(first + second) % 2]}
        yield _Life(env, both, peace)
