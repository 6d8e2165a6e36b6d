"""Stopped or killed at any moment, `wf run --resume` goes on, and nothing is done twice."""

from __future__ import annotations

import json
import shlex
import signal
import time
from pathlib import Path

import pytest

from tests.cli.terminal import PROGRAMS, Process, Terminal
from tests.observing import until
from wf import Client
from wf.history.audit import audit, lines
from wf.history.open import open_store

LEDGER = str(PROGRAMS / "ledger.py")
LEASE_SECONDS = 10.0


def plan(terminal: Terminal, **options: object) -> tuple[str, Path]:
    ledger = terminal.folder / "ledger.txt"
    return json.dumps({"ledger": str(ledger), **options}), ledger


def noted(ledger: Path) -> list[str]:
    return ledger.read_text().splitlines() if ledger.exists() else []


def is_well(database: str) -> bool:
    store = open_store(database)
    try:
        breaches = audit(store)
    finally:
        store.close()
    assert breaches == [], lines(breaches)
    return True


@pytest.mark.parametrize("after", ["begin 0", "end 0", "end 1", "begin 3"])
def test_a_killed_run_goes_on_and_repeats_no_more_than_the_step_in_flight(
    terminal: Terminal, database: str, after: str
) -> None:
    payload, ledger = plan(terminal)
    with terminal.start("run", LEDGER, payload, "--db", database) as process:
        run_id = process.run_id()
        until(lambda: after in noted(ledger))
        process.kill()
    before = noted(ledger)
    done = terminal.wf("run", LEDGER, "--resume", run_id, "--db", database).ok()
    assert done.out == "6\n"
    whole = noted(ledger)
    ends = [line for line in whole if line.startswith("end")]
    in_flight = {line[-1] for line in before if line.startswith("begin")}
    in_flight = {n for n in in_flight if before.count(f"begin {n}") > ends.count(f"end {n}")}
    assert set(ends) == {"end 0", "end 1", "end 2", "end 3"}
    twice = {line for line in whole if whole.count(line) > 1}
    last = before[-1][-1]
    assert {line[-1] for line in twice} <= {last}
    assert is_well(database)


def test_killed_again_and_again_it_comes_to_its_end(terminal: Terminal) -> None:
    payload, ledger = plan(terminal, steps=4)
    with terminal.start("run", LEDGER, payload) as process:
        run_id = process.run_id()
        process.kill()
    for number in range(5):
        with terminal.start("run", LEDGER, "--resume", run_id) as process:
            until(lambda n=number, p=process: f"end {n}" in noted(ledger) or p.child.poll() == 0)
            process.kill()
    client = Client(f"sqlite:///{terminal.folder}/.wf/wf.db")
    if not client.runs.retrieve(run_id).status.ended:
        terminal.wf("run", LEDGER, "--resume", run_id).ok()
    assert client.runs.retrieve(run_id).output == 10
    client.close()
    assert is_well(f"{terminal.folder}/.wf/wf.db")


def test_nobody_waits_for_the_lease_of_a_process_that_was_killed_here(
    terminal: Terminal, database: str
) -> None:
    payload, ledger = plan(terminal, steps=1, hold=True)
    with terminal.start("run", LEDGER, payload, "--db", database) as process:
        run_id = process.run_id()
        until(lambda: any(line.startswith("held") for line in noted(ledger)))
        process.kill()
    Path(f"{ledger}.go").touch()
    begun = time.monotonic()
    terminal.wf("run", LEDGER, "--resume", run_id, "--db", database).ok()
    assert time.monotonic() - begun < LEASE_SECONDS / 2


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_leaves_a_run_that_can_be_resumed_and_says_how(
    terminal: Terminal, database: str, number: signal.Signals, code: int
) -> None:
    payload, ledger = plan(terminal)
    with terminal.start("run", f"{LEDGER}:sleeper", payload, "--db", database) as process:
        process.says("waiting until")
        process.signal(number)
        done = process.end()
    assert done.code == code
    assert done.out == ""
    resume = f"wf run {shlex.quote(LEDGER)} --resume {done.run_id} --db"
    assert f"wf: stopped; to go on: {resume}" in done.err
    again = terminal.wf(
        "run", LEDGER, "--resume", done.run_id, "--skip-waits", "--db", database
    ).ok()
    assert again.out == "awake\n"
    assert noted(ledger) == ["begin 1", "end 1", "begin 2", "end 2"]


def hold(terminal: Terminal, process: Process, ledger: Path) -> None:
    """Until its last step is under way."""
    until(lambda: any(line.startswith("held") for line in noted(ledger)))


def test_the_first_ctrl_c_lets_a_step_end(terminal: Terminal) -> None:
    payload, ledger = plan(terminal, steps=1, hold=True)
    with terminal.start("run", LEDGER, payload) as process:
        hold(terminal, process, ledger)
        process.signal(signal.SIGINT)
        process.says("a step may end, at most 10 s; once more stops at once")
        Path(f"{ledger}.go").touch()
        done = process.end()
    assert done.code == 130
    assert noted(ledger)[-1] == "end 1"
    assert terminal.wf("run", LEDGER, "--resume", done.run_id).ok().out == "1\n"
    assert noted(ledger).count("end 1") == 1


