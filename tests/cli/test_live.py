"""What is drawn on a terminal, and what is printed in a pipe."""

from __future__ import annotations

import io
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cli.terminal import PROGRAMS, Terminal, on_a_terminal
from tests.cli.test_tree import NOW, commit, tree
from wf import Client
from wf.cli.draw import Commands
from wf.cli.screen import Live
from wf.history.events import Event, Kind

DESK = str(PROGRAMS / "desk.py")
CONTROL = "\x1b"


def test_a_tree_is_drawn_on_a_terminal(terminal: Terminal) -> None:
    code, drawn = on_a_terminal(terminal, "run", DESK, str(terminal.folder), until_seen="59m 5")
    assert code == 130
    for part in (
        "├─ ↻ flaky",
        "attempt 1 failed, again in 0.",
        "the mail server does not answer",
        "├─ ✓ flaky",
        "◷ helper",
        "│  └─ ✓ quick",
        "└─ ◷ token",
        "59m 5",
        "wf tokens complete token_",
        "Ctrl-C stops; to go on: wf run",
        "wf: stopped; to go on: wf run",
    ):
        assert part in drawn, part


def test_on_resume_the_tree_begins_with_what_the_history_has(terminal: Terminal) -> None:
    on_a_terminal(terminal, "run", DESK, str(terminal.folder), until_seen="59m 5")
    client = Client(f"sqlite:///{terminal.folder}/.wf/wf.db")
    [run] = client.runs.list(task="desk")
    client.close()
    code, drawn = on_a_terminal(terminal, "run", DESK, "--resume", run.id, until_seen="59m 5")
    assert code == 130
    for part in ("├─ ✓ flaky", "attempt 2", "│  └─ ✓ quick", "└─ ◷ token", "wf tokens complete"):
        assert part in drawn, part
    assert "↻" not in drawn


def test_the_last_picture_is_whole_and_the_output_follows_it(terminal: Terminal) -> None:
    file = terminal.write(
        "many.py",
        "import wf\n@wf.step\ndef one(n: int) -> int:\n    print('line', n)\n    return n\n"
        "@wf.task\nasync def many() -> str:\n"
        "    for n in range(60):\n        await one(n)\n    return 'at the end'\n",
    )
    code, drawn = on_a_terminal(terminal, "run", file)
    assert code == 0
    assert drawn.count("✓ one") >= 60
    assert "line 59" in drawn
    assert drawn.rstrip().endswith("at the end")
    assert "Ctrl-C stops" not in drawn.rsplit("✓ many", 1)[-1]


class _Paper(io.StringIO):
    """A terminal that is never too high; `lines`: what stands on it."""

    def isatty(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def lines(self) -> list[str]:
        found, at = [""], 0
        for control, text in re.findall(
            r"(\x1b\[[0-9;?]*[A-Za-z]|[\r\n])|([^\x1b\r\n]+)", self.getvalue()
        ):
            if text:
                found[at] += text
            elif control == "\n":
                at += 1
                found += [""] * (at + 1 - len(found))
            elif control == "\x1b[1A":
                at -= 1
            elif control == "\x1b[2K":
                found[at] = ""
        return found


def test_lines_of_other_threads_leave_no_piece_of_a_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    paper, made = _Paper(), tree()
    live = Live(paper, made, Commands())
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor() as others:
            told = [others.submit(live.line, f"line {n}") for n in range(100)]
            for n in range(1, 41):
                commit(made, Event(n + 1, Kind.STEP_FINISHED, n, NOW, f"s{n}", took=5, attempt=1))
                live.refresh()
            for one in told:
                one.result()
    finally:
        sys.setswitchinterval(before)
    live.close()
    lines = [line.rstrip() for line in paper.lines if line]
    assert sorted(lines[:100]) == sorted(f"line {n}" for n in range(100))
    assert len(lines) == 141
    assert " root" in lines[100]


def test_without_utf_8_it_is_drawn_in_ascii(terminal: Terminal) -> None:
    terminal.env |= {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    file = terminal.write(
        "plain.py",
        "import wf\n@wf.step\ndef one() -> int:\n    return 1\n"
        "@wf.task\nasync def plain() -> int:\n    return await one()\n",
    )
    code, drawn = on_a_terminal(terminal, "run", file)
    assert code == 0
    assert "`- + one" in drawn
    assert "+ one in" in terminal.wf("run", file).ok().err


def test_in_a_pipe_there_are_lines_without_control_characters(terminal: Terminal) -> None:
    done = terminal.wf("run", DESK, str(terminal.folder), "--skip-waits")
    assert done.code == 1
    assert CONTROL not in done.err
    for part in (
        "▸ desk run_",
        "↻ flaky attempt 1 failed, again in 0.",
        "s: ConnectionError: the mail server",
        "✓ flaky in ",
        "○ helper run_",
        "◷ helper: waiting until",
        "✓ helper: the wait is over",
        "for: wf tokens complete token_",
        "nobody completed it in time",
        "✗ desk run_",
        "wf: desk failed: TokenTimedOut",
    ):
        assert part in done.err, part


def test_quiet_prints_the_output_only(terminal: Terminal) -> None:
    file = terminal.write("hello.py", "import wf\n@wf.task\nasync def hello() -> int:\n return 1\n")
    done = terminal.wf("run", file, "-q").ok()
    assert (done.out, done.err) == ("1\n", "")
    code, drawn = on_a_terminal(terminal, "run", file, "--quiet")
    assert (code, drawn.strip()) == (0, "1")


def test_a_dumb_terminal_gets_lines(terminal: Terminal) -> None:
    terminal.env["TERM"] = "dumb"
    file = terminal.write("hello.py", "import wf\n@wf.task\nasync def hello() -> int:\n return 1\n")
    code, drawn = on_a_terminal(terminal, "run", file)
    assert code == 0
    assert "▸ hello run_" in drawn


def test_the_tree_steps_aside_for_a_debugger_and_comes_back(terminal: Terminal) -> None:
    """A breakpoint in a body stops once, though paranoid mode runs it again, and one in a step."""
    file = terminal.write(
        "bugs.py",
        "import wf\n\n"
        "@wf.step\ndef look(n: int) -> int:\n    breakpoint()\n    return n + 1\n\n"
        "@wf.task\nasync def bugs(n: int) -> int:\n    found = 20 + n\n    breakpoint()\n"
        "    found = await look(found)\n    return await look(found)\n",
    )
    typed = ["p found * 2", "c", "p n * 100", "c", "c"]
    code, drawn = on_a_terminal(terminal, "run", f"{file}:bugs", "1", prompt="(Pdb) ", typed=typed)
    assert code == 0, drawn
    assert drawn.count("(Pdb) ") == len(typed)
    for part in ("found = await look(found)", "\n42", "\n2100", "✓ look", "\n23"):
        assert part in drawn, (part, drawn)
