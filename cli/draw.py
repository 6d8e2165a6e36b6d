"""The tree as lines of text: symbols, names, durations, what is waited for. Knows no terminal."""

from __future__ import annotations

import shlex
import time
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from msgspec import Struct, field

from wf.cli.tree import (
    BatchNode,
    MessageNode,
    Node,
    RunNode,
    State,
    StepNode,
    TokenNode,
    Tree,
    WaitNode,
)
from wf.engine.core.durations import show_duration
from wf.history.ids import show

FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
PLAIN_FRAMES: Final = "|/-\\"
FRAMES_PER_SECOND: Final = 10

SYMBOLS: Final = {
    State.QUEUED: "○",
    State.RETRYING: "↻",
    State.WAITING: "◷",
    State.DONE: "✓",
    State.FAILED: "✗",
    State.CANCELED: "⊘",
    State.PARKED: "‖",
}
PLAIN_SYMBOLS: Final = {
    State.QUEUED: ".",
    State.RETRYING: "~",
    State.WAITING: ":",
    State.DONE: "+",
    State.FAILED: "x",
    State.CANCELED: "-",
    State.PARKED: "!",
}
STYLES: Final = {
    State.QUEUED: "dim",
    State.RUNNING: "cyan",
    State.RETRYING: "yellow",
    State.WAITING: "blue",
    State.DONE: "green",
    State.FAILED: "red",
    State.CANCELED: "dim",
    State.PARKED: "magenta",
}


class Commands(Struct, frozen=True):
    """What a person types to go on: complete a token, resume the run."""

    options: str = ""
    """` --db … --env …`, where they are needed."""
    resume_form: str = ""
    """With `{}` for the id of the run."""
    run_id: bytes = b""
    program: str = "wf"

    @property
    def resume(self) -> str:
        return self.resume_of(self.run_id)

    def resume_of(self, run_id: bytes) -> str:
        return self.resume_form.replace("{}", show("run", run_id))

    def complete(self, token: TokenNode) -> str:
        shown = show("token", token.token_id)
        return f"{self.program} tokens complete {shown} {example(token.schema)}{self.options}"

    def send(self, run: RunNode, message: MessageNode) -> str:
        name = shlex.quote(message.name)
        return f"{self.program} send {show('run', run.run_id)} {name} JSON{self.options}"


class Line(Struct):
    guide: str
    state: State
    symbol: str
    name: str
    time: str = ""
    note: str = ""
    is_header: bool = False


class Look(Struct):
    """How and when it is looked at."""

    now_ms: int
    monotonic: float = field(default_factory=time.monotonic)
    is_ascii: bool = False


def lines_of(tree: Tree, look: Look) -> list[Line]:
    """All lines, the root's first."""
    with tree.lock:
        if tree.root is None:
            return []
        return [_line(tree.root, "", look), *_below(tree.root, "", look)]


def fold(lines: list[Line], height: int) -> list[Line]:
    """At most so many: what is over goes first, from the top; what is under way stays."""
    length, hidden = len(lines), set[int]()
    for place, line in enumerate(lines[:-1]):
        if length <= height:
            break
        if place and line.state.is_over:
            length -= 1 if place - 1 in hidden else 0  # the first of them gives way to a line
            hidden.add(place)
    folded: list[Line] = []
    for is_hidden, group in groupby(enumerate(lines), lambda one: one[0] in hidden):
        some = [line for _, line in group]
        folded += [_folded(len(some))] if is_hidden and len(some) > 1 else some
    if len(folded) > height:
        rest = len(folded) - height + 1
        folded = [*folded[: height - 1], _folded(rest, "more")]
    return folded


def _folded(count: int, what: str = "done") -> Line:
    return Line("", State.QUEUED, "⋮", f"{count} {what}")


def _below(run: RunNode, guide: str, look: Look) -> list[Line]:
    lines: list[Line] = []
    items = run.ordered()
    corner, tee, bar = ("`- ", "|- ", "|  ") if look.is_ascii else ("└─ ", "├─ ", "│  ")
    for place, item in enumerate(items):
        last = place == len(items) - 1
        lines.append(_line(item, guide + (corner if last else tee), look))
        if isinstance(item, RunNode):
            lines += _below(item, guide + ("   " if last else bar), look)
    return lines


def _line(node: Node, guide: str, look: Look) -> Line:
    match node:
        case RunNode():
            name = node.name if node.is_awaited else f"{node.name} (not awaited)"
            line = Line(guide, node.state, "", name, is_header=not guide)
            line.time = _time_of_run(node, look)
            line.note = _note_of_run(node, look, not guide)
        case TokenNode():
            line = Line(guide, node.state, "", "token")
            line.note = _note_of_token(node, look)
        case MessageNode():
            line = Line(guide, node.state, "", f"message {node.name}")
            line.note = node.error if node.state.is_over else _limit(node, look)
        case BatchNode():
            line = Line(guide, node.state, "", f"{node.total} runs of {node.name}")
            line.note = f"{node.done} done" + (f", {node.failed} failed" if node.failed else "")
        case WaitNode():
            line = Line(guide, node.state, "", "wait")
            line.time = show_duration(node.took_ms) if node.took_ms is not None else ""
            line.note = _note_of_wait(node, look)
        case _:
            line = Line(guide, node.state, "", node.name)
            line.time = _time_of_step(node, look)
            line.note = _note_of_step(node, look)
    line.symbol = _symbol(node, look)
    return line


