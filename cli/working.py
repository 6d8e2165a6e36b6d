"""One worker process: an engine, until a signal comes."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial
from typing import Final

from wf.cli.errors import SIGNALED, Failed, line_of
from wf.cli.signals import Bell, Signals
from wf.engine.config import load_config
from wf.engine.engine import Engine
from wf.engine.host import STOP_SECONDS
from wf.engine.loading import registry_of
from wf.engine.worker import WorkerSettings
from wf.history.open import open_store

SWITCH_SECONDS: Final = 0.0005
"""At Python's own 5 ms, one sync step that computes makes every hand-over between threads wait
5-20 ms; at this, 0.7 ms."""
LOOK_SECONDS: Final = 1.0

log = logging.getLogger("wf.worker")


def work(
    targets: Sequence[str], concurrency: int, url: str, environment: str, watch_fd: int
) -> int:
    """Answers the exit code: 0 after a graceful stop."""
    config = load_config()
    set_up_logging(config.log_level)
    sys.setswitchinterval(SWITCH_SECONDS)
    registry = registry_of(targets)
    gc.freeze()
    settings = WorkerSettings(
        environment=environment,
        max_owned=concurrency,
        policies=config.policies(environment),
        executors=config.executors,
    )
    store = open_store(url, codec=config.codec)
    engine = Engine(store=store, tasks=registry, environment=environment, settings=settings)
    bell = Bell()
    signals = Signals(bell)
    signals.at_once = partial(engine.request_stop, 0)
    if watch_fd >= 0:
        threading.Thread(target=_watch, args=(watch_fd,), name="wf-parent", daemon=True).start()
    try:
        with signals.caught():
            engine.start_now()
            log.info("worker %d works on %s", os.getpid(), ", ".join(sorted(registry.ids)))
            while not signals.times:
                bell.wait(LOOK_SECONDS)
                if engine.failure is not None:
                    raise Failed(f"the worker ended: {line_of(engine.failure)}")
            log.info("worker %d stops: at most %.0f s", os.getpid(), STOP_SECONDS)
            engine.stop_now(STOP_SECONDS if signals.times < 2 else 0.0)
    finally:
        store.close()
    log.info("worker %d has stopped", os.getpid())
    return 0 if signals.times < 2 else SIGNALED + signals.signum


def set_up_logging(level: str = "INFO") -> None:
    """Lines to standard error, where the author's code sets up nothing else."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.lastResort = handler  # type: ignore[assignment]
    for name in ("wf.run", "wf.worker"):
        logging.getLogger(name).setLevel(level.upper())


def _watch(fd: int) -> None:
    """The supervisor holds the other end: when it is gone, so is the reason to work."""
    os.read(fd, 1)
    os.kill(os.getpid(), signal.SIGTERM)