def test_the_second_ctrl_c_stops_at_once(terminal: Terminal) -> None:
    payload, ledger = plan(terminal, steps=1, hold=True)
    with terminal.start("run", LEDGER, payload) as process:
        hold(terminal, process, ledger)
        process.signal(signal.SIGINT)
        process.says("may end")
        begun = time.monotonic()
        process.signal(signal.SIGINT)
        done = process.end()
    assert time.monotonic() - begun < 5
    assert done.code == 130
    assert f"--resume {done.run_id}" in done.err.splitlines()[-1]
    Path(f"{ledger}.go").touch()
    assert terminal.wf("run", LEDGER, "--resume", done.run_id).ok().out == "1\n"


def test_a_stopped_run_as_json_tells_its_id(terminal: Terminal) -> None:
    payload, _ = plan(terminal)
    with terminal.start("run", f"{LEDGER}:sleeper", payload, "--json") as process:
        process.says("waiting until")
        process.signal(signal.SIGINT)
        done = process.end()
    assert (done.json["status"], done.json["output"]) == ("WAITING", None)
    assert terminal.wf("run", LEDGER, "--resume", done.json["id"], "--skip-waits").ok()


def test_a_resumed_run_skips_no_wait_by_itself(terminal: Terminal) -> None:
    payload, _ = plan(terminal)
    with terminal.start("run", f"{LEDGER}:sleeper", payload) as process:
        process.says("waiting until")
        process.kill()
        run_id = process.run_id()
    client = Client(f"sqlite:///{terminal.folder}/.wf/wf.db")
    due = client.runs.retrieve(run_id).due_at
    with terminal.start("run", LEDGER, "--resume", run_id) as process:
        process.says("to go on")
        process.signal(signal.SIGINT)
        assert process.end().code == 130
    assert client.runs.retrieve(run_id).due_at == due
    client.close()


def test_what_cannot_be_resumed_is_told(terminal: Terminal) -> None:
    payload, _ = plan(terminal, steps=1, wait="1ms")
    run_id = terminal.wf("run", LEDGER, payload).ok().run_id
    assert "has ended: COMPLETED" in terminal.wf("run", LEDGER, "--resume", run_id).refused()
    unknown = run_id[:-4] + "1111"
    assert f"there is no run {unknown}" in terminal.wf("run", LEDGER, "--resume", unknown).refused()
    assert "is no run id" in terminal.wf("run", LEDGER, "--resume", "run_x").refused()
    elsewhere = terminal.wf("run", LEDGER, "--resume", run_id, "--env", "prod").refused()
    assert "in environment 'prod'" in elsewhere
    other = terminal.write("other.py", "import wf\n@wf.task\nasync def other() -> None: ...\n")
    with terminal.start("run", f"{LEDGER}:sleeper", payload) as process:
        process.says("waiting until")
        process.kill()
    line = terminal.wf("run", other, "--resume", process.run_id()).refused()
    assert "no task 'sleeper' here; there are other" in line


EDITED = """
import wf
@wf.step
def first() -> int:
    return 1
@wf.step
def second() -> int:
    return 2
@wf.task
async def edited() -> int:
    await {step}()
    await wf.wait.for_("1h")
    return 3
"""


def test_code_that_does_not_fit_parks_the_run_and_code_that_fits_goes_on(
    terminal: Terminal,
) -> None:
    file = terminal.write("edited.py", EDITED.format(step="first"))
    with terminal.start("run", file) as process:
        process.says("waiting until")
        process.signal(signal.SIGINT)
        run_id = process.end().run_id
    terminal.write("edited.py", EDITED.format(step="second"))
    parked = terminal.wf("run", file, "--resume", run_id, "--skip-waits")
    assert parked.code == 1
    assert f"edited {run_id} is parked" in parked.err
    assert "WF1001" in parked.err
    assert "second" in parked.err
    assert parked.err.count("WF1001") == 1
    assert "Traceback" not in parked.err
    told = terminal.wf("run", file, "--resume", run_id, "--json")
    assert told.json["id"] == run_id
    assert told.json["error"]["type"] == "nondeterminism"
    terminal.write("edited.py", EDITED.format(step="first"))
    assert terminal.wf("run", file, "--resume", run_id, "--skip-waits").ok().out == "3\n"


def test_it_works_on_its_own_run_and_leaves_others_alone(terminal: Terminal, database: str) -> None:
    client = Client(database)
    payload, ledger = plan(terminal, steps=1, wait="1ms")
    other = client.trigger("ledger", json.loads(payload)).id
    terminal.wf("run", LEDGER, payload, "--db", database).ok()
    assert noted(ledger).count("end 1") == 1
    assert not client.runs.retrieve(other).status.ended
    assert client.runs.retrieve(other).started_at is None
    client.close()
