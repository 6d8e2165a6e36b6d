"""Where the live view goes, and what people print meanwhile. Standard output is kept for the output
of the run alone: all else, prints of steps included, goes to standard error."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol, TextIO

from wf.cli import draw
from wf.cli.plain import Teller
from wf.cli.tree import Node, RunNode, StepNode, Tree

FULL_HEIGHT: Final = 200
"""Lines of the tree that stay on the screen at the end."""
SAY_RUNNING_SECONDS: Final = 2.0
"""In a pipe, a step that takes longer is told of while it runs."""


class Screen(Protocol):
    """`line` prints above what is drawn; `refresh` draws; `close` leaves the last picture."""

    def line(self, text: str) -> None: ...
    def refresh(self) -> None: ...
    def close(self) -> None: ...
    def pause(self) -> None:
        """Draw nothing until the next `refresh`."""
        ...


class Silent:
    def pause(self) -> None: ...
    def line(self, text: str) -> None: ...
    def refresh(self) -> None: ...
    def close(self) -> None: ...


class Plain:
    """One line for each thing that happens."""

    def __init__(self, stderr: TextIO, tree: Tree, commands: draw.Commands) -> None:
        self._stderr = stderr
        self._tree = tree
        self._teller = Teller(self.line, tree.clock, commands, is_ascii=is_ascii(stderr))
        self._told: set[int] = set()
        tree.tell = self._teller.tell

    def line(self, text: str) -> None:
        with suppress(BrokenPipeError, ValueError):
            self._stderr.write(text + "\n")
            self._stderr.flush()

    def refresh(self) -> None:
        now = time.monotonic()
        with self._tree.lock:
            for run in self._tree:
                for item in run.items.values():
                    if self._is_long(item, now):
                        self._told.add(id(item))
                        self._teller.tell(run, item, "still running")

    def _is_long(self, item: Node, now: float) -> bool:
        return (
            isinstance(item, StepNode)
            and item.state.value == "running"
            and item.began is not None
            and now - item.began > SAY_RUNNING_SECONDS
            and id(item) not in self._told
        )

    def close(self) -> None: ...
    def pause(self) -> None: ...


class Live:
    """The tree, drawn by rich in place; lines go above it."""

    def __init__(self, stderr: TextIO, tree: Tree, commands: draw.Commands) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._tree = tree
        self._commands = commands
        self._is_ascii = is_ascii(stderr)
        self._is_last = False
        self._offered: set[str] = set()
        self._offers: list[str] = []
        self._writing = threading.RLock()
        """rich measures the old picture in one place and writes in another: one thread at a time,
        or a piece of it stays."""
        self._console = Console(file=stderr, highlight=False, soft_wrap=False)
        self._live = RichLive(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()
        self._console.show_cursor(True)  # who is killed cannot bring it back
        tree.tell = self._offer

    def line(self, text: str) -> None:
        from rich.text import Text

        with self._writing:
            self._console.print(Text.from_ansi(text), soft_wrap=True)

    def refresh(self) -> None:
        while self._offers:
            self.line(self._offers.pop(0))
        picture = self._render()  # it takes the tree's lock: not within the other one
        with self._writing:
            if not self._live.is_started:
                self._live.start()
            self._live.update(picture, refresh=True)

    def pause(self) -> None:
        with self._writing:
            self._live.stop()

    def close(self) -> None:
        self._is_last = True
        self.refresh()
        with self._writing:
            self._live.stop()

    def _offer(self, run: RunNode, node: Node | None, what: str) -> None:
        """How to complete a token, or send a message, once, in a line that can be copied. Printed
        by who draws: the tree's lock is held here, and drawing takes it."""
        from wf.cli.tree import MessageNode, TokenNode

        if what not in {"token", "awaited"}:
            return
        if isinstance(node, TokenNode):
            what, command = "a token; complete it", self._commands.complete(node)
        elif isinstance(node, MessageNode):
            what, command = "a message; send it", self._commands.send(run, node)
        else:
            return
        if command not in self._offered:
            self._offered.add(command)
            self._offers.append(f"{run.name} waits for {what} with\n  {command}")

    def _render(self) -> Any:
        from rich.text import Text

        look = draw.Look(self._tree.clock(), is_ascii=self._is_ascii)
        size = self._console.size
        height = FULL_HEIGHT if self._is_last else max(5, size.height - 4)
        lines = draw.fold(draw.lines_of(self._tree, look), height)
        names = max((_width(_first(line)) for line in lines), default=0)
        times = max((len(line.time) for line in lines), default=0)
        picture = Text(no_wrap=True, overflow="ellipsis")
        for line in lines:
            style = draw.STYLES[line.state]
            is_loud = line.state.value in {"failed", "retrying"}
            one = Text.assemble(
                (line.guide, "bright_black"),
                (line.symbol, style),
                " ",
                (line.name, "bold" if line.is_header else _name_style(line)),
                " " * (names - _width(_first(line))),
                (f"  {line.time.rjust(times)}", "bright_black"),
                (f"  {line.note}", style if is_loud else "bright_black"),
            )
            one.truncate(size.width, overflow="ellipsis")
            picture.append(one.append("\n"))
        if lines and not self._is_last:
            last = Text(f"Ctrl-C stops; to go on: {self._commands.resume}", "bright_black")
            last.truncate(size.width, overflow="ellipsis")
            picture.append(last)
        picture.rstrip()
        return picture


