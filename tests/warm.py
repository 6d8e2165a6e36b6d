"""Processes of wf without the half second that its imports take.

    python -m tests.warm FD PACKAGE...

imports the packages, once, and then makes a fork of itself for every module that it is asked over
the socket FD to run as `python -m` does. It ends with whoever holds the other end. A test process
starts one when it first `run`s a command; the next command that comes while one runs is started in
the usual way, as is all that a test gives a terminal.
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
READ_AT_START: Final = ("LANG", "LC_ALL", "LC_CTYPE", "PYTHONIOENCODING", "PYTHONUTF8")
"""A fork does not hear of these: where they are others, the command starts in the usual way."""
ASKED_BYTES: Final = 32
"""Of a request: a word and a pid."""
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
    variables = dict(env or os.environ)
    given: dict[str, Any] = {"cwd": str(cwd or Path.cwd()), "env": variables}
    warm = _warm(PACKAGES)
    is_other = any(variables.get(name) != os.environ.get(name) for name in READ_AT_START)
    if options or is_other or not warm.free.acquire(blocking=False):
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
        return warm.run({**given, "module": "wf.cli", "words": list(words)}, stdin)
    finally:
        warm.free.release()


class Warm:
    """The process that has imported all, as seen by who asks it. One command at a time: `free`."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.free = threading.Lock()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(TIMEOUT_S)
        with theirs:
            command = [sys.executable, "-m", "tests.warm", str(theirs.fileno()), *packages]
            self._process = subprocess.Popen(
                command, cwd=ROOT, pass_fds=[theirs.fileno()], start_new_session=True
            )
        atexit.register(self.end)

    def end(self) -> None:
        self._control.close()
        self._process.wait(TIMEOUT_S)

    def run(self, given: dict[str, Any], stdin: str) -> Done:
        with contextlib.ExitStack() as opened:
            files = [opened.enter_context(_file(text)) for text in (stdin, "", "")]
            code = self.wait(self.start(given, [file.fileno() for file in files]))
            out, err = map(_text, files[1:])
        assert code is not None
        return Done(given["words"], code, out, err)

    def start(self, given: dict[str, Any], files: list[int]) -> int:
        """The pid."""
        with _file(json.dumps(given)) as message:
            socket.send_fds(
                self._control, [b"start".ljust(ASKED_BYTES)], [*files, message.fileno()]
            )
            return int(self._answer())

    def wait(self, pid: int, block: bool = True) -> int | None:
        """Its exit code, as a Popen tells it; once."""
        self._control.send(f"{'wait' if block else 'poll'} {pid}".encode().ljust(ASKED_BYTES))
        code = self._answer()
        return None if code == "None" else int(code)

    def _answer(self) -> str:
        try:
            return self._control.recv(16).decode()
        except BaseException:
            _warm.cache_clear()
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise


class Fork:
    """What a Popen is, for `python -m MODULE WORDS`: its standard input and output are pipes."""

    def __init__(self, module: str, words: Sequence[str], packages: Sequence[str]) -> None:
        self._warm = _warm(tuple(packages))
        given = {"cwd": str(ROOT), "env": dict(os.environ), "module": module, "words": list(words)}
        theirs_in, mine_in = os.pipe()
        mine_out, theirs_out = os.pipe()
        self.pid = self._warm.start(given, [theirs_in, theirs_out, 2])
        os.close(theirs_in)
        os.close(theirs_out)
        self.stdin, self.stdout = os.fdopen(mine_in, "wb"), os.fdopen(mine_out, "rb")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._warm.wait(self.pid, block=False)
        return self.returncode

    def wait(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._warm.wait(self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


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
def _warm(packages: Sequence[str]) -> Warm:
    return Warm(packages)


def serve(control: socket.socket) -> str:
    """In a fork: the module that it is to run. Where nobody asks any more: nothing."""
    while True:
        asked, files, _, _ = socket.recv_fds(control, ASKED_BYTES, 4)
        if not asked:
            return ""
        match asked.decode().split():
            case ["start"]:
                child = os.fork()
                if child == 0:
                    control.close()
                    return _become(files)
                for file in files:
                    os.close(file)
                answer: int | None = child
            case [how, pid]:
                done, status = os.waitpid(int(pid), 0 if how == "wait" else os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if done else None
            case _:
                raise AssertionError(asked)
        control.send(str(answer).encode())


def _become(files: Sequence[int]) -> str:
    with os.fdopen(files[3]) as file:
        given: dict[str, Any] = json.load(file)
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
        os.close(file)
    os.chdir(given["cwd"])
    os.environ.clear()
    os.environ.update(given["env"])
    sys.argv = [given["module"], *given["words"]]
    sys.path[0] = given["cwd"]
    return given["module"]


def import_all(packages: Sequence[str]) -> None:
    for package in map(importlib.import_module, packages):
        path = getattr(package, "__path__", ())
        for found in pkgutil.walk_packages(path, f"{package.__name__}."):
            if found.name not in BESIDE and ".versions." not in found.name:
                importlib.import_module(found.name)


class Exit:
    """The end of a process without tidying up its memory, every page of which would be copied."""

    code: int = 1

    def __call__(self) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.code)


def main(control: socket.socket, packages: Sequence[str]) -> None:
    leave = Exit()
    atexit.register(leave)  # the first is called last
    import_all(packages)
    gc.collect()
    gc.freeze()  # a collection would copy what is shared, too
    if module := serve(control):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            leave.code = int(end.code or 0)
            raise
    leave.code = 0


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
