"""A run is played back on the code that is here: step by step, in a debugger, as a test."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import wf
from tests.mission import forked
from tests.mission.test_runs import engine
from wf.cli import playing
from wf.cli.main import main

CODE = forked.__file__


@wf.task(id="order")
async def edited(amount: int) -> str:
    receipt = await forked.charge(amount + 1, "reference")
    return await forked.ship(receipt["paid"])


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('replays')}/wf.db"


@pytest.fixture(scope="module")
def run(database: str) -> Iterator[str]:
    """Of two steps the second failed it."""
    with wf.Client(database) as client, engine(database, forked.order):
        handle = client.trigger(forked.order, 12)
        with pytest.raises(wf.RunFailed):
            handle.result()
        yield handle.id


@pytest.fixture(scope="module")
def saved(database: str, run: str) -> str:
    """The run as a file."""
    file = str(Path(database.removeprefix("sqlite:///")).with_name("order.db"))
    assert main(["export", run, "--to", file, "--db", database]) == 0
    return file


@pytest.fixture
def playback(saved: str) -> Iterator[wf.testing.Playback]:
    playback = wf.testing.replay(saved, forked.order)
    yield playback
    playback.close()


def test_each_fact_is_shown_with_the_line_that_asked_for_it(
    saved: str, run: str, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", saved, "--code", CODE]) == 0
    listed = capsys.readouterr().out
    assert main(["replay", run, "--code", CODE, "--db", database]) == 0
    assert capsys.readouterr().out == listed
    first, second, third = listed.splitlines()
    assert first.endswith("started")
    assert 'charge -> {"paid": 12}  (tests/mission/forked.py:' in second
    assert second.endswith(": receipt = await charge(amount, reference))")
    assert "ship failed: Refused: 12 is too little" in third
    assert main(["replay", saved, "--code", CODE, "--at", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [fact["seq"] for fact in told["facts"]] == [1, 3, 4]
    assert told["facts"][1]["asks"] == ["step ship"]
    [[frame]] = told["frames"]
    assert frame["locals"]["receipt"] == "{'paid': 12}"
    assert (frame["function"], frame["source"]) == (
        "order", 'return await ship(receipt["paid"])',
    )  # fmt: skip
    assert main(["replay", saved, "--code", CODE, "--at", "3"]) == 0
    assert "receipt = {'paid': 12}" in capsys.readouterr().out


def test_it_goes_forwards_and_backwards(playback: wf.testing.Playback) -> None:
    first = playback.next()
    assert first is not None
    assert (first.seq, playback.at) == (1, 1)
    assert "receipt" not in playback.locals()
    assert playback.go(3).what == 'charge -> {"paid": 12}'
    reference = playback.locals()["reference"]
    assert playback.locals()["receipt"] == {"paid": 12}
    assert playback.next()
    assert playback.locals() == {}, "the body has ended"
    assert playback.next() is None
    back = playback.back()
    assert back is not None
    assert back.seq == 3
    assert playback.locals()["reference"] == reference
    assert playback.back()
    assert playback.back() is None
    with pytest.raises(wf.NotFound, match=r"has no fact 2 \(near it: 1, 3, 4\)"):
        playback.go(2)


def test_step_by_step_on_a_terminal(
    playback: wf.testing.Playback,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = iter(["", "l", "b", "b", "9", "3", "?", "f", "q"])

    def answer(prompt: str) -> str:
        return next(given)

    monkeypatch.setattr("builtins.input", answer)
    playing.interact(playback)
    told = capsys.readouterr().out
    assert "order run_" in told
    assert "receipt = {'paid': 12}" in told
    assert "that was the first fact" in told
    assert "has no fact 9" in told
    assert "n(ext)" in told


def test_a_debugger_opens_in_the_users_code_at_any_fact(
    saved: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["p receipt", "w", "back", "p 'receipt' in locals()", "fact 3", "p amount + 1", "q"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(words) + "\n"))
    assert main(["replay", saved, "--code", CODE, "--at", "3", "--pdb"]) == 0
    told = capsys.readouterr().out
    answers = [line.removeprefix("(wf pdb) ") for line in told.splitlines()]
    assert "{'paid': 12}" in answers
    assert "False" in answers
    assert "13" in answers
    assert '-> return await ship(receipt["paid"])' in answers


def test_a_saved_history_is_a_test_of_the_code(
    saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wf.testing.replay(saved, forked).task == "order"
    with pytest.raises(wf.NonDeterminism) as found:
        wf.testing.replay(saved, edited)
    assert "argument changed" in str(found.value)
    assert "+    1  step charge with arguments" in str(found.value)
    with pytest.raises(wf.NotFound, match=r"no run of these tasks \(asking\)"):
        wf.testing.replay(saved, forked.asking)
    assert main(["replay", saved, "--code", __file__]) == 1
    told = capsys.readouterr()
    assert "started" in told.out
    assert "argument changed" in told.err
