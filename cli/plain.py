"""What happens in a run, as lines: the live view of `wf run` in a pipe."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from wf.cli import draw
from wf.cli.tree import BatchNode, MessageNode, Node, RunNode, State, TokenNode
from wf.engine.core.durations import show_duration
from wf.history.ids import show

_SILENT: Final = frozenset({"running", "token"})


class Teller:
    """`tell` is a Tree's: it writes one line for what is worth one."""

    def __init__(
        self,
        line: Callable[[str], None],
        clock: Callable[[], int],
        commands: draw.Commands,
        *,
        is_ascii: bool,
    ) -> None:
        self._line = line
        self._clock = clock
        self._commands = commands
        self._is_ascii = is_ascii
        self._root: RunNode | None = None
        self._said: set[tuple[bytes, int]] = set()

    def tell(self, run: RunNode, node: Node | None, what: str) -> None:
        self._root = self._root or run
        look = draw.Look(self._clock())
        if node is None:
            state, text = self._of_run(run, what, look)
        elif isinstance(node, RunNode):
            state, text = State.QUEUED, f"{node.name} {show('run', node.run_id)} triggered"
        elif isinstance(node, BatchNode):
            state, text = State.QUEUED, f"{node.total} runs of {node.name} triggered"
        elif isinstance(node, TokenNode):
            state, text = self._of_token(node, what, look)
        elif isinstance(node, MessageNode):
            state, text = self._of_message(run, node)
        elif what == "waiting":
            state, text = self._of_wait(run, node, look)
        else:
            state, text = node.state, _of_step(node, what, look)
        if text:
            prefix = "" if run is self._root or node is None else f"{run.name}: "
            self._line(f"{_time()} {self._symbol(state)} {prefix}{text}")

    def _symbol(self, state: State) -> str:
        if state is State.RUNNING:
            return ">" if self._is_ascii else "▸"
        return (draw.PLAIN_SYMBOLS if self._is_ascii else draw.SYMBOLS)[state]

    def _of_run(self, run: RunNode, what: str, look: draw.Look) -> tuple[State, str]:
        shown = f"{run.name} {show('run', run.run_id)}"
        match what:
            case "started":
                return State.RUNNING, f"{shown} started"
            case "again":
                return State.RUNNING, f"{shown} attempt {run.attempt} begins"
            case "taken":
                return State.RUNNING, f"{shown} goes on: its worker was lost"
            case "canceling":
                return State.RUNNING, f"{shown} is being canceled"
            case "retrying":
                told = f"attempt {run.attempt} failed, {draw.again(run, look)}: {run.error}"
                return State.RETRYING, f"{shown} {told}"
            case "ended":
                took = f" in {show_duration(run.took_ms)}" if run.took_ms is not None else ""
                word = "completed" if run.state is State.DONE else run.state.value
                return run.state, f"{shown} {word}{took}" + (f": {run.error}" if run.error else "")
            case _:
                return run.state, ""

    def _of_token(self, node: TokenNode, what: str, look: draw.Look) -> tuple[State, str]:
        shown = show("token", node.token_id)
        if what == "answered":
            return node.state, f"{shown} {node.error or 'completed'}"
        if what == "token" or (node.token_id, 0) in self._said:
            return node.state, ""
        self._said.add((node.token_id, 0))
        limit = f" until {draw.moment(node.until)}" if node.until else ""
        return node.state, f"waiting{limit} for: {self._commands.complete(node)}"

    def _of_message(self, run: RunNode, node: MessageNode) -> tuple[State, str]:
        if node.state.is_over:
            return node.state, f"message {node.name} {node.error or 'came'}"
        if (run.run_id, -node.ordinal) in self._said:
            return node.state, ""
        self._said.add((run.run_id, -node.ordinal))
        limit = f" until {draw.moment(node.until)}" if node.until else ""
        return node.state, f"waiting{limit} for: {self._commands.send(run, node)}"

    def _of_wait(self, run: RunNode, node: Node, look: draw.Look) -> tuple[State, str]:
        if (run.run_id, node.until) in self._said:
            return node.state, ""
        self._said.add((run.run_id, node.until))
        left = draw.left(node.until, look)
        return node.state, f"waiting until {draw.moment(node.until)} ({left})"


def _of_step(node: Node, what: str, look: draw.Look) -> str:
    if what in _SILENT:
        return ""
    if what == "still running":
        return f"{node.name} is running"
    if what == "fired":
        return "the wait is over"
    if node.state is State.RETRYING:
        told = f"attempt {node.attempt} failed, {draw.again(node, look)}"
        return f"{node.name} {told}: {node.error}"
    took = f" in {show_duration(node.took_ms)}" if node.took_ms is not None else ""
    if node.state is State.FAILED:
        return f"{node.name} failed{took}: {node.error}"
    tries = f", attempt {node.attempt}" if node.attempt > 1 else ""
    return f"{node.name}{took}{tries}"


def _time() -> str:
    return f"{datetime.now().astimezone():%H:%M:%S}"
