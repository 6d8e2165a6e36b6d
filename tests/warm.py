"""`wf` as a process of its own, without the half second that its imports take.

    python -m tests.warm FD

imports what the commands need, once, and then makes a fork of itself for every command that comes
over the socket FD. It ends with whoever holds the other end. A process starts it when it first
`run`s a command; the next one that comes while one runs is started in the usual way, as is all that
a test kills, signals or gives a terminal.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, NoReturn

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("wf.history", "wf.client", "wf.engine", "wf.cli")
BESIDE: Final = frozenset({"wf.cli.__main__", "wf.engine.child", "wf.history.migrations.env"})
"""What is no module to import, but a program."""
TIMEOUT_S: Final = 60.0
"""A machine that is this slow is broken."""

Done = subprocess.CompletedProcess[str]


def run(
    words: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    **options: Any,
) -> Done:
    """What `python -m wf.cli WORDS` answers and prints. `options`: of a `subprocess.run`."""
    given = {"cwd": str(cwd or Path.cwd()), "env": dict(env or os.environ)}
    warm = _warm()
    if options or not warm.free.acquire(blocking=False):
        command = [sys.executable, "-m", "wf.cli", *words]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            **given,
            **options,
        )
    try:
        return warm.run({**given, "words": list(words)}, stdin)
    finally:
        warm.free.release()


class Warm:
    """The process that has imported all, as seen by who asks it. One command at a time: `free`."""

    def __init__(self) -> None:
        self.free = threading.Lock()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(TIMEOUT_S)
        with theirs:
            command = [sys.executable, "-m", "tests.warm", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, cwd=ROOT, pass_fds=[theirs.fileno()], start_new_session=True
            )

    def run(self, given: dict[str, Any], stdin: str) -> Done:
        with contextlib.ExitStack() as opened:
            files = [
                opened.enter_context(_file(text)) for text in (stdin, "", "", json.dumps(given))
            ]
            code = self._ask([file.fileno() for file in files])
            out, err = map(_text, files[1:3])
        return Done(given["words"], code, out, err)

    def _ask(self, files: list[int]) -> int:
        try:
            socket.send_fds(self._control, [b"."], files)
            return int(self._control.recv(16))
        except BaseException:
            _warm.cache_clear()
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise


@contextlib.contextmanager
def _file(text: str) -> Generator[IO[str]]:
    with tempfile.TemporaryFile("w+") as file:
        file.write(text)
        file.seek(0)
        yield file


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


@cache
def _warm() -> Warm:
    return Warm()


def serve(control: socket.socket) -> bool:
    """True: this is the fork that is to be the command. False: nobody asks any more."""
    while True:
        asked, files, _, _ = socket.recv_fds(control, 1, 4)
        if not asked:
            return False
        child = os.fork()
        if child == 0:
            control.close()
            _become(files)
            return True
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        control.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(files: Sequence[int]) -> None:
    with os.fdopen(files[3]) as file:
        given: dict[str, Any] = json.load(file)
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
        os.close(file)
    os.chdir(given["cwd"])
    os.environ.clear()
    os.environ.update(given["env"])
    sys.argv = ["wf", *given["words"]]
    sys.path[0] = given["cwd"]


def import_all() -> None:
    for package in map(importlib.import_module, PACKAGES):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name not in BESIDE and ".versions." not in found.name:
                importlib.import_module(found.name)


class Exit:
    """The end of a process without tidying up its memory, every page of which would be copied."""

    code: int = 1

    def __call__(self) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.code)


def main(control: socket.socket) -> None:
    leave = Exit()
    atexit.register(leave)  # the first is called last
    import_all()
    gc.collect()
    gc.freeze()  # a collection would copy what is shared, too
    if serve(control):
        try:
            runpy.run_module("wf.cli", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            leave.code = int(end.code or 0)
            raise
    leave.code = 0


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
