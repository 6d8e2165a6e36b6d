"""The command as people use it: processes with pipes, or on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import warm
from tests.observing import DEADLINE_SECONDS, until

PROGRAMS = Path(__file__).with_name("programs")
RUN_ID = re.compile(r"run_[1-9A-HJ-NP-Za-km-z]{22}")
TOKEN_ID = re.compile(r"token_[1-9A-HJ-NP-Za-km-z]{22}")
SIZE = (40, 140)
"""Lines and columns."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def run_id(self) -> str:
        """The run that was told of."""
        found = RUN_ID.search(self.err + self.out)
        assert found is not None, self
        return found[0]

    def ok(self) -> Done:
        assert self.code == 0, self
        return self

    def refused(self) -> str:
        """It failed with one line that is not a traceback; the line."""
        lines = self.err.strip().splitlines()
        assert self.code not in (0, -1), self
        assert self.out == "", self
        assert len(lines) == 1, self
        assert lines[0].startswith("wf: "), self
        return lines[0]


@dataclass
class Terminal:
    """A folder to be in, and the environment that goes with it."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("WF_") and name not in {"COLUMNS", "LINES", "NO_COLOR"}
        }
        self.env = {**kept, "PYTHONHASHSEED": "random", "TERM": "xterm-256color", **self.env}
        (self.folder / "wf_config.py").write_text("import wf\n\nconfig = wf.Config(dirs=[])\n")

    def wf(self, *words: str, stdin: str = "", **options: Any) -> Done:
        done = warm.run(words, cwd=self.folder, env=self.env, stdin=stdin, **options)
        return Done(done.returncode, done.stdout, done.stderr)

    def here(self, *words: str) -> Done:
        """The same without a process of its own, which takes half a second: for commands that only
        look, once others have shown that they work."""
        from wf.cli.main import main

        before, folder = dict(os.environ), Path.cwd()
        out, err = io.StringIO(), io.StringIO()
        os.environ.clear()
        os.environ.update(self.env)
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(words)
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)
        return Done(code, out.getvalue(), err.getvalue())

    @contextlib.contextmanager
    def start(self, *words: str) -> Generator[Process]:
        """Without waiting for its end; killed where the test leaves it."""
        out, err = self.folder / "out.txt", self.folder / "err.txt"
        with out.open("w") as to_out, err.open("w") as to_err:
            child = subprocess.Popen(
                [sys.executable, "-m", "wf.cli", *words],
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_err,
                cwd=self.folder,
                env=self.env,
            )
        process = Process(child, out, err)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            child.wait()

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return name


@dataclass
class Process:
    child: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def text(self) -> str:
        return self.out.read_text() + self.err.read_text()

    def says(self, text: str) -> str:
        """Wait until it has printed that; all that it has printed."""
        assert until(lambda: text in self.text or self.child.poll() is not None)
        assert text in self.text, self.text
        return self.text

    def run_id(self) -> str:
        until(lambda: RUN_ID.search(self.text))
        found = RUN_ID.search(self.text)
        assert found is not None
        return found[0]

    def kill(self) -> None:
        """kill -9."""
        self.child.kill()
        self.child.wait(DEADLINE_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def end(self) -> Done:
        code = self.child.wait(DEADLINE_SECONDS)
        return Done(code, self.out.read_text(), self.err.read_text())


def on_a_terminal(
    terminal: Terminal,
    *words: str,
    until_seen: str = "",
    prompt: str = "",
    typed: Sequence[str] = (),
) -> tuple[int, str]:
    """Run it with a terminal as standard error and output; its exit code, and all that was drawn,
    without the control characters. `until_seen`: then it is stopped by a Ctrl-C. `typed`: one line
    at each `prompt`."""
    answers = list(typed)
    pid, controller = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        os.chdir(terminal.folder)
        os.execve(sys.executable, [sys.executable, "-m", "wf.cli", *words], terminal.env)
    drawn, end = "", time.monotonic() + DEADLINE_SECONDS
    try:
        while time.monotonic() < end:
            if not select.select([controller], [], [], 1.0)[0]:
                continue
            try:
                chunk = os.read(controller, 65_536)
            except OSError:  # Linux says so when the other side is closed
                break
            if not chunk:
                break
            drawn += chunk.decode(errors="replace")
            if answers and drawn.count(prompt) > len(typed) - len(answers):
                os.write(controller, f"{answers.pop(0)}\n".encode())
            if until_seen and until_seen in _CONTROL.sub("", drawn):
                os.kill(pid, signal.SIGINT)
                until_seen = ""
    finally:
        os.close(controller)
        with contextlib.suppress(ProcessLookupError):
            if time.monotonic() >= end:
                os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), _CONTROL.sub("", drawn)
