"""A run is forked: a new one shares its history up to a fact, and goes on live."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import wf
from tests.mission import forked
from tests.mission.test_runs import engine
from tests.observing import ended, until
from tests.observing import wf as command
from wf.cli.main import main


@pytest.fixture
def client(database: str) -> Iterator[wf.Client]:
    with wf.Client(database) as client:
        yield client


@pytest.fixture
def working(database: str) -> Iterator[None]:
    with engine(database, forked):
        yield


def seq(client: wf.Client, run: str, kind: str, name: str = "") -> int:
    """The last event of that kind."""
    return [
        event.seq
        for event in client.runs.history(run)
        if event.kind == kind and name in ("", event.name)
    ][-1]


def children(client: wf.Client, run: str, count: int) -> list[wf.RunView]:
    """As soon as there are so many, newest first."""
    until(lambda: len(client.runs.list(parent=run)) == count)
    return client.runs.list(parent=run)


def all_is_well(database: str) -> None:
    assert main(["audit", "--replay", forked.__file__, "--db", database]) == 0


@pytest.mark.usefixtures("working")
def test_a_fork_goes_on_with_another_result_and_does_nothing_twice(
    client: wf.Client, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    forked.charged.clear()
    failed = ended(client, client.trigger(forked.order, 12, tags=["eu"]).id)
    assert failed.status is wf.Status.FAILED
    before = client.runs.history(failed.id)
    at = seq(client, failed.id, "STEP_FINISHED", "charge")
    told = command("fork", failed.id, "--set", 'charge={"paid": 200}', "--json", database=database)
    assert told.returncode == 0, told.stderr
    shown = json.loads(told.stdout)
    assert (shown["forked_from"], shown["forked_at"], shown["replayed_from"]) == (
        failed.id, at, None,
    )  # fmt: skip
    fork = ended(client, shown["id"])
    assert fork.output == "shipped for 200"
    assert len(forked.charged) == 1, "what is shared is not done again"
    assert fork.tags == ("eu",)
    assert fork.metadata == {"stage": "charging", "charged": 1}
    assert client.runs.history(failed.id) == before, "the other run is as it was"
    again = client.runs.fork(fork.id, at=seq(client, fork.id, "STEP_FINISHED", "ship"))
    assert again.result() == "shipped for 200", "a fork of a fork"
    assert main(["runs", "show", fork.id, "--db", database]) == 0
    assert f"forked from  {failed.id}, fact {at}" in capsys.readouterr().out
    repaired = client.runs.fork(failed.id, results={"ship": "by hand"})
    assert repaired.result() == "by hand"
    all_is_well(database)


@pytest.mark.usefixtures("working")
def test_what_had_ended_is_shared_and_what_was_open_is_asked_for_anew(
    client: wf.Client, database: str
) -> None:
    origin = client.trigger(forked.family)
    for child in children(client, origin.id, 2):
        client.runs.send(child.id, "go", "1 ")
    [second, *_] = children(client, origin.id, 3)
    fork = client.runs.fork(origin.id, at=seq(client, origin.id, "STEP_FINISHED"))
    own = until(lambda: client.runs.list(parent=fork.id))
    assert [run.payload for run in own] == ["second"]
    assert own[0].id != second.id
    client.runs.send(second.id, "go", "2 ")
    client.runs.send(own[0].id, "go", "3 ")
    aside, first, two, chance = ended(client, origin.id).output
    other_aside, other_first, other_two, other_chance = ended(client, fork.id).output
    assert (other_aside, other_first) == (aside, first) == (aside, "1 first")
    assert (two, other_two) == ("2 second", "3 second")
    assert chance != other_chance, "chance goes another way"
    all_is_well(database)


@pytest.mark.usefixtures("working")
def test_of_two_that_are_awaited_together_the_open_one_is_asked_for_anew(
    client: wf.Client, database: str
) -> None:
    origin = client.trigger(forked.pair)
    second, first = children(client, origin.id, 2)
    client.runs.send(first.id, "go", "1 ")
    ended(client, first.id)
    until(lambda: "CHILD_ENDED" in [one.kind for one in client.runs.history(origin.id)])
    fork = client.runs.fork(origin.id, at=seq(client, origin.id, "CHILD_ENDED"))
    [own] = children(client, fork.id, 1)
    client.runs.send(own.id, "go", "3 ")
    client.runs.send(second.id, "go", "2 ")
    assert {*fork.result()} == {f"1 {first.payload}", f"3 {second.payload}"}
    assert {*origin.result()} == {f"1 {first.payload}", f"2 {second.payload}"}
    all_is_well(database)


@pytest.mark.usefixtures("working")
def test_a_person_can_have_decided_otherwise(client: wf.Client, database: str) -> None:
    origin = client.trigger(forked.asking)
    [token] = until(lambda: client.tokens.list(run=origin.id))
    until(lambda: origin.retrieve().status is wf.Status.WAITING)
    beside = client.runs.fork(origin.id, at=seq(client, origin.id, "STEP_FINISHED"))
    client.tokens.complete(token.id, "yes")
    assert origin.result() == "yes after"
    assert beside.result() == "yes after", "a token that was made before is waited for by both"
    other = client.runs.fork(origin.id, results={"token": "no"})
    assert other.result() == "no after"
    all_is_well(database)


@pytest.mark.usefixtures("working")
def test_time_stands_still_between_a_run_and_its_fork(client: wf.Client) -> None:
    origin = client.trigger(forked.slow)
    until(lambda: (view := origin.retrieve()).status is wf.Status.WAITING and view.due_at)
    fork = client.runs.fork(origin.id, at=seq(client, origin.id, "STEP_FINISHED"))
    until(lambda: (view := fork.retrieve()).status is wf.Status.WAITING and view.due_at)
    due, created = fork.retrieve().due_at, fork.retrieve().created_at
    assert due is not None
    assert (due - created).days == 1, "all of the day is before it"
    fork.cancel()
    origin.cancel()


@pytest.mark.usefixtures("working")
def test_a_fork_that_cannot_be_says_why_and_one_that_does_not_fit_is_parked(
    client: wf.Client, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ended(client, client.trigger(forked.order, 12).id)
    for at, results, why in (
        (999, {}, r"999 is no fact at which a fork can begin: give the number of one \(.*3"),
        (1, {}, "1 is no fact"),
        (None, {}, "a fork begins at a fact"),
        (None, {"pay": 1}, r"nothing called 'pay' has ended by then \(there are: charge, ship\)"),
        (seq(client, run.id, "STEP_FINISHED"), {"ship": 1}, "begin the fork at the fact"),
    ):
        with pytest.raises(wf.CannotFork, match=why):
            client.runs.fork(run.id, at=at, results=results)
    assert main(["fork", run.id, "--at", "1", "--db", database]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    other = client.runs.fork(run.id, at=seq(client, run.id, "STEP_FINISHED"), payload=200)
    blocked = until(lambda: other.retrieve().blocked)
    assert blocked is not None
    assert blocked.reason == "nondeterminism"
    assert "step charge with arguments" in blocked.detail
    both = client.runs.fork(run.id, results={"charge": {"paid": 1}, "#2": "sure"})
    assert both.retrieve().forked_at == seq(client, run.id, "STEP_FAILED"), "all are shared"


def test_a_run_stays_with_its_children_as_long_as_a_fork_of_it_lives(
    client: wf.Client, database: str
) -> None:
    with engine(database, forked.family, forked.helper):
        origin = client.trigger(forked.family)
        for child in children(client, origin.id, 2):
            client.runs.send(child.id, "go", "")
        [last, *_] = children(client, origin.id, 3)
        fork = client.runs.fork(origin.id, at=seq(client, origin.id, "STEP_FINISHED"))
        own = until(lambda: client.runs.list(parent=fork.id))
        client.runs.send(last.id, "go", "")
        ended(client, origin.id)
        assert client.prune(0).runs == 0
        client.runs.send(own[0].id, "go", "")
        ended(client, fork.id)
    assert client.prune(0).runs == 6
    assert main(["audit", "--db", database]) == 0
