"""A debugger has the terminal: the live view steps aside until it is told to go on."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

from wf.cli.screen import Screen, Standard
from wf.engine import silence
from wf.engine.debugging import is_followed


class Aside:
    """`is_away` is asked before each drawing."""

    def __init__(self, screen: Screen, standard: Standard) -> None:
        self._screen = screen
        self._standard = standard
        self._thread = 0

    @contextmanager
    def watched(self) -> Generator[None]:
        """Meanwhile a `breakpoint()` in a body or a step gets the terminal."""
        silence.guard_breakpoints()
        silence.asides.append(self._open)
        try:
            yield
        finally:
            silence.asides.remove(self._open)
            self.is_away()

    def _open(self) -> None:
        self._thread = threading.get_ident()
        self._screen.pause()
        self._standard.let_go()

    def is_away(self) -> bool:
        if self._thread and not is_followed(self._thread):
            self._thread = 0
            self._standard.catch()
        return bool(self._thread)