def _first(line: draw.Line) -> str:
    return f"{line.guide}{line.symbol} {line.name}"


def _width(text: str) -> int:
    """Columns of a terminal."""
    from rich.cells import cell_len as columns

    return columns(text)


def _name_style(line: draw.Line) -> str:
    return "dim" if line.state.value in {"queued", "canceled"} else ""


def is_ascii(stream: TextIO) -> bool:
    """The stream cannot show the tree's symbols."""
    try:
        "✓└⠋".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return True
    return False


# --- standard output ------------------------------------------------------------------------------


class _Lines:
    """A text stream that hands on whole lines."""

    def __init__(self, line: Callable[[str], None], real: TextIO) -> None:
        self._line = line
        self._real = real
        self._rest: dict[int, str] = {}

    def write(self, text: str) -> int:
        me = threading.get_ident()
        whole, newline, rest = (self._rest.pop(me, "") + text).rpartition("\n")
        if rest:
            self._rest[me] = rest
        if newline:
            self._line(whole)
        return len(text)

    def finish(self) -> None:
        for rest in self._rest.values():
            self._line(rest)
        self._rest.clear()

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return self._real.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Standard:
    """Standard output and error while a run is under way. `line`: where prints go; `output`: the
    real standard output. Child processes of steps write to standard error, too."""

    def __init__(self) -> None:
        self.stderr = sys.stderr
        self._stdout = sys.stdout
        self._stdout.flush()
        self._saved = os.dup(1)
        os.dup2(2, 1)
        self.line: Callable[[str], None] = self.write
        lines = _Lines(lambda text: self.line(text), self.stderr)
        self._lines = lines
        self.catch()

    def catch(self) -> None:
        """What is printed comes to `line`."""
        sys.stdout = sys.stderr = self._lines  # pyright: ignore[reportAttributeAccessIssue]

    def let_go(self) -> None:
        """What is printed comes out as it is, on standard error: prompts of a debugger."""
        self._lines.finish()
        sys.stdout, sys.stderr = self._stdout, self.stderr

    def write(self, text: str) -> None:
        with suppress(BrokenPipeError, ValueError):
            self.stderr.write(text + "\n")
            self.stderr.flush()

    def restore(self) -> None:
        """Everything is as it was."""
        self.let_go()
        self._stdout.flush()
        os.dup2(self._saved, 1)
        os.close(self._saved)
