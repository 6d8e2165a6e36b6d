"""Log lines of a run, where nobody has set up logging: `wf.logger` from INFO on, all else from
WARNING on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager


class _Handler(logging.Handler):
    def __init__(self, line: Callable[[str], None]) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "wf.worker" and "is parked" in str(record.msg):
            return  # said at the end
        try:
            self._line(self.format(record))
        except Exception:
            self.handleError(record)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"


@contextmanager
def logs_to(line: Callable[[str], None]) -> Generator[None]:
    """Lines go there meanwhile, unless the author's code sets up logging of its own."""
    handler = _Handler(line)
    handler.setFormatter(_Formatter("%(message)s"))
    run_log = logging.getLogger("wf.run")
    if run_log.level == logging.NOTSET:
        run_log.setLevel(logging.INFO)
    logging.lastResort = handler  # type: ignore[assignment]
    try:
        yield
    finally:
        logging.lastResort = _nowhere  # type: ignore[assignment]


_nowhere = logging.lastResort