def _symbol(node: Node, look: Look) -> str:
    if node.state is State.RUNNING:
        frames = PLAIN_FRAMES if look.is_ascii else FRAMES
        return frames[int(look.monotonic * FRAMES_PER_SECOND) % len(frames)]
    return (PLAIN_SYMBOLS if look.is_ascii else SYMBOLS)[node.state]


def _time_of_step(node: Node, look: Look) -> str:
    if node.state is State.RUNNING and node.began is not None:
        return tenths(round((look.monotonic - node.began) * 1_000))
    return show_duration(node.took_ms) if node.took_ms is not None else ""


def _time_of_run(node: RunNode, look: Look) -> str:
    if node.took_ms is not None:
        return show_duration(node.took_ms)
    if not node.started_at or node.state.is_over:
        return ""
    return tenths(max(0, look.now_ms - node.started_at))


def _note_of_step(node: Node, look: Look) -> str:
    if node.state is State.RETRYING:
        return f"attempt {node.attempt} failed, {again(node, look)}: {node.error}"
    if node.state is State.FAILED:
        tries = f"after {node.attempt} attempts: " if node.attempt > 1 else ""
        return tries + node.error
    if node.attempt > 1:
        return f"attempt {node.attempt}" + (f" (before: {node.error})" if node.error else "")
    return ""


def _note_of_run(node: RunNode, look: Look, is_root: bool) -> str:
    parts: list[str] = []
    if is_root:
        parts.append(show("run", node.run_id))
    if node.attempt > 1:
        parts.append(f"attempt {node.attempt}")
    if node.state is State.RETRYING:
        parts.append(again(node, look))
    if node.error:
        parts.append(node.error)
    if node.was_taken and not node.state.is_over:
        parts.append("taken over from a worker that was lost")
    return ", ".join(parts)


def _note_of_wait(node: WaitNode, look: Look) -> str:
    if node.state is State.WAITING:
        return f"{left(node.until, look)} left, until {moment(node.until)}"
    return f"until {moment(node.until)}" if node.until else ""


def _note_of_token(node: TokenNode, look: Look) -> str:
    if node.state.is_over:
        return node.error
    limit = _limit(node, look)
    return show("token", node.token_id) + (f", {limit}" if limit else "")


def _limit(node: Node, look: Look) -> str:
    return f"{left(node.until, look)} left, until {moment(node.until)}" if node.until else ""


def again(node: Node, look: Look) -> str:
    remaining = node.until - look.now_ms
    return f"again in {tenths(remaining)}" if remaining > 0 else "again now"


def left(until: int, look: Look) -> str:
    """Whole seconds, so that it does not flicker."""
    seconds = max(0, -(-(until - look.now_ms) // 1_000))
    return show_duration(seconds * 1_000) if seconds else "0s"


def tenths(ms: int) -> str:
    if ms < 60_000:
        return f"{max(0, ms) / 1_000:.1f}s"
    return show_duration(ms)


def moment(ms: int) -> str:
    """In the zone of who looks: the time of day, with the date where it is not today."""
    when = datetime.fromtimestamp(ms / 1_000, UTC).astimezone()
    return f"{when:%Y-%m-%d %H:%M:%S}"


def example(schema: bytes) -> str:
    """Data that fits a JSON Schema, as a word of a shell."""
    import json

    found: Any = json.loads(schema)
    if not found:
        return "JSON"
    return shlex.quote(json.dumps(_sample(found, found), ensure_ascii=False))


_SAMPLES: Final[dict[str, Any]] = {
    "string": "...",
    "boolean": True,
    "integer": 1,
    "number": 1.0,
    "array": [],
    "object": {},
    "null": None,
}


def _sample(schema: dict[str, Any], whole: dict[str, Any]) -> Any:
    if "$ref" in schema:
        found = whole
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            found = found.get(part, {})
        return _sample(found, whole)
    if "default" in schema:
        return schema["default"]
    for word in ("enum", "examples"):
        if schema.get(word):
            return schema[word][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("anyOf"):
        return _sample(schema["anyOf"][0], whole)
    if "properties" in schema:
        return {name: _sample(one, whole) for name, one in schema["properties"].items()}
    return _SAMPLES.get(schema.get("type", "string"), "...")


__all__ = ["Commands", "Line", "Look", "StepNode", "fold", "lines_of"]
