"""A playback on a terminal: the list, step by step, and a debugger in the user's code."""

from __future__ import annotations

import linecache
import pdb  # noqa: T100
import sys
from types import FrameType
from typing import Any, Final

from wf.cli import output
from wf.history.errors import NotFound
from wf.testing.replaying.playback import Fact, Playback

MAX_SHOWN: Final = 200
"""Characters of a variable's repr."""
_HELP: Final = "n(ext)  b(ack)  NUMBER (go there)  l(ocals)  f(acts)  d(ebugger)  q(uit)"


def line_of(fact: Fact, *, marked: bool = False) -> str:
    """A fact on one line: its number, when, what, and the line of the code that asked for it."""
    mark = ">" if marked else " "
    head = f"{mark}{fact.seq:>4}  {output.moment(fact.event.at)}  {fact.what}"
    return f"{head}  ({fact.where}: {fact.source})" if fact.where else head


def place(playback: Playback, fact: Fact) -> str:
    """Where the body stands after a fact, with its variables."""
    lines = [f"after fact {fact.seq} ({fact.what})"]
    if fact.asks:
        lines.append(f"  asked for: {', '.join(fact.asks)}")
    frames = playback.frames()
    if not frames:
        return "\n".join([*lines, "  the body has ended"])
    for task in frames:
        for frame in task:
            told = frame_json(frame)
            lines.append(f"  {told['file']}:{told['line']} in {told['function']}: {told['source']}")
            lines += [f"    {name} = {value}" for name, value in told["locals"].items()]
    return "\n".join(lines)


def frame_json(frame: FrameType) -> dict[str, Any]:
    """A frame as plain JSON types; variables as their repr."""
    code = frame.f_code
    return {
        "file": code.co_filename,
        "line": frame.f_lineno,
        "function": code.co_name,
        "source": linecache.getline(code.co_filename, frame.f_lineno).strip(),
        "locals": {name: _repr(value) for name, value in frame.f_locals.items()},
    }


def _repr(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:
        return f"(its repr raises {type(error).__name__})"
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def interact(playback: Playback) -> None:
    """One command after the other, until q or the end of the input."""
    print(f"{playback.task} {playback.run}: {len(playback.facts)} facts. {_HELP}")
    fact = playback.next()
    while True:
        if fact is not None:
            print(line_of(fact, marked=True))
        try:
            given = input("(wf) ").strip() or "n"
        except EOFError:
            return
        fact = None
        if given in {"q", "quit"}:
            return
        if given in {"n", "next"}:
            fact = playback.next()
            print("" if fact else "that was the last fact", end="" if fact else "\n")
        elif given in {"b", "back"}:
            fact = playback.back()
            print("" if fact else "that was the first fact", end="" if fact else "\n")
        elif given.isdigit():
            fact = _go(playback, int(given))
        elif given in {"l", "locals"}:
            here = [fact for fact in playback.facts if fact.seq == playback.at]
            print(place(playback, here[0]) if here else "nothing is told yet")
        elif given in {"f", "facts"}:
            for one in playback.facts:
                print(line_of(one, marked=one.seq == playback.at))
        elif given in {"d", "debugger"}:
            debug(playback, playback.at)
        else:
            print(_HELP)


def _go(playback: Playback, seq: int) -> Fact | None:
    try:
        return playback.go(seq)
    except NotFound as error:
        print(error)
        return None


# --- the debugger ---------------------------------------------------------------------------------


def debug(playback: Playback, at: int | None) -> None:
    """pdb in the innermost frame of the body, after that fact (None: the first one). `next` and
    `back` go to the facts beside it, `fact N` to any; looking around is pdb's own."""
    fact = playback.go(at) if at else playback.next()
    while fact is not None:
        frames = playback.frames()
        print(line_of(fact, marked=True))
        if not frames:
            print("the body has ended: `wf replay` lists the facts")
            return
        debugger = _Debugger(frames[0])
        debugger.interaction(frames[0][-1], None)
        wanted = debugger.wanted
        del frames, debugger
        moved = _moved(playback, wanted)
        if moved is None and wanted not in {"", "quit"}:
            print("there is no such fact")
            moved = playback.go(playback.at)
        fact = moved


def _moved(playback: Playback, wanted: str) -> Fact | None:
    if wanted == "next":
        return playback.next()
    if wanted == "back":
        return playback.back()
    return _go(playback, int(wanted)) if wanted.isdigit() else None


class _Debugger(pdb.Pdb):
    """Over the frames of a body that is suspended: they are looked at, and not run on."""

    def __init__(self, frames: list[FrameType]) -> None:
        super().__init__(stdin=sys.stdin, stdout=sys.stdout, nosigint=True, readrc=False)
        self.use_rawinput = sys.stdin.isatty()
        self.prompt = "(wf pdb) "
        self.wanted = ""
        self._frames = frames

    def get_stack(self, f: FrameType | None, t: Any) -> tuple[list[tuple[FrameType, int]], int]:
        """A suspended frame knows nobody who called it."""
        return [(frame, frame.f_lineno) for frame in self._frames], len(self._frames) - 1

    def do_next(self, arg: str) -> bool:
        """n(ext)
        To the fact that follows."""
        return self._leave("next")

    do_n = do_s = do_step = do_next

    def do_back(self, arg: str) -> bool:
        """back
        To the fact before."""
        return self._leave("back")

    do_b = do_back

    def do_fact(self, arg: str) -> bool:
        """fact N
        To that fact."""
        return self._leave(arg.strip() or "0")

    def do_quit(self, arg: str) -> bool:
        """q(uit)
        Leave the debugger."""
        return self._leave("quit")

    do_q = do_exit = do_c = do_continue = do_cont = do_quit
    do_EOF = do_quit  # noqa: N815

    def _leave(self, wanted: str) -> bool:
        self.wanted = wanted
        return True
