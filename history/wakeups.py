"""Hints across threads and processes that share a SQLite file. Hints may be lost: polling is the
truth.

Each listening store has a Unix datagram socket in a directory whose name follows from the file's
real path. The directory is in the system's temporary one, because the path of a socket must be
shorter than that of many a file (107 bytes on Linux, 103 on macOS). A hint is one byte to every
socket there; where one is full, its owner has hints to read anyway. A socket that nobody reads any
more is removed by who finds it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final
from weakref import WeakSet

MAX_SOCKET_PATH: Final = 103
"""The shorter limit, macOS'."""
SETTLED_NS: Final = 100_000_000
"""A directory whose time of change is that old when it is read has shown all that was made in it:
file systems stamp with a tick of 10 ms or less."""
_STOP: Final = b"0"
_HINT: Final = b"1"

_log = logging.getLogger("wf.history")
_all: WeakSet[Wakeups] = WeakSet()


class Wakeups:
    """The listeners of one store, and its door to those of others."""

    def __init__(self, file: Path) -> None:
        self._directory = meeting_place(file)
        self._reset()
        _all.add(self)

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake`, from any thread, after every hint; answers how to stop it."""
        entry = [wake]
        with self._lock:
            self._closed = False
            self._listeners.append(entry)
            if self._inbox is None:
                self._open()

        def stop() -> None:
            with self._lock:
                if entry in self._listeners:
                    self._listeners = [other for other in self._listeners if other is not entry]
                last = not self._listeners
            if last:
                self._shut()

        return stop

    def hint(self) -> None:
        """Tell all listeners. Never raises, never waits."""
        self._wake()
        for path in self._others():
            self._send(path, _HINT)

    def close(self) -> None:
        self._listeners = []
        self._shut()
        with self._lock:
            self._closed = True
            if self._outbox is not None:
                self._outbox.close()
                self._outbox = None

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        """A hint that comes late, from another thread, must not open the door again."""
        self._listeners: list[list[Callable[[], None]]] = []
        self._inbox: socket.socket | None = None
        self._inbox_path = ""
        self._thread: threading.Thread | None = None
        self._outbox: socket.socket | None = None
        self._known: list[str] = []
        self._known_at = -1

    def _after_fork(self) -> None:
        for each in (self._inbox, self._outbox):
            if each is not None:
                each.close()
        self._reset()

    def _wake(self) -> None:
        for (wake,) in self._listeners:
            try:
                wake()
            except Exception:
                _log.exception("a listener failed; the commit that it was told of stands")

    def _open(self) -> None:
        """Without a socket (no temporary directory, say) hints stay within this store."""
        inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = str(self._directory / f"{secrets.token_hex(6)}.s")
        try:
            _make_private(self._directory)
            inbox.bind(path)
        except OSError as error:
            inbox.close()
            _log.warning("no wake-ups from other processes, wf polls instead: %s", error)
            return
        self._inbox, self._inbox_path = inbox, path
        self._thread = threading.Thread(
            target=self._receive, args=(inbox,), name="wf-wakeups", daemon=True
        )
        self._thread.start()

    def _receive(self, inbox: socket.socket) -> None:
        while True:
            try:
                got = {inbox.recv(1)}
                with contextlib.suppress(BlockingIOError):
                    while True:
                        got.add(inbox.recv(1, socket.MSG_DONTWAIT))
            except OSError:
                return
            if _STOP in got:
                return
            self._wake()

    def _shut(self) -> None:
        with self._lock:
            inbox, thread, path = self._inbox, self._thread, self._inbox_path
            self._inbox, self._thread, self._inbox_path = None, None, ""
        if inbox is None or thread is None:
            return
        self._send(path, _STOP)
        if thread is not threading.current_thread():
            thread.join(timeout=1)
        inbox.close()
        with contextlib.suppress(OSError):
            Path(path).unlink()

    def _others(self) -> list[str]:
        """The sockets of other stores; read again only after the directory has changed."""
        try:
            changed = os.stat(self._directory).st_mtime_ns  # noqa: PTH116 # twice as fast
            if changed != self._known_at:
                names = os.listdir(self._directory)  # noqa: PTH208 # the same
                self._known = [f"{self._directory}/{name}" for name in names if name[-2:] == ".s"]
                settled = time.time_ns() - changed > SETTLED_NS
                self._known_at = changed if settled else -1
        except OSError:
            return []
        own = self._inbox_path
        return [path for path in self._known if path != own]

    def _send(self, path: str, what: bytes) -> None:
        outbox = self._outbox
        if outbox is None:
            with self._lock:
                if self._closed:
                    return
                if self._outbox is None:
                    self._outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    self._outbox.setblocking(False)
                outbox = self._outbox
        try:
            outbox.sendto(what, path)
        except (ConnectionRefusedError, FileNotFoundError):
            self._known_at = -1
            with contextlib.suppress(OSError):
                Path(path).unlink()
        except OSError:
            pass


def meeting_place(file: Path) -> Path:
    """The directory of a file's sockets: the same for every process of this user, by whatever path
    it knows the file."""
    key = blake2b(os.path.realpath(file).encode(), digest_size=8).hexdigest()
    name = f"wf-{os.getuid()}-{key}"
    place = Path(tempfile.gettempdir()) / name
    if len(str(place)) + 15 > MAX_SOCKET_PATH:
        place = Path("/tmp") / name  # noqa: S108 # its owner and mode are checked
    return place


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OSError(f"{directory} is not this user's own: remove it")


def _after_fork() -> None:
    for wakeups in list(_all):
        wakeups._after_fork()  # pyright: ignore[reportPrivateUsage]


os.register_at_fork(after_in_child=_after_fork)
