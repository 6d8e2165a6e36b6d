"""The process that runs one step at a time for a worker: the other end of `engine.processes`.

Messages in: first the worker's log levels, then a Call at a time, and what is answered to ASK. Out:
BEGUN, log records, what is printed and noted, a Reply. When the worker is gone, this process ends
at once, with all that it started.

SIGTERM cancels the step: it gets a CancelledError where it is.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import sys
import threading
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final

from msgspec import Struct

from wf.engine.away import Call, Reply, carry_out, order_of, refused
from wf.engine.steps import StepOrder
from wf.history.notes import Note

BEGUN, LOG, OUT, ERR, NOTE, ASK, DONE = range(7)
"""What a message tells. It is (this, data). ASK: for the run's metadata."""
BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from wf.engine.child import main; "
    "main(int(sys.argv[2]))"
)


class Answer(Struct, frozen=True):
    metadata: dict[str, Any]
    error: Exception | None = None


class Child:
    """Messages to the worker, from any thread; and the step that is under way."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._order: StepOrder | None = None
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._answers: SimpleQueue[Answer] = SimpleQueue()

    def send(self, what: int, data: Any = None) -> None:
        with self._lock:
            self._connection.send((what, data))

    def add(self, note: Note) -> None:
        """As the Pad of its steps: the worker writes it down."""
        self.send(NOTE, note)

    def metadata(self) -> dict[str, Any]:
        self.send(ASK)
        answer = self._answers.get()
        if answer.error is not None:
            raise answer.error
        return answer.metadata

    def work(self) -> None:
        """Until the worker is gone."""
        threading.Thread(target=self._receive, name="wf-parent", daemon=True).start()
        while True:
            reply = self._perform(self._calls.get())
            sys.stdout.flush()
            sys.stderr.flush()
            self.send(DONE, reply)

    def cancel(self, *_: object) -> None:
        """The signal's handler, in the main thread, which is the step's."""
        order = self._order
        if order is None or order.info.is_canceled:
            return
        order.info.is_canceled = True
        if order.task is None:
            raise asyncio.CancelledError
        order.task.get_loop().call_soon_threadsafe(order.task.cancel)

    def _perform(self, call: Call) -> Reply:
        try:
            order = order_of(call)
        except Exception as error:
            return refused(error)
        order.info.pad = self
        self.send(BEGUN)
        try:
            self._order = order
            return carry_out(order)
        finally:
            self._order = None

    def _receive(self) -> None:
        try:
            while True:
                message = self._connection.recv()
                if isinstance(message, Answer):
                    self._answers.put(message)
                else:
                    self._calls.put(message)
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)


class _Printed(io.TextIOBase):
    """sys.stdout and sys.stderr: whole lines go to the worker."""

    def __init__(self, child: Child, what: int) -> None:
        self._child = child
        self._what = what
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        self._rest += text
        lines, newline, rest = self._rest.rpartition("\n")
        if newline:
            self._rest = rest
            self._child.send(self._what, lines + newline)
        return len(text)

    def flush(self) -> None:
        if self._rest:
            text, self._rest = self._rest, ""
            self._child.send(self._what, text)


class _Records(QueueHandler):
    """Log records go to the worker, with their text made here."""

    def __init__(self, child: Child) -> None:
        super().__init__(SimpleQueue())
        self._child = child

    def enqueue(self, record: logging.LogRecord) -> None:
        self._child.send(LOG, record.__dict__)


def _ignored(*_: object) -> None:
    """Ctrl-C is the worker's to answer."""


def main(fd: int) -> None:
    connection: Connection[Any, Any] = Connection(fd)
    child = Child(connection)
    for name, level in connection.recv().items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger().addHandler(_Records(child))
    sys.stdout = _Printed(child, OUT)
    sys.stderr = _Printed(child, ERR)
    signal.signal(signal.SIGTERM, child.cancel)
    signal.signal(signal.SIGINT, _ignored)
    child.work()
