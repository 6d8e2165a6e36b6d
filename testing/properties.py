"""`@wf.testing.always(task)`: what holds in every story of a workflow."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.control import current_build_context

from wf.engine.core.durations import Duration, milliseconds
from wf.engine.core.runnable import Runnable
from wf.engine.registry import AnyRunnable
from wf.engine.replaying import replay_all
from wf.history.errors import PayloadError
from wf.history.export import export
from wf.testing.check.bodies import check_bodies
from wf.testing.effects import Effects, noting
from wf.testing.environment import Env
from wf.testing.schemas import values_of
from wf.testing.stand_ins import id_of, stand_in_of
from wf.testing.stories import Story, story_told
from wf.testing.telling import MOST, Move, Plan, Telling

EXAMPLES: Final = 200
HORIZON: Final[Duration] = "52w"
"""How far time passes in a story, unless it is told otherwise: a run that waits for longer is one
that has not ended."""
SAVED: Final = Path(".wf") / "stories"
"""Where the history of a bad story is kept."""

Invariant = Callable[[Story], object]


def always(
    task: Runnable[..., Any],
    /,
    *,
    payload: st.SearchStrategy[Any] | None = None,
    replace: Mapping[AnyRunnable | str, object] | None = None,
    real: Collection[AnyRunnable | str] | bool = (),
    failures: Mapping[AnyRunnable | str, Sequence[BaseException]] | None = None,
    messages: Mapping[str, st.SearchStrategy[Any]] | None = None,
    versions: Sequence[AnyRunnable] = (),
    bad: Iterable[str] = tuple(MOST),
    horizon: Duration = HORIZON,
    examples: int = EXAMPLES,
    seed: int | None = None,
    shrink: bool = True,
    check: bool = True,
    save: str | Path | None = SAVED,
) -> Callable[[Invariant], PropertyTest]:
    """Make a test of a function of a Story: it must hold in every story of this task.

    Drawn are the payload (from the annotations, or `payload`), what steps answer (from theirs;
    `replace` gives fakes and strategies, `real` names steps whose own code runs, True: all), when
    they fail (`failures`: with what), when tokens are answered and messages come (`messages`: with
    what), or never, when time passes, when a worker is lost or stands still and is taken over,
    whether the run is canceled, what comes twice, and when the next of `versions` (of the task,
    under its id) is deployed. `bad`: which of lost, taken, fails, canceled, again and deployed may
    be.

    Besides: bodies have nothing in them that `wf check` finds (`check`), no run is parked, all
    histories replay, and a replay does nothing in the world outside. A story that fails is shrunk
    and printed, with the code that tells it again; its history is saved below `save`. `seed`: the
    same stories each time, and none of those that were bad before.
    """
    plan = Plan(
        task,
        {id_of(target): stand_in_of(by) for target, by in (replace or {}).items()},
        None if real is True else frozenset(map(id_of, real or ())),  # pyright: ignore[reportArgumentType]
        {id_of(target): errors for target, errors in (failures or {}).items()},
        dict(messages or {}),
        milliseconds(horizon),
        tuple(versions),
        frozenset(bad),
    )
    drawn = payload if payload is not None else payloads_of(task)

    def made(invariant: Invariant) -> PropertyTest:
        told = Property(plan, invariant, drawn, examples, seed, shrink, check, save)

        def test() -> None:
            told()

        test.__name__ = test.__qualname__ = told.name
        test.__module__, test.__doc__ = invariant.__module__, invariant.__doc__
        vars(test).update(retell=told.retell, invariant=invariant, told=told)
        return cast("PropertyTest", test)

    return made


class PropertyTest(Protocol):
    """A test without arguments. `invariant`: the function that it was made of."""

    invariant: Invariant
    told: Property

    def __call__(self) -> None: ...
    def retell(self, payload: Any, moves: Sequence[Any], /) -> Story:
        """Tell that story again, and ask the invariant about it. Raises what that raises;
        AssertionError where the story takes another turn by now."""
        ...


class Property:
    """What an invariant is asked about, and how often. `examples`: how many stories were told in
    the last call, until one was bad."""

    def __init__(
        self,
        plan: Plan,
        invariant: Invariant,
        payload: st.SearchStrategy[Any],
        examples: int,
        seed: int | None,
        shrink: bool,
        check: bool,
        save: str | Path | None,
    ) -> None:
        self.invariant = invariant
        self.plan = plan
        self.name = getattr(invariant, "__name__", "test_it")
        self.examples = 0
        self._payload = payload
        self._most = examples
        self._seed = seed
        self._shrink = shrink
        self._check = check
        self._save = save

    def __call__(self) -> None:
        """Raises what the invariant raised of the shortest story, with notes that tell it."""
        if self._check:
            self._look()
        self.examples = 0
        with Env(paranoid=False) as env:
            last: list[Story] = []
            test = self._test(env, last)
            try:
                test()
            except Exception as error:
                if last:
                    self._tell_of(error, last[-1], env)
                raise

    def retell(self, payload: Any, moves: Sequence[Any]) -> Story:
        """Tell that story again, and ask the invariant about it. Raises what that raises;
        AssertionError where the story takes another turn by now."""
        with Env(paranoid=False) as env:
            story = self._tell(env, payload, Retelling(moves))
            self._hold(env, story)
            return story

    def _look(self) -> None:
        with Env() as env:
            env.learn(self.plan.task)
            findings = check_bodies([self.plan.task])
        assert not findings, "\n".join(
            f"{one.file}:{one.line}: {one.message} (task {one.task})" for one in findings
        )

    def _test(self, env: Env, last: list[Story]) -> Callable[[], None]:
        kept: Any = settings().database if self._seed is None else None
        phases = [Phase.explicit, Phase.reuse, Phase.generate, Phase.target]
        if self._shrink:
            phases.append(Phase.shrink)

        @settings(
            max_examples=self._most,
            deadline=None,
            phases=phases,
            database=kept,
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.filter_too_much,
                HealthCheck.data_too_large,
            ],
        )
        @given(st.data())
        def test(data: st.DataObject) -> None:
            drawn = Drawing(data.conjecture_data)
            if not last:
                self.examples += 1
            env.reset()
            story = self._tell(env, drawn.of(self._payload), drawn)
            try:
                self._hold(env, story)
            except Exception:
                last[:] = [story]
                raise

        return test if self._seed is None else seeded(self._seed)(test)

    def _tell(self, env: Env, payload: Any, chooser: Drawing | Retelling) -> Story:
        telling = Telling(env, self.plan, chooser)
        begin = env.clock.now()
        try:
            run = telling.tell(payload)
        except PayloadError:
            if isinstance(chooser, Drawing):
                reject()  # what the annotations allow and JSON cannot carry
            raise
        return story_told(telling, run, payload, begin, self.name)

    def _hold(self, env: Env, story: Story) -> None:
        for life in story.runs:
            blocked = life.view.blocked
            assert blocked is None, f"{life.view.task} is parked: {blocked.detail}"
        again = Effects()
        with noting(again):
            breaches = replay_all(env.world.store, env.world.registry)
        assert not again.all, (
            f"a body does {again.all[0].what!r} itself, outside of any step: every replay does it "
            "again"
        )
        assert not breaches, f"a history does not replay: {breaches[0]}"
        self.invariant(story)

    def _tell_of(self, error: BaseException, story: Story, env: Env) -> None:
        error.__notes__ = [repr(story)]
        if self._save is not None:
            folder = Path(self._save)
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{self.name}.db"
            file.unlink(missing_ok=True)
            [root] = [run for run in env.world.runs() if not run.parent_id][:1]
            export(env.world.store, root, file)
            error.add_note(f"its history: wf.testing.replay({str(file)!r}, …)")


class Drawing:
    """A Chooser that asks Hypothesis. What is drawn is no line of its report: the story tells it
    better."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def of(self, strategy: st.SearchStrategy[Any]) -> Any:
        return self._data.draw(strategy)

    def pick(self, moves: Sequence[Move]) -> Move:
        place: int = self.of(st.builds(_place, st.just([move.weight for move in moves])))
        return moves[place]

    def value(self, move: Move) -> Any:
        return None if move.value is None else self.of(strategy_of(move.value))


