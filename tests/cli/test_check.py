"""`wf check` and `wf export`."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.terminal import Terminal
from tests.observing import until
from wf import Client, Engine, Status
from wf.engine.loading import load

PROGRAM = """
import wf
@wf.step
async def double(n: int) -> int:
    return 2 * n
@wf.task
async def waits(n: int) -> str:
    total = await double(n)
    token = await wf.wait.create_token(str, timeout="7d")
    return await wf.wait.for_token(token) * total
"""
CLOCK = PROGRAM.replace("total =", "import time; t = time.time(); total =")
ENDS = PROGRAM.replace("    total", "    import os; os._exit(7)\n    total")
SET = """
import wf
@wf.step
async def double(n: int) -> int:
    return 2 * n
@wf.task
async def waits(n: int) -> str:
    first = list({str(k) for k in range(40)})[0]  # wf: ignore
    total = await double(n if first == "0" else n + 1)
    token = await wf.wait.create_token(str, timeout="7d")
    return await wf.wait.for_token(token) * total
"""


def left_waiting(terminal: Terminal, database: str) -> str:
    """A run of the program that waits for its token."""
    terminal.write("program.py", PROGRAM)
    _, registry = load(str(terminal.folder / "program.py"))
    engine = Engine(database, registry, environment="dev")
    with Client(database, environment="dev") as client:
        engine.start_now()
        handle = client.trigger("waits", 3)
        until(lambda: client.tokens.list(run=handle.id))
        until(lambda: handle.retrieve().status is Status.WAITING)
        engine.stop_now()
        return handle.id


@pytest.fixture
def runs(tmp_path: Path) -> str:
    """A database: what a store is does not matter to those who only look."""
    return f"sqlite:///{tmp_path}/runs.db"


@pytest.fixture
def waiting(terminal: Terminal, runs: str) -> str:
    return left_waiting(terminal, runs)


def test_bodies_that_are_clean_are_told_so(terminal: Terminal) -> None:
    terminal.write("program.py", PROGRAM)
    assert terminal.wf("check", "program.py").ok().out == "1 task looked at: all is well\n"


def test_a_finding_is_one_line_with_its_place_and_fails(terminal: Terminal) -> None:
    terminal.write("program.py", CLOCK)
    done = terminal.wf("check", "program.py")
    assert done.code == 1
    assert done.out.startswith("program.py:8:22: clock: `time.time()` reads the clock")
    [finding] = terminal.wf("check", "program.py", "--json").json["findings"]
    assert (finding["rule"], finding["line"], finding["task"]) == ("clock", 8, "waits")


def test_runs_under_way_that_the_code_fits_are_counted(terminal: Terminal, database: str) -> None:
    left_waiting(terminal, database)
    done = terminal.wf("check", "program.py", "--against", database).ok()
    assert done.out == "1 task looked at, 1 run replayed: all is well\n"


def test_a_run_that_would_be_parked_is_named_with_the_line_and_what_saves_it(
    terminal: Terminal, runs: str, waiting: str
) -> None:
    terminal.write("program.py", PROGRAM.replace("double(n)\n", "double(n + 1)\n"))
    done = terminal.wf("check", "program.py", "--against", runs)
    assert done.code == 1
    for told in (waiting, "argument changed", "program.py:8", "wf.patched"):
        assert told in done.out
    with Client(runs, environment="dev") as client:
        assert client.runs.retrieve(waiting).blocked is None


def test_an_order_that_hashes_decide_is_found_by_other_seeds(
    terminal: Terminal, runs: str, waiting: str
) -> None:
    terminal.write("program.py", SET)
    [misfit] = terminal.wf("check", "program.py", "--against", runs, "--json").json["misfits"]
    assert misfit["run"] == waiting
    assert misfit["reason"] == "nondeterminism"


def test_code_that_ends_the_process_is_named_and_the_rest_is_replayed(
    terminal: Terminal, runs: str, waiting: str
) -> None:
    terminal.write("program.py", ENDS)
    report = terminal.wf("check", "program.py", "--against", runs, "--json").json
    [misfit] = report["misfits"]
    assert misfit["reason"] == "crashes"
    assert "exit code 7" in misfit["detail"]


def test_a_task_that_is_gone_leaves_its_runs_behind(
    terminal: Terminal, runs: str, waiting: str
) -> None:
    terminal.write("program.py", PROGRAM.replace("waits(", "holds("))
    [misfit] = terminal.wf("check", "program.py", "--against", runs, "--json").json["misfits"]
    assert misfit["reason"] == "unknown-task"


def test_a_saved_run_is_a_file_that_replays_and_can_be_shown(
    terminal: Terminal, database: str
) -> None:
    waiting = left_waiting(terminal, database)
    saved = terminal.folder / "saved"
    saved.mkdir()
    terminal.wf("export", waiting, "--to", "saved/one.db", "--db", database).ok()
    assert waiting in terminal.wf("show", waiting, "--db", "saved/one.db").ok().out
    again = terminal.wf("export", waiting, "--to", "saved/one.db", "--db", database)
    assert "there already" in again.refused()
    terminal.wf("check", "program.py", "--histories", "saved").ok()
    terminal.write("program.py", PROGRAM.replace("double(n)\n", "double(n + 1)\n"))
    assert terminal.wf("check", "program.py", "--histories", "saved").code == 1


def test_reports_for_ci_name_every_finding(terminal: Terminal) -> None:
    terminal.write("program.py", CLOCK)
    terminal.wf("check", "program.py", "--junit", "check.xml", "--sarif", "check.sarif")
    suite = ET.fromstring((terminal.folder / "check.xml").read_text())
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    sarif = json.loads(Path(terminal.folder / "check.sarif").read_text())
    [result] = sarif["runs"][0]["results"]
    assert result["ruleId"] == "wf/clock"
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 8, "startColumn": 22}


def test_the_hook_for_pre_commit_looks_at_the_project(terminal: Terminal) -> None:
    hooks = (Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text()
    hook = dict(line.lstrip("- ").split(": ", 1) for line in hooks.splitlines())
    assert (hook["language"], hook["pass_filenames"]) == ("python", "false")
    command, *arguments = hook["entry"].split()
    assert command == "wf"
    terminal.write("wf_config.py", 'import wf\nconfig = wf.Config(dirs=["tasks"])\n')
    (terminal.folder / "tasks").mkdir()
    terminal.write("tasks/sales.py", CLOCK)
    done = terminal.wf(*arguments)
    assert done.code == 1
    assert done.out.startswith("tasks/sales.py:8:22: clock:")


def test_a_folder_without_histories_is_a_mistake(terminal: Terminal) -> None:
    terminal.write("program.py", PROGRAM)
    assert "wf export" in terminal.wf("check", "program.py", "--histories", ".").refused()
