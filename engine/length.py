"""When a history has become long: each time a worker takes the run up anew, it reads all of it."""

from __future__ import annotations

import logging
from typing import Final

from wf.engine.core.decisions import Log

LONG_HISTORY: Final = 10_000
"""Events. A tenth of a second to replay, and some megabytes in memory; told of again at twice as
many, and so on."""


class Length:
    """Of the history of one chapter. `next`: the seq at which something is to be said."""

    def __init__(self) -> None:
        self.next = LONG_HISTORY

    def known(self, seq: int) -> None:
        """It has grown so far in an earlier life of its body."""
        while self.next <= seq:
            self.next *= 2

    def told(self, title: str, seq: int) -> Log:
        self.known(seq)
        return Log(
            logging.WARNING,
            f"the history of {title} has {seq:,} events, which every replay reads: "
            "go on with a fresh one, `await wf.restart(payload)`",
        )
