"""Random programs on real stores: live, replayed, and after cuts, on SQLite as on Postgres.

The programs are those of wf.testing.programs; here they run on workers, in virtual time. `model`
is the plain model of those whose outcome no timing can change. A failing example prints its
`@reproduce_failure` line and the program.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import wf
from tests.codecs import key_ring
from tests.faults.invariants import store_breaches
from tests.faults.test_crash_everywhere import Cuts, How, insist
from tests.postgres_server import empty_database
from wf.engine.registry import Registry
from wf.history.errors import AlreadyEnded
from wf.history.events import Kind, Status
from wf.history.messages import NewMessage
from wf.history.model import Run
from wf.history.sealed_store import SealedStore
from wf.history.sqlite import SQLiteStore
from wf.testing import nodes as made
from wf.testing.mail import letters
from wf.testing.nodes import Program, programs
from wf.testing.programs import (
    MAX_ATTEMPTS,
    STARTS,
    act,
    answer_of,
    child,
    interpret,
    pace,
    reader,
    start,
    start_plain,
    started,
)
from wf.testing.world import World

REGISTRY: Final = Registry([act, child, reader, start, start_plain, started, interpret])
MOST_WRITES: Final = 30
"""Cuts are drawn among so many writes."""


# --- the plain model ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What a program sees, in some order, and the exception that ends it ("": none)."""

    trace: tuple[str, ...]
    error: str = ""
    restarted: bool = False
    """Nothing of what stands around it is seen."""
    starts: int = 0
    """How many of its steps start runs."""


def model(program: Program) -> Told | None:
    """None: it depends on who is faster."""
    match program:
        case made.Step(name=name, fails=fails):
            return Told((), "StepFailed") if fails >= MAX_ATTEMPTS else Told((f"step {name}",))
        case made.Timer(ms=ms, plain=plain):
            return Told((f"{'slept' if plain else 'waited'} {ms}",))
        case made.Child(name=name, fails=fails, later=later):
            begun = (f"triggered {name}",) if later else ()
            return Told(begun, "RunFailed") if fails else Told((*begun, f"child {name}"))
        case made.Batch():
            return _batch(program)
        case made.Tell(name=name):
            return Told((f"told {name}",))
        case made.Token(name=name, timeout_ms=0):
            return Told((f"token {name}",))
        case made.Start(name=name, fails=fails):
            if fails >= MAX_ATTEMPTS:
                return Told((), "StepFailed", starts=1)
            return Told((f"started {name} {STARTS}",), starts=1)
        case made.Send(name=name):
            return Told((f"answer {name}",))
        case made.Restart(program=following):
            end = model(following)
            return end and replace(end, restarted=True)
        case made.Sequential(parts=parts):
            return _sequence(parts)
        case made.Gather(parts=parts, return_exceptions=kept):
            ends = [model(part) for part in parts]
            words = [
                "gathered",
                *(
                    "NoneType" if end and not end.error else end.error if end else ""
                    for end in ends
                ),
            ]
            return _together(ends, " ".join(words), kept)
        case made.Group(parts=parts):
            return _together([model(part) for part in parts], "grouped", False)
        case made.Finally(part=part, cleanup=cleanup):
            return _both(model(part), model(cleanup))
        case made.Try(part=part):
            end = model(part)
            if end is None or not end.error or end.restarted:
                return end
            return Told((*end.trace, f"took {end.error}"), starts=end.starts)
        case _:
            return None


def _batch(batch: made.Batch) -> Told:
    begun = (f"triggered {len(batch.parts)}",) if batch.later else ()
    if any(one.fails for one in batch.parts) and not batch.kept:
        return Told(begun, "RunFailed")
    words = ["batch", *("RunFailed" if one.fails else str(one.name) for one in batch.parts)]
    return Told((*begun, " ".join(words)))


def _sequence(parts: tuple[Program, ...]) -> Told | None:
    trace: list[str] = []
    starts = 0
    for part in parts:
        end = model(part)
        if end is None:
            return None
        starts += end.starts
        if end.restarted:
            return replace(end, starts=starts)
        trace += end.trace
        if end.error:
            return Told(tuple(trace), end.error, starts=starts)
    return Told(tuple(trace), starts=starts)