def _place(weights: Sequence[int]) -> int:
    """By a coin for each, so that other draws are another place: Hypothesis makes no two equal
    ones. Heads is the simplest, so the first place is; the last one has a coin, too, so that fewer
    draws are fewer moves."""
    data: Any = current_build_context().data
    left = sum(weights)
    for place, weight in enumerate(weights):
        if not data.draw_boolean(1 - weight / left):
            return place
        left -= weight
    raise AssertionError("the last coin falls on its head")


class Retelling:
    """A Chooser that has a list."""

    def __init__(self, moves: Sequence[Any]) -> None:
        self._moves = list(moves)
        self._value: Any = None

    def pick(self, moves: Sequence[Move]) -> Move:
        if not self._moves:
            return Move("the story was told up to here", 1, lambda _: None)
        wanted = self._moves.pop(0)
        name, self._value = (
            cast("tuple[str, Any]", wanted) if isinstance(wanted, tuple) else (wanted, None)
        )
        found = [move for move in moves if move.name == name]
        assert found, (
            f"the story takes another turn: {name!r} cannot be here, but "
            f"{', '.join(repr(move.name) for move in moves)}"
        )
        return found[0]

    def value(self, move: Move) -> Any:
        return None if move.value is None else self._value


def strategy_of(given: Any) -> st.SearchStrategy[Any]:
    """Of what a move takes: a strategy, the JSON Schema of it, or a step whose answer it is."""
    if isinstance(given, bytes):
        import json

        return values_of(json.loads(given))
    if isinstance(given, Runnable):
        return results_of(given)  # pyright: ignore[reportUnknownArgumentType]
    return given


def results_of(runnable: AnyRunnable) -> st.SearchStrategy[Any]:
    """By the annotation of what it returns."""
    hints = typing.get_type_hints(runnable.fn, include_extras=True)
    kind = hints.get("return", None)
    return st.none() if kind in (None, Any) else st.from_type(kind)


def payloads_of(task: AnyRunnable) -> st.SearchStrategy[Any]:
    """By the annotations of its parameters: one bare, of several an object."""

    def make() -> st.SearchStrategy[Any]:
        hints = typing.get_type_hints(task.fn, include_extras=True)
        names = list(inspect.signature(task.fn).parameters)
        values = {name: st.from_type(hints.get(name, type(None))) for name in names}
        if task.signature.form == "bare":
            return values[names[0]]
        return st.fixed_dictionaries(values) if names else st.none()

    return st.deferred(make)
