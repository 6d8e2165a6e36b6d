"""Steps with executor="process": while one runs, it has a process for itself.

So a step that crashes its process, or is killed, takes no other one with it. Processes are started
when they are needed, as new interpreters (a fork would copy locks that other threads hold), and
used again; one that was told to stop is not. How a process and its worker talk: `engine.child`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any, Final

from wf.engine.attempts import StepOutcome
from wf.engine.away import call_of
from wf.engine.child import ASK, BEGUN, BOOT, ERR, LOG, NOTE, OUT, Answer
from wf.engine.notebook import Page
from wf.engine.steps import Deliver, StepOrder, Threads, canceled, timeout_error
from wf.history.errors import ProcessDied, StepInterrupted

MAX_PROCESSES: Final = max(2, os.cpu_count() or 1)
"""Steps at once: they compute, and more processes than cores only take turns. Two at least: one
that never ends must not hold up all others."""


class Processes:
    """`kill_after`: seconds that a step has to end after it was canceled or its time was over."""

    def __init__(self, deliver: Deliver, kill_after: float) -> None:
        self._deliver = deliver
        self._kill_after = kill_after
        self._threads = Threads(MAX_PROCESSES, self._run, "wf-process")
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._stopped = False

    def start(self, order: StepOrder) -> None:
        self._threads.start(order)

    def stop(self) -> None:
        """End all processes, with the steps in them."""
        self._threads.stop()
        with self._lock:
            self._stopped = True
            processes = list(self._all)
        for process in processes:
            process.kill()

    def _run(self, order: StepOrder) -> None:
        try:
            process = self._take()
        except OSError as error:
            self._deliver(order, StepOutcome(order.ordinal, None, error, 0))
            return
        outcome = process.run(order)
        with self._lock:
            if process.is_usable and not self._stopped:
                self._idle.append(process)
            else:
                self._all.discard(process)
                process.kill()
        self._deliver(order, outcome)

    def _take(self) -> _Process:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.is_usable:
                    return process
                self._all.discard(process)
                process.kill()
            process = _Process(self._kill_after)
            self._all.add(process)
            if self._stopped:
                process.kill()
            return process


class _Process:
    def __init__(self, kill_after: float) -> None:
        self._kill_after = kill_after
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._is_told = False
        """To stop: a late signal must not hit another step."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._connection: Connection[Any, Any] = Connection(ours.detach())
            self._popen = subprocess.Popen(
                [sys.executable, "-c", BOOT, json.dumps(sys.path), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        self._send(_log_levels())

    @property
    def is_usable(self) -> bool:
        return not self._is_told and self._popen.poll() is None

    def run(self, order: StepOrder) -> StepOutcome:
        """The step, to its end. Never raises."""
        order.stop = self.terminate
        if order.info.is_canceled:
            return canceled(order)
        begun = time.monotonic()
        late = False
        try:
            call = call_of(order)
        except Exception as error:
            return StepOutcome(order.ordinal, None, error, 0)
        self._send(call)
        try:
            while True:
                left = None
                if order.info.deadline is not None and not late:
                    left = max(0.0, order.info.deadline - time.monotonic())
                if not self._connection.poll(left):
                    late = True
                    self.terminate()
                    continue
                what, data = self._connection.recv()
                if what == BEGUN:
                    begun = time.monotonic()
                    if order.timeout_ms:
                        order.info.deadline = begun + order.timeout_ms / 1_000
                elif what == NOTE:
                    _page(order).add(data)
                elif what == ASK:
                    self._send(_answer(order))
                elif not _told(what, data):
                    outcome: StepOutcome = data.outcome(order.ordinal)
                    break
        except (EOFError, OSError):
            outcome = self._died(order, begun)
        finally:
            order.stop = None
        return _too_late(order, outcome) if late else outcome

    def terminate(self) -> None:
        """Tell the step to end; a little later the process is killed."""
        with self._lock:
            if self._is_told:
                return
            self._is_told = True
            self._timer = threading.Timer(self._kill_after, self.kill)
            self._timer.daemon = True
            self._timer.start()
        self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, and what it has started."""
        with self._lock:
            self._is_told = True
            if self._timer is not None:
                self._timer.cancel()
            if self._popen.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._popen.pid, signal.SIGKILL)
                self._popen.wait()

    def _send(self, message: object) -> None:
        """Whether it has died is told by what it answers."""
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def _died(self, order: StepOrder, begun: float) -> StepOutcome:
        self.kill()
        took_ms = round((time.monotonic() - begun) * 1_000)
        if order.info.is_canceled:
            return StepOutcome(order.ordinal, None, canceled(order).error, took_ms)
        told = (
            f"the process in which {order.runnable.id} ran {_end_of(self._popen)}: look for "
            "os._exit, a crash in an extension, or too little memory"
        )
        error = ProcessDied(told)
        if order.runnable.settings.at_most_once:
            error = StepInterrupted(told, type=StepInterrupted.__name__)
        return StepOutcome(order.ordinal, None, error, took_ms)


def _end_of(popen: subprocess.Popen[bytes]) -> str:
    code = popen.wait()
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _too_late(order: StepOrder, outcome: StepOutcome) -> StepOutcome:
    return StepOutcome(order.ordinal, None, timeout_error(order), outcome.took_ms, True)


def _page(order: StepOrder) -> Page:
    assert order.page is not None
    return order.page


def _answer(order: StepOrder) -> Answer:
    try:
        return Answer(_page(order).metadata())
    except Exception as error:
        return Answer({}, error)


def _told(what: int, data: Any) -> bool:
    """Let out what the step logged or printed. False: it is another sort of message."""
    if what == LOG:
        record = logging.makeLogRecord(data)
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    elif what in (OUT, ERR):
        stream = sys.stdout if what == OUT else sys.stderr
        stream.write(data)
        stream.flush()
    else:
        return False
    return True


def _log_levels() -> dict[str, int]:
    """Of this process's loggers, where they have one of their own; "" is the root."""
    loggers = {"": logging.getLogger(), **logging.root.manager.loggerDict}
    return {
        name: logger.level
        for name, logger in loggers.items()
        if isinstance(logger, logging.Logger) and logger.level
    }