def _together(ends: list[Told | None], last: str, kept: bool) -> Told | None:
    trace: list[str] = []
    for end in ends:
        if end is None or end.restarted or (end.error and not kept):
            return None
        trace += end.trace
    return Told((*trace, last), starts=sum(end.starts for end in ends if end))


def _both(first: Told | None, second: Told | None) -> Told | None:
    if first is None or second is None or first.restarted:
        return first
    starts = first.starts + second.starts
    return Told((*first.trace, *second.trace), second.error or first.error, starts=starts)


# --- running them ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """What came of it."""

    status: Status
    trace: list[str] | None
    writes: int
    log: list[tuple[int, int, str, int]]
    started: int
    """How many runs its steps started."""


def template(directory: Path) -> Path:
    """An empty store, made once: a copy is faster than its schema."""
    path = directory / "template.db"
    if not path.exists():
        made = directory / "template.making.db"
        SQLiteStore(made).close()
        with sqlite3.connect(made) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        made.rename(path)
    return path


class Stores:
    """Fresh databases, one after the other."""

    def __init__(self, directory: Path, postgres: str = "") -> None:
        self.directory = directory
        self.postgres = postgres
        self._numbers = count(1)

    def sqlite(self) -> str:
        path = self.directory / f"{next(self._numbers)}.db"
        shutil.copy(template(self.directory), path)
        return f"sqlite:///{path}"

    def on_postgres(self) -> str:
        empty_database(self.postgres)
        return self.postgres


class Post:
    """Who sends a program its messages, when they are due. After an unknown outcome he looks."""

    def __init__(self, program: Program) -> None:
        self.letters = letters(program)

    def __call__(self, world: World) -> None:
        answer(world)
        for run in world.runs() if self.letters else []:
            if run.task == interpret.id and not run.status.ended:
                self._send(world, run)

    def _send(self, world: World, run: Run) -> None:
        there = {int(opened(world, row[0])) for row in world.rows("SELECT data FROM messages")}
        there |= {int(event.data or b"") for event in world.events(run.id, Kind.MESSAGE_RECEIVED)}
        now = world.clock.now()
        for ms, name, number in self.letters:
            if number not in there and now >= run.created_at + ms:
                world.client.send([NewMessage(run.id, name, str(number).encode())], now)

    def appointments(self, world: World) -> list[int]:
        made = [run.created_at for run in world.runs() if run.task == interpret.id]
        return answers_at(world) + [at + ms for at in made for ms, _, _ in self.letters]


def opened(world: World, data: bytes) -> bytes:
    return world.store.sealing.open(data) if isinstance(world.store, SealedStore) else data


def answer(world: World) -> None:
    """Tokens are completed when their tags say so."""
    for token in world.store.list_tokens("dev", status="WAITING"):
        value, after_ms = answer_of(token.tags)
        now = world.clock.now()
        if now >= token.created_at + after_ms:
            try:
                world.client.end_token(token.id, "COMPLETED", str(value).encode(), now)
            except AlreadyEnded:
                continue


def answers_at(world: World) -> list[int]:
    tokens = world.store.list_tokens("dev", status="WAITING")
    return [token.created_at + answer_of(token.tags)[1] for token in tokens]


def live(url: str, program: Program, cuts: dict[int, How], codec: wf.Codec | None = None) -> Story:
    """Run it to its end; what must be true of the store is."""
    door = Cuts(cuts)
    post = Post(program)
    world = World(url, REGISTRY, door, outside=post, appointments=post.appointments, codec=codec)
    try:
        run_id = insist(lambda: world.trigger(interpret, program))
        world.start()
        world.live([run_id])
        assert store_breaches(world.store, REGISTRY) == []
        run = world.run(run_id)
        log = [(e.kind, e.ordinal, e.name, e.digest) for _, e in world.store.history(run_id)]
        trace = json.loads(run.output) if run.output is not None else None
        begun = sum(one.task == started.id for one in world.runs())
        return Story(run.status, trace, door.writes, log, begun)
    finally:
        world.close()


