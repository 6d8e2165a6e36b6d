"""`wf worker --processes N`: keeps N worker processes alive, and hands signals on to them."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final

from wf.cli.errors import SIGNALED
from wf.cli.working import set_up_logging
from wf.engine.loading import registry_of
from wf.history.open import open_store

BACK_OFF_SECONDS: Final = (0.1, 10.0)
"""Before a process that died is started again: from, to."""
HEALTHY_SECONDS: Final = 30.0
"""One that lived so long starts with the short back-off again."""
LOOK_SECONDS: Final = 1.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = logging.getLogger("wf.worker")


@dataclass(slots=True)
class Place:
    """One of the N: its process, or when the next one starts."""

    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    delay: float = 0.0
    start_at: float = 0.0


class Supervisor:
    def __init__(self, command: Sequence[str], count: int) -> None:
        self._command = command
        self._places = [Place() for _ in range(count)]
        self._watched, self._held = os.pipe()
        os.set_inheritable(self._watched, True)
        self._signals = 0

    def run(self) -> int:
        """Until a signal comes and all processes have ended. Answers the exit code."""
        blocked = {*_SIGNALS, signal.SIGCHLD}
        for number in (*_SIGNALS, signal.SIGCHLD):
            signal.signal(number, _ignore)
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        code = 0
        while not (self._signals and all(place.process is None for place in self._places)):
            self._reap()
            if not self._signals:
                self._start()
            info = signal.sigtimedwait(blocked, self._patience())
            if info is not None and info.si_signo != signal.SIGCHLD:
                self._signals += 1
                code = self._pass_on(info.si_signo)
        return code

    def _pass_on(self, signum: int) -> int:
        for place in self._places:
            if place.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    place.process.send_signal(signal.SIGTERM)
        if self._signals == 1:
            log.info("stopping %d workers", sum(one.process is not None for one in self._places))
            return 0
        return SIGNALED + signum

    def _patience(self) -> float:
        now = time.monotonic()
        due = [one.start_at - now for one in self._places if one.process is None]
        return max(0.01, min([LOOK_SECONDS, *due]))

    def _reap(self) -> None:
        for place in self._places:
            if place.process is None:
                continue
            code = place.process.poll()
            if code is None:
                continue
            now = time.monotonic()
            least, most = BACK_OFF_SECONDS
            healthy = now - place.started_at > HEALTHY_SECONDS
            place.delay = least if healthy or not place.delay else min(place.delay * 2, most)
            place.start_at = now + place.delay
            if not self._signals:
                log.warning(
                    "worker %d ended (%s): another one starts in %.1f s",
                    place.process.pid,
                    _how(code),
                    place.delay,
                )
            place.process = None

    def _start(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.process is None and now >= place.start_at:
                place.process = subprocess.Popen(
                    [*self._command, "--watch-fd", str(self._watched)],
                    pass_fds=[self._watched],
                    process_group=0,  # a Ctrl-C reaches it through us, once
                    preexec_fn=_unblock,
                )
                place.started_at = now


def supervise(
    targets: Sequence[str], processes: int, concurrency: int, url: str, environment: str
) -> int:
    """Raises what is wrong with the targets or the database before any process is started."""
    set_up_logging()
    registry_of(targets)
    open_store(url).close()
    command = [sys.executable, "-m", "wf.cli", "worker", *targets]
    command += ["--concurrency", str(concurrency), "--env", environment]
    os.environ["WF_URL"] = url  # not on the command line: it may hold a password
    log.info("%d workers start", processes)
    return Supervisor(command, processes).run()


def _ignore(signum: int, frame: FrameType | None) -> None: ...


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