def check_model(program: Program, story: Story) -> None:
    expected = model(program)
    if expected is None:
        return
    assert story.started == expected.starts * STARTS
    if expected.error:
        assert story.status is Status.FAILED
    else:
        assert story.status is Status.COMPLETED
        assert sorted(story.trace or []) == sorted(expected.trace)


@pytest.fixture(autouse=True)
def in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps take their milliseconds."""

    async def take(ms: int) -> None:
        await asyncio.sleep(ms / 1_000)

    monkeypatch.setattr(pace, "waits", True)
    monkeypatch.setattr(pace, "pause", take)


def examples(number: int) -> Any:
    return settings(
        max_examples=number,
        derandomize=False,
        deadline=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes minutes here
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.function_scoped_fixture,
        ],
    )


def starting() -> st.SearchStrategy[made.Start]:
    fails = st.sampled_from([0, 0, 1, 3])
    return st.builds(made.Start, name=st.integers(0, 9), fails=fails, plain=st.booleans())


def timeless() -> st.SearchStrategy[Any]:
    """Programs that the model knows."""
    names, times = st.integers(0, 9), st.sampled_from([1, 2, 3, 5])
    steps = st.builds(made.Step, name=names, ms=times, fails=st.sampled_from([0, 0, 1, 3]))
    children = st.builds(made.Child, name=names, ms=times, fails=st.booleans(), later=st.booleans())
    members = st.lists(children, max_size=3).map(tuple)
    starts = starting()
    leaves: st.SearchStrategy[Any] = st.one_of(
        steps,
        st.builds(made.Timer, ms=times, plain=st.booleans()),
        children,
        st.builds(made.Batch, parts=members, later=st.booleans(), kept=st.booleans()),
        st.builds(made.Token, name=names, ms=times),
        st.builds(made.Tell, name=names),
        st.builds(made.Send, name=names),
        starts,
    )

    def compound(part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        parts = st.lists(part, min_size=1, max_size=4).map(tuple)
        return st.one_of(
            st.builds(made.Sequential, parts=parts),
            st.builds(made.Gather, parts=parts, return_exceptions=st.just(True)),
            st.builds(made.Finally, part=part, cleanup=steps),
            st.builds(made.Try, part=part),
            st.builds(made.Restart, program=part),
        )

    return st.recursive(leaves, compound, max_leaves=10)


ANY_PROGRAM: Final = st.one_of(programs(more=[starting()]), timeless())

CODECS: Final = st.sampled_from([None, key_ring()])

cuts_of: Final = st.dictionaries(
    st.integers(1, MOST_WRITES), st.sampled_from(list(How)), min_size=1, max_size=3
)


@examples(60)
@given(program=ANY_PROGRAM, cuts=cuts_of, codec=CODECS)
def test_a_program_ends_the_same_whatever_is_cut_and_whether_it_is_sealed(
    program: Program, cuts: dict[int, How], codec: wf.Codec | None, tmp_path: Path
) -> None:
    stores = Stores(tmp_path)
    check_model(program, live(stores.sqlite(), program, {}))
    check_model(program, live(stores.sqlite(), program, cuts, codec))


@examples(25)
@given(program=ANY_PROGRAM, cuts=cuts_of, codec=CODECS)
def test_a_program_ends_the_same_on_both_stores(
    program: Program,
    cuts: dict[int, How],
    codec: wf.Codec | None,
    tmp_path: Path,
    empty_postgres_url: str,
) -> None:
    stores = Stores(tmp_path, empty_postgres_url)
    on_sqlite = live(stores.sqlite(), program, {})
    on_postgres = live(stores.on_postgres(), program, {})
    check_model(program, on_postgres)
    children = str(program).count("kind='child'") + str(program).count("kind='send'")
    if children < 2:  # of runs that end at once no order is told
        assert (on_postgres.status, on_postgres.trace) == (on_sqlite.status, on_sqlite.trace)
        assert on_postgres.log == on_sqlite.log
    check_model(program, live(stores.on_postgres(), program, cuts, codec))
